"""The adaptive pool: gate, waiting rooms and law of one upstream, without a clock."""

from collections import OrderedDict
from dataclasses import dataclass
from math import inf
from typing import Literal

from metering.adaptive.explanation import Explanation, PlatformState
from metering.adaptive.gate import Gate
from metering.adaptive.lane import Lane
from metering.adaptive.law import Law
from metering.adaptive.published import PublishedLimit
from metering.adaptive.room import Call
from metering.adaptive.settings import AdaptiveSettings
from metering.clock import NS_PER_S
from metering.errors import ConfigurationError

__all__ = ["AdaptivePool", "Released", "Verdict"]

_OVERLOADED = frozenset({429, 503, 504, 529})
_FAILED = 400
_CLIENT_GONE = 499
_RUNNING_MAX = 100_000
_IDLE_S = 2
_REPLAYED_S = 50


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a call that asks.

    Attributes:
        kind: `go`: upstream now. `wait`: `AdaptivePool.poll` will tell. `refused`.
        reason: Why it was refused, or "".
        retry_after_ns: How long the client should stay away then.
    """

    kind: Literal["go", "wait", "refused"]
    reason: Literal["", "platform_busy"] = ""
    retry_after_ns: int = 0


@dataclass(frozen=True, slots=True)
class Released:
    """The calls that need not wait any longer, by their request ids.

    Attributes:
        go: They go upstream now, in this order.
        refused: The platform was too busy for too long.
        retry_after_ns: How long the clients of the refused should stay away.
    """

    go: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    retry_after_ns: int = 0


_GO = Verdict("go")
_WAIT = Verdict("wait")
_NOBODY = Released()


class AdaptivePool:
    """Decides which calls go to one upstream, and how much each account may ask.

    The pool decides nothing about single accounts: each has a limit of its own
    (`limit`), which whoever keeps limits enforces *before* `arrive`. A call that this
    limit refuses is told by `over`; a call that the pool refuses is given its unit of
    that limit back. `account_quota` is the limit as a quota for a limit store, and
    `AccountBuckets` keeps it where there is no store.

    Every method takes the instant, from a clock that never goes back. `tick` is to be
    called about ten times a second while calls run or wait, and `poll` after whatever
    was told, if calls wait.

    Args:
        settings: Classes, bounds and constants.
    """

    def __init__(self, settings: AdaptiveSettings | None = None) -> None:
        self._settings = AdaptiveSettings() if settings is None else settings
        self._gate = Gate(self._settings)
        self._law = Law(self._settings)
        self._published = PublishedLimit(
            self._settings.floor_rpm, self._settings.ceiling_rpm
        )
        self._lanes = [
            Lane(self._settings, klass) for klass in range(len(self._settings.classes))
        ]
        self._running: OrderedDict[str, Call] = OrderedDict()
        self._go: list[str] = []
        self._refused: list[str] = []
        self._began_ns: int | None = None
        self._nodes = 1
        self._made = self._sent = self._turned_away = 0

    def arrive(
        self,
        request_id: str,
        *,
        account_id: str,
        klass: int,
        input_tokens: int,
        streams: bool,
        now_ns: int,
    ) -> Verdict:
        """Ask for a call that is inside its account's limit.

        Args:
            request_id: Names the call from here to `finish`.
            account_id: Whose call.
            klass: Class of its tier, an index of `AdaptiveSettings.classes`.
            input_tokens: Size of its prompt; a guess from its bytes will do.
            streams: Whether it asks for a stream.
            now_ns: The present instant.

        Returns:
            That it goes, waits or is refused with `platform_busy`.
        """
        self._wake(now_ns)
        self._release(now_ns)
        lane = self._lanes[klass]
        call = Call(request_id, account_id, input_tokens, streams)
        lane.recent.asked(account_id, now_ns)
        lane.second.passed += 1
        if not lane.room and self._gate.opens(klass, now_ns):
            self._send(lane, call, now_ns)
            return _GO
        lane.made_wait = True
        if not lane.wait_max_ns:
            lane.second.over += 1
            return Verdict("refused", "platform_busy", lane.retry_after_ns)
        lane.room.enter(call, lane.recent.used(account_id, now_ns), now_ns)
        if len(lane.room) <= lane.room_max:
            return _WAIT
        lane.second.over += 1
        evicted = lane.room.evict()
        if evicted is call:
            return Verdict("refused", "platform_busy", lane.retry_after_ns)
        self._refused.append(evicted.request_id)
        return _WAIT

    def over(self, account_id: str, *, klass: int, now_ns: int) -> None:
        """Tell that a call was refused by its account's own limit."""
        self._wake(now_ns)
        lane = self._lanes[klass]
        lane.recent.asked(account_id, now_ns)
        lane.second.limited += 1

    def poll(self, now_ns: int) -> Released:
        """Return the calls whose wait is over; each is told once."""
        self._release(now_ns)
        if not self._go and not self._refused:
            return _NOBODY
        retry_after_ns = max(lane.retry_after_ns for lane in self._lanes)
        released = Released(tuple(self._go), tuple(self._refused), retry_after_ns)
        self._go.clear()
        self._refused.clear()
        return released

    def first_byte(self, request_id: str, now_ns: int) -> None:
        """Tell of the first byte of an answer; what was no stream is passed over."""
        call = self._running.get(request_id)
        if call is None or not call.awaited:
            return
        self._made += 1
        if call.unloaded or self._gate.unloaded.learning:
            took_s = (now_ns - call.sent_ns) / NS_PER_S
            self._gate.unloaded.sample(call.input_tokens, took_s, now_ns)
        self._answered(call)

    def finish(
        self, request_id: str, now_ns: int, *, status: int, output_tokens: int
    ) -> None:
        """Tell that a call has ended, however it did.

        Args:
            request_id: The call; one that waits leaves, one unknown is passed over.
            now_ns: The present instant.
            status: HTTP status; 499 for a client that has gone.
            output_tokens: What the answer had; a guess will do.
        """
        call = self._running.pop(request_id, None)
        if call is None:
            self.leave(request_id, now_ns)
            return
        if request_id in self._go:  # it ended before anybody polled
            self._go.remove(request_id)
        self._gate.running -= 1
        if call.awaited:
            self._answered(call)
        if not call.streams:
            self._gate.gauge.answered()
        if status in _OVERLOADED:
            self._turned_away += 1
            self._lanes[0].second.over += 1
        elif status < _FAILED:
            if not self._gate.awaited.streaming:
                self._made += 1
            took_s = (now_ns - call.sent_ns) / NS_PER_S
            self._gate.plain.answered(output_tokens, took_s)

    def leave(self, request_id: str, now_ns: int) -> None:
        """Tell that the client of a waiting call has gone; it leaves no trace."""
        if request_id in self._running:
            self.finish(request_id, now_ns, status=_CLIENT_GONE, output_tokens=0)
            return
        if request_id in self._refused:
            self._refused.remove(request_id)
        for lane in self._lanes:
            lane.room.leave(request_id)

    def tick(self, now_ns: int) -> None:
        """Let time pass: stays end, limits move."""
        self._release(now_ns)
        for lane in self._lanes:
            lane.second.look(len(lane.room))
        self._close_seconds(now_ns)

    def limit(self, klass: int, now_ns: int) -> float:
        """Return the published limit of each account of a class, in requests a minute.

        It has two digits and changes by 10 % or not at all; what is enforced is this.
        It is infinite for the classes that only their contracts limit.
        """
        self._wake(now_ns)
        return inf if klass else self._published.rpm

    def push_gauge(self, queue_length: float, now_ns: int) -> None:
        """Tell how many calls are queued as the platform itself says it.

        Once a second is enough. Without news for 5 s the pool goes on by what it sees.
        """
        self._gate.gauge.push(queue_length, now_ns)

    def share_of(self, nodes: int) -> None:
        """Take this node's part of a platform that so many nodes send to.

        What was learned is rescaled at once, so that a node that joins or dies is
        absorbed without being felt by the upstream.

        Raises:
            ConfigurationError: There is no node.
        """
        if nodes < 1:
            raise ConfigurationError(
                f"{nodes} nodes cannot share a platform: count this one as well."
            )
        if nodes != self._nodes:
            factor = self._nodes / nodes
            self._nodes = nodes
            self._gate.scale(factor)
            self._law.scale(factor)

    def explain(self, now_ns: int) -> Explanation:
        """Return what the platform is doing and why; `str` of it is in words."""
        self._wake(now_ns)
        spare = self._lanes[0]
        return Explanation(
            state=self._state(),
            signal=self._gate.signal(now_ns),
            cause=self._law.cause,
            limit_rpm=self._published.rpm,
            previous_rpm=self._published.previous_rpm,
            accounts=len(spare.recent),
            budget_per_s=self._law.budget_per_s,
            capacity_per_s=self._gate.capacity.per_s,
            awaiting=self._gate.awaited.estimate,
            waiting=sum(len(lane.room) for lane in self._lanes),
            unloaded_s=self._gate.unloaded.base_s,
            pace_per_s=self._gate.pace.per_s,
        )

    def _state(self) -> PlatformState:
        spare, *paid = self._lanes
        if any(lane.room or lane.made_wait for lane in paid):
            return "shedding_paid"
        if spare.room or spare.made_wait:
            return "busy"
        return "normal" if self._law.cause == "ceiling" else "limiting"

    def _release(self, now_ns: int) -> None:
        """Let go whom the gate lets, paid first; then end the stays that are over."""
        for klass in reversed(range(len(self._lanes))):
            lane = self._lanes[klass]
            if not lane.room:
                continue
            while lane.room and self._gate.opens(klass, now_ns):
                call = lane.room.first()
                self._send(lane, call, now_ns)
                self._go.append(call.request_id)
            for call in lane.room.overdue(now_ns):
                lane.second.over += 1
                self._refused.append(call.request_id)

    def _send(self, lane: Lane, call: Call, now_ns: int) -> None:
        if len(self._running) >= _RUNNING_MAX:
            forgotten = next(iter(self._running))
            self.finish(forgotten, now_ns, status=_CLIENT_GONE, output_tokens=0)
        call.sent_ns = now_ns
        call.awaited = call.streams
        call.unloaded = self._gate.calm
        self._running[call.request_id] = call
        self._gate.sent(call.input_tokens, now_ns, streams=call.streams)
        lane.recent.sent(call.account_id, now_ns)
        lane.second.sent += 1
        self._sent += 1

    def _answered(self, call: Call) -> None:
        call.awaited = False
        self._gate.awaited.answered(call.sent_ns)
        self._gate.gauge.answered()

    def _wake(self, now_ns: int) -> None:
        """Make up for ticks that nobody gave while nothing ran."""
        if self._began_ns is None:
            self._began_ns = now_ns
        elif now_ns - self._began_ns >= _IDLE_S * NS_PER_S:
            self.tick(now_ns)

    def _close_seconds(self, now_ns: int) -> None:
        if self._began_ns is None:
            self._began_ns = now_ns
        seconds = max(0, now_ns - self._began_ns) // NS_PER_S
        self._began_ns += seconds * NS_PER_S
        for _ in range(min(_REPLAYED_S, seconds)):
            self._close_second(now_ns)

    def _close_second(self, now_ns: int) -> None:
        self._gate.second(
            made=self._made
            * (self._gate.awaited.each if self._gate.awaited.streaming else 1.0),
            sent=self._sent,
            refused=self._turned_away,
            binding=self._lanes[0].made_wait,
            now_ns=now_ns,
        )
        spare = self._lanes[0]
        for lane in self._lanes:
            ended = lane.close_second(now_ns)
            if lane is spare:
                self._law.step(ended, spare.sent_per_s, len(spare.recent))
        self._published.follow(self._law.limit_rpm)
        self._made = self._sent = self._turned_away = 0
