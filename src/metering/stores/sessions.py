"""What is kept of who is signed in to the console. Worker threads call it."""

from typing import Protocol

import msgspec

__all__ = ["Session", "Sessions"]


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who has signed in.

    Attributes:
        token_hash: Of the token that their browser shows; the token is kept nowhere.
        account_id: Whose pages they see; None: they are an operator.
        credential: What they have signed in by: the id of a key, or a fingerprint of
            the operator's token.
        created_ns: When they did.
        expires_ns: From when on they must again.
    """

    token_hash: str
    account_id: str | None
    credential: str
    created_ns: int
    expires_ns: int


class Sessions(Protocol):
    """Keeps sessions, so that they hold in every process and over restarts."""

    def begin(self, session: Session, *, at_most: int) -> None:
        """Add a session, and forget all that have expired by its beginning.

        Args:
            session: The new one.
            at_most: How many its credential may have; the oldest leaves first.
        """
        ...

    def find(self, token_hash: str, *, now_ns: int) -> Session | None:
        """Return a session, or None if it is not there or over.

        It is over when it has expired, and when its key is revoked.
        """
        ...

    def end(self, token_hash: str) -> None:
        """Forget a session; one that is not there is no matter."""
        ...
