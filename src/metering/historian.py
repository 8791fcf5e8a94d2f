"""Gathers what is looked back at later, and writes it into the history each second."""

from collections.abc import Callable, Iterable, Mapping
from threading import Lock
from typing import get_args

import anyio
from anyio import to_thread
from msgspec import structs

from metering.adaptive import Explanation, PlatformState
from metering.background import Background
from metering.clock import Clock
from metering.errors import ConfigurationError
from metering.ids import uuid7
from metering.log import Log
from metering.observing import RefusedCall
from metering.stores import History, PoolMinute, RefusalMinute, RefusalPlace
from metering.stores.history import MINUTE_NS

__all__ = ["PLACES_MAX", "POOLS_KEPT_NS", "REFUSALS_KEPT_NS", "Historian"]

PLACES_MAX = 10_000
"""Kinds of refusals that wait to be written; what finds no room is only counted."""

POOL_MINUTES_MAX = 1_000
"""Minutes of pools that wait to be written; beyond it the oldest are given up."""

REFUSALS_KEPT_NS = 30 * 24 * 60 * MINUTE_NS
REFUSALS_KEPT_MAX = 1_000_000
"""Rows that are kept whatever their age, about 150 MB of them."""

POOLS_KEPT_NS = 7 * 24 * 60 * MINUTE_NS

_WRITE_S = 1.0
_WRITES_PER_LOOK = 10
_FORGOTTEN_AT_ONCE = 5_000
_UNKNOWN_TIER = -1

_RANK: dict[PlatformState, int] = {
    state: rank for rank, state in enumerate(get_args(PlatformState))
}

Look = Callable[[], Mapping[str, Explanation]]
"""Returns what the adaptive pools do that were asked for since the last look."""

_Place = tuple[int, str, str, str, str, int]
"""A `RefusalPlace` as it is made on the way of a call."""

_log = Log()


class Historian:
    """Keeps account of refusals and of adaptive pools, by the minute.

    A refusal only counts up an entry in memory. All that came of a second is written in
    one transaction, in a worker thread; while the ledger is away it waits, as far as
    there is room. A process that is killed takes the last second with it.

    Args:
        store: Where it is written.
        clock: The node's clock.
        models: The names in the price book; others come from clients, and are not kept.
        look: Looks at the adaptive pools, ten seconds apart; None: there are none.
    """

    def __init__(
        self,
        store: History,
        *,
        clock: Clock,
        models: Iterable[str],
        look: Look | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._models = frozenset(models)
        self._look_at_pools = look
        self._node = ""
        self._gathering = Lock()
        # Status, calls, the first instant and the last.
        self._refused: dict[_Place, list[int]] = {}
        self._pools: dict[tuple[str, int], PoolMinute] = {}
        self._looks: dict[str, tuple[int, PoolMinute]] = {}
        self._writing = Lock()
        self._lost = 0
        self._lost_told_ns: int | None = None
        self._away = False
        self._stopped = False
        self._background = Background(self._run)

    def refused(self, call: RefusedCall) -> None:
        """Count a refused call; of one whose caller nobody knows only why."""
        at_ns = call.ended_ns
        minute_ns = at_ns - at_ns % MINUTE_NS
        place: _Place
        if call.account_id is None:
            place = (minute_ns, "", "", call.code, "", _UNKNOWN_TIER)
        else:
            model = call.model if call.model in self._models else ""
            tier = _UNKNOWN_TIER if call.tier is None else call.tier
            place = (minute_ns, call.account_id, model, call.code, call.quota, tier)
        with self._gathering:
            self._add(place, [call.status, 1, at_ns, at_ns])

    def look(self) -> None:
        """Take down what the adaptive pools are doing."""
        if self._look_at_pools is None:
            return
        now_ns = self._clock()
        minute_ns = now_ns - now_ns % MINUTE_NS
        self._node = self._node or uuid7(now_ns)
        for pool, now in self._look_at_pools().items():
            looks, minute = self._looks.get(pool, (0, None))
            if minute is None or minute.minute_ns != minute_ns:
                looks, minute = 1, _first_look(self._node, pool, minute_ns, now)
            else:
                looks, minute = looks + 1, _next_look(minute, looks + 1, now)
            self._looks[pool] = looks, minute
            with self._gathering:
                self._pools[pool, minute_ns] = minute
                while len(self._pools) > POOL_MINUTES_MAX:
                    del self._pools[next(iter(self._pools))]

    def write(self) -> bool:
        """Write what waits; say whether none waits any more. Blocks."""
        with self._writing:
            with self._gathering:
                refused, self._refused = self._refused, {}
                pools, self._pools = self._pools, {}
            if refused or pools:
                minutes = [_minute(place, of) for place, of in refused.items()]
                try:
                    self._store.note(minutes, list(pools.values()))
                except Exception as error:  # noqa: BLE001 - a ledger may raise anything
                    self._put_back(refused, pools, error)
                else:
                    self._tell_of_store(None)
            self._tell_lost()
            return not (self._refused or self._pools)

    async def forget(self) -> None:
        """Forget what is older than it is kept, some at a time."""
        now_ns = self._clock()
        while await to_thread.run_sync(self._forget_some, now_ns):
            pass

    def start(self) -> None:
        """Begin to look and to write, unless it is being done."""
        self._stopped = False
        self._background.ensure()

    def stop(self) -> None:
        """Do no more; what waits is for a last `write`."""
        self._stopped = True  # a task of Trio cannot be cancelled from here
        self._background.stop()

    async def _run(self) -> None:
        while not self._stopped:
            self.look()
            for _ in range(_WRITES_PER_LOOK):
                await anyio.sleep(_WRITE_S)
                if self._stopped:
                    return
                if self._refused or self._pools:
                    await to_thread.run_sync(self.write)

    def _add(self, place: _Place, more: list[int]) -> None:
        """Add refusals to those of the same place, if there is room for it."""
        found = self._refused.get(place)
        if found is not None:
            found[1] += more[1]
            found[2] = min(found[2], more[2])
            found[3] = max(found[3], more[3])
        elif len(self._refused) < PLACES_MAX:
            self._refused[place] = more
        else:
            self._lost += more[1]

    def _put_back(
        self,
        refused: Mapping[_Place, list[int]],
        pools: Mapping[tuple[str, int], PoolMinute],
        error: Exception,
    ) -> None:
        self._tell_of_store(error)
        with self._gathering:
            if isinstance(error, ConfigurationError):  # it will never be taken
                self._lost += sum(calls for _, calls, _, _ in refused.values())
                return
            for place, of in refused.items():
                self._add(place, of)
            newer = self._pools
            self._pools = {**pools, **newer}

    def _forget_some(self, now_ns: int) -> int:
        return self._store.forget(
            refusals_before_ns=now_ns - REFUSALS_KEPT_NS,
            refusals_max=REFUSALS_KEPT_MAX,
            pools_before_ns=now_ns - POOLS_KEPT_NS,
            limit=_FORGOTTEN_AT_ONCE,
        )

    def _tell_of_store(self, error: Exception | None) -> None:
        away = error is not None
        if away != self._away:
            self._away = away
            if away:
                _log.warning("history_not_written", error=str(error))
            else:
                _log.info("history_written_again")

    def _tell_lost(self) -> None:
        """Say how many refusals found no room, once a minute at most."""
        now_ns, told_ns = self._clock(), self._lost_told_ns
        if self._lost and (told_ns is None or now_ns - told_ns >= MINUTE_NS):
            self._lost_told_ns = now_ns
            with self._gathering:
                lost, self._lost = self._lost, 0
            _log.warning("refusals_not_kept", calls=lost)


def _minute(place: _Place, of: list[int]) -> RefusalMinute:
    status, calls, first_ns, last_ns = of
    return RefusalMinute(
        place=RefusalPlace(*place),
        status=status,
        calls=calls,
        first_ns=first_ns,
        last_ns=last_ns,
    )


def _first_look(node: str, pool: str, minute_ns: int, now: Explanation) -> PoolMinute:
    return PoolMinute(
        node=node,
        pool=pool,
        minute_ns=minute_ns,
        state=now.state,
        cause=now.cause,
        limit_rpm=now.limit_rpm,
        limit_rpm_min=now.limit_rpm,
        awaiting=now.awaiting,
        waiting=now.waiting,
        budget_per_s=now.budget_per_s,
        capacity_per_s=now.capacity_per_s,
        unloaded_s=now.unloaded_s,
    )


def _next_look(minute: PoolMinute, looks: int, now: Explanation) -> PoolMinute:
    """Return a minute after one more look; *looks* counts this one as well."""
    return structs.replace(
        minute,
        state=max(minute.state, now.state, key=_RANK.__getitem__),
        cause=now.cause,
        limit_rpm=now.limit_rpm,
        limit_rpm_min=min(minute.limit_rpm_min, now.limit_rpm),
        awaiting=minute.awaiting + (now.awaiting - minute.awaiting) / looks,
        waiting=minute.waiting + (now.waiting - minute.waiting) / looks,
        budget_per_s=now.budget_per_s,
        capacity_per_s=now.capacity_per_s,
        unloaded_s=now.unloaded_s,
    )
