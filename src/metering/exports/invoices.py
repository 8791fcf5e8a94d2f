"""An invoice as a JSON document and as CSV; money is in decimal strings."""

import csv
import io

from metering.clock import iso_utc
from metering.exports.cells import text_cell
from metering.ledger import CENT_P, Invoice, InvoiceLine
from metering.money import format_usd
from metering.usage import Usage

__all__ = ["cents_usd", "invoice_csv", "invoice_document"]

_LEAVES = Usage.__struct_fields__

_COLUMNS = (
    *("invoice", "account_id", "kind", "period", "model", "price_version"),
    *("price_kind", "calls", *_LEAVES, "exact_usd", "credit_usd", "usd"),
)


def cents_usd(cents: int) -> str:
    """Return whole cents as dollars with two places, such as "-0.94"."""
    dollars, rest = divmod(abs(cents), 100)
    return f"{'-' if cents < 0 else ''}{dollars}.{rest:02d}"


def invoice_document(invoice: Invoice) -> dict[str, object]:
    """Return an invoice as a JSON document.

    `exact_usd` of all lines add up to the total but for `rounding_usd`; `usd` of all
    lines add up to it exactly.
    """
    return {
        "id": invoice.id,
        "account": invoice.account_id,
        "period": invoice.period,
        "start": iso_utc(invoice.start_ns),
        "end": iso_utc(invoice.end_ns),
        "closed": iso_utc(invoice.closed_ns),
        "currency": "USD",
        "lines": [_line(line) for line in invoice.lines],
        "total_usd": cents_usd(invoice.total_cents),
        "rounding_usd": format_usd(invoice.residual_p),
        "paid": invoice.paid,
        "paid_by": invoice.paid_by,
    }


def _line(line: InvoiceLine) -> dict[str, object]:
    document: dict[str, object] = {"kind": line.kind, "period": line.period}
    if line.model:
        document |= {
            "model": line.model,
            "price_version": line.price_version,
            "price_kind": line.price_kind,
            "calls": line.calls,
        }
    if line.usage is not None:
        document["usage"] = _quantities(line.usage)
    document["exact_usd"] = format_usd(line.amount_p)
    if line.credit_p:
        document["credit_usd"] = format_usd(line.credit_p)
    document["usd"] = cents_usd(line.cents)
    return document


def _quantities(usage: Usage) -> dict[str, int]:
    return {leaf: units for leaf in _LEAVES if (units := getattr(usage, leaf))}


def invoice_csv(invoice: Invoice) -> str:
    """Return the lines of an invoice as CSV, the last of them its total."""
    written = io.StringIO()
    writer = csv.DictWriter(written, _COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    common = {
        "invoice": text_cell(invoice.id),
        "account_id": text_cell(invoice.account_id),
    }
    for line in invoice.lines:
        writer.writerow(
            {
                **common,
                "kind": line.kind,
                "period": line.period,
                "model": text_cell(line.model),
                "price_version": line.price_version,
                "price_kind": line.price_kind,
                "calls": line.calls or "",
                **({} if line.usage is None else _quantities(line.usage)),
                "exact_usd": format_usd(line.amount_p),
                "credit_usd": format_usd(line.credit_p) if line.credit_p else "",
                "usd": cents_usd(line.cents),
            }
        )
    exact_p = invoice.total_cents * CENT_P - invoice.residual_p
    writer.writerow(
        {
            **common,
            "kind": "total",
            "period": invoice.period,
            "exact_usd": format_usd(exact_p),
            "usd": cents_usd(invoice.total_cents),
        }
    )
    return written.getvalue()
