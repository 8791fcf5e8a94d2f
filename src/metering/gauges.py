"""How long a platform says that its queue is, asked at most once a second."""

import math
from collections.abc import Awaitable, Callable

import anyio

from metering.background import spawn
from metering.clock import NS_PER_S
from metering.log import Log

__all__ = ["Gauge", "ReadQueue"]

ReadQueue = Callable[[], Awaitable[float]]
"""Returns how many calls are queued in front of a model, or raises."""

EVERY_NS = NS_PER_S
TIMEOUT_S = 2.0

_log = Log()


class Gauge:
    """Reads the queue of one pool.

    A source that fails is told of once, and again when it is back; whoever listens
    hears nothing meanwhile.

    Args:
        pool: Name of the pool.
        read: Reads its queue.
        told: Called with each length that was read.
    """

    def __init__(
        self, pool: str, read: ReadQueue, told: Callable[[float], None]
    ) -> None:
        self._pool = pool
        self._read = read
        self._told = told
        self._due_ns = 0
        self._reading = False
        self._lost = False

    def look(self, now_ns: int) -> None:
        """Begin to read, if the last time is a second ago."""
        if not self._reading and now_ns >= self._due_ns:
            self._due_ns = now_ns + EVERY_NS
            self._reading = True
            spawn(self.read)

    async def read(self) -> None:
        """Read once, and tell."""
        try:
            length = await self._length()
        except Exception as error:  # noqa: BLE001 - perhaps the operator's own code
            if not self._lost:
                self._lost = True
                why = f"{type(error).__name__}: {error}"
                _log.warning("platform_gauge_lost", pool=self._pool, error=why)
        else:
            if self._lost:
                self._lost = False
                _log.info("platform_gauge_back", pool=self._pool)
            self._told(length)
        finally:
            self._reading = False

    async def _length(self) -> float:
        with anyio.fail_after(TIMEOUT_S):
            length = await self._read()
        if not 0 <= length < math.inf:
            raise ValueError(f"{length!r} is no length of a queue")
        return length
