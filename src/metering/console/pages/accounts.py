"""The operator's page of all accounts, and the form that creates one."""

import msgspec

from metering.accounts import checked_account_id
from metering.console.api import operating
from metering.console.api.asked import AccountsPage
from metering.console.api.bodies import NewAccount
from metering.console.api.documents import AccountListed
from metering.console.lane import in_thread
from metering.console.pages.filling import FieldError, filled
from metering.console.pages.page import Answer, Goto, Look, Wrong
from metering.console.pages.showing import share
from metering.errors import AccountNotFoundError, ConfigurationError
from metering.ledger import checked_time_zone

__all__ = ["AccountTyped", "accounts", "create"]


class AccountTyped(msgspec.Struct, frozen=True):
    """What was typed of a new account."""

    id: str = ""
    time_zone: str = ""
    anchor_day: str = ""


async def accounts(look: Look, query: AccountsPage) -> Answer:
    """Show accounts with what they spent of their limit."""
    services = look.services
    page, tiers = await operating.accounts(services, query), services.ledger.tiers.tiers
    by_credit = {tier.level for tier in tiers if tier.funding == "credit"}
    return {
        "page": page,
        "rows": [
            (row, _part(row), row.tier.level in by_credit) for row in page.accounts
        ],
        "asked": query,
        "filtered": (query.prefix, query.tier, query.suspended) != (None, None, None),
        "tiers": [
            ("", "All tiers"),
            *((tier.level, tier.name) for tier in tiers),
        ],
        "typed": AccountTyped(),
        "wrong": {},
    }


async def create(look: Look, typed: AccountTyped) -> Goto | Wrong:
    """Create an account, and go on to it."""
    try:
        body = filled(NewAccount, msgspec.structs.asdict(typed))
        _check(body)
        await _refuse_known(look, body.id)
    except FieldError as error:
        return Wrong({"typed": typed, "wrong": {error.field: str(error)}})
    await operating.create_account(look.services, body)
    return Goto("/account", {"account": body.id, "done": "created"})


def _part(row: AccountListed) -> float:
    return 0.0 if row.limit_usd is None else share(row.spent_usd, row.limit_usd)


def _check(body: NewAccount) -> None:
    try:
        checked_account_id(body.id)
    except ConfigurationError as error:
        raise FieldError("id", str(error)) from None
    if body.time_zone is None:
        return
    try:
        checked_time_zone(body.time_zone)
    except ConfigurationError as error:
        raise FieldError("time_zone", str(error)) from None


async def _refuse_known(look: Look, account_id: str) -> None:
    """Tell a person of what a program may repeat: the account is there already."""
    try:
        await in_thread(look.services.ledger.get, account_id)
    except AccountNotFoundError:
        return
    raise FieldError("id", f"An account {account_id!r} already exists.")
