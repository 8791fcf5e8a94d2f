"""What a ledger promises of what is read from it."""

from metering.ledger import Charge, CreditState, PeriodState
from metering.stores import ChargedEvent, Ledger, UsageTotal
from metering.testing.contracts.samples import (
    at,
    key_of,
    open_account,
    paid,
    promo,
    used,
)
from metering.usage import Usage

__all__ = ["ReadingContract"]

_NOW_NS = at("2026-01-15T00:00")


class ReadingContract:
    """Runs on the fixture `ledger`: an empty ledger made with `samples.PLAN`."""

    def test_of_nothing_it_says_nothing(self, ledger: Ledger) -> None:
        """Zeros and empty lists, also for an account that is not there."""
        assert PeriodState() == ledger.period("acme", "2026-01")
        assert CreditState() == ledger.credit("acme", now_ns=_NOW_NS)
        assert ledger.grants("acme") == []
        assert ledger.payments("acme") == []
        assert ledger.keys("acme") == []
        assert ledger.events("acme") == []
        assert ledger.totals("acme", "2026-01") == []
        assert ledger.accounts() == []
        assert ledger.published() == []

    def test_an_event_comes_back_as_it_was_posted(self, ledger: Ledger) -> None:
        """Every member of it, with the charge it became."""
        open_account(ledger)
        leaves = {name: 2**53 - i for i, name in enumerate(Usage.__struct_fields__)}
        event = used(
            "e1",
            7,
            key_id="key-acme-1",
            tier=3,
            funding="credit",
            ending="client_gone",
            status=499,
            usage=Usage(**leaves),
            time_source="server-timing",
            hold_p=9,
            output_tokens_max=4_096,
            clamped_from=10**15,
            model_asked="glm",
            flags=("clamped", "late", 'said "so"'),
        )

        ledger.post([event])

        charge = Charge(event_id="e1", amount_p=7, draws=(), rest_p=7)
        assert [ChargedEvent(event, charge)] == ledger.events("acme")

    def test_the_last_admitted_comes_first(self, ledger: Ledger) -> None:
        """Over all periods or within one, and never more than asked for."""
        open_account(ledger)
        open_account(ledger, "other")
        december_ns = at("2025-12-31T23:59")
        ledger.post(
            [
                used("c", 1, admitted_ns=december_ns, took_ns=100 * 86_400 * 10**9),
                used("a", 1),
                used("x", 1, "other"),
                used("d", 1, admitted_ns=_NOW_NS - 1),
                used("b", 1),
            ]
        )

        def ids(period: str | None = None, limit: int = 100) -> str:
            found = ledger.events("acme", period=period, limit=limit)
            return "".join(each.event.id for each in found)

        assert ids() == "badc"
        assert ids(limit=2) == "ba"
        assert (ids(limit=0), ids(limit=-1)) == ("", "")
        assert ids("2026-01") == "bad"
        assert ids("2025-12") == "c"
        assert ids("2025-11") == ""

    def test_events_are_read_page_by_page(self, ledger: Ledger) -> None:
        """From the place where the last page ended, over periods, also of one model."""
        open_account(ledger)
        ledger.post(
            [
                used("a", 1, admitted_ns=at("2025-12-31T23:59")),
                used("b", 1),
                used("c", 1, model="another"),
                used("d", 1),
                used("e", 1, admitted_ns=at("2026-02-01T00:00")),
            ]
        )

        def ids(model: str | None = None, period: str | None = None) -> str:
            found, before = "", None
            while page := ledger.events(
                "acme", model=model, period=period, before=before, limit=2
            ):
                last = page[-1].event
                before = last.period, last.admitted_ns, last.id
                found += "".join(each.event.id for each in page) + " "
            return found

        assert ids() == "ed cb a "
        assert ids("zai-org/GLM-4.7") == "ed ba "
        assert ids("another", "2026-01") == "c "
        assert ids("another", "2025-12") == ids("nothing") == ""

    def test_totals_are_by_model(self, ledger: Ledger) -> None:
        """Each leaf is summed over the period's calls, and nobody else's."""
        open_account(ledger)
        half = Usage(3, 2, audio_ms=5, images=4, compute_ms=1)
        ledger.post(
            [
                used("e1", 5, usage=half),
                used("e2", 6, usage=half),
                used("e3", 7, model="another", usage=Usage(output_tokens=4)),
                used("e4", 8, admitted_ns=at("2026-02-01T00:00")),
                used("e5", 9, "other"),
            ]
        )

        both = Usage(6, 4, audio_ms=10, images=8, compute_ms=2, requests=2)
        assert [
            UsageTotal("another", 1, Usage(output_tokens=4), 7),
            UsageTotal("zai-org/GLM-4.7", 2, both, 11),
        ] == ledger.totals("acme", "2026-01")

    def test_totals_beyond_64_bits_are_exact(self, ledger: Ledger) -> None:
        """1,100 calls of 2**53 tokens each are above 2**63."""
        open_account(ledger)
        huge = Usage(input_tokens=2**53)

        ledger.post([used(f"e{number}", 0, usage=huge) for number in range(1_100)])

        total = ledger.totals("acme", "2026-01")[0]
        assert total.usage.input_tokens == 1_100 * 2**53

    def test_grants_come_oldest_first(self, ledger: Ledger) -> None:
        """By the instant they begin, then by id."""
        open_account(ledger)
        ledger.grant_credit(promo(1, id="b", effective_ns=5))
        ledger.grant_credit(promo(1, id="c", effective_ns=4))
        ledger.grant_credit(promo(1, id="a", effective_ns=5))

        assert "".join(grant.id for grant in ledger.grants("acme")) == "cab"

    def test_says_which_events_are_posted(self, ledger: Ledger) -> None:
        """Of more ids than fit into one statement; other ids are left out."""
        open_account(ledger)
        posted = [used(f"e{number}", 1) for number in range(600)]
        ledger.post(posted)

        found = ledger.known(["x", *(event.id for event in posted), "y"])

        assert {event.id for event in posted} == found

    def test_payments_come_oldest_first(self, ledger: Ledger) -> None:
        """By their instant, then by reference; of that account alone."""
        open_account(ledger)
        open_account(ledger, "other")
        payments = [
            paid(1, "invoice", "b", at_ns=_NOW_NS),
            paid(2, "credit_purchase", "c", at_ns=_NOW_NS - 1),
            paid(3, "invoice", "a", at_ns=_NOW_NS),
        ]
        for payment in payments:
            ledger.record_payment(payment)
        ledger.record_payment(paid(4, "invoice", "d", "other"))

        found = ledger.payments("acme")

        assert [payments[1], payments[2], payments[0]] == found

    def test_keys_come_oldest_first_also_revoked_ones(self, ledger: Ledger) -> None:
        """As they were added, and of that account alone."""
        open_account(ledger)
        open_account(ledger, "other")
        for key in (key_of("acme", 2), key_of("acme", 1), key_of("other")):
            ledger.add_key(key)
        revoked = ledger.revoke_key("key-acme-1", now_ns=_NOW_NS)

        assert [revoked, key_of("acme", 2)] == ledger.keys("acme")

    def test_credit_tells_when_it_changes(self, ledger: Ledger) -> None:
        """What has not begun does not count yet; what has ended counts as used."""
        open_account(ledger)
        ledger.grant_credit(promo(5, id="a", expires_ns=_NOW_NS + 2))
        ledger.grant_credit(promo(7, id="b", effective_ns=_NOW_NS + 1))
        ledger.post([used("e1", 2)])

        states = [ledger.credit("acme", now_ns=_NOW_NS + later) for later in range(3)]

        assert [
            CreditState(5, 2, _NOW_NS + 1),
            CreditState(12, 2, _NOW_NS + 2),
            CreditState(9, 2, None),
        ] == states
