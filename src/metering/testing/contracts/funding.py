"""What a ledger promises of payments, and of credit and how it is drawn."""

import pytest
from msgspec.structs import replace

from metering.clock import NS_PER_S
from metering.errors import AccountNotFoundError, ConfigurationError, LedgerError
from metering.ledger import Charge, CreditState, Draw, PeriodState
from metering.money import AMOUNT_MAX_P, PICO
from metering.stores import Ledger, PaymentReport
from metering.testing.contracts.samples import (
    PLAN,
    at,
    open_account,
    paid,
    promo,
    used,
)

__all__ = ["FundingContract"]

_NOW_NS = at("2026-01-15T00:00")
_CENT_P = PICO // 100
_ENDS_NS = at("2026-02-10T00:00")


def _five_and_twenty(ledger: Ledger) -> None:
    """Grant $5 that ends on 10 February and is drawn first, and $20 for good."""
    open_account(ledger)
    ledger.grant_credit(promo(5 * PICO, priority=0, expires_ns=_ENDS_NS))
    ledger.grant_credit(promo(20 * PICO, id="bought", kind="paid"))


def _consumed_p(ledger: Ledger) -> dict[str, int]:
    return {grant.id: grant.consumed_p for grant in ledger.grants("acme")}


class FundingContract:
    """Runs on the fixture `ledger`: an empty ledger made with `samples.PLAN`."""

    def test_promotional_credit_is_drawn_before_paid(self, ledger: Ledger) -> None:
        """$7.25 admitted a day before the end: $5 and $2.25, and 17.75 is left."""
        _five_and_twenty(ledger)

        ledger.post([used("e1", 725 * _CENT_P, admitted_ns=at("2026-02-09T00:00"))])

        draws = (Draw("promo", 5 * PICO), Draw("bought", 225 * _CENT_P))
        charge = Charge(event_id="e1", amount_p=725 * _CENT_P, draws=draws, rest_p=0)
        assert charge == ledger.events("acme")[0].charge
        left_p = 20 * PICO - _consumed_p(ledger)["bought"]
        assert left_p == 1_775 * _CENT_P

    def test_expired_credit_is_not_drawn(self, ledger: Ledger) -> None:
        """$7.25 admitted a day after the end: all of it is paid credit's."""
        _five_and_twenty(ledger)

        ledger.post([used("e1", 725 * _CENT_P, admitted_ns=at("2026-02-11T00:00"))])

        assert _consumed_p(ledger) == {"promo": 0, "bought": 725 * _CENT_P}

    def test_the_admission_decides_what_may_be_drawn(self, ledger: Ledger) -> None:
        """Admitted a minute before the end, ended after it: the credit still pays."""
        _five_and_twenty(ledger)

        ledger.post(
            [
                used(
                    "e1",
                    2 * PICO,
                    admitted_ns=_ENDS_NS - 60 * NS_PER_S,
                    took_ns=300 * NS_PER_S,
                )
            ]
        )

        assert _consumed_p(ledger) == {"promo": 2 * PICO, "bought": 0}

    def test_credit_is_drawn_in_one_order(self, ledger: Ledger) -> None:
        """Priority, the earlier end, promotional, the older, the id."""
        open_account(ledger)
        for grant in (
            promo(1, id="h", priority=60, kind="promo"),
            promo(1, id="g", kind="paid", effective_ns=1),
            promo(1, id="f", kind="paid"),
            promo(1, id="e", kind="paid"),
            promo(1, id="d", effective_ns=1),
            promo(1, id="c", expires_ns=_ENDS_NS),
            promo(1, id="b", kind="paid", expires_ns=_ENDS_NS - 1),
            promo(1, id="a", priority=10),
        ):
            ledger.grant_credit(grant)

        ledger.post([used("e1", 9)])

        charge = ledger.events("acme")[0].charge
        assert "".join(draw.grant_id for draw in charge.draws) == "abcdefgh"
        assert charge.rest_p == 1

    def test_events_draw_in_the_order_they_ended(self, ledger: Ledger) -> None:
        """The order within a batch does not matter; the id decides between equals."""
        open_account(ledger)
        ledger.grant_credit(promo(10))
        last = used("a", 6, took_ns=2 * NS_PER_S)
        first, second = used("b", 6), used("c", 6)

        ledger.post([last, second, first])

        rests_p = {e.charge.event_id: e.charge.rest_p for e in ledger.events("acme")}
        assert rests_p == {"b": 0, "c": 2, "a": 6}

    def test_credit_is_drawn_down_over_batches(self, ledger: Ledger) -> None:
        """A grant is used up to the last pico-dollar and no further."""
        open_account(ledger)
        ledger.grant_credit(promo(10))

        for number in range(4):
            ledger.post([used(f"e{number}", 4)])

        rests_p = {e.charge.event_id: e.charge.rest_p for e in ledger.events("acme")}
        assert rests_p == {"e0": 0, "e1": 0, "e2": 2, "e3": 4}
        assert CreditState(10, 10) == ledger.credit("acme", now_ns=_NOW_NS)

    def test_what_credit_alone_cannot_pay_is_debt(self, ledger: Ledger) -> None:
        """It is charged all the same, and new credit first makes up for it."""
        open_account(ledger, payment_method=False)
        ledger.grant_credit(promo(5))

        ledger.post([used("e1", 4, funding="credit"), used("e2", 4, funding="credit")])
        over = ledger.credit("acme", now_ns=_NOW_NS)
        ledger.grant_credit(promo(10, id="more"))

        assert CreditState(5, 8) == over
        assert CreditState(15, 8) == ledger.credit("acme", now_ns=_NOW_NS)

    def test_what_is_billed_later_is_no_debt(self, ledger: Ledger) -> None:
        """Postpaid, the rest is owed by the next invoice."""
        open_account(ledger)
        ledger.grant_credit(promo(5))

        ledger.post([used("e1", 8)])

        assert CreditState(5, 5) == ledger.credit("acme", now_ns=_NOW_NS)
        assert ledger.events("acme")[0].charge.rest_p == 3

    def test_credit_is_granted_once_for_each_id(self, ledger: Ledger) -> None:
        """Again changes nothing; another amount under the id is an error."""
        open_account(ledger)

        first = ledger.grant_credit(promo(5))
        again = ledger.grant_credit(promo(5))
        with pytest.raises(LedgerError, match="'promo'"):
            ledger.grant_credit(promo(6))

        account = ledger.get("acme")
        assert ((account, True), (account, False)) == (first, again)
        assert (account.version, account.lifetime_paid_p) == (2, 0)
        assert [promo(5)] == ledger.grants("acme")

    def test_the_same_grant_id_serves_each_account(self, ledger: Ledger) -> None:
        """Whoever signs up gets the sign-up credit, whatever it is called."""
        for name in ("acme", "other"):
            open_account(ledger, name)
            ledger.grant_credit(promo(5, name, id="signup"))

        ledger.post([used("e1", 3)])

        assert ledger.credit("acme", now_ns=_NOW_NS).used_p == 3
        assert ledger.credit("other", now_ns=_NOW_NS).used_p == 0

    def test_refuses_credit_that_cannot_be(self, ledger: Ledger) -> None:
        """Nothing, used already, over before it starts, too much, or nobody's."""
        account = open_account(ledger)
        for grant in (
            promo(0),
            promo(5, consumed_p=1),
            promo(5, effective_ns=7, expires_ns=7),
            promo(AMOUNT_MAX_P + 1),
        ):
            with pytest.raises(ConfigurationError):
                ledger.grant_credit(grant)
        with pytest.raises(AccountNotFoundError):
            ledger.grant_credit(promo(5, "nobody"))

        assert (account, []) == (ledger.get("acme"), ledger.grants("acme"))

    def test_paying_early_makes_room_and_credit_moves_up(self, ledger: Ledger) -> None:
        """$48.50 spent and paid: epoch 1, tier 1. $1.50 of credit: tier 2 at once."""
        open_account(ledger)
        ledger.post([used("e1", 4_850 * _CENT_P)])

        early = ledger.record_payment(paid(4_850 * _CENT_P, "early_payment")).account
        period = ledger.period("acme", "2026-01")
        bought = ledger.record_payment(
            paid(150 * _CENT_P, "credit_purchase", reference="pi_2")
        ).account

        assert PeriodState(4_850 * _CENT_P, 4_850 * _CENT_P, epoch=1) == period
        assert early.lifetime_paid_p == 4_850 * _CENT_P
        assert bought.lifetime_paid_p == 50 * PICO
        assert (
            PLAN.tier_of(early, _NOW_NS).level,
            PLAN.tier_of(bought, _NOW_NS).level,
        ) == (1, 2)
        assert bought == ledger.get("acme")
        assert [g.amount_p for g in ledger.grants("acme")] == [150 * _CENT_P]
        assert period == ledger.period("acme", "2026-01")

    def test_what_is_paid_beyond_the_spend_is_credit(self, ledger: Ledger) -> None:
        """An early payment frees what was spent and not paid; the rest is drawn."""
        open_account(ledger)
        ledger.post([used("e1", 3)])

        first = ledger.record_payment(paid(10, "early_payment"))
        ledger.post([used("e2", 4)])
        second = ledger.record_payment(paid(5, "early_payment", reference="pi_2"))

        assert (3, 4) == (first.freed_p, second.freed_p)
        assert PeriodState(7, 7, epoch=2) == ledger.period("acme", "2026-01")
        assert _consumed_p(ledger) == {"payment:pi_1": 4, "payment:pi_2": 0}
        assert [grant.amount_p for grant in ledger.grants("acme")] == [7, 1]

    def test_an_invoice_counts_and_grants_nothing(self, ledger: Ledger) -> None:
        """It pays for what was used; the tier rises with it."""
        open_account(ledger)

        report = ledger.record_payment(paid(50 * PICO, "invoice"))

        assert PLAN.tier_of(report.account, _NOW_NS).level == 2
        assert PaymentReport(report.account, new=True, freed_p=0) == report
        assert ledger.grants("acme") == []
        assert PeriodState() == ledger.period("acme", "2026-01")

    def test_a_payment_counts_once(self, ledger: Ledger) -> None:
        """A webhook replayed, whenever, changes nothing; it tells what room it made."""
        open_account(ledger)
        ledger.post([used("e1", 5)])
        payment = paid(5, "early_payment")
        account = ledger.record_payment(payment).account
        ledger.post([used("e2", 5)])

        replay = ledger.record_payment(replace(payment, at_ns=_NOW_NS + 1))

        assert PaymentReport(account, new=False, freed_p=5) == replay
        assert account == ledger.get("acme")
        assert PeriodState(10, 5, epoch=1) == ledger.period("acme", "2026-01")

    def test_a_reference_names_one_payment(self, ledger: Ledger) -> None:
        """Another account, kind or amount under it is an error and changes nothing."""
        open_account(ledger)
        other = open_account(ledger, "other")
        account = ledger.record_payment(paid(5, "credit_purchase")).account

        for contradiction in (
            paid(6, "credit_purchase"),
            paid(5, "invoice"),
            paid(5, "credit_purchase", account_id="other"),
        ):
            with pytest.raises(LedgerError, match="'pi_1'"):
                ledger.record_payment(contradiction)

        assert [account, other] == ledger.accounts()
        assert [grant.amount_p for grant in ledger.grants("acme")] == [5]

    def test_refuses_a_payment_that_cannot_be(self, ledger: Ledger) -> None:
        """Nothing, no reference, too much by itself or in sum, or nobody's."""
        open_account(ledger)
        account = ledger.record_payment(paid(AMOUNT_MAX_P, "invoice")).account

        for payment in (
            paid(0, "invoice", reference="pi_2"),
            paid(5, "invoice", reference=""),
            paid(AMOUNT_MAX_P + 1, "invoice", reference="pi_2"),
            paid(1, "credit_purchase", reference="pi_2"),
        ):
            with pytest.raises(ConfigurationError):
                ledger.record_payment(payment)
        with pytest.raises(AccountNotFoundError, match="'nobody'"):
            ledger.record_payment(
                paid(5, "invoice", reference="pi_2", account_id="nobody")
            )

        assert (account, []) == (ledger.get("acme"), ledger.grants("acme"))

    def test_a_payment_never_takes_over_other_credit(self, ledger: Ledger) -> None:
        """Credit that was granted under the payment's id is not paid twice."""
        open_account(ledger)
        account, _ = ledger.grant_credit(promo(5, id="payment:pi_1"))

        with pytest.raises(LedgerError, match="'payment:pi_1'"):
            ledger.record_payment(paid(5, "credit_purchase"))

        assert account == ledger.get("acme")
        assert [promo(5, id="payment:pi_1")] == ledger.grants("acme")
