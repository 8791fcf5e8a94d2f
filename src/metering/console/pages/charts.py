"""The geometry of charts: pure functions from numbers to where things are drawn.

Across, all is in per cent of the width, so that a chart is as wide as its page while
its text stays as large as other text; down, all is in pixels.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from itertools import accumulate
from typing import Literal

__all__ = [
    "HEIGHT_PX",
    "Bar",
    "BarChart",
    "Gutter",
    "Line",
    "Series",
    "Tick",
    "gutter_of",
    "nice_ticks",
    "stacked_bars",
]

Gutter = Literal["narrow", "middle", "wide"]
"""Room beside the plot for what stands up its side."""

HEIGHT_PX = 200
"""Of the plot, without its labels."""

_STEPS = (Decimal(1), Decimal(2), Decimal("2.5"), Decimal(5), Decimal(10))
_LABELS_MAX = 6
_GUTTERS: tuple[tuple[Gutter, int], ...] = (("narrow", 5), ("middle", 8))
"""Characters of labels for which there is room."""

_BAR_SHARE = 0.68
_GAP_PX = 1.0


@dataclass(frozen=True, slots=True)
class Series:
    """What is drawn in one colour.

    Attributes:
        name: As the legend says.
        values: One for each place on the axis across.
    """

    name: str
    values: Sequence[Decimal | int]


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark on an axis.

    Attributes:
        at: Where: pixels from the top, or per cent from the left.
        label: What it says; "" where there is no room.
    """

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class Bar:
    """A part of a bar, across in per cent, down in pixels; its series, from 1."""

    number: int
    left: float
    width: float
    top: float
    height: float


@dataclass(frozen=True, slots=True)
class Column:
    """All parts of a bar, the room that it has, and what it says when pointed at."""

    left: float
    width: float
    label: str
    bars: tuple[Bar, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BarChart:
    """What is to be drawn: marks up the side, marks along the foot, bars."""

    height: float
    gutter: Gutter
    up: tuple[Tick, ...]
    across: tuple[Tick, ...]
    columns: tuple[Column, ...]
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Line:
    """A line: points in a box 1000 wide, as `points` of a polyline; its series."""

    number: int
    points: str


def nice_ticks(highest: Decimal | int, *, at_most: int = 5) -> tuple[Decimal, ...]:
    """Return round numbers from 0 to one that is not below *highest*.

    They are a whole number of steps of 1, 2, 2.5 or 5, times a power of ten.
    """
    top = Decimal(highest)
    if top <= 0:
        return Decimal(0), Decimal(1)
    rough = top / (at_most - 1)
    power = Decimal(10) ** rough.adjusted()
    step = next(power * each for each in _STEPS if power * each >= rough)
    steps = int((top / step).to_integral_value(ROUND_CEILING))
    return tuple(step * number for number in range(steps + 1))


def stacked_bars(
    labels: Sequence[str],
    series: Sequence[Series],
    *,
    show: Callable[[Decimal], str],
    told: Sequence[str] | None = None,
    height: float = HEIGHT_PX,
) -> BarChart:
    """Return a chart of a bar for each label, in which the series are piled up.

    Args:
        labels: What stands beneath the bars; some are left out where many are.
        series: What is piled up, the lowest first; values are 0 or above.
        show: Writes a number of the axis up the side.
        told: What each bar says when pointed at; None: its label.
        height: Of the plot, in pixels.
    """
    totals = [sum(map(Decimal, values)) for values in _by_place(labels, series)]
    ticks = nice_ticks(max(totals, default=0))
    scale = height / float(ticks[-1])
    room = 100 / max(1, len(labels))
    told = labels if told is None else told
    columns = tuple(
        Column(
            left=place * room,
            width=room,
            label=told[place],
            bars=tuple(
                _piled(
                    values,
                    place * room + room * (1 - _BAR_SHARE) / 2,
                    room * _BAR_SHARE,
                    scale,
                    height,
                )
            ),
        )
        for place, values in enumerate(_by_place(labels, series))
    )
    return BarChart(
        height=height,
        gutter=gutter_of([show(tick) for tick in ticks]),
        up=_up(ticks, show, height),
        across=_across(labels),
        columns=columns,
        names=tuple(each.name for each in series),
    )


def gutter_of(labels: Iterable[str]) -> Gutter:
    """Return how much room the labels up the side need."""
    longest = max(map(len, labels), default=0)
    for name, chars in _GUTTERS:
        if longest <= chars:
            return name
    return "wide"


def _by_place(
    labels: Sequence[str], series: Sequence[Series]
) -> Iterable[tuple[Decimal | int, ...]]:
    """Return, for each place across, the values of all series."""
    if not series:
        return [() for _ in labels]
    return zip(*(each.values for each in series), strict=True)


def _piled(
    values: Sequence[Decimal | int],
    left: float,
    width: float,
    scale: float,
    height: float,
) -> Iterable[Bar]:
    tops = accumulate(float(value) * scale for value in values)
    for number, (value, top) in enumerate(zip(values, tops, strict=True), start=1):
        tall = float(value) * scale
        if tall > 0:
            # A line of the page shows between two parts, and a little of the smallest.
            shown = max(tall - _GAP_PX, 0.75)
            yield Bar(number, left, width, height - top + tall - shown, shown)


def _up(
    ticks: Sequence[Decimal], show: Callable[[Decimal], str], height: float
) -> tuple[Tick, ...]:
    top = float(ticks[-1])
    return tuple(Tick(height - height * float(t) / top, show(t)) for t in ticks)


def _across(labels: Sequence[str]) -> tuple[Tick, ...]:
    room = 100 / max(1, len(labels))
    each = -(-len(labels) // _LABELS_MAX)
    return tuple(
        Tick((place + 0.5) * room, label)
        for place, label in enumerate(labels)
        if place % each == 0
    )
