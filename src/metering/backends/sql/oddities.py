"""Rows of a ledger that are wrong by themselves, whatever others say."""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import ColumnElement, Connection, literal, select

from metering.backends.sql import schema
from metering.backends.sql.invariants import Found
from metering.backends.sql.invoicing import invoices
from metering.backends.sql.reading import exact_sum, joined_sum
from metering.ledger import Invoice, books
from metering.ledger.verification import CheckName, Finding

__all__ = ["row_checks"]

_COMMON = (
    books.CASH,
    books.REVENUE,
    books.PROMO_EXPENSE,
    books.BREAKAGE,
    books.ROUNDING,
    books.WRITEOFF,
)
_PAGE = 500
_OWNED = ("receivable:", "credit_paid:", "credit_promo:")

_events = schema.usage_events.c
_prices = schema.price_versions.c
_transfers = schema.transfers.c


def row_checks() -> Iterator[tuple[CheckName, Found]]:
    """Yield each check of single rows, with what finds those that are wrong."""
    yield "books", _foreign_transfers
    yield "price", _unknown_prices
    yield "invoice", _wrong_invoices


def _foreign_transfers(connection: Connection, findings_max: int) -> list[Finding]:
    """Find movements to or from what is no account of the books of that owner.

    Each row debits what it credits. So all sums to 0, unless a side is nobody's.
    """
    wanted = (
        select(_transfers.account_id, _transfers.id, _transfers.amount_p)
        .where(~(_is_known(_transfers.debit) & _is_known(_transfers.credit)))
        .order_by(_transfers.id)
        .limit(findings_max)
    )
    return [
        Finding(
            check="books",
            table="transfers",
            account_id=account_id,
            place=f"transfer {number}",
            stated_p=amount_p,
            summed_p=0,
        )
        for account_id, number, amount_p in connection.execute(wanted)
    ]


def _is_known(side: ColumnElement[str]) -> ColumnElement[bool]:
    owned = [literal(kind) + _transfers.account_id for kind in _OWNED]
    return side.in_([*map(literal, _COMMON), *owned])


def _wrong_invoices(connection: Connection, findings_max: int) -> list[Finding]:
    """Find invoices whose lines add up to another total, in cents or exactly."""
    findings: list[Finding] = []
    after = ""
    while page := invoices(connection, None, after, _PAGE):
        findings += (_of_invoice(each) for each in page if not _adds_up(each))
        if len(findings) >= findings_max:
            return findings[:findings_max]
        after = page[-1].id
    return findings


def _adds_up(invoice: Invoice) -> bool:
    exact_p = sum(line.amount_p for line in invoice.lines)
    cents = sum(line.cents for line in invoice.lines)
    return (invoice.total_cents, invoice.total_p) == (
        cents,
        exact_p + invoice.residual_p,
    )


def _of_invoice(invoice: Invoice) -> Finding:
    return Finding(
        check="invoice",
        table="invoices",
        account_id=invoice.account_id,
        place=f"period {invoice.period}",
        stated_p=invoice.total_p - invoice.residual_p,
        summed_p=sum(line.amount_p for line in invoice.lines),
    )


def _unknown_prices(connection: Connection, findings_max: int) -> list[Finding]:
    """Find what was charged by prices that were never published, nor agreed on."""
    of = (_events.account_id, _events.model, _events.price_version)
    published = select(_prices.id)
    wanted = (
        select(*of, *exact_sum(_events.charge_p))
        .where(
            _events.charge_p > 0,
            _events.price_version.not_in(published),
            ~_events.flags.contains('"agreed_price"'),
        )
        .group_by(*of)
        .order_by(*of)
        .limit(findings_max)
    )
    return [_of_price(*row) for row in connection.execute(wanted)]


def _of_price(account_id: str, model: str, price: str, *charged: Any) -> Finding:
    return Finding(
        check="price",
        table="usage_events",
        account_id=account_id,
        place=f"model {model}, price {price or 'none'}",
        stated_p=joined_sum(*charged),
        summed_p=0,
    )
