"""Adaptive pools over time: what is drawn of them, and what they went through."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from metering.adaptive import PlatformState
from metering.console.api.documents import PoolShown
from metering.console.api.history import PlatformHistoryShown, PoolHistory, PoolPoint
from metering.console.pages.showing import figure, short_count
from metering.console.pages.timelines import (
    Span,
    Timeline,
    TimeSeries,
    spans_of,
    timeline,
)

__all__ = ["HOURS", "PoolPast", "PoolSeen", "Range", "Stretch", "is_idle", "pools_seen"]

Range = Literal["hour", "day", "week"]

HOURS: Mapping[Range, int] = {"hour": 1, "day": 24, "week": 168}
"""How far back each range goes."""

STRETCHES_MAX = 40
"""Stretches that a table has, the latest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """How long a pool was in a state, and how far it came.

    Attributes:
        state: The state.
        start: When it began, RFC 3339.
        minutes: How long it lasted.
        limit_rpm_min: The lowest limit of it.
        awaiting: The most calls that awaited their first byte.
        waiting: The most that waited at the gate.
    """

    state: PlatformState
    start: str
    minutes: int
    limit_rpm_min: float
    awaiting: float
    waiting: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolPast:
    """What a pool did.

    Attributes:
        limit: The limit over time, the states marked.
        load: Calls over time, against those that would have no delay.
        rates: Calls a second over time: what the platform makes, what class 0 gets.
        limit_desc: The first of these in a sentence.
        load_desc: The second.
        stretches: Its states, the latest first, at most 40 of them.
        more: How many are left out.
    """

    limit: Timeline
    load: Timeline
    rates: Timeline
    limit_desc: str
    load_desc: str
    stretches: tuple[Stretch, ...]
    more: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSeen:
    """A pool now, and what it did.

    Attributes:
        name: Its name.
        now: What it is doing in this process; None: this process does not know it.
        past: What it did; None: nobody asked for it.
    """

    name: str
    now: PoolShown | None
    past: PoolPast | None

    @property
    def idle(self) -> bool:
        """Whether there is nothing to look at: nobody asks for it, or did."""
        return self.past is None and self.now is not None and is_idle(self.now)


def is_idle(now: PoolShown) -> bool:
    """Return whether nobody asks for a pool just now."""
    return now.state == "normal" and now.accounts == 0


def pools_seen(
    now: Sequence[PoolShown], past: PlatformHistoryShown
) -> tuple[PoolSeen, ...]:
    """Return each pool by name: those of this process, and those of the past."""
    present = {each.pool: each for each in now}
    pasts = {each.pool: _past(each, past) for each in past.pools}
    return tuple(
        PoolSeen(name=name, now=present.get(name), past=pasts.get(name))
        for name in sorted({*present, *pasts})
    )


def _past(history: PoolHistory, past: PlatformHistoryShown) -> PoolPast:
    start, step = datetime.fromisoformat(past.since), timedelta(seconds=past.step_s)
    steps = (datetime.fromisoformat(past.until) - start) // step + 1
    points: list[PoolPoint | None] = [None] * steps
    for point in history.points:
        points[(datetime.fromisoformat(point.at) - start) // step] = point
    draw = _Drawing(start, step, points)
    lowest = min(history.points, key=lambda point: point.limit_rpm_min)
    most = max(history.points, key=lambda point: point.awaiting)
    waited = max(point.waiting for point in history.points)
    stretches = _stretches(points, start, step)[::-1]
    return PoolPast(
        limit=draw.of(
            {
                "On average": lambda point: point.limit_rpm,
                "Lowest": lambda point: point.limit_rpm_min,
            }
        ),
        load=draw.of(
            {
                "Awaiting first byte": lambda point: point.awaiting,
                "Waiting at the gate": lambda point: point.waiting,
                "Room without delay": _undelayed,
            }
        ),
        rates=draw.of(
            {
                "Served by the models": lambda point: point.capacity_per_s,
                "Shared by adaptive accounts": lambda point: point.budget_per_s,
            },
            points_at=False,
        ),
        limit_desc=(
            f"The lowest limit was {figure(lowest.limit_rpm_min)} requests per minute,"
            f" at {_time(lowest)}; the last is {figure(history.points[-1].limit_rpm)}."
        ),
        load_desc=(
            f"At most {most.awaiting:,.0f} calls awaited their first byte, at"
            f" {_time(most)}, and {waited:,.0f} waited at the gate."
        ),
        stretches=tuple(stretches[:STRETCHES_MAX]),
        more=max(0, len(stretches) - STRETCHES_MAX),
    )


@dataclass(frozen=True, slots=True)
class _Drawing:
    """Draws figures of the same steps."""

    start: datetime
    step: timedelta
    points: Sequence[PoolPoint | None]

    def of(
        self,
        lines: Mapping[str, Callable[[PoolPoint], float | None]],
        *,
        points_at: bool = True,
    ) -> Timeline:
        series = [
            TimeSeries(name, [None if p is None else read(p) for p in self.points])
            for name, read in lines.items()
        ]
        told = [
            self._told(point, lines) if point is not None and points_at else ""
            for point in self.points
        ]
        states = spans_of(["" if p is None else p.state for p in self.points])
        bands = [
            Span(s.state, s.first, s.after) for s in states if s.state not in _CALM
        ]
        return timeline(
            self.start, self.step, series, show=short_count, told=told, bands=bands
        )

    def _told(
        self,
        point: PoolPoint,
        lines: Mapping[str, Callable[[PoolPoint], float | None]],
    ) -> str:
        values = ((name, read(point)) for name, read in lines.items())
        parts = [
            f"{name}: {figure(value)}" for name, value in values if value is not None
        ]
        return f"{_time(point)}, {point.state.replace('_', ' ')}\n" + "\n".join(parts)


_CALM = frozenset({"", "normal"})


def _undelayed(point: PoolPoint) -> float:
    """Return how many calls may await their first byte and none of them be late."""
    return point.capacity_per_s * point.unloaded_s


def _time(point: PoolPoint) -> str:
    at = datetime.fromisoformat(point.at)
    return f"{at.day} {at:%b %H:%M}"


def _stretches(
    points: Sequence[PoolPoint | None], start: datetime, step: timedelta
) -> list[Stretch]:
    found: list[Stretch] = []
    states: list[PlatformState | None] = [
        None if point is None else point.state for point in points
    ]
    for span in spans_of(states):
        if span.state is None:
            continue
        inside = [p for p in points[span.first : span.after] if p is not None]
        found.append(
            Stretch(
                state=span.state,
                start=(start + step * span.first).isoformat(),
                minutes=step * (span.after - span.first) // timedelta(minutes=1),
                limit_rpm_min=min(p.limit_rpm_min for p in inside),
                awaiting=max(p.awaiting for p in inside),
                waiting=max(p.waiting for p in inside),
            )
        )
    return found
