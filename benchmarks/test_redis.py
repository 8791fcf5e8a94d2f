"""Decisions in Redis against one bare EVALSHA of a rate limit with the same client.

Run from the root of the repository:

    pytest benchmarks/test_redis.py -o addopts= --import-mode=importlib
"""

import asyncio
from typing import Any

import pytest
from benchmarks.redis_load import Bare, Ours, in_turns

pytestmark = pytest.mark.timeout(180)

ROUNDS = 7
DECISIONS = {1: 300, 50: 3_000, 200: 5_000}
"""Decisions a round, by how many tasks make them."""


@pytest.mark.parametrize("tasks", DECISIONS)
def test_decisions_in_redis(tell: Any, valkey_url: str, tasks: int) -> None:
    """One rate a decision, one EVALSHA a decision, and a whole call with its end."""
    candidates = {
        "bare EVALSHA": Bare(valkey_url),
        "one rate": Ours(valkey_url, 1),
        "whole call, 4 demands, settled": Ours(valkey_url, 4, settles=True),
    }
    timed = asyncio.run(
        in_turns(candidates, tasks, rounds=ROUNDS, decisions=DECISIONS[tasks])
    )
    floor = timed.pop("bare EVALSHA")
    for name, (mean_us, p50_us, p99_us) in timed.items():
        is_one = name == "one rate"
        title = f"redis, {tasks} tasks, {name}"
        tell(
            f"{title}: time per decision",
            mean_us,
            floor=floor[0],
            ratio_max=0.2 if is_one and tasks == 50 else None,
        )
        tell(
            f"{title}: p50",
            p50_us,
            floor=floor[1],
            ratio_max=1.3 if is_one and tasks == 1 else None,
        )
        tell(f"{title}: p99", p99_us, floor=floor[2])
