"""Months are closed once and charges taken back once, however many try it at once."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from threading import Barrier

import pytest

from metering.backends.sql import SqlLedger
from metering.errors import LedgerError
from metering.ledger import Revision, books
from metering.testing.contracts.samples import PLAN, at, open_account, paid, promo, used

AT_ONCE = 4
CLOSED_NS = at("2026-02-02T00:00")


@pytest.fixture(params=["sqlite", "postgres"])
def ledger(request, tmp_path):
    url = str(tmp_path / "ledger.db")
    if request.param == "postgres":
        url = request.getfixturevalue("postgres").migrated()
    with closing(SqlLedger(url, tiers=PLAN)) as ledger:
        open_account(ledger)
        yield ledger


def at_once(*works):
    """Do each of them in a thread of its own, all begun together."""
    barrier = Barrier(len(works))

    def begun_together(work):
        barrier.wait()
        return work()

    with ThreadPoolExecutor(len(works)) as threads:
        return list(threads.map(begun_together, works))


def test_a_month_is_closed_once(ledger):
    """While calls of it are posted: each is on this invoice or on the next."""
    ledger.post([used("e0", 5)])

    def close():
        return ledger.close_period("acme", "2026-01", now_ns=CLOSED_NS, grace_ns=0)

    def posting(number):
        return lambda: ledger.post([used(f"late-{number}", 10**number)])

    *invoices, _, _ = at_once(*[close] * AT_ONCE, posting(1), posting(2))
    rest = ledger.close_period(
        "acme", "2026-02", now_ns=at("2026-03-02T00:00"), grace_ns=0
    )

    assert 1 == len({invoice.id for invoice in invoices})
    assert [invoices[0]] * AT_ONCE == invoices
    told_p = invoices[0].sum_p("usage") + rest.sum_p("late")
    assert 115 == told_p == ledger.period("acme", "2026-01").spent_p
    assert 0 == sum(ledger.balances_p().values())


def test_a_charge_is_taken_back_once(ledger):
    """While the month is closed, its credit ends and more is charged."""
    ledger.grant_credit(promo(3, expires_ns=at("2026-01-20T00:00")))
    ledger.post([used("e0", 5)])
    back = [Revision(event_id="e0", reason="ours")]
    works = [lambda: ledger.correct(back, now_ns=CLOSED_NS)] * AT_ONCE
    *reports, _, _, _ = at_once(
        *works,
        lambda: ledger.close_period("acme", "2026-01", now_ns=CLOSED_NS, grace_ns=0),
        lambda: ledger.post([used("e1", 7)]),
        lambda: ledger.expire_credit(ended_by_ns=CLOSED_NS, now_ns=CLOSED_NS),
    )

    assert 1 == sum(len(report.corrections) for report in reports)
    standing = ledger.standing("e0")
    assert (0, 1, True) == (standing.amount_p, standing.corrections, standing.reversed)
    assert 0 == sum(ledger.balances_p().values())


def test_an_invoice_is_paid_once(ledger):
    """Of several payments that name it one is recorded."""
    ledger.post([used("e0", 10**12)])
    invoice = ledger.close_period("acme", "2026-01", now_ns=CLOSED_NS, grace_ns=0)

    def paying(number):
        payment = paid(10**12, "invoice", f"pi_{number}", refers_to=invoice.id)

        def pay():
            try:
                return ledger.record_payment(payment).new
            except LedgerError:
                return False

        return pay

    won = at_once(*map(paying, range(AT_ONCE)))

    assert 1 == sum(won) == len(ledger.payments("acme"))
    assert 0 == ledger.balances_p()[books.receivable_of("acme")]
