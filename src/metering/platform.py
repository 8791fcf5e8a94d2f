"""What the platform can spare: for each upstream who may call it now, and how often."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import anyio
import msgspec

from metering.adaptive import (
    REQUEST_COST,
    AdaptivePool,
    AdaptiveSettings,
    Explanation,
    account_quota,
)
from metering.background import Background
from metering.clock import NS_PER_S, Clock
from metering.errors import ConfigurationError
from metering.gauges import Gauge, ReadQueue
from metering.limit_rules import key_part
from metering.log import Log
from metering.quota import Demand

__all__ = ["Arrival", "Busy", "Platform", "PlatformSettings", "Upstream"]

OTHERS = "others"
"""The pool of models that no pool names; names come from clients: there must be one."""

TICK_S = 0.1
TOLD_EVERY_NS = 10 * NS_PER_S
_CLIENT_GONE = 499

_log = Log()


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformSettings:
    """What an operator says of adaptive limits.

    Attributes:
        pool: What each pool is told.
        pools: Name of the pool of each model; those without one share a pool.
        gauges: URL of the page of metrics of a pool, by its name.
        classes: Class of the calls of each tier by its level, where they are limited by
            contract; calls that are adaptive are of class 0.
    """

    pool: AdaptiveSettings = field(default_factory=AdaptiveSettings)
    pools: Mapping[str, str] = field(default_factory=dict)
    gauges: Mapping[str, str] = field(default_factory=dict)
    classes: Mapping[int, int] = field(default_factory=dict)


class Arrival(msgspec.Struct, frozen=True, gc=False):
    """A call that asks to go upstream.

    Attributes:
        call_id: Names it from here to its end.
        account_id: Whose it is.
        klass: Class of its tier.
        input_tokens: Size of its prompt; a guess will do.
        streams: Whether it asks for a stream.
    """

    call_id: str
    account_id: str
    klass: int
    input_tokens: int
    streams: bool


@dataclass(frozen=True, slots=True)
class Busy:
    """The platform does not take a call.

    Attributes:
        retry_after_ns: How long it should stay away.
    """

    retry_after_ns: int


@dataclass(slots=True)
class _Waiting:
    over: anyio.Event
    busy: Busy | None = None


class Upstream:
    """One pool, with those who wait for it and for whom time must pass.

    Args:
        name: Name of the pool.
        settings: What the pool is told.
        clock: A clock that never goes back.
        ticks: Has time pass while calls wait or run.
        read_queue: Reads how long the platform says its queue is; None: it does not.
    """

    def __init__(
        self,
        name: str,
        settings: AdaptiveSettings,
        *,
        clock: Clock,
        ticks: Background,
        read_queue: ReadQueue | None = None,
    ) -> None:
        self.name = name
        self.pool = AdaptivePool(settings)
        self._burst_ns = settings.burst_ns
        self._key = key_part(name)
        self._clock = clock
        self._ticks = ticks
        self._waiting: dict[str, _Waiting] = {}
        self._running: set[str] = set()
        self._gauge: Gauge | None = None
        if read_queue is not None:
            self._gauge = Gauge(name, read_queue, self._queue_is)
        self._nodes = 1
        self._asked = False
        self._told: tuple[str, int] = ("normal", -TOLD_EVERY_NS)

    @property
    def in_use(self) -> bool:
        """Whether calls wait or run."""
        return bool(self._running or self._waiting)

    def demand(self, account_id: str) -> Demand:
        """Return what one call of class 0 demands of its account's published limit."""
        rpm = self.pool.limit(0, self._clock())
        return _demand(account_id, self._key, rpm, self._burst_ns)

    def shared_by(self, nodes: int) -> None:
        """Take this node's part of a platform that so many nodes send to."""
        self._nodes = nodes
        self.pool.share_of(nodes)

    def limited(self, account_id: str) -> None:
        """Tell that a call of class 0 was refused by its account's limit."""
        self._asked = True
        self.pool.over(account_id, klass=0, now_ns=self._clock())

    def ask(self, call: Arrival) -> Busy | None:
        """Ask for a call: None if it goes upstream, perhaps after a `wait`."""
        self._asked = True
        now_ns = self._clock()
        verdict = self.pool.arrive(
            call.call_id,
            account_id=call.account_id,
            klass=call.klass,
            input_tokens=call.input_tokens,
            streams=call.streams,
            now_ns=now_ns,
        )
        if verdict.kind == "go":
            self._running.add(call.call_id)
        elif verdict.kind == "refused":
            return Busy(verdict.retry_after_ns)
        else:
            self._waiting[call.call_id] = _Waiting(anyio.Event())
        self._release(now_ns)
        self._ticks.ensure()
        return None

    def waits(self, call_id: str) -> bool:
        """Whether a call that asked must `wait`."""
        return call_id in self._waiting

    async def wait(self, call_id: str) -> Busy | None:
        """Wait until a call may go upstream, or is not taken after all."""
        waiting = self._waiting[call_id]
        try:
            await waiting.over.wait()
        except BaseException:
            self.end(call_id, status=_CLIENT_GONE)
            raise
        finally:
            self._waiting.pop(call_id, None)
        return waiting.busy

    def first_byte(self, call_id: str) -> None:
        """Tell that the first byte of a call's answer came."""
        now_ns = self._clock()
        self.pool.first_byte(call_id, now_ns)
        self._release(now_ns)

    def end(self, call_id: str, *, status: int, output_tokens: int = 0) -> None:
        """Tell that a call has ended, or waits no longer, however that came about."""
        now_ns = self._clock()
        self._running.discard(call_id)
        self.pool.finish(call_id, now_ns, status=status, output_tokens=output_tokens)
        self._release(now_ns)

    def tick(self, now_ns: int) -> None:
        """Let time pass."""
        if self._gauge is not None:
            self._gauge.look(now_ns)
        self.pool.tick(now_ns)
        self._release(now_ns)
        self._tell(now_ns)

    def explain(self) -> Explanation:
        """Return what the platform is doing and why."""
        return self.pool.explain(self._clock())

    def look(self) -> Explanation | None:
        """Do as `explain`; None if nobody asked since the last look, and none runs."""
        asked, self._asked = self._asked, False
        return self.explain() if asked or self.in_use else None

    def _queue_is(self, length: float) -> None:
        # The platform tells of the calls of all nodes; those of the others are alike.
        self.pool.push_gauge(length / self._nodes, self._clock())

    def _release(self, now_ns: int) -> None:
        if not self._waiting:
            return
        released = self.pool.poll(now_ns)
        for call_id in released.go:
            self._running.add(call_id)
            self._waiting[call_id].over.set()
        for call_id in released.refused:
            waiting = self._waiting[call_id]
            waiting.busy = Busy(released.retry_after_ns)
            waiting.over.set()

    def _tell(self, now_ns: int) -> None:
        """Tell an operator of another state, but not of each flicker."""
        state, told_ns = self._told
        if now_ns - told_ns < TOLD_EVERY_NS:
            return
        now = self.pool.explain(now_ns)
        if now.state != state:
            self._told = now.state, now_ns
            _log.info(
                "platform_state",
                pool=self.name,
                state=now.state,
                before=state,
                limit_rpm=now.limit_rpm,
                why=str(now),
            )


class Platform:
    """The upstreams of a service, each with a pool of its own.

    Args:
        settings: What the operator says.
        clock: A clock that never goes back.
        gauges: Reads how long the platform says the queue of a pool is, by its name.

    Raises:
        ConfigurationError: A gauge is of a pool that there is not.
    """

    def __init__(
        self,
        settings: PlatformSettings,
        *,
        clock: Clock = time.monotonic_ns,
        gauges: Mapping[str, ReadQueue] | None = None,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._ticks = Background(self._pass_time)
        read = dict(gauges or {})
        self._upstreams = {
            name: Upstream(
                name,
                settings.pool,
                clock=clock,
                ticks=self._ticks,
                read_queue=read.pop(name, None),
            )
            for name in dict.fromkeys((*settings.pools.values(), OTHERS))
        }
        for name in read:
            raise ConfigurationError(
                f"There is no pool {name!r} to have a gauge; the pools are:"
                f" {', '.join(self._upstreams)}."
            )

    def upstream(self, model: str) -> Upstream:
        """Return the upstream of a model."""
        return self._upstreams[self._settings.pools.get(model, OTHERS)]

    def class_of(self, tier: int) -> int:
        """Return the class of a tier's calls that are limited by contract."""
        return self._settings.classes.get(tier, len(self._settings.pool.classes) - 1)

    def shared_by(self, nodes: int) -> None:
        """Take this node's part of a platform that so many nodes send to."""
        for upstream in self._upstreams.values():
            upstream.shared_by(nodes)

    def demands(self, account_id: str) -> dict[str, Demand]:
        """Return what a call of class 0 demands of its account's limit, by pool."""
        return {name: one.demand(account_id) for name, one in self._upstreams.items()}

    def explain(self) -> dict[str, Explanation]:
        """Return what each pool is doing and why."""
        return {name: one.explain() for name, one in self._upstreams.items()}

    def look(self) -> dict[str, Explanation]:
        """Return what the pools are doing that were asked for since the last look."""
        looks = {name: one.look() for name, one in self._upstreams.items()}
        return {name: now for name, now in looks.items() if now is not None}

    def tick(self) -> None:
        """Let time pass; done ten times a second by itself while calls wait or run."""
        now_ns = self._clock()
        for upstream in self._in_use():
            upstream.tick(now_ns)

    def stop(self) -> None:
        """End the work in the background."""
        self._ticks.stop()

    def _in_use(self) -> Iterable[Upstream]:
        return [one for one in self._upstreams.values() if one.in_use]

    async def _pass_time(self) -> None:
        while self._in_use():
            await anyio.sleep(TICK_S)
            self.tick()


@lru_cache(maxsize=4096)
def _demand(account_id: str, key: str, rpm: float, burst_ns: int) -> Demand:
    return Demand(
        f"{{{account_id}}}:rpm:adaptive:{key}",
        account_quota(account_id, rpm, burst_ns),
        REQUEST_COST,
        name="requests",
    )
