"""The table of pages; `app.py` says how one is added."""

from metering.console.api.asked import (
    AccountsPage,
    ChargesPage,
    OneInvoice,
    OwnedPage,
    OwnedQuery,
)
from metering.console.pages.accounts import AccountTyped, accounts, create
from metering.console.pages.acts import Typed
from metering.console.pages.alerts import alerts
from metering.console.pages.home import HomePage, home
from metering.console.pages.invoices import (
    InvoiceFile,
    invoice,
    invoice_file,
    invoices,
    payments,
)
from metering.console.pages.keys import (
    IssueForm,
    KeysPage,
    OneKey,
    OneKeyForm,
    issue,
    key_to_revoke,
    keys,
    revoke,
)
from metering.console.pages.limits import limits_left
from metering.console.pages.manage import ManagePage, act, manage
from metering.console.pages.overview import overview
from metering.console.pages.page import Page
from metering.console.pages.platform import PlatformOver, platform
from metering.console.pages.prices import prices
from metering.console.pages.requests import refused, served
from metering.console.pages.usage import UsagePage, usage

__all__ = ["OPERATOR_HOME", "PAGES"]

OPERATOR_HOME = "/home"
"""Where an operator begins, and goes on from a page that names no account."""


PAGES: tuple[Page, ...] = (
    Page("operator", "/home", "Home", HomePage, home),
    Page(
        "operator",
        "/accounts",
        "Accounts",
        AccountsPage,
        accounts,
        form=AccountTyped,
        act=create,
    ),
    Page("operator", "/platform", "Platform", PlatformOver, platform),
    Page("account", "/", "Overview", OwnedQuery, overview),
    Page("account", "/usage", "Usage", UsagePage, usage),
    Page("account", "/requests", "Requests", ChargesPage, served),
    Page("account", "/refusals", "Refusals", OwnedPage, refused, part_of="/requests"),
    Page("account", "/limits", "Limits", OwnedQuery, limits_left),
    Page("account", "/keys", "Keys", KeysPage, keys, form=IssueForm, act=issue),
    Page(
        "account",
        "/keys/revoke",
        "Revoke a key",
        OneKey,
        key_to_revoke,
        form=OneKeyForm,
        act=revoke,
        part_of="/keys",
    ),
    Page("account", "/invoices", "Invoices", OwnedPage, invoices),
    Page("account", "/invoice", "Invoice", OneInvoice, invoice, part_of="/invoices"),
    Page(
        "account",
        "/invoice/file",
        "Download invoice",
        InvoiceFile,
        invoice_file,
        part_of="/invoices",
    ),
    Page("account", "/payments", "Payments", OwnedPage, payments),
    Page("anybody", "/alerts", "Alerts", OwnedPage, alerts),
    Page("anybody", "/prices", "Prices and tiers", OwnedQuery, prices),
    Page("operator", "/account", "Manage", ManagePage, manage, form=Typed, act=act),
)
"""All pages, in the order of the navigation."""
