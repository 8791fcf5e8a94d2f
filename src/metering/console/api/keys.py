"""Keys: issued and revoked by operators, and by accounts of their own."""

from anyio import to_thread

from metering.console.api.asked import KeyRevoked
from metering.console.api.bodies import NewKey
from metering.console.api.lists import KeyIssued, KeyRow, key_row
from metering.console.problems import ProblemError
from metering.console.services import Services, Viewer
from metering.money import format_usd, parse_usd

__all__ = ["OWN_KEYS_MAX", "issue_key", "revoke_key"]

OWN_KEYS_MAX = 100
"""Keys in use with which an account may issue no more itself; an operator may."""


async def issue_key(services: Services, viewer: Viewer, body: NewKey) -> KeyIssued:
    """Issue a key. Its secret is answered once; each request makes another."""
    account_id, in_use_max = viewer.sees(body.account), None
    if viewer.account_id is not None:
        in_use_max = OWN_KEYS_MAX
        await to_thread.run_sync(_check_own, services, viewer, body.usage_limit_usd)
    secret = await services.accounts.issue_key(
        account_id, usage_limit=body.usage_limit_usd, in_use_max=in_use_max
    )
    known = await services.resolver.by_key(secret.encode())
    return KeyIssued(
        id="" if known is None else known.key_id, account=account_id, secret=secret
    )


async def revoke_key(services: Services, viewer: Viewer, query: KeyRevoked) -> KeyRow:
    """Revoke a key, for good; again changes nothing."""
    if viewer.account_id is not None:
        key = await to_thread.run_sync(services.ledger.listing.key, query.id)
        if key is None or key.account_id != viewer.account_id:
            raise ProblemError(
                "not_found",
                f"The account has no key {query.id!r}. /v1/keys lists them by id.",
            )
    return key_row(await services.accounts.revoke_key(query.id))


def _check_own(services: Services, viewer: Viewer, asked_usd: str | None) -> None:
    """Refuse a key that would let in more than the one that was shown.

    Raises:
        ProblemError: The account is suspended, or the key would have more room.
    """
    if services.ledger.get(viewer.sees(None)).suspended:
        raise ProblemError(
            "not_allowed",
            "The account is suspended, and issues no keys until an operator lets it.",
        )
    shown = services.ledger.listing.key(viewer.key_id)
    if shown is None or shown.revoked_ns is not None:
        raise ProblemError(
            "not_signed_in", "The key is not known or was revoked. Ask for another."
        )
    limit_p = shown.usage_limit_p
    if limit_p is not None and (asked_usd is None or parse_usd(asked_usd) > limit_p):
        asked = "no limit" if asked_usd is None else f"${asked_usd}"
        raise ProblemError(
            "not_allowed",
            f"A key with {asked} is more than yours, whose limit is"
            f" ${format_usd(limit_p)} in a period. Give usage_limit_usd up to that, or"
            " issue it by a key without a limit.",
        )
