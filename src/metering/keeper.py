"""Keeps the holds of running calls alive, and brings what ended to a shared store."""

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import anyio

from metering.background import Background
from metering.clock import NS_PER_S, Clock
from metering.errors import StorageError
from metering.log import Log
from metering.quota import Demand
from metering.stores import LimitStore

__all__ = ["Keeper"]

ENDED_MAX = 65_536
"""Settlements that wait for the store; above it the oldest are given up."""

_AT_ONCE = 256
_RETRY_S = 1.0

_log = Log()


class _Ended(NamedTuple):
    hold_id: str
    demands: Sequence[Demand]
    costs: Sequence[int]


class Keeper:
    """What a node owes to a limit store that it shares with others.

    Settlements are off the way of answers: they are sent in the background, in their
    order, and again until the store takes them, which counts each only once. A lease
    is renewed when a sixth of it is over, and is held again by that if the store has
    lost it. What a killed process owed is not lost with it: its charges are in its
    journal, and who adopts that settles its holds (`LeftCalls`).

    Args:
        store: The store.
        clock: The node's clock.
        steady: A clock that never steps back, for when to renew.
        lease_ns: For how long holds are renewed.
    """

    def __init__(
        self, store: LimitStore, *, clock: Clock, steady: Clock, lease_ns: int
    ) -> None:
        self._store = store
        self._clock = clock
        self._steady = steady
        self._lease_ns = lease_ns
        # Running calls, and when to renew them: the next one first.
        self._running: dict[str, tuple[int, Sequence[Demand]]] = {}
        self._ended: deque[_Ended] = deque()
        self._given_up = 0
        self._wake = anyio.Event()
        self._swept_ns = steady()
        self._background = Background(self._run)

    @property
    def owed(self) -> int:
        """How many settlements wait for the store."""
        return len(self._ended)

    @property
    def running(self) -> int:
        """How many calls hold something."""
        return len(self._running)

    def opened(self, hold_id: str, demands: Sequence[Demand]) -> None:
        """Renew a hold from now on, until it has ended."""
        self._running[hold_id] = self._steady() + self._lease_ns // 6, demands
        self._background.ensure()

    def ended(
        self, hold_id: str, demands: Sequence[Demand], costs: Sequence[int]
    ) -> None:
        """Have a hold settled soon."""
        self._running.pop(hold_id, None)
        if len(self._ended) >= ENDED_MAX:
            self._ended.popleft()
            self._given_up += 1
        self._ended.append(_Ended(hold_id, demands, costs))
        self._wake.set()
        self._background.ensure()

    async def settle_owed(self) -> bool:
        """Settle what has ended. Return whether the store took all of it."""
        while self._ended:
            batch = [
                self._ended.popleft() for _ in range(min(_AT_ONCE, len(self._ended)))
            ]
            failed: list[_Ended] = []
            try:
                async with anyio.create_task_group() as tasks:
                    for ended in batch:
                        tasks.start_soon(self._settle, ended, failed)
            except BaseException:
                self._ended.extendleft(reversed(batch))  # repeated ones count once
                raise
            if failed:
                self._ended.extendleft(reversed(failed))
                return False
            await self.renew_due()  # however many more wait
        if self._given_up:
            _log.error("settlements_given_up", count=self._given_up)
            self._given_up = 0
        return True

    async def renew_due(self) -> None:
        """Renew the leases of which a sixth is over, and free those of dead calls."""
        steady_ns = self._steady()
        due = []
        for hold_id, (due_ns, demands) in self._running.items():
            if due_ns > steady_ns:
                break
            due.append((hold_id, demands))
        await self._renew_all(due)
        if steady_ns - self._swept_ns >= self._lease_ns:
            self._swept_ns = steady_ns
            await self._store.sweep(now_ns=self._clock())

    async def hold_again(self, key: str = "") -> None:
        """Hold again what running calls have of a budget, or of all, that was lost."""
        await self._renew_all(
            [
                (hold_id, demands)
                for hold_id, (_, demands) in self._running.items()
                if not key or any(demand.key == key for demand in demands)
            ]
        )

    async def close(self, timeout_s: float) -> None:
        """Settle what is owed, as far as the time allows, and stop."""
        with anyio.move_on_after(timeout_s):
            await self._background.aclose()  # what it was sending is owed again
            while True:
                if await self.settle_owed():
                    return
                await anyio.sleep(_RETRY_S)
        if self._ended:
            _log.warning("settlements_not_sent", count=len(self._ended))

    async def _settle(self, ended: _Ended, failed: list[_Ended]) -> None:
        try:
            await self._store.settle(
                ended.hold_id, ended.demands, ended.costs, now_ns=self._clock()
            )
        except StorageError:
            failed.append(ended)

    async def _renew_all(self, holds: Sequence[tuple[str, Sequence[Demand]]]) -> None:
        for at in range(0, len(holds), _AT_ONCE):
            async with anyio.create_task_group() as tasks:
                for hold_id, demands in holds[at : at + _AT_ONCE]:
                    tasks.start_soon(self._renew, hold_id, demands)

    async def _renew(self, hold_id: str, demands: Sequence[Demand]) -> None:
        try:
            await self._store.renew(
                hold_id, demands, lease_ns=self._lease_ns, now_ns=self._clock()
            )
        except StorageError:
            return  # the next round asks again, and holds what was lost
        if self._running.pop(hold_id, None) is not None:
            self._running[hold_id] = self._steady() + self._lease_ns // 6, demands

    async def _run(self) -> None:
        pause_s = self._lease_ns / NS_PER_S / 12
        while True:
            with anyio.move_on_after(pause_s):
                await self._wake.wait()
            self._wake = anyio.Event()
            try:
                settled = await self.settle_owed()
                await self.renew_due()
            except StorageError:
                settled = False
            if not settled:
                await anyio.sleep(_RETRY_S)
