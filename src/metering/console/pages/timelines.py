"""The geometry of lines over time, with gaps where nothing was told. Pure."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import groupby
from typing import Generic, TypeVar

from metering.console.pages.charts import Line, Tick, nice_ticks

__all__ = ["Band", "Span", "TimeSeries", "Timeline", "spans_of", "timeline"]

HEIGHT_PX = 160

_WIDTH = 1000
"""Of the box in which lines are drawn; it is stretched to the page."""

_POINTED_MAX = 120
"""Places that can be pointed at; more are narrower than a pointer, and a large page."""

_TICKS = (
    (timedelta(hours=2), timedelta(minutes=10), "%H:%M"),
    (timedelta(days=2), timedelta(hours=4), "%H:%M"),
    (timedelta(days=8), timedelta(days=1), "%-d %b"),
)

_State = TypeVar("_State")


@dataclass(frozen=True, slots=True)
class Span(Generic[_State]):
    """Steps that follow each other in one state.

    Attributes:
        state: The state.
        first: Number of the first step.
        after: Number of the step after the last.
    """

    state: _State
    first: int
    after: int


@dataclass(frozen=True, slots=True)
class TimeSeries:
    """A line: what it is called, and its value in each step; None: nothing was told."""

    name: str
    values: Sequence[float | None]


@dataclass(frozen=True, slots=True)
class Band:
    """A stretch of time to be marked, in per cent from the left."""

    state: str
    left: float
    width: float


@dataclass(frozen=True, slots=True)
class Step:
    """The room of a step or more, in per cent, and what it says when pointed at."""

    left: float
    width: float
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """What is to be drawn: marks up the side and along the foot, bands, lines, steps.

    A series has a line for each stretch without a gap.
    """

    height: float
    up: tuple[Tick, ...]
    across: tuple[Tick, ...]
    bands: tuple[Band, ...]
    lines: tuple[Line, ...]
    steps: tuple[Step, ...]
    names: tuple[str, ...]


def timeline(
    start: datetime,
    step: timedelta,
    series: Sequence[TimeSeries],
    *,
    show: Callable[[float], str],
    told: Sequence[str],
    bands: Iterable[Span[str]] = (),
    height: float = HEIGHT_PX,
) -> Timeline:
    """Return lines over equal steps of time.

    Args:
        start: When the first step begins, in the zone that marks are told in.
        step: How long each is.
        series: The lines; all have as many values as there are steps.
        show: Writes a number of the axis up the side.
        told: What each step says when pointed at; "": nothing.
        bands: Stretches to be marked.
        height: Of the plot, in pixels.
    """
    count = len(told)
    highest = max(
        (v for each in series for v in each.values if v is not None), default=0
    )
    ticks = nice_ticks(Decimal(f"{highest:.6f}"))
    scale = height / float(ticks[-1])
    room = 100 / max(1, count)
    return Timeline(
        height=height,
        up=tuple(Tick(height - float(t) * scale, show(float(t))) for t in ticks),
        across=tuple(_across(start, step * count)),
        bands=tuple(
            Band(each.state, each.first * room, (each.after - each.first) * room)
            for each in bands
        ),
        lines=tuple(
            Line(number, points)
            for number, each in enumerate(series, start=1)
            for points in _stretches(each.values, scale, height)
        ),
        steps=tuple(_steps(told, room)),
        names=tuple(each.name for each in series),
    )


def spans_of(states: Sequence[_State]) -> list[Span[_State]]:
    """Return the stretches in which a state lasts, one after the other."""
    spans, first = [], 0
    for state, same in groupby(states):
        after = first + len(list(same))
        spans.append(Span(state, first, after))
        first = after
    return spans


def _stretches(
    values: Sequence[float | None], scale: float, height: float
) -> Iterable[str]:
    room = _WIDTH / max(1, len(values))
    for span in spans_of([value is None for value in values]):
        if span.state:
            continue
        places = range(span.first, span.after)
        points = [((place + 0.5) * room, values[place] or 0.0) for place in places]
        if len(points) == 1:
            # One point alone would not be seen: its whole step is drawn.
            ((across, value),) = points
            points = [(across - room / 2, value), (across + room / 2, value)]
        yield " ".join(f"{x:.2f},{height - value * scale:.2f}" for x, value in points)


def _steps(told: Sequence[str], room: float) -> Iterable[Step]:
    """Return what is pointed at: of many steps several at once, told by the last."""
    each = -(-len(told) // _POINTED_MAX)
    for place in range(0, len(told), each or 1):
        some = told[place : place + each]
        label = next(filter(None, reversed(some)), "")
        if label:
            yield Step(place * room, len(some) * room, label)


def _across(start: datetime, length: timedelta) -> Iterable[Tick]:
    """Return marks at round times."""
    each, wording = next(
        (each, wording) for at_most, each, wording in _TICKS if length <= at_most
    )
    day = start.replace(hour=0, minute=0, second=0, microsecond=0)
    at = day + (start - day) // each * each
    while at < start + length:
        if at >= start:
            yield Tick(100 * ((at - start) / length), f"{at:{wording}}")
        at += each
