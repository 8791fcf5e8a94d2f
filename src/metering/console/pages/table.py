"""The table of pages; `app.py` says how one is added."""

from metering.console.api.asked import AccountsPage, OwnedQuery
from metering.console.pages.accounts import accounts
from metering.console.pages.overview import limits, overview
from metering.console.pages.page import Page

__all__ = ["OPERATOR_HOME", "PAGES"]

OPERATOR_HOME = "/accounts"
"""Where an operator begins, and goes on from a page that names no account."""

PAGES: tuple[Page, ...] = (
    Page(
        path="/accounts",
        title="Accounts",
        template="accounts.html",
        owner="operator",
        query=AccountsPage,
        show=accounts,
    ),
    Page(
        path="/",
        title="Overview",
        template="overview.html",
        owner="account",
        query=OwnedQuery,
        show=overview,
    ),
    Page(
        path="/limits",
        title="Limits",
        template="limits.html",
        owner="account",
        query=OwnedQuery,
        show=limits,
    ),
)
"""All pages, in the order of the navigation."""
