"""Pages of what an account owes and has paid: invoices, payments, credit."""

from metering.console.api import lists, reading
from metering.console.api.asked import OneInvoice, OwnedPage, OwnedQuery
from metering.console.pages.page import Answer, Look

__all__ = ["invoice", "invoices", "payments"]


async def invoices(look: Look, query: OwnedPage) -> Answer:
    """Show the invoices of an account."""
    asked = look.asked(OwnedPage, cursor=query.cursor, limit=query.limit)
    return {"page": await reading.invoices(look.services, look.viewer, asked)}


async def invoice(look: Look, query: OneInvoice) -> Answer:
    """Show one invoice with its lines."""
    asked = look.asked(OneInvoice, id=query.id)
    return {"shown": await reading.invoice(look.services, look.viewer, asked)}


async def payments(look: Look, query: OwnedPage) -> Answer:
    """Show the latest payments, and credit with what is left of it."""
    services, viewer = look.services, look.viewer
    asked = look.asked(OwnedPage, cursor=query.cursor, limit=query.limit)
    return {
        "account": await reading.account(services, viewer, look.asked(OwnedQuery)),
        "payments": await lists.payments(services, viewer, asked),
        "credits": await lists.credits_of(services, viewer, look.asked(OwnedPage)),
    }
