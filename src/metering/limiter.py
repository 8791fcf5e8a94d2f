"""Admission: all demands of a call in one store operation, seeded where need be."""

import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager

import anyio
from anyio import to_thread

from metering.clock import NS_PER_S, Clock
from metering.errors import StorageError
from metering.ids import uuid7
from metering.keeper import Keeper
from metering.local_share import LocalShare
from metering.log import Log
from metering.loss import Loss
from metering.observing import Observers
from metering.quota import UNKNOWN, Demand, Verdict, binding
from metering.stores import LimitStore, Outcome, WindowStore
from metering.taken import as_granted, in_order, not_yet_taken

__all__ = ["REMEMBERED_NS", "Limiter", "SpentOf"]

SpentOf = Callable[[str, int], int]
"""Returns what the budget of a key has spent at an instant; runs in a thread."""

REMEMBERED_NS = 3000 * NS_PER_S
"""What was settled longer ago a shared store, which remembers that for an hour, may not
know any more."""

_SKEW_NS = 60 * NS_PER_S
_ENDLESS_NS = 2**62
_SEEDINGS_MAX = 3

_log = Log()


class Limiter:
    """Admits calls and settles ended ones.

    Args:
        store: Where quotas and holds are.
        clock: The node's clock.
        lease_ns: How long a hold outlives a process that died, in a store that does.
        spent_of: Where the seed of a ledgered budget comes from; None without any.
        share: What this node grants by itself while the store is away; None: nothing.
        steady: A clock that never steps back, for when to renew leases.
        windows: Where demands that have a window are counted; None without any.
        observers: Who is told how long a store that waits takes.

    Attributes:
        store: The store.
        away: Whether it did not answer when it was last asked.
        windows_away: The same of the windows.
        keeper: What this process holds and owes there; None of a store of its own.
    """

    def __init__(
        self,
        store: LimitStore,
        *,
        clock: Clock,
        lease_ns: int = 30 * NS_PER_S,
        spent_of: SpentOf | None = None,
        share: LocalShare | None = None,
        steady: Clock = time.monotonic_ns,
        windows: WindowStore | None = None,
        observers: Observers | None = None,
    ) -> None:
        self.store = store
        self._flights: dict[str, anyio.Event] = {}
        self._seeding: dict[str, tuple[anyio.Lock, int]] = {}
        self._clock = clock
        self._spent_of = spent_of
        self._share = share
        # A store within the process dies with its calls: their holds need no lease,
        # and are settled at once.
        self._lease_ns = lease_ns if store.waits else _ENDLESS_NS
        self.keeper: Keeper | None = None
        if store.waits:
            self.keeper = Keeper(store, clock=clock, steady=steady, lease_ns=lease_ns)
        self._loss: Loss | None = None
        if self.keeper is not None and store.forgets:
            self._loss = Loss(store, self.keeper, clock)
        self._alone: set[str] = set()
        self.away = False
        self._windows = windows
        self.windows_away = False
        self._observers = observers or Observers()

    async def admit(
        self,
        demands: Sequence[Demand],
        *,
        hold_id: str,
        account: tuple[str, int] | None = None,
    ) -> Outcome:
        """Grant all demands or take nothing; `stale` is left to the caller.

        Raises:
            StorageError: The store, or the ledger that seeds it, did not answer, and
                these demands are not for this node to grant by itself.
        """
        windows = self._windows
        if windows is None or not any(demand.window for demand in demands):
            return await self._admit_kept(demands, hold_id, account)
        return await self._admit_counted(windows, demands, hold_id, account)

    async def settle(
        self, hold_id: str, demands: Sequence[Demand], costs: Sequence[int]
    ) -> None:
        """Replace a hold by what was used, once; soon, where the store is elsewhere."""
        if self._windows is not None:
            costs = [
                cost for d, cost in zip(demands, costs, strict=True) if not d.window
            ]
            demands = [demand for demand in demands if not demand.window]
            if not demands:
                return
        keeper, share = self.keeper, self._share
        if keeper is None:
            now_ns = self._clock()
            await self.store.settle(hold_id, demands, costs, now_ns=now_ns)
            return
        if hold_id in self._alone and share is not None:
            self._alone.discard(hold_id)
            await share.settle(hold_id, demands, costs, now_ns=self._clock())
            demands = not_yet_taken(demands)
        keeper.ended(hold_id, demands, costs)

    @property
    def shares(self) -> bool:
        """Whether other processes know the same limits."""
        return self.keeper is not None

    async def settle_left(
        self, calls: Iterable[tuple[str, Sequence[Demand], Sequence[int]]]
    ) -> None:
        """Settle calls of a process that is gone, by hold; later if the store is away.

        Args:
            calls: Of each the id of its hold, its demands and what they cost.
        """
        if self.keeper is not None:
            for hold_id, demands, costs in calls:
                self.keeper.ended(hold_id, demands, costs)
            await self.keeper.settle_owed()

    async def know(self, key: str) -> bool:
        """Seed a budget unless the store knows it, with what runs here held again.

        To be called within `seeding`. Where the store has lost all it knew, the others
        are first given time to post and to hold again what is theirs.

        Returns:
            Whether the store knew it before.
        """
        if self._loss is not None:
            await self._loss.made_good()
        if self.keeper is not None:
            await self.keeper.hold_again(key)
        now_ns = self._clock()
        spent = await self._spent(key, now_ns)
        return not await self.store.seed(key, spent, now_ns=now_ns)

    def remembers(self, instant_ns: int) -> bool:
        """Whether what was settled since then, if it was, would be known as repeated.

        That is so where the store is shared, and has lost nothing since. To be asked
        after `know`.
        """
        if self.keeper is None or self._clock() - instant_ns >= REMEMBERED_NS:
            return False
        return self._loss is None or self._loss.since_ns + _SKEW_NS <= instant_ns

    async def relieve(self, demand: Demand, relief: int, *, reference: str) -> None:
        """Take an early payment off what a budget has spent, once a reference.

        To be called within `seeding`, entered before the payment was recorded.
        """
        await self.settle(f"relief:{reference}", [demand], [-relief])

    @asynccontextmanager
    async def seeding(self, key: str) -> AsyncIterator[None]:
        """Keep a budget from being seeded: its seed would have the payment already."""
        lock, users = self._seeding.get(key, (anyio.Lock(), 0))
        self._seeding[key] = lock, users + 1
        try:
            async with lock:
                yield
        finally:
            lock, users = self._seeding[key]
            self._seeding[key] = lock, users - 1
            if users == 1:
                del self._seeding[key]

    async def prepare(self) -> None:
        """Reach a shared store before the first call does; it may be away as well."""
        if self._loss is not None:
            with contextlib.suppress(StorageError):
                await self._loss.mark()

    async def close(self, timeout_s: float) -> None:
        """Bring to the store what it is owed, as far as the time allows."""
        if self._loss is not None:
            self._loss.stop()
        if self.keeper is not None:
            await self.keeper.close(timeout_s)

    def _admit_kept(
        self,
        demands: Sequence[Demand],
        hold_id: str,
        account: tuple[str, int] | None,
    ) -> Awaitable[Outcome]:
        """Decide over demands that the limit store keeps, or this node alone."""
        if self.keeper is None:
            return self._admit(demands, hold_id, account)
        return self._admit_elsewhere(self.keeper, demands, hold_id, account)

    async def _admit_elsewhere(
        self,
        keeper: Keeper,
        demands: Sequence[Demand],
        hold_id: str,
        account: tuple[str, int] | None,
    ) -> Outcome:
        try:
            outcome = await self._admit(demands, hold_id, account)
        except StorageError as error:
            self._note_away(error)
            if self._share is None or not self._share.grants(demands):
                raise
            return await self._admit_alone(self._share, keeper, demands, hold_id)
        if self.away:
            self.away = False
            _log.info("limits_back", owed=keeper.owed)
        if hold_id and outcome.status == "admitted":
            keeper.opened(hold_id, as_granted(demands, outcome))
        return outcome

    async def _admit(
        self,
        demands: Sequence[Demand],
        hold_id: str,
        account: tuple[str, int] | None,
    ) -> Outcome:
        outcome = await self._acquire(demands, hold_id, account)
        for _ in range(_SEEDINGS_MAX):
            if outcome.status != "unseeded":
                break
            for key in outcome.unseeded:
                await self._seed(key)
            outcome = await self._acquire(demands, hold_id, account)
        return outcome

    async def _seed(self, key: str) -> None:
        """Seed a budget, once for all calls that wait for it."""
        others = self._flights.get(key)
        if others is not None:
            await others.wait()  # in vain, perhaps: who asks again leads the next one
            return
        self._flights[key] = ended = anyio.Event()
        try:
            async with self.seeding(key):
                await self.know(key)
        finally:
            del self._flights[key]
            ended.set()

    def _acquire(
        self,
        demands: Sequence[Demand],
        hold_id: str,
        account: tuple[str, int] | None,
    ) -> Awaitable[Outcome]:
        # What is only handed on is not awaited here: each coroutine on the way costs a
        # tenth of what a decision in memory does.
        answer = self.store.acquire(
            demands,
            hold_id=hold_id,
            lease_ns=self._lease_ns,
            now_ns=self._clock(),
            account=account,
        )
        if self._observers.told and self.store.waits:
            return self._timed(answer)
        return answer

    async def _timed(self, answer: Awaitable[Outcome]) -> Outcome:
        began_ns, answered = time.perf_counter_ns(), False
        try:
            outcome = await answer
            answered = True
        finally:
            took_ns = time.perf_counter_ns() - began_ns
            self._observers.limits_asked(took_ns, answered=answered)
        return outcome

    async def _spent(self, key: str, now_ns: int) -> int:
        if self._spent_of is None:
            return 0
        return await to_thread.run_sync(self._spent_of, key, now_ns)

    # Windows

    async def _admit_counted(
        self,
        windows: WindowStore,
        demands: Sequence[Demand],
        hold_id: str,
        account: tuple[str, int] | None,
    ) -> Outcome:
        """Ask the windows last: what the others took can be given back."""
        kept = [demand for demand in demands if not demand.window]
        own_id = hold_id or uuid7(self._clock())
        outcome = Outcome("admitted")
        if kept:
            outcome = await self._admit_kept(kept, own_id, account)
        if outcome.status not in {"admitted", "refused"}:
            return outcome
        taken = as_granted(kept, outcome)
        costs = [0] * len(taken)
        worst = -1
        try:
            counted = [demand for demand in demands if demand.window]
            verdicts = in_order(
                demands,
                outcome.verdicts,
                await self._count(windows, counted, take=outcome.status == "admitted"),
            )
            worst = binding(demands, verdicts)
            if worst < 0:
                costs = [demand.cost for demand in taken]
                taken = [] if hold_id else taken
        finally:
            if taken:  # in vain, or for a call that has nothing to be settled later
                with anyio.CancelScope(shield=True):
                    await self.settle(own_id, taken, costs)
        return Outcome("admitted" if worst < 0 else "refused", verdicts, worst)

    async def _count(
        self, windows: WindowStore, demands: Sequence[Demand], *, take: bool
    ) -> tuple[Verdict, ...]:
        try:
            verdicts = await (windows.take if take else windows.peek)(demands)
        except StorageError as error:
            if not self.windows_away:
                self.windows_away = True
                _log.error("windows_away", error=str(error))
            if take and (self._share is None or not self._share.grants(demands)):
                raise
            return tuple(Verdict(demand.cost, UNKNOWN) for demand in demands)
        if self.windows_away:
            self.windows_away = False
            _log.info("windows_back")
        return verdicts

    # While the store is away

    def _note_away(self, error: StorageError) -> None:
        if not self.away:
            self.away = True
            _log.error("limits_away", error=str(error))
            if self._share is not None:
                self._share.begin()

    async def _admit_alone(
        self,
        share: LocalShare,
        keeper: Keeper,
        demands: Sequence[Demand],
        hold_id: str,
    ) -> Outcome:
        now_ns = self._clock()
        own_id = hold_id or uuid7(now_ns)
        outcome = await share.acquire(demands, hold_id=own_id, now_ns=now_ns)
        if outcome.status == "unseeded":
            for key in outcome.unseeded:
                spent = await self._spent(key, now_ns)
                await share.seed(key, spent, now_ns=now_ns)
            outcome = await share.acquire(demands, hold_id=own_id, now_ns=now_ns)
        if outcome.status == "admitted":
            if hold_id:
                self._alone.add(hold_id)
                keeper.opened(hold_id, as_granted(demands, outcome))
            else:
                costs = [demand.cost for demand in demands]
                keeper.ended(own_id, not_yet_taken(demands), costs)
        return outcome
