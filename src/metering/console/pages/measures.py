"""What usage is counted in, and charts of it by day."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Literal

from metering.console.api.documents import DayUsage, UsageDaysShown
from metering.console.pages.charts import BarChart, Series, stacked_bars
from metering.console.pages.showing import (
    count,
    dollars,
    duration,
    places_of,
    short_count,
    short_usd,
)

__all__ = ["MEASURES", "Daily", "Measure", "MeasureName", "daily"]

MeasureName = Literal["money", "tokens", "requests", "time"]

_SERIES_MAX = 6
"""Colours there are: one more model than that, and the least used are one series."""

_OTHERS = "Other models"
_MS_PER_MINUTE = 60_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """A way to count usage.

    Attributes:
        name: As links say it.
        title: As people read it.
        value: Returns how much a row is.
        axis: Writes a number of the axis.
        told: Writes a number in full.
    """

    name: MeasureName
    title: str
    value: Callable[[DayUsage], Decimal]
    axis: Callable[[Decimal], str]
    told: Callable[[Decimal], str]


def _plain(number: Decimal) -> str:
    """Return a number without an exponent and needless zeros."""
    shown = f"{number:f}"
    return shown.rstrip("0").rstrip(".") if "." in shown else shown


def _usd(amount: Decimal) -> str:
    return short_usd(_plain(amount))


MEASURES: Mapping[MeasureName, Measure] = {
    each.name: each
    for each in (
        Measure(
            name="money",
            title="Money",
            value=lambda row: Decimal(row.charge_usd),
            axis=_usd,
            told=_usd,
        ),
        Measure(
            name="tokens",
            title="Tokens",
            value=lambda row: Decimal(row.usage.input_total + row.usage.output_total),
            axis=lambda number: short_count(float(number)),
            told=lambda number: count(int(number)) + " tokens",
        ),
        Measure(
            name="requests",
            title="Requests",
            value=lambda row: Decimal(row.calls),
            axis=lambda number: short_count(float(number)),
            told=lambda number: count(int(number)) + " requests",
        ),
        Measure(
            name="time",
            title="Compute time",
            value=lambda row: Decimal(row.usage.compute_ms) / _MS_PER_MINUTE,
            axis=lambda number: short_count(float(number)) + " min",
            told=lambda number: duration(int(number * _MS_PER_MINUTE)),
        ),
    )
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Daily:
    """What was used by day.

    Attributes:
        chart: A bar for each day, a colour for each model.
        names: The series of the chart, the largest first.
        rows: For each day with usage its name, what was used of each series, and all.
        desc: The chart in a sentence.
    """

    chart: BarChart
    names: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...], str], ...]
    desc: str


def daily(shown: UsageDaysShown, measure: Measure, *, by_model: bool) -> Daily:
    """Return what was used by day, and how it is drawn.

    Args:
        shown: The rows, as the API gives them.
        measure: What they are counted in.
        by_model: Whether models are told apart.
    """
    days = _days(shown.first_day, shown.last_day)
    amounts: dict[str, dict[str, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
    for row in shown.days:
        amounts[row.model if by_model else ""][row.day] += measure.value(row)
    series = _series(amounts, [each.isoformat() for each in days])
    labels = [f"{each.day} {each:%b}" for each in days]
    by_place = _by_place(series, len(days))
    sums = [sum(parts, Decimal()) for parts in by_place]
    told = [
        _told(label, [each.name for each in series], parts, measure)
        for label, parts in zip(labels, by_place, strict=True)
    ]
    used = [place for place, all_ in enumerate(sums) if all_]
    desc = "No usage."
    if used:
        most = max(used, key=sums.__getitem__)
        desc = (
            f"{len(used)} of {len(days)} days have usage,"
            f" {measure.told(sum(sums, Decimal()))} in all; the most,"
            f" {measure.told(sums[most])}, was on {labels[most]}."
        )
    tell = _in_columns(measure, [*sums, *(each for of in by_place for each in of)])
    return Daily(
        chart=stacked_bars(labels, series, show=measure.axis, told=told),
        names=tuple(each.name for each in series),
        rows=tuple(
            (
                labels[place],
                tuple(tell(part) for part in by_place[place]),
                tell(sums[place]),
            )
            for place in used
        ),
        desc=desc,
    )


def _in_columns(measure: Measure, amounts: list[Decimal]) -> Callable[[Decimal], str]:
    """Return what writes amounts beneath each other, so that their places line up."""
    if measure.name != "money":
        return measure.told
    places = places_of(map(_plain, amounts))
    return lambda amount: "".join(dollars(_plain(amount), places))


def _told(label: str, names: list[str], parts: list[Decimal], measure: Measure) -> str:
    """Return what a bar says when it is pointed at: all, then each part."""
    lines = [f"{label}: {measure.told(sum(parts, Decimal()))}"]
    for name, part in zip(names, parts, strict=True):
        if name and part:
            lines.append(f"{name}: {measure.told(part)}")
    return "\n".join(lines)


def _days(first: str, last: str) -> list[date]:
    start, end = date.fromisoformat(first), date.fromisoformat(last)
    return [start + timedelta(days=n) for n in range((end - start).days + 1)]


def _series(
    amounts: Mapping[str, Mapping[str, Decimal]], days: list[str]
) -> list[Series]:
    """Return a series for each name, the largest first, the least of many as one."""
    by_size = sorted(amounts, key=lambda name: (-sum(amounts[name].values()), name))
    shown = by_size if len(by_size) <= _SERIES_MAX else by_size[: _SERIES_MAX - 1]
    series = [
        Series(name, [amounts[name].get(day, Decimal()) for day in days])
        for name in shown
    ]
    rest = by_size[len(shown) :]
    if rest:
        values = [
            sum((amounts[name].get(day, Decimal()) for name in rest), Decimal())
            for day in days
        ]
        series.append(Series(_OTHERS, values))
    return series


def _by_place(series: list[Series], places: int) -> list[list[Decimal]]:
    return [[Decimal(each.values[place]) for each in series] for place in range(places)]
