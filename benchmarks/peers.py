"""What others offer for one decision in memory, and what is compared with them.

Each is made as its documentation does it, for an amount a minute. All read the clock in
each decision, and what they are asked with is made beforehand: none builds a key or a
quota then.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cache
from time import monotonic, time, time_ns
from typing import Any

import limits.aio.strategies as limits_strategies
import pyrate_limiter
import throttled.asyncio as throttled
from aiolimiter import AsyncLimiter
from benchmarks.baselines import DictGcra
from limits import RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage

from metering.backends.memory import MemoryLimitStore
from metering.clock import NS_PER_S
from metering.quota import Demand, RateQuota

__all__ = ["CANDIDATES", "LIMITS", "OURS", "Candidate", "Decide"]

LEASE_NS = 30 * NS_PER_S
LRU_MAX = 1_000_000
"""Keys that throttled-py may keep; by default it forgets those above 1,024."""

Decide = Callable[[Any], Awaitable[Any]]


@dataclass(frozen=True)
class Candidate:
    """One way to decide.

    Attributes:
        make: Returns what decides, given an amount a minute.
        admits: Whether an answer of it lets the call in.
        ask: Returns what it is asked with, given a key and the amount.
    """

    make: Callable[[int], Decide]
    admits: Callable[[Any], bool] = bool
    ask: Callable[[str, int], Any] = lambda key, _amount: key


def by_hand(amount: int) -> Decide:
    hit = DictGcra(amount, 60.0).hit
    return lambda key: hit(key, 1, time())


def ours(_amount: int) -> Decide:
    acquire = MemoryLimitStore().acquire
    return lambda ask: acquire(ask, hold_id="", lease_ns=LEASE_NS, now_ns=time_ns())


@cache
def quota_of(amount: int) -> RateQuota:
    return RateQuota(amount, 60 * NS_PER_S)


def of_limits(strategy: type[limits_strategies.RateLimiter]) -> Candidate:
    def make(amount: int) -> Decide:
        hit, item = strategy(MemoryStorage()).hit, RateLimitItemPerMinute(amount)
        return lambda key: hit(item, key)

    return Candidate(make)


def of_pyrate(bucket: Callable[[list[pyrate_limiter.Rate]], Any]) -> Candidate:
    """A bucket for each key, as its documentation does it."""

    def make(amount: int) -> Decide:
        rates = [pyrate_limiter.Rate(amount, pyrate_limiter.Duration.MINUTE)]
        buckets: dict[str, Any] = {}

        class ByKey(pyrate_limiter.BucketFactory):
            def wrap_item(self, name: str, weight: int = 1) -> pyrate_limiter.RateItem:
                now_ms = int(monotonic() * 1000)
                return pyrate_limiter.RateItem(name, now_ms, weight=weight)

            def get(self, item: pyrate_limiter.RateItem) -> Any:
                if item.name not in buckets:
                    buckets[item.name] = bucket(rates)
                return buckets[item.name]

        acquire = pyrate_limiter.Limiter(ByKey()).try_acquire_async
        return lambda key: acquire(key, blocking=False)

    return Candidate(make)


def of_throttled(using: str) -> Candidate:
    def make(amount: int) -> Decide:
        store = throttled.MemoryStore(options={"MAX_SIZE": LRU_MAX})
        quota = throttled.per_min(amount, burst=amount)
        return throttled.Throttled(using=using, quota=quota, store=store).limit

    return Candidate(make, lambda answer: not answer.limited)


def of_aiolimiter(amount: int) -> Decide:
    """A limiter for each key, asked for room first: `acquire` alone would wait."""
    limiters: dict[str, AsyncLimiter] = {}

    async def decide(key: str) -> bool:
        limiter = limiters.get(key)
        if limiter is None:
            limiter = limiters[key] = AsyncLimiter(amount, 60)
        if not limiter.has_capacity():
            return False
        await limiter.acquire()
        return True

    return decide


OURS = Candidate(
    ours,
    lambda answer: answer.status == "admitted",
    lambda key, amount: (Demand(key, quota_of(amount)),),
)

LIMITS = {
    "limits, fixed window": of_limits(limits_strategies.FixedWindowRateLimiter),
    "limits, moving window": of_limits(limits_strategies.MovingWindowRateLimiter),
    "limits, sliding window": of_limits(
        limits_strategies.SlidingWindowCounterRateLimiter
    ),
}

CANDIDATES = {
    "ours": OURS,
    "GCRA by hand": Candidate(by_hand, lambda answer: answer[0]),
    **LIMITS,
    "pyrate-limiter, log": of_pyrate(pyrate_limiter.InMemoryBucket),
    "pyrate-limiter, GCRA": of_pyrate(pyrate_limiter.StateBucket),
    "throttled-py, fixed window": of_throttled("fixed_window"),
    "throttled-py, GCRA": of_throttled("gcra"),
    "aiolimiter": Candidate(of_aiolimiter),
}
