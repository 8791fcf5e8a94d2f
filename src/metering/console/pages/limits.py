"""The page of what is left of an account's limits just now."""

from metering.console.api.asked import OwnedQuery
from metering.console.api.limits import limits
from metering.console.pages.page import Answer, Look

__all__ = ["limits_left"]


async def limits_left(look: Look, query: OwnedQuery) -> Answer:
    """Show what is used and left of each limit; the overview has it, too."""
    del query
    asked = look.asked(OwnedQuery)
    return {"limits": await limits(look.services, look.viewer, asked)}
