"""One rate decision in Redis: ours beside what other libraries do, on one server.

Run from the root of the repository:

    pytest benchmarks/test_peers_redis.py -p benchmark

All use redis-py with hiredis. `limits` would take coredis, which it fails with by now.
"""

import asyncio
from typing import Any

import pytest
import throttled.asyncio as throttled
from benchmarks.redis_load import (
    ACCOUNTS,
    AMOUNT,
    Bare,
    Candidate,
    Ours,
    Seen,
    in_turns,
)
from limits import RateLimitItemPerMinute
from limits.aio.storage import RedisStorage
from limits.aio.strategies import (
    FixedWindowRateLimiter,
    MovingWindowRateLimiter,
    RateLimiter,
    SlidingWindowCounterRateLimiter,
)

pytestmark = pytest.mark.timeout(180)

ROUNDS = 7
DECISIONS = {1: 300, 50: 1_500, 200: 2_000}
"""Decisions a round, by how many tasks make them."""

CONNECTIONS_MAX = 512
"""By default redis-py opens 100, and whoever needs one more gets an exception."""

KEYS = [f"acct:{n:07d}" for n in range(ACCOUNTS)]


class Limits:
    """A strategy of `limits`."""

    def __init__(self, url: str, strategy: type[RateLimiter]) -> None:
        self._storage = RedisStorage(
            f"async+{url}",
            implementation="redispy",
            key_prefix=strategy.__name__,  # strategies do not share keys
            max_connections=CONNECTIONS_MAX,
        )
        self._hit = strategy(self._storage).hit
        self._item = RateLimitItemPerMinute(AMOUNT)

    async def start(self) -> None:
        assert await self._storage.check()

    async def decide(self, at: int) -> None:
        assert await self._hit(self._item, KEYS[at % ACCOUNTS])

    async def stop(self) -> None:
        await self._storage.bridge.storage.aclose()


class Throttled:
    """A strategy of throttled-py."""

    def __init__(self, url: str, using: str) -> None:
        options = {"CONNECTION_POOL_KWARGS": {"max_connections": CONNECTIONS_MAX}}
        self._store = throttled.RedisStore(server=url, options=options)
        self._limit = throttled.Throttled(
            using=using,
            quota=throttled.per_min(AMOUNT, burst=AMOUNT),
            store=self._store,
        ).limit

    async def start(self) -> None:
        await self.decide(0)

    async def decide(self, at: int) -> None:
        assert not (await self._limit(KEYS[at % ACCOUNTS])).limited

    async def stop(self) -> None:
        client = self._store._backend.get_client()  # noqa: SLF001 - it has no way to close
        await client.aclose(close_connection_pool=True)


@pytest.mark.parametrize("tasks", DECISIONS)
def test_decisions_beside_peers(tell: Any, valkey_url: str, tasks: int) -> None:
    async def run() -> dict[str, Seen]:
        candidates: dict[str, Candidate] = {
            "ours": Ours(valkey_url, 1),
            "bare EVALSHA": Bare(valkey_url),
            "limits, fixed window": Limits(valkey_url, FixedWindowRateLimiter),
            "limits, moving window": Limits(valkey_url, MovingWindowRateLimiter),
            "limits, sliding window": Limits(
                valkey_url, SlidingWindowCounterRateLimiter
            ),
            "throttled-py, fixed window": Throttled(valkey_url, "fixed_window"),
            "throttled-py, GCRA": Throttled(valkey_url, "gcra"),
        }
        return await in_turns(
            candidates, tasks, rounds=ROUNDS, decisions=DECISIONS[tasks]
        )

    timed = asyncio.run(run())
    ours = timed.pop("ours")
    for name, seen in timed.items():
        for what, value_us, ours_us in zip(
            ("time per decision", "p50", "p99"), seen, ours, strict=True
        ):
            goal = what == "time per decision" and tasks == 50
            tell(
                f"redis, {tasks} tasks, {name}, beside ours: {what}",
                value_us,
                floor=ours_us,
                ratio_min=5.0 if goal else None,
            )
