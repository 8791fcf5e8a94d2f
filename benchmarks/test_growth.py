"""How the cost of a decision grows: with keys in memory, with processes on Redis.

Run from the root of the repository:

    pytest benchmarks/test_growth.py -p benchmark

With the demands of one call it grows in `test_decision.py`; with processes on SQLite,
in `test_sqlite.py`.
"""

from typing import Any

import msgspec
import pytest
from benchmarks import key_load, redis_processes
from benchmarks.processes import run_together

pytestmark = pytest.mark.timeout(120)

TASKS = 50


@pytest.mark.parametrize("keys", [1, 1_000, 10_000, 100_000, 1_000_000])
def test_keys(tell: Any, keys: int) -> None:
    """In processor time, each in a process of its own; bytes where there are many."""
    floor, seen = (
        msgspec.json.decode(answer, type=key_load.Seen)
        for name in ("by hand", "ours")
        for answer in run_together("benchmarks.key_load", (name, str(keys)))
    )
    title = f"memory, {keys:,} keys"
    tell(f"{title}: a decision", seen.decision_us, floor=floor.decision_us)
    tell(f"{title}: the longest while it grew", seen.longest_us, floor=floor.longest_us)
    if keys >= 100_000:
        tell(
            f"{title}: memory of each",
            seen.key_bytes,
            "bytes",
            floor=floor.key_bytes,
            value_max=160 if keys == 1_000_000 else None,
        )


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_processes_on_redis(tell: Any, valkey_url: str, processes: int) -> None:
    """Microseconds over the decisions of all processes together."""
    floor_us, seen_us = (
        redis_processes.SECONDS
        * 1e6
        / sum(
            map(
                int,
                run_together(
                    "benchmarks.redis_processes",
                    *[(name, valkey_url, str(TASKS))] * processes,
                ),
            )
        )
        for name in ("bare", "ours")
    )
    tell(
        f"redis, {processes} processes, {TASKS} tasks each: a decision",
        seen_us,
        floor=floor_us,
    )
