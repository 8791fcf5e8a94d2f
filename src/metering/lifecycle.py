"""What runs beside calls: begun before the first of them, ended after the last."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import anyio
from anyio import to_thread

from metering.carriers import sender_of
from metering.clock import Clock
from metering.config import Plan
from metering.data_home import DataHome
from metering.historian import Historian
from metering.left_calls import LeftCalls
from metering.limiter import Limiter
from metering.observing import Observers
from metering.outbox import Sender
from metering.platform import Platform
from metering.recorder import Recorder
from metering.roster import Roster
from metering.stores import Ledger, LimitStore, WindowStore
from metering.upkeep import Upkeep
from metering.usage import UsageEvent

__all__ = ["Lifecycle"]

STOP_S = 10.0
"""How long charges that are journalled may take into the ledger at the end."""

SETTLE_S = 2.0
"""How long settlements may take to the store of limits at the end."""


@dataclass(slots=True, kw_only=True)
class Lifecycle:
    """Starts and stops what a service does apart from calls.

    Attributes:
        plan: What the operator decided.
        home: The data home, which one process has to itself or many share.
        clock: The node's clock.
        ledger: Where charges are posted.
        limits: Where limits are counted.
        windows: Where windows are; None: there are none.
        limiter: Owes the store of limits what it has not heard of.
        recorder: Brings what is journalled into the ledger.
        left_calls: Settles what killed processes have left behind.
        historian: Keeps refusals and adaptive limits.
        observers: Are told of calls that killed processes never told.
        platform: What tiers get whose requests are adaptive; None: none are.
        roster: Counts the nodes that share it; None: there is one.
        chores: What is done from time to time.
    """

    plan: Plan
    home: DataHome
    clock: Clock
    ledger: Ledger
    limits: LimitStore
    windows: WindowStore | None
    limiter: Limiter
    recorder: Recorder
    left_calls: LeftCalls
    historian: Historian
    observers: Observers
    platform: Platform | None
    roster: Roster | None
    chores: Sequence[Upkeep]
    _sender: Sender | None = field(default=None, init=False)
    _started: bool = field(default=False, init=False)
    _starting: anyio.Lock = field(default_factory=anyio.Lock, init=False)

    async def start(self) -> None:
        """Start all of it, unless it runs.

        Raises:
            ConfigurationError: Another process uses the data home with limits in its
                own memory, or a price of the past was changed.
            StorageError: The ledger cannot be opened.
        """
        if self._started:
            return
        async with self._starting:
            if not self._started:
                await to_thread.run_sync(self._open)
                await self.limiter.prepare()
                for chore in self.chores:
                    chore.start()
                self.historian.start()
                if self.roster is not None:
                    self.roster.start()
                self._started = True

    async def stop(self) -> None:
        """Post what is journalled and close everything; what is left is not lost."""
        if self._started:
            self._started = False
            for chore in self.chores:
                chore.stop()
            self.historian.stop()
            if self.roster is not None:
                await self.roster.stop()
            await self.limiter.close(SETTLE_S)
            await to_thread.run_sync(self._close)
        else:
            # An operator's script owes the limits what its payments have made of room.
            await self.limiter.close(SETTLE_S)
        if self.platform is not None:
            self.platform.stop()
        await self.limits.aclose()
        if self.windows is not None:
            await self.windows.aclose()

    def _open(self) -> None:
        shared = self.limits.waits
        shared = shared and (self.windows is None or self.windows.shared)
        sender = sender_of(self.ledger, self.plan.notices, self.clock)
        self.home.lock(alone=not shared)
        try:
            prices = self.plan.prices.versions()
            self.ledger.publish(prices, now_ns=self.clock())
            self.recorder.start(self._take_over)
            sender.start()
            self._sender = sender
        except BaseException:
            self.home.unlock()
            raise

    def _close(self) -> None:
        self.recorder.stop(STOP_S)
        self.historian.write()
        if self._sender is not None:
            self._sender.stop()
        self.ledger.close()
        self.home.unlock()

    def _take_over(self, left: Sequence[UsageEvent]) -> None:
        """Settle what a killed process has left, and tell of what it never told."""
        self.left_calls.settle(left)
        if self.observers.told:
            for event in left:
                if event.ending == "recovered":
                    self.observers.call_ended(event, ())
