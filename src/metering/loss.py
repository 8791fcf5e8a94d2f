"""A shared store that has lost what it knew, and the time that others need then."""

import contextlib
import time

import anyio

from metering.background import Background
from metering.clock import NS_PER_MS, NS_PER_S, Clock
from metering.errors import StorageError
from metering.keeper import Keeper
from metering.log import Log
from metering.quota import BudgetQuota, Demand
from metering.stores import LimitStore

__all__ = ["GRACE_MS", "Loss"]

GRACE_MS = 2_000
"""How long budgets of a store that knows nothing are not seeded: in that time the other
nodes post what their journals hold, and hold again what they have running."""

WATCH_S = 0.5
"""How often a node with running calls looks whether the store has lost them."""

_MARK = "{metering}:known-since"
_WHOLE = 2**62
_UNKNOWN_MS = -1

_log = Log()


class Loss:
    """Notices that a store has forgotten everything since it was last asked.

    The first node that seeds a budget leaves a mark, with the instant. A mark that is
    missing or another one says that the store is new, or was emptied.

    Args:
        store: The store.
        keeper: Knows what this node has running.
        clock: The node's clock.
        steady: A clock that never steps back, for how long to wait.
    """

    def __init__(
        self,
        store: LimitStore,
        keeper: Keeper,
        clock: Clock,
        *,
        steady: Clock = time.monotonic_ns,
    ) -> None:
        self._store = store
        self._keeper = keeper
        self._clock = clock
        self._steady = steady
        self._since_ms = _UNKNOWN_MS
        self._until_ns = steady()
        self._background = Background(self._watch)

    @property
    def since_ns(self) -> int:
        """When the store began to know what it knows, by the clock of some node."""
        return self._since_ms * NS_PER_MS

    async def mark(self) -> bool:
        """Leave the mark, if there is none, and learn it; say whether it is another.

        The earlier, the less is waited for later, and the sooner a loss is noticed.

        Raises:
            StorageError: The store does not answer.
        """
        self._background.ensure()
        now_ns = self._clock()
        now_ms = now_ns // NS_PER_MS
        await self._store.seed(_MARK, now_ms, now_ns=now_ns)
        mark = Demand(_MARK, BudgetQuota(_WHOLE, ledgered=True), 0)
        (verdict,) = await self._store.peek((mark,), now_ns=now_ns)
        since_ms = _WHOLE - verdict.remaining
        if since_ms == self._since_ms:
            return False
        # Who knew the former mark sees the loss now, whatever the clocks of nodes say:
        # a node whose clock is ahead would take the new one for an old one.
        lost = self._since_ms != _UNKNOWN_MS
        grace_ms = GRACE_MS if lost else since_ms + GRACE_MS - now_ms
        self._until_ns = self._steady() + min(grace_ms, GRACE_MS) * NS_PER_MS
        self._since_ms = since_ms
        if lost:
            _log.warning("limits_lost", running=self._keeper.running)
        return True

    async def made_good(self) -> None:
        """Return when what was lost may be seeded; hold again what runs here.

        Raises:
            StorageError: The store does not answer.
        """
        if await self.mark():
            await self._keeper.hold_again()
        left_ns = self._until_ns - self._steady()
        if left_ns > 0:
            await anyio.sleep(left_ns / NS_PER_S)

    def stop(self) -> None:
        """Look no more."""
        self._background.stop()

    async def _watch(self) -> None:
        while True:
            await anyio.sleep(WATCH_S)
            with contextlib.suppress(StorageError):  # looked for again when it is back
                if self._keeper.running and await self.mark():
                    await self._keeper.hold_again()
