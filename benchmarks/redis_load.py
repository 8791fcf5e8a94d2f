"""Ways to decide in Redis, and how fast so many tasks decide with each.

So many tasks decide in a closed loop over `ACCOUNTS` accounts. Each candidate has its
turn in each round. A round tells the time a decision takes (its length over its
decisions), and what a task waited for one.
"""

import asyncio
import gc
from collections.abc import Awaitable, Callable, Mapping
from itertools import count
from statistics import quantiles
from time import perf_counter_ns
from typing import Any, NamedTuple, Protocol

import redis.asyncio as redis_py

from metering.backends.redis import RedisLimitStore
from metering.clock import NS_PER_S
from metering.quota import BudgetQuota, Demand, RateQuota

__all__ = ["ACCOUNTS", "AMOUNT", "Bare", "Candidate", "Ours", "Seen", "in_turns"]

ACCOUNTS = 1000
AMOUNT = 1_000_000
LEASE_NS = 30 * NS_PER_S
RATE = RateQuota(AMOUNT, 60 * NS_PER_S)

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


class Seen(NamedTuple):
    """Microseconds per decision, and what half and 99 of 100 waited at most."""

    mean_us: float
    p50_us: float
    p99_us: float


class Candidate(Protocol):
    """One way to decide."""

    async def start(self) -> None:
        """Connect."""

    async def decide(self, at: int) -> None:
        """Take one unit of the account at that place."""

    async def stop(self) -> None:
        """Disconnect."""


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


async def one_round(decide: Decide, tasks: int, decisions: int) -> Seen:
    waits_us: list[float] = []
    asked = count()

    async def work() -> None:
        while (at := next(asked)) < decisions:
            began_ns = perf_counter_ns()
            await decide(at)
            waits_us.append((perf_counter_ns() - began_ns) / 1000)

    began_ns = perf_counter_ns()
    await asyncio.gather(*(work() for _ in range(tasks)))
    mean_us = (perf_counter_ns() - began_ns) / 1000 / decisions
    percentiles_us = quantiles(waits_us, n=100)
    return Seen(mean_us, percentiles_us[49], percentiles_us[98])


async def in_turns(
    candidates: Mapping[str, Candidate], tasks: int, *, rounds: int, decisions: int
) -> dict[str, Seen]:
    """Return what each candidate's best round has shown, of so many decisions each.

    The best, since client and server share the processors with whatever else runs,
    which only adds.
    """
    seen: dict[str, list[Seen]] = {name: [] for name in candidates}
    for candidate in candidates.values():
        await candidate.start()
        await one_round(candidate.decide, tasks, decisions // 5)
    for _ in range(rounds):
        for name, candidate in candidates.items():
            gc.collect()
            gc.disable()
            seen[name].append(await one_round(candidate.decide, tasks, decisions))
            gc.enable()
    for candidate in candidates.values():
        await candidate.stop()
    return {name: min(of) for name, of in seen.items()}
