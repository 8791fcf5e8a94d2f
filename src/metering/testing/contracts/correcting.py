"""What a ledger promises of corrections: pairs of entries, and nothing edited."""

import pytest

from metering.errors import AccountNotFoundError, LedgerError
from metering.ledger import (
    SETTLE_GRACE_NS,
    Correction,
    Draw,
    PeriodState,
    Revision,
    books,
)
from metering.money import PICO
from metering.stores import BudgetFreed, Ledger
from metering.testing.contracts.samples import (
    at,
    key_of,
    open_account,
    paid,
    promo,
    taken_back,
    used,
)

__all__ = ["CorrectingContract"]

_CENT_P = PICO // 100
_ENDS_NS = at("2026-02-10T00:00")
_JANUARY_NS = at("2026-01-15T00:00")
_LATER_NS = at("2026-02-20T00:00")
_MODEL = "zai-org/GLM-4.7"


def _back(event_id: str = "e1") -> Revision:
    return Revision(event_id=event_id, reason="the answer was cut")


def _anew(amount_p: int, event_id: str = "e1", version: str = "v2") -> Revision:
    return Revision(
        event_id=event_id, reason="price", amount_p=amount_p, price_version=version
    )


def _close(ledger: Ledger, period: str, now_ns: int) -> None:
    ledger.close_period("acme", period, now_ns=now_ns, grace_ns=SETTLE_GRACE_NS)


def _consumed_p(ledger: Ledger) -> dict[str, int]:
    return {grant.id: grant.consumed_p for grant in ledger.grants("acme")}


def _owed_p(ledger: Ledger) -> int:
    """Return what the account owes, of books that must sum to 0."""
    balances = ledger.balances_p()
    assert sum(balances.values()) == 0
    return balances.get(books.receivable_of("acme"), 0)


class CorrectingContract:
    """Runs on the fixture `ledger`: an empty ledger made with `samples.PLAN`."""

    def test_a_charge_is_taken_back(self, ledger: Ledger) -> None:
        """An entry of minus its amount; the event itself stays as it was."""
        open_account(ledger)
        ledger.post([used("e1", 7), used("e2", 1)])
        before = ledger.events("acme")

        report = ledger.correct([_back()], now_ns=_LATER_NS)

        (correction,) = report.corrections
        assert correction == Correction(
            id="e1:1",
            event_id="e1",
            account_id="acme",
            kind="reversal",
            amount_p=-7,
            rest_p=-7,
            price_version="0123456789abcdef",
            period="2026-01",
            booked_period="2026-01",
            reason="the answer was cut",
            at_ns=_LATER_NS,
        )
        assert ledger.events("acme") == before
        assert ledger.period("acme", "2026-01").spent_p == 1
        assert _owed_p(ledger) == 1
        assert ledger.corrections("acme", "2026-01") == [correction]

    def test_it_is_taken_back_once(self, ledger: Ledger) -> None:
        """Again changes nothing, nor does another price: it is for good."""
        open_account(ledger)
        ledger.post([used("e1", 7)])
        ledger.correct([_back()], now_ns=_LATER_NS)

        again = ledger.correct([_back()], now_ns=_LATER_NS)
        priced = ledger.correct([_anew(5)], now_ns=_LATER_NS)

        assert again.corrections == priced.corrections == ()
        assert ledger.period("acme", "2026-01").spent_p == 0
        standing = ledger.standing("e1")
        assert standing is not None
        assert (standing.amount_p, standing.reversed) == (0, True)

    def test_credit_goes_back_where_it_came_from(self, ledger: Ledger) -> None:
        """$7.25 of $5 that have ended meanwhile and $20: the $5 end again."""
        open_account(ledger)
        ledger.grant_credit(promo(5 * PICO, priority=0, expires_ns=_ENDS_NS))
        ledger.grant_credit(promo(20 * PICO, id="bought", kind="paid"))
        admitted_ns = at("2026-02-09T00:00")
        ledger.post([used("e1", 725 * _CENT_P, admitted_ns=admitted_ns)])
        ledger.expire_credit(ended_by_ns=_LATER_NS, now_ns=_LATER_NS)

        report = ledger.correct([_back()], now_ns=_LATER_NS)

        assert _consumed_p(ledger) == {"promo": 0, "bought": 0}
        assert report.corrections[0].draws == (
            Draw("promo", -5 * PICO),
            Draw("bought", -225 * _CENT_P),
        )
        assert ledger.credit("acme", now_ns=_LATER_NS).ceiling_p == 20 * PICO
        assert ledger.expire_credit(ended_by_ns=_LATER_NS, now_ns=_LATER_NS) == 1
        balances = ledger.balances_p()
        assert balances[books.credit_of("acme", "promo")] == 0
        assert balances[books.PROMO_EXPENSE] == 0
        assert balances[books.credit_of("acme", "paid")] == -20 * PICO
        assert _owed_p(ledger) == 0

    def test_a_charge_is_made_anew(self, ledger: Ledger) -> None:
        """A pair: back at the old price, and on at the new one, by the same credit."""
        open_account(ledger)
        ledger.grant_credit(promo(4))
        ledger.post([used("e1", 7)])

        report = ledger.correct([_anew(10)], now_ns=_LATER_NS)

        assert [
            (c.id, c.kind, c.amount_p, c.draws, c.rest_p, c.price_version)
            for c in report.corrections
        ] == [
            (
                *("e1:1", "repriced_from", -7),
                *((Draw("promo", -4),), -3, "0123456789abcdef"),
            ),
            ("e1:2", "repriced_to", 10, (Draw("promo", 4),), 6, "v2"),
        ]
        assert ledger.period("acme", "2026-01").spent_p == 10
        assert _consumed_p(ledger) == {"promo": 4}
        assert _owed_p(ledger) == 6

    def test_what_costs_that_already_stays(self, ledger: Ledger) -> None:
        """So a run that was cut short can be run again."""
        open_account(ledger)
        ledger.post([used("e1", 7), used("e2", 7)])
        ledger.correct([_anew(5)], now_ns=_LATER_NS)

        report = ledger.correct([_anew(5), _anew(5, "e2")], now_ns=_LATER_NS)

        assert [c.id for c in report.corrections] == ["e2:1", "e2:2"]
        assert ledger.period("acme", "2026-01").spent_p == 10

    def test_it_may_be_made_anew_again_and_taken_back(self, ledger: Ledger) -> None:
        """Each correction begins with what the ones before it left."""
        open_account(ledger)
        ledger.grant_credit(promo(4))
        ledger.post([used("e1", 7)])
        for amount_p in range(1, 12):
            ledger.correct([_anew(amount_p)], now_ns=_LATER_NS)

        standing = ledger.standing("e1")
        assert standing is not None
        assert (standing.amount_p, standing.rest_p) == (11, 7)
        assert standing.draws == (Draw("promo", 4),)
        assert (standing.corrections, standing.price_version) == (22, "v2")
        ledger.correct([_back()], now_ns=_LATER_NS)
        assert ledger.period("acme", "2026-01").spent_p == _owed_p(ledger) == 0
        assert _consumed_p(ledger) == {"promo": 0}

    def test_debt_goes_with_the_call_that_made_it(self, ledger: Ledger) -> None:
        """Credit that comes later pays for other calls, and is not drawn for it."""
        open_account(ledger, payment_method=False)
        ledger.grant_credit(promo(3))
        ledger.post([used("e1", 5, funding="credit"), used("e2", 4, funding="credit")])
        ledger.correct([_back()], now_ns=_LATER_NS)

        ledger.grant_credit(promo(10, id="second"))

        assert _consumed_p(ledger) == {"promo": 0, "second": 4}
        rests_p = {e.charge.event_id: e.charge.rest_p for e in ledger.events("acme")}
        assert rests_p == {"e1": 2, "e2": 0}
        state = ledger.credit("acme", now_ns=_LATER_NS)
        assert (state.ceiling_p, state.used_p) == (13, 4)
        assert _owed_p(ledger) == 0

    def test_credit_that_was_taken_back_is_not_given_back(self, ledger: Ledger) -> None:
        """Of $10 bought and refunded $6 were spent, and are not owed any more."""
        open_account(ledger)
        ledger.record_payment(paid(10 * PICO, "credit_purchase"))
        ledger.post([used("e1", 6 * PICO)])
        ledger.record_payment(paid(10 * PICO, "refund", "re_1", refers_to="pi_1"))
        assert _owed_p(ledger) == 6 * PICO

        ledger.correct([_back()], now_ns=_LATER_NS)

        assert _owed_p(ledger) == 0
        assert ledger.balances_p().get(books.credit_of("acme", "paid"), 0) == 0
        state = ledger.credit("acme", now_ns=_LATER_NS)
        assert state.ceiling_p - state.used_p == 0

    def test_paid_early_for_what_is_not_owed_becomes_credit(
        self, ledger: Ledger
    ) -> None:
        """Spent $10 and paid $8 of it early; $5 taken back: $3 of credit."""
        open_account(ledger)
        ledger.post([used("e1", 5 * PICO), used("e2", 5 * PICO)])
        ledger.record_payment(paid(8 * PICO, "early_payment"))

        report = ledger.correct([_back()], now_ns=_LATER_NS)

        state = ledger.period("acme", "2026-01")
        assert state == PeriodState(5 * PICO, 5 * PICO, 1)
        (grant,) = ledger.grants("acme")
        assert (grant.id, grant.kind) == ("correction:e1:1", "paid")
        assert grant.left_p == 3 * PICO
        assert _owed_p(ledger) == 0
        # Of the limit $2 were used, and nothing is now.
        assert [f.amount_p for f in report.freed] == [2 * PICO]

    @pytest.mark.parametrize("used_p", [0, 2 * PICO])
    def test_such_credit_goes_back_with_its_payment(
        self, ledger: Ledger, used_p: int
    ) -> None:
        """$8 of $10 paid early, $5 taken back, then the $8: the calls are owed."""
        open_account(ledger)
        ledger.post([used("e1", 5 * PICO), used("e2", 5 * PICO)])
        ledger.record_payment(paid(8 * PICO, "early_payment"))
        ledger.correct([_back()], now_ns=_JANUARY_NS)
        ledger.post([used("e3", used_p, admitted_ns=_LATER_NS)])

        ledger.record_payment(taken_back(8 * PICO))

        (grant,) = ledger.grants("acme")
        assert (grant.consumed_p, grant.left_p) == (used_p, 0)
        assert _owed_p(ledger) == 5 * PICO + used_p
        assert ledger.credit("acme", now_ns=_LATER_NS).ceiling_p == 0

    def test_what_an_invoice_told_is_corrected_on_the_next(
        self, ledger: Ledger
    ) -> None:
        """January's invoice and sum stay; February's says so, and may be negative."""
        open_account(ledger)
        ledger.post([used("e1", 936_566_600_000)])
        _close(ledger, "2026-01", at("2026-02-02T00:00"))
        january = ledger.invoice("acme-2026-01")

        report = ledger.correct([_back()], now_ns=_LATER_NS)
        _close(ledger, "2026-02", at("2026-03-02T00:00"))

        assert ledger.invoice("acme-2026-01") == january
        assert ledger.period("acme", "2026-01").spent_p == 936_566_600_000
        assert ledger.period("acme", "2026-02") == PeriodState()
        assert report.freed == ()
        (correction,) = ledger.corrections("acme", "2026-02")
        assert (correction.period, correction.amount_p) == ("2026-01", -936_566_600_000)
        february = ledger.invoice("acme-2026-02")
        assert february is not None
        assert [(line.kind, line.amount_p, line.cents) for line in february.lines] == [
            ("correction", -936_566_600_000, -94),
            ("carried", 936_566_600_000, 94),
        ]
        # The invoice of $0.94 is still to be paid; what rounding added stays booked.
        assert _owed_p(ledger) == 94 * _CENT_P

    def test_what_it_freed_of_each_budget(self, ledger: Ledger) -> None:
        """The period's, the key's and the credit's; what was made anew takes some."""
        open_account(ledger)
        ledger.add_key(key_of("acme"))
        ledger.grant_credit(promo(4))
        ledger.post([used("e1", 7, key_id="k"), used("e2", 2, key_id="k")])

        report = ledger.correct([_back(), _anew(3, "e2")], now_ns=_LATER_NS)

        freed = {(f.kind, f.key_id, f.period): f.amount_p for f in report.freed}
        assert freed == {
            ("spend", "", "2026-01"): 6,
            ("key", "k", "2026-01"): 6,
            ("credit", "", ""): 1,
        }
        assert all(isinstance(each, BudgetFreed) for each in report.freed)
        assert ledger.key_spent_p("k", "2026-01") == 3
        (account,) = report.accounts
        assert account == ledger.get("acme")
        assert account.version > open_account(ledger).version - 1

    def test_what_is_not_there_cannot_be_corrected(self, ledger: Ledger) -> None:
        """An unknown event, and one that nobody owns; then nothing else is, either."""
        open_account(ledger)
        ledger.post([used("e1", 7), used("e2", 1, "nobody")])

        with pytest.raises(LedgerError, match="no event 'e9'"):
            ledger.correct([_back(), _back("e9")], now_ns=_LATER_NS)
        with pytest.raises(AccountNotFoundError, match="nobody"):
            ledger.correct([_back(), _back("e2")], now_ns=_LATER_NS)

        assert ledger.period("acme", "2026-01").spent_p == 7
        assert ledger.standing("e9") is None

    def test_calls_of_a_model_are_found_by_admission(self, ledger: Ledger) -> None:
        """From an instant until another, over all accounts, page by page."""
        open_account(ledger)
        for number, admitted_ns in enumerate((9, 10, 11, 12, 13)):
            ledger.post(
                [used(f"e{number}", 1, "ab"[number % 2], admitted_ns=admitted_ns)]
            )
        ledger.post([used("m", 1, model="other", admitted_ns=11)])

        found = ledger.standings(_MODEL, 10, 13)
        rest = ledger.standings(_MODEL, 10, 13, after="e1", limit=1)

        assert [each.event.id for each in found] == ["e1", "e2", "e3"]
        assert [each.event.id for each in rest] == ["e2"]

    def test_calls_of_a_period_are_found_in_their_order(self, ledger: Ledger) -> None:
        """By admission, then id; page by page."""
        open_account(ledger)
        ledger.post(
            [
                used("b", 1),
                used("a", 1),
                used("c", 1, admitted_ns=_JANUARY_NS - 1),
                used("d", 1, admitted_ns=_LATER_NS),
                used("e", 1, "other"),
            ]
        )
        ledger.correct([_anew(5, "a")], now_ns=_LATER_NS)

        found = ledger.standings_of_period("acme", "2026-01")
        rest = ledger.standings_of_period("acme", "2026-01", after=(_JANUARY_NS, "a"))

        named = ledger.standings_by_id(["e", "x", "a"])
        assert [each.event.id for each in named] == ["a", "e"]
        assert [(s.event.id, s.amount_p) for s in found] == [
            ("c", 1),
            ("a", 5),
            ("b", 1),
        ]
        assert [each.event.id for each in rest] == ["b"]
