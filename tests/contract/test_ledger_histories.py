"""Whatever happens to an account, in whatever order, its sums are those of its rows."""

from contextlib import closing
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metering.accounts import Account
from metering.backends.sql import SqlLedger
from metering.backends.sql.verifying import verify
from metering.errors import MeteringError
from metering.ledger import Payment, Revision, books
from metering.pricing import PriceVersion, Rate
from metering.testing.contracts.samples import PLAN, at, promo, used
from metering.usage import Usage

MONTHS = ("2026-01", "2026-02")
MIDDLE_NS = {month: at(f"{month}-15T00:00") for month in MONTHS}
NOW_NS = at("2026-05-01T00:00")
CENT_P = 10**10
EXAMPLES = 25

PRICE = PriceVersion(
    model="zai-org/GLM-4.7",
    kind="token",
    rates={"input_tokens": Rate(0), "output_tokens": Rate(1)},
)

months = st.sampled_from(MONTHS)
picks = st.integers(0, 4)
amounts_p = st.integers(0, 5 * CENT_P)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("post"), months, amounts_p),
        st.tuples(st.just("reverse"), picks),
        st.tuples(st.just("reprice"), picks, amounts_p),
        st.tuples(st.just("grant"), st.integers(1, 5 * CENT_P)),
        st.tuples(st.just("pay_early"), months, st.integers(1, 5 * CENT_P)),
        st.tuples(st.just("refund"), picks),
        st.tuples(st.just("close"), months),
        st.tuples(st.just("post_late"), months, amounts_p),
        st.tuples(st.just("pay"), months),
    ),
    min_size=6,
    max_size=16,
)
numbers = count(1)


class History:
    """One account, and what has happened to it."""

    def __init__(self, ledger, *, on_credit):
        self.ledger = ledger
        self.id = f"account-{next(numbers)}"
        self.funding = "credit" if on_credit else "postpaid"
        self.events = []
        self.paid = []
        account = Account(id=self.id, created_ns=0, payment_method=not on_credit)
        ledger.create(account, None)

    def post(self, month, charge_p):
        event = used(
            f"{self.id}-{len(self.events)}",
            charge_p,
            self.id,
            admitted_ns=MIDDLE_NS[month],
            usage=Usage(output_tokens=charge_p),
            price_version=PRICE.id,
            funding=self.funding,
            key_id=f"key-{self.id}",
        )
        self.events.append(event)
        self.ledger.post([event])

    def reverse(self, pick):
        self._correct(pick, None)

    def reprice(self, pick, amount_p):
        self._correct(pick, amount_p)

    def _correct(self, pick, amount_p):
        for event in self.events[pick : pick + 1]:
            revision = Revision(
                event_id=event.id, reason="r", amount_p=amount_p, price_version="v"
            )
            self.ledger.correct([revision], now_ns=NOW_NS)

    def grant(self, amount_p):
        name = f"grant-{next(numbers)}"
        self.ledger.grant_credit(promo(amount_p, self.id, id=name))

    def pay_early(self, month, amount_p):
        self._pay("early_payment", amount_p, MIDDLE_NS[month])

    def refund(self, pick):
        for payment in self.paid[pick : pick + 1]:
            self._pay("refund", payment.amount_p, NOW_NS, payment.reference)

    def close(self, month):
        self.ledger.close_period(self.id, month, now_ns=NOW_NS, grace_ns=0)

    def post_late(self, month, charge_p):
        self.close(month)
        self.post(month, charge_p)

    def pay(self, month):
        for invoice in self.ledger.invoices(self.id):
            if invoice.period == month and not invoice.paid:
                self._pay("invoice", invoice.total_p, NOW_NS, invoice.id)

    def _pay(self, kind, amount_p, at_ns, refers_to=None):
        payment = Payment(
            reference=f"pi-{next(numbers)}",
            account_id=self.id,
            kind=kind,
            amount_p=amount_p,
            at_ns=at_ns,
            refers_to=refers_to,
        )
        self.ledger.record_payment(payment)
        if kind != "refund":
            self.paid.append(payment)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("histories") / "ledger.db"


@pytest.fixture(scope="module")
def ledger(path):
    with closing(SqlLedger(path, tiers=PLAN)) as ledger:
        ledger.publish([PRICE], now_ns=0)
        yield ledger


@pytest.mark.timeout(120)  # to find the shortest history that fails takes a while
def test_sums_are_those_of_the_rows(ledger, path):
    """Of each history by itself, then of all of them as `metering verify` sees it."""
    of_each_history(ledger)
    found = verify(path)

    assert found.events >= 2 * EXAMPLES
    assert () == found.findings


@settings(max_examples=EXAMPLES, deadline=None)
@given(steps=steps, on_credit=st.booleans())
def of_each_history(ledger, steps, on_credit):
    """What calls cost is on invoices, once; credit in the books is what grants have."""
    history = History(ledger, on_credit=on_credit)
    for number, month in enumerate(MONTHS, start=3):
        history.post(month, number * CENT_P)
    for name, *arguments in steps:
        try:
            getattr(history, name)(*arguments)
        except MeteringError:  # such as a payment that went back already
            assert name == "refund"
    for month in MONTHS:
        history.close(month)
    # What came to these after they were closed is on a last one.
    last = ledger.close_period(history.id, "2026-03", now_ns=NOW_NS, grace_ns=0)
    standings = {
        month: ledger.standings_of_period(history.id, month) for month in MONTHS
    }
    costs_p = sum(s.amount_p for its in standings.values() for s in its)
    invoices = ledger.invoices(history.id)

    assert last in invoices
    told_p = sum(i.sum_p("usage", "late", "correction") for i in invoices)
    later = ledger.corrections(history.id, "2026-05")
    assert costs_p == told_p + sum(c.amount_p for c in later)
    for its in standings.values():
        for standing in its:
            drawn_p = sum(draw.amount_p for draw in standing.draws)
            assert standing.amount_p == drawn_p + standing.rest_p
    balances = ledger.balances_p(history.id)
    assert sum(balances.values()) == 0
    credit_p = sum(grant.left_p for grant in ledger.grants(history.id))
    kept_p = sum(
        balances.get(books.credit_of(history.id, k), 0) for k in ("promo", "paid")
    )
    assert kept_p == -credit_p
