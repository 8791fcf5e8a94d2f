"""The page of alerts: who was told that a limit or their credit comes to its end."""

from metering.console.api import lists
from metering.console.api.asked import OwnedPage
from metering.console.pages.page import Answer, Look

__all__ = ["alerts"]


async def alerts(look: Look, query: OwnedPage) -> Answer:
    """Show alerts, the newest first: an account its own, an operator all."""
    return {"page": await lists.alerts(look.services, look.viewer, query)}
