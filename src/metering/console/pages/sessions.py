"""Who is signed in: a random token in a cookie, of which the ledger has the hash."""

import hashlib
import hmac
import secrets
from functools import partial

from metering.clock import NS_PER_S
from metering.console.lane import in_lane, in_thread
from metering.console.services import Services, Viewer
from metering.stores import Session

__all__ = ["SESSION_S", "new_token", "sign_in", "sign_out", "signed_in"]

SESSION_S = 12 * 3600
"""How long a session lasts at most, in seconds, used or not."""

SESSIONS_MAX = 50
"""Sessions of one key, or of the operator's token; the oldest leaves first."""

_SECRET_CHARS_MAX = 1024


def new_token() -> str:
    """Return a token that nobody can guess: 256 random bits."""
    return secrets.token_urlsafe(32)


async def sign_in(services: Services, secret: str) -> tuple[str, Viewer] | None:
    """Begin a session; return its token and who looks from now on.

    Args:
        services: What the console stands on.
        secret: An API key or the operator's token.

    Returns:
        None: nobody has that secret, or its key was revoked.

    Raises:
        StorageError: The ledger is down.
    """
    shown = secret.strip()[:_SECRET_CHARS_MAX].encode()
    found = await _credential(services, shown)
    if found is None:
        return None
    viewer, credential = found
    token, now_ns = new_token(), services.clock()
    session = Session(
        token_hash=_hash(token),
        account_id=viewer.account_id,
        credential=credential,
        created_ns=now_ns,
        expires_ns=now_ns + SESSION_S * NS_PER_S,
    )
    begin = partial(services.ledger.sessions.begin, session, at_most=SESSIONS_MAX)
    await in_thread(begin)
    return token, viewer


async def signed_in(services: Services, token: str | None) -> Viewer | None:
    """Return who shows a token; None: nobody who is signed in.

    Raises:
        StorageError: The ledger is down.
    """
    if token is None:
        return None
    find = partial(services.ledger.sessions.find, _hash(token), now_ns=services.clock())
    session = await in_thread(find)
    if session is None:
        return None
    if session.account_id is None:
        return Viewer.operator() if _still_operator(services, session) else None
    return Viewer(session.account_id, session.credential)


async def sign_out(services: Services, token: str) -> None:
    """End a session."""
    await in_thread(services.ledger.sessions.end, _hash(token))


async def _credential(services: Services, secret: bytes) -> tuple[Viewer, str] | None:
    """Return who shows a secret, and what their session keeps of it."""
    if not secret:
        return None
    token = services.operator_token
    if token is not None and hmac.compare_digest(secret, token.encode()):
        return Viewer.operator(), _fingerprint(token)
    known = await in_lane(services.resolver.by_key, secret)
    if known is None or known.revoked:
        return None
    return Viewer.of(known), known.key_id


def _still_operator(services: Services, session: Session) -> bool:
    token = services.operator_token
    return token is not None and hmac.compare_digest(
        _fingerprint(token), session.credential
    )


def _fingerprint(token: str) -> str:
    """Return what tells that the operator's token is the one that was shown."""
    digest = hashlib.sha256(b"console session of " + token.encode()).hexdigest()
    return f"operator:{digest}"


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
