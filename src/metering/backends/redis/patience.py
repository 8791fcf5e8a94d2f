"""How long to wait for a server: one timer for all who wait."""

import asyncio
from collections.abc import Callable
from math import inf

__all__ = ["Patience"]

_TURNS = 2


class Patience:
    """Tells when the first of those who wait has waited too long.

    What the event loop itself was late is not held against the server, up to one more
    deadline; and what has arrived in the socket meanwhile is read first.

    Args:
        deadline_s: Longest time that anybody waits.
        first_due: Says when the first of them will wait no longer; inf if nobody does.
        missed: Told that one has waited too long.
    """

    def __init__(
        self,
        deadline_s: float,
        *,
        first_due: Callable[[], float],
        missed: Callable[[], None],
    ) -> None:
        self._deadline_s = deadline_s
        self._first_due = first_due
        self._missed = missed
        self._looks_s = inf
        self._timer: asyncio.Handle | None = None

    def until(self, due_s: float) -> None:
        """Look at that instant, unless an earlier look is planned."""
        if due_s < self._looks_s:
            self._plan(due_s)

    def stop(self) -> None:
        """Look no more."""
        self._plan(inf)

    def _plan(self, due_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._looks_s = due_s
        if due_s < inf:
            self._timer = asyncio.get_running_loop().call_at(due_s, self._look)

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        late_s = min(max(0.0, loop.time() - self._looks_s), self._deadline_s)
        self._timer = loop.call_later(late_s, self._judge, _TURNS)

    def _judge(self, turns: int) -> None:
        loop = asyncio.get_running_loop()
        if turns:
            self._timer = loop.call_soon(self._judge, turns - 1)
            return
        due_s = self._first_due()
        self._plan(due_s if due_s > loop.time() else inf)
        if due_s <= loop.time():
            self._missed()
