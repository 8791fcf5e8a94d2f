"""Runs scenarios under laws in several processes, and prints what they achieve."""

import math
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from operator import attrgetter
from statistics import fmean, median

from benchmarks.adaptive.families import FAMILIES
from benchmarks.adaptive.in_flight import Aimd, Gradient2
from benchmarks.adaptive.laws import Fixed, Law
from benchmarks.adaptive.measures import Measures, measure
from benchmarks.adaptive.ours import Ours
from benchmarks.adaptive.pid import Pid
from benchmarks.adaptive.published import PUBLISHED
from benchmarks.adaptive.simulation import simulate

__all__ = ["LAWS", "SCENARIOS", "Found", "by_law", "by_scenario", "run_all"]

LAWS: Mapping[str, Callable[[], Law]] = {
    "metering": Ours,
    "PID": Pid,
    "Gradient2": Gradient2,
    "AIMD": Aimd,
    "fixed 1.5": lambda: Fixed(1.5),
    "fixed 5.5": lambda: Fixed(5.5),
    "fixed 30": lambda: Fixed(30.0),
    "none": Law,
}
"""Ours, and those beside it. The fixed ones are in requests per minute and account: too
low, right at twice the capacity, and too high."""

SCENARIOS = PUBLISHED | FAMILIES
"""All, by name."""

Found = Mapping[tuple[str, str], Sequence[Measures]]
"""Measures of each seed, by law and scenario."""

_COLUMNS: tuple[tuple[str, str, Callable[[Sequence[float]], float], str], ...] = (
    ("goodput mean", "goodput", fmean, ".3f"),
    ("worst", "goodput", min, ".3f"),
    ("spare used", "spare_use", fmean, ".3f"),
    ("paid p50 s", "paid_ttft_p50_s", fmean, ".2f"),
    ("paid p99 s", "paid_ttft_p99_s", fmean, ".1f"),
    ("worst s", "paid_ttft_p99_s", max, ".1f"),
    ("paid lost %", "paid_lost", fmean, ".1%"),
    ("worst %", "paid_lost", max, ".1%"),
    ("Jain mean", "fairness.jain", fmean, ".3f"),
    ("worst", "fairness.jain", min, ".3f"),
    ("settle s", "settle_s", fmean, ".0f"),
    ("wobble", "admitted_wobble", fmean, ".3f"),
)


def run_all(
    laws: Iterable[str], scenarios: Iterable[str], seeds: Iterable[int]
) -> Found:
    """Measure each scenario under each law with each seed."""
    names = list(scenarios)
    numbers = list(seeds)
    jobs = [(law, name, seed) for name in names for law in laws for seed in numbers]
    found: dict[tuple[str, str], list[Measures]] = defaultdict(list)
    with ProcessPoolExecutor(os.cpu_count()) as processes:
        for (law, name, _), measures in zip(
            jobs, processes.map(_measured, jobs, chunksize=1), strict=True
        ):
            found[law, name].append(measures)
    return found


def _measured(job: tuple[str, str, int]) -> Measures:
    law, name, seed = job
    return measure(simulate(SCENARIOS[name], LAWS[law](), seed))


def by_law(found: Found, scenarios: Sequence[str]) -> list[str]:
    """Write a table in Markdown: a law a row, means and worst over scenarios."""
    laws = list(dict.fromkeys(law for law, _ in found))
    rows = _head("law", [title for title, *_ in _COLUMNS])
    for law in laws:
        cells = []
        for _, name, gather, form in _COLUMNS:
            values = [_median(found[law, scenario], name) for scenario in scenarios]
            told = [value for value in values if not math.isnan(value)]
            cells.append(format(gather(told), form) if told else "-")
        rows.append(_row(law, cells))
    return rows


def by_scenario(found: Found, laws: Sequence[str]) -> list[str]:
    """Write a table in Markdown: a scenario a row.

    Each cell tells goodput, paid p99 in seconds, paid requests lost, Jain's index.
    """
    rows = _head("scenario", laws)
    for scenario in dict.fromkeys(name for _, name in found):
        cells = [_cell(found[law, scenario]) for law in laws]
        rows.append(_row(scenario, cells))
    return rows


def _cell(seeds: Sequence[Measures]) -> str:
    good, late_s = _median(seeds, "goodput"), _median(seeds, "paid_ttft_p99_s")
    lost, fair = _median(seeds, "paid_lost"), _median(seeds, "fairness.jain")
    return f"{good:.3f} · {late_s:.1f} · {lost:.1%} · {fair:.2f}"


def _median(seeds: Sequence[Measures], name: str) -> float:
    return median(map(attrgetter(name), seeds))


def _head(first: str, titles: Sequence[str]) -> list[str]:
    return [_row(first, titles), _row("---", ["---"] * len(titles))]


def _row(first: str, cells: Sequence[str]) -> str:
    return f"| {first} | {' | '.join(cells)} |"
