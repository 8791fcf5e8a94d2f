"""What an outbox promises: a message waits in it until it was sent or given up."""

from collections.abc import Collection, Sequence
from typing import Protocol

import msgspec

__all__ = ["KeptMessage", "Outbox", "OutboxMessage"]


class OutboxMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A message as whoever took it sends it.

    Attributes:
        destination: Where it goes.
        id: The same on each try, so that a receiver can tell a repetition.
        kind: What it is about.
        account_id: Whom it is about.
        data: What happened, as JSON.
        created_ns: When it happened.
        attempts: How often it was taken, this time included.
    """

    destination: str
    id: str
    kind: str
    account_id: str
    data: bytes
    created_ns: int
    attempts: int


class KeptMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A message that has not arrived, as who looks after the service sees it.

    Attributes:
        destination: Where it is to go.
        id: Its own at that destination.
        kind: What it is about.
        account_id: Whom it is about.
        created_ns: When it happened.
        due_ns: When it is tried next, if it is.
        attempts: How often it was tried.
        given_up: Whether it is not tried any more.
        error: Why it did not arrive the last time; "" before the first.
    """

    destination: str
    id: str
    kind: str
    account_id: str
    created_ns: int
    due_ns: int
    attempts: int
    given_up: bool
    error: str


class Outbox(Protocol):
    """Keeps messages that were written in the transactions they tell of."""

    def take(
        self, destination: str, *, limit: int, lease_ns: int, now_ns: int
    ) -> list[OutboxMessage]:
        """Take messages that are due, the longest due first, for one sender alone.

        Who takes them says what became of them within the lease; if it dies, they are
        due again after it.
        """
        ...

    def sent(self, messages: Sequence[OutboxMessage]) -> None:
        """Forget messages that have arrived."""
        ...

    def failed(
        self, messages: Sequence[OutboxMessage], *, error: str, due_ns: int | None
    ) -> None:
        """Let messages wait until *due_ns*; with None they are given up, and kept.

        Nothing changes where the lease was over and another has taken one since.
        """
        ...

    def give_up(self, destination: str, *, error: str) -> int:
        """Give up all that waits for a destination, and return how many that were."""
        ...

    def waiting(self) -> dict[str, int]:
        """Return how many messages wait to be sent, by destination."""
        ...

    def kept(
        self,
        *,
        destination: str | None = None,
        given_up: bool | None = None,
        limit: int,
    ) -> list[KeptMessage]:
        """Return what has not arrived, the oldest first; None for all of either."""
        ...

    def resend(
        self,
        *,
        destination: str | None = None,
        message_id: str | None = None,
        now_ns: int,
    ) -> int:
        """Let what was given up be tried anew from now on, as often as at first.

        That of one destination, of one id, or all of it; what is not given up stays as
        it is. Returns how many messages that were.
        """
        ...

    def sweep(self, destinations: Collection[str], *, before_ns: int) -> int:
        """Forget messages from before an instant that nobody will send.

        Those are the ones that were given up, and those for other destinations than
        the ones named. Returns how many that were.
        """
        ...
