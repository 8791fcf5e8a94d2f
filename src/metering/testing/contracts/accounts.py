"""What a store of accounts and keys promises."""

import pytest

from metering.accounts import Account, Overrides, RateOverride, TokenPrices
from metering.clock import NS_PER_S
from metering.errors import AccountNotFoundError, ConfigurationError, LedgerError
from metering.ledger import CreditState
from metering.money import AMOUNT_MAX_P, PICO
from metering.stores import AccountChange, KeyRecord, Ledger
from metering.testing.contracts.samples import (
    at,
    key_of,
    open_account,
    paid,
    promo,
    used,
)

__all__ = ["AccountStoreContract"]

_NOW_NS = at("2026-01-15T00:00")


class AccountStoreContract:
    """Runs on the fixture `ledger`: an empty ledger made with `samples.PLAN`."""

    def test_a_key_too_many_is_refused(self, ledger: Ledger) -> None:
        """Those that are revoked, and those of others, do not count."""
        for name in ("acme", "other"):
            open_account(ledger, name)
            ledger.add_key(key_of(name, 1), in_use_max=1)
        with pytest.raises(LedgerError, match="Revoke one"):
            ledger.add_key(key_of("acme", 2), in_use_max=1)
        assert [key_of("acme", 1)] == ledger.keys("acme")

        ledger.revoke_key("key-acme-1", now_ns=_NOW_NS)
        ledger.add_key(key_of("acme", 2), in_use_max=1)
        ledger.add_key(key_of("acme", 3))

        assert len(ledger.keys("acme")) == 3

    def test_keeps_an_account_as_it_was_created(self, ledger: Ledger) -> None:
        """Every member comes back, what was agreed with the account included."""
        account = Account(
            id="acme",
            created_ns=_NOW_NS,
            payment_method=True,
            pin=5,
            overrides=Overrides(
                output_tokens_max=131_072,
                usage_limit_p=AMOUNT_MAX_P,
                requests={"paid": RateOverride(20_000, 60 * NS_PER_S, burst=7)},
                prices={"zai-org/GLM-4.7": TokenPrices(500_000, 2_000_000)},
            ),
            suspended=True,
        )

        created = ledger.create(account, None)

        assert account == created
        assert account == ledger.get("acme")

    def test_creating_again_gives_nothing_twice(self, ledger: Ledger) -> None:
        """The account there is returned, and its sign-up credit is granted once."""
        account = Account(id="acme", created_ns=_NOW_NS)
        ledger.create(account, promo(5 * PICO, id="signup"))
        ledger.change("acme", AccountChange(suspended=True), now_ns=_NOW_NS)

        again = ledger.create(account, promo(5 * PICO, id="signup"))

        assert ledger.get("acme") == again
        assert (again.version, again.suspended) == (2, True)
        assert CreditState(5 * PICO, 0) == ledger.credit("acme", now_ns=_NOW_NS)

    def test_an_account_that_exists_gets_no_late_credit(self, ledger: Ledger) -> None:
        """Sign-up credit is for who signs up, not for who is there already."""
        open_account(ledger)

        open_account(ledger)
        ledger.create(ledger.get("acme"), promo(5 * PICO))

        assert ledger.grants("acme") == []

    def test_refuses_what_no_cell_may_hold(self, ledger: Ledger) -> None:
        """A cap above $9,000,000 would leave no room for sums in 64 bits."""
        open_account(ledger)
        above = Overrides(usage_limit_p=10_000_000 * PICO)

        with pytest.raises(ConfigurationError, match="9,000,000"):
            ledger.change("acme", AccountChange(overrides=above), now_ns=_NOW_NS)
        with pytest.raises(ConfigurationError, match="9,000,000"):
            ledger.create(Account(id="b", created_ns=_NOW_NS, overrides=above), None)

        assert [ledger.get("acme")] == ledger.accounts()
        assert ledger.get("acme").version == 1

    @pytest.mark.parametrize(
        "bad",
        [
            Overrides(output_tokens_max=0),
            Overrides(output_tokens_max=1.5),  # type: ignore[arg-type]
            Overrides(output_tokens_max="4K"),  # type: ignore[arg-type]
            Overrides(usage_limit_p=-1),
            Overrides(usage_limit_p=2.0),  # type: ignore[arg-type]
            Overrides(requests={"paid": RateOverride(0, NS_PER_S)}),
            Overrides(requests={"paid": RateOverride(5, 1.5e9)}),  # type: ignore[arg-type]
            Overrides(requests={"dear": RateOverride(5, 9)}),  # type: ignore[dict-item]
            Overrides(requests={"paid": "9/day"}),  # type: ignore[dict-item]
            Overrides(prices={"m": TokenPrices(-1, 0)}),
            Overrides(prices={"m": TokenPrices(0, 0.5)}),  # type: ignore[arg-type]
            Overrides(prices={"m": TokenPrices(0, 1, 0)}),
            Overrides(prices={"m": (1, 2)}),  # type: ignore[dict-item]
        ],
        ids=repr,
    )
    def test_keeps_no_overrides_that_no_call_could_be_held_to(
        self, ledger: Ledger, bad: Overrides
    ) -> None:
        """What is written can be read back, and each call be decided by it."""
        open_account(ledger)

        with pytest.raises(ConfigurationError, match="Overrides"):
            ledger.change("acme", AccountChange(overrides=bad), now_ns=_NOW_NS)

        assert Overrides() == ledger.get("acme").overrides

    def test_counts_what_changes_an_account_a_key_or_credit(
        self, ledger: Ledger
    ) -> None:
        """Once each, so that who looks sees it; what calls use counts nothing."""
        counts = [ledger.changes()]
        for change in (
            lambda: open_account(ledger),
            lambda: ledger.add_key(key_of("acme")),
            lambda: ledger.change(
                "acme", AccountChange(suspended=True), now_ns=_NOW_NS
            ),
            lambda: ledger.grant_credit(promo(PICO)),
            lambda: ledger.record_payment(paid(PICO, "invoice")),
            lambda: ledger.revoke_key("key-acme-1", now_ns=_NOW_NS),
        ):
            change()
            counts.append(ledger.changes())
        ledger.revoke_key("key-acme-1", now_ns=_NOW_NS)
        ledger.record_payment(paid(PICO, "invoice"))
        ledger.grant_credit(promo(PICO))
        open_account(ledger)
        ledger.post([used("e1", 7)])

        assert sorted(set(counts)) == counts
        assert ledger.changes() == counts[-1]

    def test_names_the_account_that_is_not_there(self, ledger: Ledger) -> None:
        """Whatever needs an account says which one is missing, and changes nothing."""
        with pytest.raises(AccountNotFoundError, match="'nobody'"):
            ledger.get("nobody")
        with pytest.raises(AccountNotFoundError, match="'nobody'"):
            ledger.change("nobody", AccountChange(suspended=True), now_ns=_NOW_NS)
        with pytest.raises(AccountNotFoundError, match="'nobody'"):
            ledger.add_key(key_of("nobody"))
        with pytest.raises(AccountNotFoundError, match="'key-nobody-1'"):
            ledger.revoke_key("key-nobody-1", now_ns=_NOW_NS)

        assert ledger.accounts() == []

    def test_a_change_makes_a_newer_version_of_what_is_named(
        self, ledger: Ledger
    ) -> None:
        """What is not named stays, and an old snapshot can be told by its version."""
        open_account(ledger)

        changed = ledger.change("acme", AccountChange(pin=5), now_ns=_NOW_NS)

        assert (changed.version, changed.pin, changed.payment_method) == (2, 5, True)
        assert changed == ledger.get("acme")
        assert (
            None is ledger.change("acme", AccountChange(pin=None), now_ns=_NOW_NS).pin
        )

    def test_refuses_a_pin_that_leads_nowhere(self, ledger: Ledger) -> None:
        """An account is never left without a tier."""
        account = open_account(ledger)

        with pytest.raises(ConfigurationError, match="no tier 4"):
            ledger.change("acme", AccountChange(pin=4), now_ns=_NOW_NS)
        with pytest.raises(ConfigurationError, match="no tier 4"):
            ledger.create(Account(id="b", created_ns=_NOW_NS, pin=4), None)

        assert [account] == ledger.accounts()

    def test_turning_from_credit_alone_starts_an_epoch(self, ledger: Ledger) -> None:
        """The gate counts credit anew, and only then."""
        open_account(ledger, payment_method=False)

        turned = ledger.change(
            "acme", AccountChange(payment_method=True), now_ns=_NOW_NS
        )
        pinned = ledger.change("acme", AccountChange(pin=5), now_ns=_NOW_NS)

        assert (turned.credit_epoch, pinned.credit_epoch) == (1, 1)

    def test_finds_a_key_with_its_account_and_credit(self, ledger: Ledger) -> None:
        """All that a call needs to know of its caller is one answer."""
        account = Account(id="acme", created_ns=_NOW_NS)
        ledger.create(account, promo(5 * PICO, expires_ns=_NOW_NS + 1))
        ledger.add_key(key_of("acme"))

        found = ledger.find_key("hash-acme-1", now_ns=_NOW_NS)
        expired = ledger.find_key("hash-acme-1", now_ns=_NOW_NS + 1)

        credit = CreditState(5 * PICO, 0, _NOW_NS + 1)
        assert KeyRecord(key_of("acme"), account, credit) == found
        assert KeyRecord(key_of("acme"), account, CreditState()) == expired
        assert None is ledger.find_key("hash-other", now_ns=_NOW_NS)

    def test_a_revoked_key_is_found_and_marked(self, ledger: Ledger) -> None:
        """A caller learns that the key was revoked; the first instant stands."""
        open_account(ledger)
        ledger.add_key(key_of("acme"))

        revoked = ledger.revoke_key("key-acme-1", now_ns=_NOW_NS)
        again = ledger.revoke_key("key-acme-1", now_ns=_NOW_NS + 1)
        found = ledger.find_key("hash-acme-1", now_ns=_NOW_NS + 2)

        assert revoked.revoked_ns == _NOW_NS
        assert revoked == again
        assert found is not None
        assert revoked == found.key

    def test_a_key_is_added_once(self, ledger: Ledger) -> None:
        """No secret leads to two accounts, and no id names two keys."""
        open_account(ledger, "acme")
        open_account(ledger, "other")
        ledger.add_key(key_of("acme"))

        with pytest.raises(LedgerError, match="'key-acme-1'"):
            ledger.add_key(key_of("acme"))
        other = key_of("other")
        with pytest.raises(LedgerError, match="'key-other-1'"):
            ledger.add_key(
                type(other)(
                    id=other.id,
                    account_id="other",
                    hash="hash-acme-1",
                    hint=other.hint,
                    created_ns=_NOW_NS,
                )
            )

        assert None is ledger.find_key("hash-other-1", now_ns=_NOW_NS)

    def test_lists_accounts_by_id_in_pages(self, ledger: Ledger) -> None:
        """The last id of a page leads to the next, and a page has its limit."""
        accounts = [open_account(ledger, name) for name in ("b", "é", "a", "B", "c")]
        by_id = sorted(accounts, key=lambda account: account.id)

        first = ledger.accounts(limit=2)
        rest = ledger.accounts(after=first[-1].id)

        assert by_id == first + rest
        assert ledger.accounts(limit=0) == ledger.accounts(limit=-1) == []
