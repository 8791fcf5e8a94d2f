"""What a ledger promises of refunds and chargebacks: what they take, and no more."""

import pytest

from metering.clock import NS_PER_S
from metering.errors import ConfigurationError, LedgerError
from metering.ledger import PaymentKind, PeriodState
from metering.ledger.books import CASH, credit_of, receivable_of
from metering.money import PICO
from metering.stores import Ledger
from metering.testing.contracts.agreeing import check_account
from metering.testing.contracts.samples import (
    PLAN,
    at,
    open_account,
    paid,
    taken_back,
    used,
)

__all__ = ["TakingBackContract"]

_NOW_NS = at("2026-01-15T00:00")
_DAY_NS = 24 * 3600 * NS_PER_S


class TakingBackContract:
    """Runs on the fixture `ledger`: an empty ledger made with `samples.PLAN`."""

    @pytest.mark.parametrize("kind", ["refund", "chargeback"])
    def test_unused_credit_goes_and_used_credit_is_debt(
        self, ledger: Ledger, kind: PaymentKind
    ) -> None:
        """$20 bought, $15 drawn, $20 taken back: $5 are gone and $15 are owed."""
        open_account(ledger, payment_method=False)
        ledger.record_payment(paid(20, "credit_purchase"))
        ledger.post([used("e1", 15, funding="credit")])

        report = ledger.record_payment(taken_back(20, kind))
        state = ledger.credit("acme", now_ns=_NOW_NS)
        ledger.record_payment(paid(18, "credit_purchase", reference="pi_2"))

        assert (True, 0) == (report.new, report.account.lifetime_paid_p)
        assert (0, 15) == (state.ceiling_p, state.used_p)
        assert [0, 18] == [g.left_p for g in ledger.grants("acme")]
        left = ledger.credit("acme", now_ns=_NOW_NS)
        assert 3 == left.ceiling_p - left.used_p
        balances = ledger.balances_p("acme")
        assert (18, 15, -18) == (
            balances[CASH],
            balances[receivable_of("acme")],
            balances[credit_of("acme", "paid")],
        )
        check_account(ledger, "acme")

    def test_a_payment_is_taken_back_in_parts_and_no_further(
        self, ledger: Ledger
    ) -> None:
        """$4 and $5 of $10; $2 more is an error that changes nothing; $1 is the end."""
        open_account(ledger)
        ledger.record_payment(paid(10, "credit_purchase"))
        ledger.record_payment(taken_back(4))
        ledger.record_payment(taken_back(5, "chargeback", reference="re_2"))

        before = ledger.get("acme"), ledger.payments("acme"), ledger.grants("acme")
        with pytest.raises(LedgerError, match="more than is left"):
            ledger.record_payment(taken_back(2, reference="re_3"))
        after = ledger.get("acme"), ledger.payments("acme"), ledger.grants("acme")
        last = ledger.record_payment(taken_back(1, reference="re_4"))

        assert before == after
        assert 0 == last.account.lifetime_paid_p
        assert [0] == [grant.left_p for grant in ledger.grants("acme")]
        check_account(ledger, "acme")

    def test_only_a_payment_of_the_account_is_taken_back(self, ledger: Ledger) -> None:
        """Not another's, not one that was never made, not a refund, not nothing."""
        open_account(ledger)
        open_account(ledger, "other")
        ledger.record_payment(paid(10, "invoice"))
        ledger.record_payment(paid(10, "invoice", "pi_other", "other"))
        ledger.record_payment(taken_back(1))

        for wrong in ("pi_other", "pi_none", "re_1"):
            with pytest.raises(LedgerError, match=f"'{wrong}'"):
                ledger.record_payment(taken_back(1, of=wrong, reference="re_2"))
        with pytest.raises(ConfigurationError, match="refers_to"):
            ledger.record_payment(taken_back(1, of=None, reference="re_2"))
        assert 9 == ledger.get("acme").lifetime_paid_p

    def test_a_refund_told_again_changes_nothing(self, ledger: Ledger) -> None:
        """At whatever instant; under its reference nothing else can be taken back."""
        open_account(ledger)
        ledger.record_payment(paid(10, "invoice"))
        account = ledger.record_payment(taken_back(4)).account
        books = ledger.balances_p("acme")

        again = ledger.record_payment(taken_back(4, at_ns=_NOW_NS + _DAY_NS))
        with pytest.raises(LedgerError, match="'re_1'"):
            ledger.record_payment(taken_back(5))

        assert (account, False) == (again.account, again.new)
        assert account == ledger.get("acme")
        assert books == ledger.balances_p("acme")

    def test_the_room_that_was_paid_for_goes_with_the_payment(
        self, ledger: Ledger
    ) -> None:
        """$8 paid early on $6 spent: of $7 taken back, $2 are credit and $5 room."""
        open_account(ledger)
        ledger.post([used("e1", 6)])
        ledger.record_payment(paid(8, "early_payment"))

        report = ledger.record_payment(taken_back(7, at_ns=at("2026-02-20T00:00")))

        assert -5 == report.freed_p
        assert PeriodState(6, 1, epoch=1) == ledger.period("acme", "2026-01")
        assert [0] == [grant.left_p for grant in ledger.grants("acme")]
        assert 5 == ledger.balances_p("acme")[receivable_of("acme")]
        check_account(ledger, "acme")

    def test_a_tier_is_kept_until_the_period_ends(self, ledger: Ledger) -> None:
        """$60 paid, $20 taken back on 15 January: tier 2 until February."""
        open_account(ledger)
        ledger.record_payment(paid(60 * PICO, "invoice"))

        account = ledger.record_payment(taken_back(20 * PICO)).account

        february_ns = at("2026-02-01T00:00")
        levels = [
            PLAN.tier_of(account, instant_ns).level
            for instant_ns in (_NOW_NS, february_ns - 1, february_ns)
        ]
        assert [2, 2, 1] == levels
        assert (2, february_ns) == (account.kept_tier, account.kept_until_ns)
        assert account == ledger.get("acme")

    def test_a_tier_that_is_paid_for_again_is_kept_no_more(
        self, ledger: Ledger
    ) -> None:
        """It is then the account's own."""
        open_account(ledger)
        ledger.record_payment(paid(60 * PICO, "invoice"))
        ledger.record_payment(taken_back(20 * PICO))

        account = ledger.record_payment(
            paid(10 * PICO, "credit_purchase", reference="pi_2")
        ).account

        assert 2 == PLAN.tier_of(account, at("2027-01-01T00:00")).level
        assert (None, None) == (account.kept_tier, account.kept_until_ns)
