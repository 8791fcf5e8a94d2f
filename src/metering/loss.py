"""A shared store that has lost what it knew, and the time that others need then."""

import anyio
import structlog

from metering.clock import NS_PER_MS, Clock
from metering.keeper import Keeper
from metering.quota import BudgetQuota, Demand
from metering.stores import LimitStore

__all__ = ["GRACE_MS", "Loss"]

GRACE_MS = 2_000
"""How long budgets of a store that knows nothing are not seeded: in that time the other
nodes post what their journals hold, and hold again what they have running."""

_MARK = "{metering}:known-since"
_WHOLE = 2**62

_log = structlog.get_logger("metering")


class Loss:
    """Notices that a store has forgotten everything since it was last asked.

    The first node that seeds a budget leaves a mark, with the instant. A mark that is
    missing or another one says that the store is new, or was emptied.

    Args:
        store: The store.
        keeper: Knows what this node has running.
        clock: The node's clock.
    """

    def __init__(self, store: LimitStore, keeper: Keeper, clock: Clock) -> None:
        self._store = store
        self._keeper = keeper
        self._clock = clock
        self._since_ms = -1

    async def mark(self) -> None:
        """Leave the mark, if there is none: the earlier, the less is waited for later.

        Raises:
            StorageError: The store does not answer.
        """
        now_ns = self._clock()
        await self._store.seed(_MARK, now_ns // NS_PER_MS, now_ns=now_ns)

    async def made_good(self) -> None:
        """Return when what was lost may be seeded; hold again what runs here.

        Raises:
            StorageError: The store does not answer.
        """
        await self.mark()
        now_ns = self._clock()
        now_ms = now_ns // NS_PER_MS
        mark = Demand(_MARK, BudgetQuota(_WHOLE, ledgered=True), 0)
        (verdict,) = await self._store.peek((mark,), now_ns=now_ns)
        since_ms = _WHOLE - verdict.remaining
        if since_ms != self._since_ms:
            if self._since_ms >= 0:
                _log.warning("limits_lost", running=self._keeper.running)
            self._since_ms = since_ms
            await self._keeper.hold_again()
        left_ms = since_ms + GRACE_MS - now_ms
        if left_ms > 0:
            # Clocks of nodes differ: whatever the mark says, no longer than that.
            await anyio.sleep(min(left_ms, GRACE_MS) / 1000)
