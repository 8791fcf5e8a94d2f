"""Pages of what an account owes and has paid: invoices, payments, credit."""

from typing import Literal

import msgspec

from metering.console.api import lists, reading
from metering.console.api.asked import OneInvoice, OwnedPage, OwnedQuery
from metering.console.lane import in_lane
from metering.console.pages.page import Answer, Look, Sent
from metering.exports.invoices import invoice_csv, invoice_document
from metering.exports.printable import invoice_html

__all__ = ["InvoiceFile", "invoice", "invoice_file", "invoices", "payments"]


class InvoiceFile(OneInvoice, frozen=True, kw_only=True):
    """And in which form."""

    form: Literal["csv", "html", "json"] = "csv"


async def invoices(look: Look, query: OwnedPage) -> Answer:
    """Show the invoices of an account."""
    asked = look.asked(OwnedPage, cursor=query.cursor, limit=query.limit)
    return {"page": await reading.invoices(look.services, look.viewer, asked)}


async def invoice(look: Look, query: OneInvoice) -> Answer:
    """Show one invoice with its lines."""
    asked = look.asked(OneInvoice, id=query.id)
    return {"shown": await reading.invoice(look.services, look.viewer, asked)}


async def invoice_file(look: Look, query: InvoiceFile) -> Sent:
    """Send one invoice as it is exported."""
    asked = look.asked(OneInvoice, id=query.id)
    await reading.invoice(look.services, look.viewer, asked)
    found = await in_lane(look.services.billing.invoice, query.id)
    name = f"{found.id}.{query.form}"
    if query.form == "csv":
        return Sent(name, "text/csv", invoice_csv(found))
    if query.form == "html":
        return Sent(name, "text/html", invoice_html(found))
    document = msgspec.json.encode(invoice_document(found))
    return Sent(name, "application/json", document.decode())


async def payments(look: Look, query: OwnedPage) -> Answer:
    """Show the latest payments, and credit with what is left of it."""
    services, viewer = look.services, look.viewer
    asked = look.asked(OwnedPage, cursor=query.cursor, limit=query.limit)
    return {
        "account": await reading.account(services, viewer, look.asked(OwnedQuery)),
        "payments": await lists.payments(services, viewer, asked),
        "credits": await lists.credits_of(services, viewer, look.asked(OwnedPage)),
    }
