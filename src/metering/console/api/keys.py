"""Keys: issued and revoked by operators, and by accounts of their own."""

from metering.console.api.asked import KeyRevoked
from metering.console.api.bodies import NewKey
from metering.console.api.lists import KeyIssued, KeyRow, key_row
from metering.console.lane import in_lane, in_thread
from metering.console.problems import ProblemError
from metering.console.services import Services, Viewer
from metering.money import format_usd

__all__ = ["OWN_KEYS_MAX", "issue_key", "own_limit_usd", "revoke_key"]

OWN_KEYS_MAX = 100
"""Keys in use with which an account may issue no more itself; an operator may."""


async def issue_key(services: Services, viewer: Viewer, body: NewKey) -> KeyIssued:
    """Issue a key. Its secret is answered once; each request makes another."""
    account_id, in_use_max = viewer.sees(body.account), None
    if viewer.account_id is not None:
        in_use_max = OWN_KEYS_MAX
        await in_thread(_check_own, services, viewer)
    secret = await in_lane(
        services.accounts.issue_key,
        account_id,
        usage_limit=body.usage_limit_usd,
        in_use_max=in_use_max,
    )
    known = await in_lane(services.resolver.by_key, secret.encode())
    return KeyIssued(
        id="" if known is None else known.key_id, account=account_id, secret=secret
    )


async def revoke_key(services: Services, viewer: Viewer, query: KeyRevoked) -> KeyRow:
    """Revoke a key, for good; again changes nothing."""
    if viewer.account_id is not None:
        key = await in_thread(services.ledger.listing.key, query.id)
        if key is None or key.account_id != viewer.account_id:
            raise ProblemError(
                "not_found",
                f"The account has no key {query.id!r}. /v1/keys lists them by id.",
            )
    return key_row(await in_lane(services.accounts.revoke_key, query.id))


async def own_limit_usd(services: Services, viewer: Viewer) -> str | None:
    """Return the limit of the key that was shown, with which it issues none.

    Returns:
        None: it has none, or an operator looks.
    """
    if viewer.account_id is None:
        return None
    key = await in_thread(services.ledger.listing.key, viewer.key_id)
    return None if key is None else key_row(key).usage_limit_usd


def _check_own(services: Services, viewer: Viewer) -> None:
    """Refuse a key that would let in more than the one that was shown.

    Raises:
        ProblemError: The account is suspended, or the key that was shown has a limit.
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
    if shown.usage_limit_p is not None:
        # However small the limits of further keys: many of them are more than one.
        raise ProblemError(
            "not_allowed",
            f"A key with a limit of ${format_usd(shown.usage_limit_p)} in a period"
            " issues no keys, which could cost more than it may. Issue them by a key"
            " without a limit, or ask an operator.",
        )
