"""How many nodes share a platform: each holds a place that it renews every second."""

from collections.abc import Callable, Sequence

import anyio

from metering.background import Background
from metering.clock import NS_PER_S, Clock
from metering.errors import StorageError
from metering.ids import uuid7
from metering.log import Log
from metering.quota import BudgetQuota, Demand
from metering.stores import LimitStore

__all__ = ["Roster"]

BEAT_S = 1.0
LEASE_NS = 3 * NS_PER_S
"""A node that is heard of no more is taken for dead after that."""

_NODES_MAX = 1_000_000
_PLACES = BudgetQuota(_NODES_MAX)
_PLACE = Demand("{platform}:nodes", _PLACES, name="nodes", unit="running")
_NO_PLACE = Demand(_PLACE.key, _PLACES, 0, name="nodes", unit="running")

_log = Log()


class Roster:
    """Counts the nodes that share a store of limits, this one included.

    While the store is away the last count stands.

    Args:
        store: Where all nodes have their places.
        clock: The node's clock.
        tell: Called with the number of nodes when it is another one.

    Attributes:
        nodes: How many there are, as far as is known.
    """

    def __init__(
        self,
        store: LimitStore,
        *,
        clock: Clock,
        tell: Sequence[Callable[[int], None]] = (),
    ) -> None:
        self.nodes = 1
        self._store = store
        self._clock = clock
        self._tell = tuple(tell)
        self._place_id = ""
        self._beats = Background(self._run)

    def start(self) -> None:
        """Take a place, and renew it each second."""
        self._place_id = f"node:{uuid7(self._clock())}"
        self._beats.ensure()

    async def stop(self) -> None:
        """Leave the place to nobody, so that the others have their part at once."""
        self._beats.stop()
        if self._place_id:
            place_id, self._place_id = self._place_id, ""
            try:
                await self._store.settle(place_id, [_PLACE], [0], now_ns=self._clock())
            except StorageError:
                return  # it is taken for dead in a moment

    async def beat(self) -> None:
        """Renew the place, and count."""
        now_ns = self._clock()
        try:
            await self._store.renew(
                self._place_id, [_PLACE], lease_ns=LEASE_NS, now_ns=now_ns
            )
            (verdict,) = await self._store.peek([_NO_PLACE], now_ns=now_ns)
        except StorageError:
            return  # the limiter tells of it
        nodes = max(1, _NODES_MAX - verdict.remaining)
        if nodes != self.nodes:
            _log.info("platform_nodes", nodes=nodes, before=self.nodes)
            self.nodes = nodes
            for tell in self._tell:
                tell(nodes)

    async def _run(self) -> None:
        while self._place_id:
            await self.beat()
            await anyio.sleep(BEAT_S)
