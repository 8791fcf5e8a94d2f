"""The SQLite limit store beside a bare loop of one transaction a decision.

Run from the root of the repository:

    pytest benchmarks/test_sqlite.py -o addopts= --import-mode=importlib

Each measurement is made by processes of their own, which all work on one key of one new
file for two seconds. A decision's time is that of all processes together: the seconds
over the decisions made by all. The bare loop is measured with as many processes, just
before. The lag of an event loop is how late it comes back from sleeping a millisecond;
beside it is the lag of a loop that does nothing, among as many busy neighbours.
"""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from benchmarks.processes import run_together
from benchmarks.sqlite_load import SECONDS, Seen

pytestmark = pytest.mark.timeout(120)


def measured(folder: Path, *loads: tuple[str, int]) -> list[Seen]:
    """Run a process for each load and its number of tasks, all at the same time."""
    folder.mkdir()
    path = str(folder / "limits.db")
    answers = run_together(
        "benchmarks.sqlite_load", *((load, path, str(tasks)) for load, tasks in loads)
    )
    return [msgspec.json.decode(answer, type=Seen) for answer in answers]


def each_us(seen: list[Seen]) -> float:
    return SECONDS * 1e6 / sum(one.decisions for one in seen)


@pytest.mark.parametrize("tasks", [1, 50, 200])
def test_one_process(tmp_path: Path, tell: Any, tasks: int) -> None:
    floor = measured(tmp_path / "floor", ("bare", 1))
    seen = measured(tmp_path / "store", ("store", tasks))
    name = f"sqlite, 1 process, {tasks} tasks"
    tell(f"{name}: a decision", each_us(seen), floor=each_us(floor))
    tell(f"{name}: wait, p99", seen[0].wait_ms[98], "ms", floor=floor[0].wait_ms[98])
    tell(f"{name}: loop lag, longest", seen[0].lag_max_ms, "ms", value_max=5.0)


@pytest.mark.parametrize("processes", [2, 4])
def test_several_processes(tmp_path: Path, tell: Any, processes: int) -> None:
    floor = measured(tmp_path / "floor", *[("bare", 1)] * processes)
    seen = measured(tmp_path / "store", *[("store", 50)] * processes)
    name = f"sqlite, {processes} processes, 50 tasks each"
    tell(f"{name}: a decision", each_us(seen), floor=each_us(floor))
    wait_ms, floor_ms = (max(one.wait_ms[98] for one in of) for of in (seen, floor))
    tell(f"{name}: wait, p99 of the slowest", wait_ms, "ms", floor=floor_ms)


def test_whole_calls(tmp_path: Path, tell: Any) -> None:
    """Four demands under a hold, then settled, beside as little as one transaction."""
    floor = measured(tmp_path / "floor", ("bare", 1))
    seen = measured(tmp_path / "store", ("call", 50))
    tell(
        "sqlite, 1 process, 50 tasks: a call of 4 demands, settled",
        each_us(seen),
        floor=each_us(floor),
    )


@pytest.mark.parametrize(("load", "tasks"), [("paced", 50), ("store", 50)])
def test_loop_lag(tmp_path: Path, tell: Any, load: str, tasks: int) -> None:
    """With four processes at it: 500 calls a second each, and as many as they can."""
    four = [(load, tasks)] * 4
    *_, idle = measured(tmp_path / "floor", *four, ("idle", 1))
    seen = measured(tmp_path / "store", *four)
    calls = sum(one.decisions for one in seen) / SECONDS
    name = f"sqlite, 4 processes, {calls:,.0f} decisions/s"
    tell(f"{name}: not answered", sum(one.unanswered for one in seen), "calls")
    lag_ms = max(one.lag_ms[98] for one in seen)
    tell(f"{name}: loop lag, p99", lag_ms, "ms", floor=idle.lag_ms[98])
    tell(
        f"{name}: loop lag, longest",
        max(one.lag_max_ms for one in seen),
        "ms",
        floor=idle.lag_max_ms,
        value_max=5.0,
    )
