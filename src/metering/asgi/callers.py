"""Who calls: the account of the key that is shown, or that the app vouches for."""

from starlette.types import Scope

from metering.asgi.headers import find_header
from metering.asgi.parts import Parts
from metering.asgi.refusal import Refusal
from metering.resolved import Resolved
from metering.tiers import TierResolver

__all__ = ["caller_of", "known_caller", "why_suspended"]

_BEARER = b"bearer "
_KEY_LENGTH_MAX = 1024


async def caller_of(
    scope: Scope, parts: Parts, resolver: TierResolver, *, fresh: bool = False
) -> Resolved | Refusal:
    """Return who may call, or why nobody may; else as `known_caller`."""
    caller = await known_caller(scope, parts, resolver, fresh=fresh)
    if isinstance(caller, Refusal):
        return caller
    return why_suspended(caller) or caller


def why_suspended(caller: Resolved) -> Refusal | None:
    """Return why an account that is known may not call, or None if it may."""
    if not caller.account.suspended:
        return None
    return Refusal(
        "account_suspended",
        f"Account {caller.account.id!r} is suspended. Ask its operator.",
    )


async def known_caller(
    scope: Scope, parts: Parts, resolver: TierResolver, *, fresh: bool = False
) -> Resolved | Refusal:
    """Return whose request it is, also if suspended, or why it is nobody's.

    Args:
        scope: The request's.
        parts: Says how callers are known.
        resolver: Knows keys and accounts.
        fresh: Whether what is remembered is too old to be asked.

    Raises:
        StorageError: The ledger is down and nothing is remembered.
    """
    if parts.identify is not None:
        account_id = await parts.identify(scope)
    else:
        secret = _credential(scope)
        if secret:
            return _good_key(await resolver.by_key(secret, fresh=fresh))
        account_id = parts.anonymous
    if account_id is None:
        return Refusal(
            "invalid_api_key",
            "No API key was sent. Send it as 'Authorization: Bearer KEY'.",
        )
    found = await resolver.by_account(account_id, fresh=fresh)
    if found is None:
        return Refusal(
            "invalid_api_key",
            f"There is no account {account_id!r}. Its operator must create it.",
        )
    return found


def _good_key(known: Resolved | None) -> Resolved | Refusal:
    if known is None:
        return Refusal(
            "invalid_api_key", "The API key is not known. Check it, or ask for another."
        )
    if known.revoked:
        return Refusal("invalid_api_key", "The API key was revoked. Ask for another.")
    return known


def _credential(scope: Scope) -> bytes:
    headers = scope.get("headers", ())
    bearer = find_header(headers, b"authorization")
    if bearer[: len(_BEARER)].lower() == _BEARER:
        secret = bearer[len(_BEARER) :].strip()
    else:
        secret = find_header(headers, b"x-api-key") or find_header(headers, b"api-key")
    return secret[:_KEY_LENGTH_MAX]
