"""Pages of an account's keys: they are listed, issued, and revoked for good."""

from typing import Annotated

import msgspec

from metering.console.api import keys as key_api
from metering.console.api import lists
from metering.console.api.asked import KeyRevoked, OwnedPage, OwnedQuery
from metering.console.api.bodies import NewKey
from metering.console.api.fields import Key
from metering.console.api.lists import KeyRow, key_row
from metering.console.lane import in_thread
from metering.console.pages.page import Answer, Goto, Look, Wrong
from metering.console.problems import ProblemError
from metering.errors import ConfigurationError, LedgerError

__all__ = [
    "IssueForm",
    "KeysPage",
    "OneKey",
    "OneKeyForm",
    "issue",
    "key_to_revoke",
    "keys",
    "revoke",
]

_WRONG = "Enter an amount in dollars above 0, such as 50 or 7.50, or leave it empty."


class KeysPage(OwnedPage, frozen=True, kw_only=True):
    """Which keys, and how the one ends that was just revoked."""

    revoked: Annotated[str, msgspec.Meta(max_length=8)] | None = None


class OneKey(OwnedQuery, frozen=True, kw_only=True):
    """Which key."""

    id: Key


class OneKeyForm(msgspec.Struct, frozen=True):
    """Which key to revoke."""

    id: Key


class IssueForm(msgspec.Struct, frozen=True):
    """What a new key may cost in a period; None: as much as the account may."""

    usage_limit_usd: str | None = None


async def keys(look: Look, query: KeysPage) -> Answer:
    """Show the keys of an account."""
    asked = look.asked(OwnedPage, cursor=query.cursor, limit=query.limit)
    shown = await lists.keys(look.services, look.viewer, asked)
    return {
        "page": shown,
        "own": look.viewer.key_id,
        "own_limit_usd": await key_api.own_limit_usd(look.services, look.viewer),
        "revoked": query.revoked,
        "secret": None,
        "wrong": None,
        "limit_usd": "",
    }


async def issue(look: Look, form: IssueForm) -> Answer | Wrong:
    """Issue a key, and show its secret this once."""
    try:
        asked = msgspec.convert(
            {"account": look.owner.id, "usage_limit_usd": form.usage_limit_usd}, NewKey
        )
        issued = await key_api.issue_key(look.services, look.viewer, asked)
    except (msgspec.ValidationError, ConfigurationError):
        wrong = _WRONG
    except (ProblemError, LedgerError) as error:
        wrong = str(error)
    else:
        return {"secret": issued.secret}
    return Wrong({"wrong": wrong, "limit_usd": form.usage_limit_usd})


async def key_to_revoke(look: Look, query: OneKey) -> Answer:
    """Show what is about to be revoked."""
    return {"key": await _own(look, query.id), "own": look.viewer.key_id}


async def revoke(look: Look, form: OneKeyForm) -> Goto:
    """Revoke a key of the account."""
    key = await _own(look, form.id)
    await key_api.revoke_key(look.services, look.viewer, KeyRevoked(id=key.id))
    return Goto("/keys", {"revoked": key.hint})


async def _own(look: Look, key_id: str) -> KeyRow:
    """Return a key of the account that is looked at.

    Raises:
        ProblemError: It is nobody's, or somebody else's.
    """
    key = await in_thread(look.services.ledger.listing.key, key_id)
    if key is None or key.account_id != look.owner.id:
        raise ProblemError("not_found", "This account has no such key.")
    return key_row(key)
