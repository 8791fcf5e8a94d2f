"""What a ledger promises of what it lists page by page."""

from itertools import product

from msgspec.structs import replace

from metering.accounts import Account
from metering.ledger import Allowance, period_of
from metering.money import PICO
from metering.stores import AccountChange, AccountsWanted, AlertPlace, Ledger
from metering.testing.contracts.samples import (
    PLAN,
    at,
    key_of,
    open_account,
    paid,
    promo,
    used,
)

__all__ = ["ListingContract"]

_NOW_NS = at("2026-01-15T00:00")


class ListingContract:
    """Runs on the fixture `ledger`: an empty ledger made with `samples.PLAN`."""

    def test_of_nothing_it_lists_nothing(self, ledger: Ledger) -> None:
        """Of an account that is not there, too."""
        listing = ledger.listing
        assert listing.accounts(AccountsWanted(), now_ns=_NOW_NS, limit=9) == []
        assert listing.payments("acme", limit=9) == []
        assert listing.grants("acme", limit=9) == []
        assert listing.keys("acme", limit=9) == []
        assert listing.key("key-acme-1") is None
        assert listing.alerts(None, limit=9) == []

    def test_what_an_account_has_is_listed_latest_first(self, ledger: Ledger) -> None:
        """Page by page, equal instants by id; of that account alone."""
        for owner in ("acme", "other"):
            open_account(ledger, owner)
            ledger.add_key(key_of(owner, 7))
            ledger.grant_credit(promo(1, owner, id=f"g-{owner}"))
            ledger.record_payment(paid(1, "invoice", f"p-{owner}", owner))
        for number in (3, 1, 2):
            ledger.add_key(key_of("acme", number))
            ledger.grant_credit(promo(1, id=f"g{number}", effective_ns=5 + number // 3))
            ledger.record_payment(paid(1, "invoice", f"p{number}", at_ns=5))
        listing = ledger.listing

        keys = listing.keys("acme", limit=2)
        place = keys[-1].created_ns, keys[-1].id
        keys += listing.keys("acme", before=place, limit=9)
        grants = listing.grants("acme", limit=2)
        at_ns = grants[-1].effective_ns
        grants += listing.grants("acme", before=(at_ns, grants[-1].id), limit=9)
        payments = listing.payments("acme", limit=2)
        at_ns = payments[-1].at_ns
        payments += listing.payments(
            "acme", before=(at_ns, payments[-1].reference), limit=9
        )

        assert [f"key-acme-{n}" for n in (7, 3, 2, 1)] == [each.id for each in keys]
        assert ["g3", "g2", "g1", "g-acme"] == [each.id for each in grants]
        assert ["p-acme", "p3", "p2", "p1"] == [each.reference for each in payments]
        assert listing.keys("acme", limit=0) == listing.keys("acme", limit=-1) == []

    def test_a_key_is_found_by_its_id(self, ledger: Ledger) -> None:
        """Also one that is revoked."""
        open_account(ledger)
        for number in (1, 2):
            ledger.add_key(key_of("acme", number))

        revoked = ledger.revoke_key("key-acme-1", now_ns=_NOW_NS)

        assert revoked == ledger.listing.key("key-acme-1")
        assert key_of("acme", 2) == ledger.listing.key("key-acme-2")

    def test_alerts_are_listed_as_they_were_told(self, ledger: Ledger) -> None:
        """Latest first, page by page, of one account or of all."""
        for name in ("acme", "other"):
            open_account(ledger, name)
        for number, dollars in enumerate((30, 12, 4, 5)):
            at_ns = _NOW_NS + number
            ledger.post([used(f"a{number}", dollars * PICO, admitted_ns=at_ns)])
        ledger.post([used("b", 45 * PICO, "other", admitted_ns=_NOW_NS)])

        found: list[tuple[str, int]] = []
        place: AlertPlace | None = None
        while page := ledger.listing.alerts(None, before=place, limit=2):
            for alert in page:
                of = alert.allowance
                found.append((of.account_id, alert.threshold))
                place = (
                    *(alert.at_ns, of.account_id, of.subject, of.period),
                    *(of.epoch, of.limit_p, alert.threshold),
                )
        latest = ledger.listing.alerts("acme", limit=1)

        told = [("acme", 100), ("acme", 90), ("acme", 80), ("other", 90), ("acme", 50)]
        assert told == found
        spent = Allowance(
            account_id="acme",
            subject="usage_limit",
            period="2026-01",
            epoch=0,
            limit_p=50 * PICO,
            used_p=51 * PICO,
        )
        assert [spent] == [alert.allowance for alert in latest]

    def test_accounts_come_with_what_they_spent_in_their_own_period(
        self, ledger: Ledger
    ) -> None:
        """By id or by spend, of equal spend by id; who has spent nothing comes too."""
        months = {"a": ("UTC", 1), "b": ("UTC", 20), "c": ("Asia/Seoul", 1)}
        accounts = {
            name: ledger.create(
                Account(
                    id=name,
                    created_ns=0,
                    payment_method=True,
                    time_zone=zone,
                    anchor_day=day,
                ),
                None,
            )
            for name, (zone, day) in months.items()
        }
        now_ns = at("2026-01-31T20:00")  # in Seoul it is February
        for name, charge_p in (("a", 5), ("b", 9), ("c", 7)):
            key = period_of(accounts[name], now_ns).key
            now, before = used(f"{name}1", charge_p, name), used(f"{name}0", 90, name)
            ledger.post([replace(now, period=key), replace(before, period="2025-11")])
        for name in ("e", "d"):
            ledger.create(Account(id=name, created_ns=0), None)

        def listed(order: str, limit: int = 9) -> list[tuple[str, str, int]]:
            wanted = AccountsWanted(order="spent" if order == "spent" else "id")
            found: list[tuple[str, str, int]] = []
            after = None
            while page := ledger.listing.accounts(
                wanted, now_ns=now_ns, after=after, limit=limit
            ):
                found += [(e.account.id, e.period, e.spent_p) for e in page]
                after = page[-1].spent_p, page[-1].account.id
            return found

        by_id = [
            ("a", "2026-01", 5),
            ("b", "2026-01-20", 9),
            ("c", "2026-02", 7),
            ("d", "2026-01", 0),
            ("e", "2026-01", 0),
        ]
        assert by_id == listed("id") == listed("id", 1)
        by_spend = [by_id[1], by_id[2], by_id[0], *by_id[3:]]
        assert by_spend == listed("spent") == listed("spent", 1)

    def test_accounts_are_found_by_prefix_tier_and_suspension(
        self, ledger: Ledger
    ) -> None:
        """A prefix is told by case, and none of its characters means another."""
        for name in ("a%b", "a_c", "acme", "Acme", "az", "b", "a\uffff"):
            open_account(ledger, name)
        ledger.change("az", AccountChange(pin=5), now_ns=_NOW_NS)
        ledger.change("acme", AccountChange(suspended=True), now_ns=_NOW_NS)

        def ids(**members: object) -> list[str]:
            wanted = AccountsWanted(**members)  # type: ignore[arg-type]
            found = ledger.listing.accounts(wanted, now_ns=_NOW_NS, limit=9)
            return [each.account.id for each in found]

        assert ids(prefix="a") == ["a%b", "a_c", "acme", "az", "a\uffff"]
        assert ids(prefix="a%") == ["a%b"]
        assert ids(prefix="a_") == ["a_c"]
        assert ids(tier=5) == ["az"]
        assert ids(tier=5, prefix="b") == ids(tier=4) == []
        assert ids(suspended=True) == ["acme"]
        assert ids(suspended=False, prefix="ac") == []
        assert ids(suspended=False, prefix="ac", order="spent") == []

    def test_accounts_are_in_the_tier_that_the_rule_gives_them(
        self, ledger: Ledger
    ) -> None:
        """Each is found in that tier and in no other: paid, pinned, kept or lost."""
        wanted: dict[int, list[str]] = {tier.level: [] for tier in PLAN.tiers}
        for number, (method, paid_p, pin, kept, until_ns) in enumerate(
            product(
                (False, True),
                (50 * PICO - 1, 50 * PICO),
                (None, 0, 5),
                (None, 1, 2),
                (None, _NOW_NS, _NOW_NS + 1),
            )
        ):
            account = Account(
                id=f"of-{number:03d}",
                created_ns=0,
                payment_method=method,
                lifetime_paid_p=paid_p,
                pin=pin,
                kept_tier=kept,
                kept_until_ns=until_ns,
            )
            ledger.create(account, None)
            wanted[PLAN.tier_of(account, _NOW_NS).level].append(account.id)

        found = {
            level: [
                each.account.id
                for each in ledger.listing.accounts(
                    AccountsWanted(tier=level), now_ns=_NOW_NS, limit=200
                )
            ]
            for level in wanted
        }

        assert wanted == found
        assert all(found.values())
