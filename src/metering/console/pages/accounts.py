"""Pages of operators about accounts."""

from metering.console.api import operating
from metering.console.api.asked import AccountsPage
from metering.console.pages.page import Answer, Look

__all__ = ["accounts"]


async def accounts(look: Look, query: AccountsPage) -> Answer:
    """Show all accounts, by id."""
    return {"accounts": await operating.accounts(look.services, query)}
