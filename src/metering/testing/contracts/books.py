"""What a ledger promises of scoped credit, its end, debt and double entry."""

from collections.abc import Sequence
from contextlib import suppress
from typing import cast
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from metering.accounts import Account
from metering.clock import NS_PER_S
from metering.errors import ConfigurationError, LedgerError
from metering.ledger import (
    CreditGrant,
    CreditState,
    Draw,
    PaymentKind,
    ScopedCredit,
)
from metering.ledger.books import (
    BREAKAGE,
    CASH,
    PROMO_EXPENSE,
    REVENUE,
    credit_of,
    receivable_of,
)
from metering.money import PICO
from metering.stores import AccountChange, Ledger
from metering.testing.contracts.agreeing import check_account
from metering.testing.contracts.samples import (
    PLAN,
    at,
    open_account,
    paid,
    promo,
    used,
)
from metering.usage import UsageEvent

__all__ = ["BooksContract"]

_NOW_NS = at("2026-01-15T00:00")
_DAY_NS = 24 * 3600 * NS_PER_S
_MODELS = ("model-a", "model-b", "model-c")


class BooksContract:
    """Runs on the fixture `ledger`: an empty ledger made with `samples.PLAN`."""

    # Credit for some models

    def test_credit_for_a_model_pays_for_no_other(self, ledger: Ledger) -> None:
        """$5 for model-a and $5 for any: model-b has 5, model-a what is left of 10."""
        open_account(ledger, payment_method=False)
        ledger.grant_credit(promo(5, id="any"))
        ledger.grant_credit(promo(5, id="a", models=("model-a",)))

        before = ledger.credit("acme", now_ns=_NOW_NS)
        ledger.post([used("e1", 6, funding="credit", model="model-b")])
        ledger.post([used("e2", 3, funding="credit", model="model-a")])
        after = ledger.credit("acme", now_ns=_NOW_NS)

        assert CreditState(10, 0, None, (ScopedCredit(("model-a",), 5),)) == before
        assert (10, 5) == _room(before)
        assert {"e1": (Draw("any", 5),), "e2": (Draw("a", 3),)} == {
            e.event.id: e.charge.draws for e in ledger.events("acme")
        }
        assert (1, -1) == _room(after)

    def test_credit_for_a_model_is_drawn_before_credit_for_any(
        self, ledger: Ledger
    ) -> None:
        """At one priority; a lower priority goes first all the same."""
        open_account(ledger)
        ledger.grant_credit(promo(1, id="any", expires_ns=_NOW_NS + _DAY_NS))
        ledger.grant_credit(promo(1, id="a", models=("model-a",)))
        ledger.grant_credit(promo(1, id="first", priority=0))

        ledger.post([used("e1", 3, model="model-a")])

        drawn = [draw.grant_id for draw in ledger.events("acme")[0].charge.draws]
        assert ["first", "a", "any"] == drawn

    def test_a_grant_is_one_for_its_models_and_priority(self, ledger: Ledger) -> None:
        """Again with other models or another priority is an error; none is refused."""
        open_account(ledger)
        ledger.grant_credit(promo(5, models=("model-a",)))

        for other in (promo(5), promo(5, models=("model-a",), priority=1)):
            with pytest.raises(LedgerError, match="model-a"):
                ledger.grant_credit(other)
        with pytest.raises(ConfigurationError, match="no model"):
            ledger.grant_credit(promo(5, id="none", models=()))
        assert [promo(5, models=("model-a",))] == ledger.grants("acme")

    # The end of credit

    def test_what_is_left_at_the_end_is_booked_once(self, ledger: Ledger) -> None:
        """Promotional: an expense less. Paid: breakage. Again: nothing."""
        open_account(ledger)
        ledger.grant_credit(promo(5, expires_ns=_NOW_NS))
        ledger.grant_credit(promo(7, id="bought", kind="paid", expires_ns=_NOW_NS))
        ledger.grant_credit(promo(9, id="later", expires_ns=_NOW_NS + 1))
        ledger.post([used("e1", 2, admitted_ns=_NOW_NS - 1)])

        expired = [
            ledger.expire_credit(ended_by_ns=end_ns, now_ns=_NOW_NS)
            for end_ns in (_NOW_NS - 1, _NOW_NS, _NOW_NS)
        ]

        assert [0, 2, 0] == expired
        left_p = {g.id: (g.expired_p, g.left_p) for g in ledger.grants("acme")}
        assert left_p == {"promo": (3, 0), "bought": (7, 0), "later": (0, 9)}
        balances = ledger.balances_p("acme")
        assert (-7, 11) == (balances[BREAKAGE], balances[PROMO_EXPENSE])
        assert -9 == balances[credit_of("acme", "promo")]
        assert 0 == balances[credit_of("acme", "paid")]

    def test_what_is_booked_as_expired_is_drawn_no_more(self, ledger: Ledger) -> None:
        """A call that comes too late is owed, though it was admitted in time."""
        open_account(ledger)
        ledger.grant_credit(promo(5, expires_ns=_NOW_NS))
        ledger.expire_credit(ended_by_ns=_NOW_NS, now_ns=_NOW_NS)

        ledger.post([used("late", 2, admitted_ns=_NOW_NS - 1)])

        assert ((), 2) == _paid_by(ledger)["late"]

    def test_credit_of_many_accounts_expires(self, ledger: Ledger) -> None:
        """More of them than one transaction takes."""
        for number in range(501):
            account = Account(id=f"a{number}", created_ns=1)
            ledger.create(account, promo(1, account.id, expires_ns=_NOW_NS))

        expired = ledger.expire_credit(ended_by_ns=_NOW_NS, now_ns=_NOW_NS)

        assert 501 == expired
        assert {0} == {g.left_p for g in ledger.grants("a500")}

    # Debt

    def test_new_credit_pays_debt_first(self, ledger: Ledger) -> None:
        """$8 used on $5: of $10 more, $3 pay what ran over, the oldest call first."""
        open_account(ledger, payment_method=False)
        ledger.grant_credit(promo(5))
        ledger.post([used("e1", 6, funding="credit"), used("e2", 2, funding="credit")])
        ledger.grant_credit(promo(2, id="little"))

        first = _paid_by(ledger)
        ledger.record_payment(paid(10, "credit_purchase"))

        assert first["e1"] == ((Draw("promo", 5), Draw("little", 1)), 0)
        assert first["e2"] == ((Draw("little", 1),), 1)
        assert _paid_by(ledger)["e2"] == (
            (Draw("little", 1), Draw("payment:pi_1", 1)),
            0,
        )
        assert CreditState(17, 8) == ledger.credit("acme", now_ns=_NOW_NS)
        assert 0 == ledger.balances_p("acme")[receivable_of("acme")]
        check_account(ledger, "acme")

    def test_new_credit_pays_nothing_that_an_invoice_asks_for(
        self, ledger: Ledger
    ) -> None:
        """$4 used postpaid, then $3 on credit alone: of $10 more, $3 are debt."""
        open_account(ledger)
        ledger.post([used("e1", 4), used("e2", 3, funding="credit")])

        ledger.grant_credit(promo(10))

        assert _paid_by(ledger) == {"e1": ((), 4), "e2": ((Draw("promo", 3),), 0)}
        assert 4 == ledger.balances_p("acme")[receivable_of("acme")]
        check_account(ledger, "acme")

    def test_credit_for_a_model_pays_only_its_debt(self, ledger: Ledger) -> None:
        """The debt of another model stays, and is made up for by credit for any."""
        open_account(ledger, payment_method=False)
        ledger.post(
            [
                used("e1", 3, funding="credit", model="model-b"),
                used("e2", 2, funding="credit", model="model-a"),
            ]
        )

        ledger.grant_credit(promo(9, models=("model-a",)))

        assert _paid_by(ledger) == {"e1": ((), 3), "e2": ((Draw("promo", 2),), 0)}
        assert (4, -3) == _room(ledger.credit("acme", now_ns=_NOW_NS))
        check_account(ledger, "acme")

    # Double entry

    def test_each_movement_is_booked(self, ledger: Ledger) -> None:
        """What was given, bought, drawn, owed and paid, each on its accounts."""
        open_account(ledger)
        ledger.grant_credit(promo(5))
        ledger.record_payment(paid(4, "credit_purchase"))
        ledger.post([used("e1", 10), used("e2", 3)])
        ledger.record_payment(paid(1, "early_payment", reference="pi_2"))
        ledger.record_payment(paid(2, "invoice", reference="pi_3"))

        assert ledger.balances_p("acme") == {
            CASH: 7,
            PROMO_EXPENSE: 5,
            REVENUE: -13,
            credit_of("acme", "promo"): 0,
            credit_of("acme", "paid"): 0,
            receivable_of("acme"): 1,
        }
        assert ledger.balances_p("acme") == ledger.balances_p()

    def test_calls_of_nobody_are_owed_by_their_name(self, ledger: Ledger) -> None:
        """Whoever creates the account later owes what was used."""
        ledger.post([used("e1", 10, "ghost")])

        assert ledger.balances_p("ghost") == {receivable_of("ghost"): 10, REVENUE: -10}

    @given(
        steps=st.lists(
            st.tuples(
                st.sampled_from(
                    (
                        *("post", "post", "post", "grant", "credit_purchase"),
                        *("early_payment", "invoice", "refund", "chargeback"),
                        *("expire", "wait", "method"),
                    )
                ),
                st.integers(1, 40),
                st.integers(0, 5),
            ),
            max_size=24,
        )
    )
    @settings(
        max_examples=25,
        deadline=None,
        suppress_health_check=[
            HealthCheck.function_scoped_fixture,
            HealthCheck.differing_executors,  # each backend is one
        ],
    )
    def test_the_books_balance_whatever_happens(
        self, ledger: Ledger, steps: Sequence[tuple[str, int, int]]
    ) -> None:
        """Grants, calls, payments, refunds and ends of credit in any order."""
        name = f"a-{uuid4()}"
        run = _Run(ledger, open_account(ledger, name))
        for number, (step, size, choice) in enumerate(steps):
            run.take(step, size, choice, f"{name}-{number}")
        check_account(ledger, name)


class _Run:
    """Random steps on one account, on a clock of its own."""

    def __init__(self, ledger: Ledger, account: Account) -> None:
        self._ledger = ledger
        self._name = account.id
        self._now_ns = _NOW_NS

    def take(self, step: str, size: int, choice: int, reference: str) -> None:
        """Take one step, or try to."""
        ledger, name, now_ns = self._ledger, self._name, self._now_ns
        if step == "post":
            event = self._event(size, choice, reference)
            ledger.post([event, event])
        elif step == "grant":
            ledger.grant_credit(self._grant(size, choice, reference))
        elif step == "expire":
            ledger.expire_credit(ended_by_ns=now_ns, now_ns=now_ns)
        elif step == "method":
            change = AccountChange(payment_method=choice % 2 == 0)
            ledger.change(name, change, now_ns=now_ns)
        elif step == "wait":
            self._now_ns += choice * 3 * _DAY_NS
        else:
            # Every other one is enough for another tier.
            amount_p = size * (PICO if choice % 2 else 1)
            self._pay(amount_p, choice, cast("PaymentKind", step), reference)

    def _event(self, size: int, choice: int, reference: str) -> UsageEvent:
        tier = PLAN.tier_of(self._ledger.get(self._name), self._now_ns)
        return used(
            reference,
            size,
            self._name,
            admitted_ns=self._now_ns - choice * _DAY_NS,
            model=_MODELS[choice % 3],
            funding=tier.funding,
        )

    def _grant(self, size: int, choice: int, reference: str) -> CreditGrant:
        return promo(
            size,
            self._name,
            id=reference,
            effective_ns=self._now_ns,
            expires_ns=self._now_ns + _DAY_NS * choice if choice else None,
            models=_MODELS[: choice % 3] or None,
            priority=50 + choice % 2,
        )

    def _pay(
        self, amount_p: int, choice: int, kind: PaymentKind, reference: str
    ) -> None:
        payment = paid(amount_p, kind, reference, self._name, self._now_ns)
        if payment.takes_back:
            made = [p for p in self._ledger.payments(self._name) if not p.takes_back]
            if not made:
                return
            of = made[choice % len(made)].reference
            payment = replace(payment, refers_to=of)
        with suppress(LedgerError):  # more than was paid cannot be taken back
            self._ledger.record_payment(payment)


def _paid_by(ledger: Ledger) -> dict[str, tuple[tuple[Draw, ...], int]]:
    """Return by event what credit paid, and what is left of its charge."""
    return {
        charged.event.id: (charged.charge.draws, charged.charge.rest_p)
        for charged in ledger.events("acme")
    }


def _room(state: CreditState) -> tuple[int, int]:
    """Return what calls of model-a and of model-b may cost."""
    room = (state.ceiling_of_p(model) - state.used_p for model in _MODELS[:2])
    return next(room), next(room)
