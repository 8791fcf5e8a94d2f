"""What is to be done in Redis, who waits for it, and what must still arrive."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from math import inf
from typing import Any

__all__ = ["OWED_MAX", "OWED_S", "Operation", "Owed"]

OWED_MAX = 65_536
"""Operations that must still arrive, kept while the server is away: the latest ones."""

OWED_S = 1800.0
"""How long they are kept: the server knows for longer which ones it has seen."""


class Operation:
    """One thing to do in one slot, and who waits for its answer.

    Args:
        kind: Name of the operation in the script.
        keys: All keys it touches, by place.
        members: What else it is told.
        now_us: The present instant; -1 for the server's clock.
        repeatable: Whether it may run twice and count once, so that it is sent again
            if the connection was lost under it.
        insistent: Whether it must arrive though nobody may wait for it any more.

    Attributes:
        slot: Where its keys are in a cluster.
        future: Takes the answer; None if nobody waits for it.
        due_s: When whoever waits will wait no longer, on the clock of the event loop.
        sent: Whether the server may have seen it.
        undo: Makes what must be sent if this was sent and nobody took its answer.
        tries: How often it was sent again.
    """

    __slots__ = (
        "due_s",
        "future",
        "insistent",
        "keys",
        "kind",
        "members",
        "now_us",
        "repeatable",
        "sent",
        "slot",
        "tries",
        "undo",
    )

    def __init__(
        self,
        kind: str,
        keys: list[str],
        members: Sequence[Any] = (),
        *,
        now_us: int = -1,
        repeatable: bool = True,
        insistent: bool = False,
    ) -> None:
        self.kind = kind
        self.keys = keys
        self.members = members
        self.now_us = now_us
        self.repeatable = repeatable
        self.insistent = insistent
        self.slot = 0
        self.future: asyncio.Future[Any] | None = None
        self.due_s = inf
        self.sent = False
        self.undo: Callable[[], list[Operation]] | None = None
        self.tries = 0

    @property
    def awaited(self) -> bool:
        """Whether somebody waits for its answer."""
        return self.future is not None and not self.future.done()

    @property
    def over(self) -> bool:
        """Whether it was answered, or nobody waits for it and it need not arrive."""
        future = self.future
        if future is None or not future.done():
            return False
        return not (self.insistent and future.cancelled())

    def answer(self, answer: Any) -> None:
        """Give the answer, or an error in its place, to whoever still waits."""
        future = self.future
        if future is None or future.done():
            return
        if isinstance(answer, Exception):
            future.set_exception(answer)
        else:
            future.set_result(answer)


class Owed:
    """Operations that must arrive though whoever made them waits no longer."""

    def __init__(self) -> None:
        self._operations: deque[tuple[float, Operation]] = deque(maxlen=OWED_MAX)

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._operations)

    def add(self, operation: Operation) -> None:
        """Keep what an operation leaves to be done: itself, its undoing or nothing."""
        now_s = asyncio.get_running_loop().time()
        if operation.insistent:
            operation.future = None
            self._operations.append((now_s, operation))
        elif operation.sent and operation.undo is not None:
            self._operations += [(now_s, undoing) for undoing in operation.undo()]

    def take(self) -> list[Operation]:
        """Take out those that are not too old for the server to recognise."""
        oldest_s = asyncio.get_running_loop().time() - OWED_S
        owed = [operation for at_s, operation in self._operations if at_s >= oldest_s]
        self._operations.clear()
        return owed
