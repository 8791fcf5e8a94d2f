"""Pages of single calls: those that were served, with their charge, and the refused."""

from metering.console.api import history, reading
from metering.console.api.asked import ChargesPage, OwnedPage
from metering.console.pages.page import Answer, Look
from metering.console.pages.periods import choices

__all__ = ["refused", "served"]

_ROWS = 25


async def served(look: Look, query: ChargesPage) -> Answer:
    """Show the latest calls with what they used and cost."""
    asked = look.asked(
        ChargesPage,
        period=query.period,
        model=query.model,
        cursor=query.cursor,
        limit=_ROWS,
    )
    book = look.services.prices.models
    return {
        "page": await reading.charges(look.services, look.viewer, asked),
        "asked": query,
        "models": sorted(model.name for model in book),
        "periods": choices(look.owner, look.now_ns),
    }


async def refused(look: Look, query: OwnedPage) -> Answer:
    """Show the latest refusals with their reason."""
    asked = look.asked(OwnedPage, cursor=query.cursor, limit=_ROWS)
    return {"page": await history.refusals(look.services, look.viewer, asked)}
