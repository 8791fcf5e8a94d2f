"""Calls of a node whose limits are in Redis and whose ledger is in PostgreSQL.

Run from the root of the repository:

    pytest benchmarks/test_shared.py -o addopts= --import-mode=importlib

Each call is of one of fifty accounts, with limits on requests and money. Timed
is what a client waits until the app is called: key, price, hold, and the journal's
first line. The floor is one script call by the same client library. Both servers are on
this machine, and what was called is posted meanwhile.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import replace
from itertools import count
from pathlib import Path
from statistics import quantiles
from typing import Any

import pytest
import redis.asyncio
from benchmarks.service import HUGE, JsonApp, request
from starlette.types import Receive, Scope, Send

from metering import Metering
from metering.accounts import Overrides
from metering.backends.sql import migrate
from metering.config import OutageSettings, plan_from_preset
from metering.testing.postgres import PostgresServer

pytestmark = pytest.mark.timeout(300)

ACCOUNTS = 50
CALLS = 3_000
LIMIT_P = 8_000_000 * 10**12
BARE = "return redis.call('INCRBY', KEYS[1], ARGV[1])"
PORT = 27_531

began_ns: ContextVar[int] = ContextVar("began_ns")


class Timing:
    """The app; it notes how long each call took to come here."""

    def __init__(self) -> None:
        self.waits_ms: list[float] = []
        self._app = JsonApp()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        self.waits_ms.append((time.perf_counter_ns() - began_ns.get()) / 1e6)
        await self._app(scope, receive, send)


@pytest.fixture(scope="module")
def ledger_url() -> Iterator[str]:
    """Return a ledger of its own, which waits for the disk."""
    with PostgresServer(PORT, fsync="on") as server:
        migrate(server.url())
        yield server.url()


@asynccontextmanager
async def node(
    home: Path, limits: str, ledger: str
) -> AsyncIterator[tuple[Metering, list[str]]]:
    """Run a node; return it and a key of each account."""
    plan = replace(
        plan_from_preset("friendli"),
        data=str(home),
        limits_store=limits,
        ledger=ledger,
        outage=OutageSettings(deadline_ms=5_000),
    )
    meter = Metering(plan)
    await meter.start()
    try:
        keys = []
        agreed = Overrides(requests={"paid": HUGE}, usage_limit_p=LIMIT_P)
        for number in range(ACCOUNTS):
            name = f"account-{number}"
            await meter.accounts.create(name)
            await meter.accounts.pin_tier(name, 4)
            await meter.accounts.override(name, agreed)
            keys.append(await meter.accounts.issue_key(name))
        yield meter, keys
    finally:
        await meter.stop()


async def under_load(asks: list[Any], tasks: int) -> float:
    """Make so many calls at once, all the time; return the calls a second."""
    numbers = count()

    async def work() -> None:
        while (at := next(numbers)) < CALLS:
            began_ns.set(time.perf_counter_ns())
            await asks[at % len(asks)]()

    began_s = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(tasks)))
    return CALLS / (time.perf_counter() - began_s)


async def bare(url: str, tasks: int) -> list[float]:
    """Return how long single script calls took, in ms."""
    waits_ms: list[float] = []
    numbers = count()
    async with redis.asyncio.Redis.from_url(url, max_connections=100) as client:
        sha = await client.script_load(BARE)

        async def work() -> None:
            while (at := next(numbers)) < CALLS:
                began = time.perf_counter_ns()
                await client.evalsha(sha, 1, f"bare:{at % ACCOUNTS}", 1)
                waits_ms.append((time.perf_counter_ns() - began) / 1e6)

        await asyncio.gather(*(work() for _ in range(tasks)))
    return waits_ms


def test_admission(tmp_path: Path, valkey_url: str, ledger_url: str, tell: Any) -> None:
    """Alone, and with fifty calls at once."""

    async def whole() -> None:
        app = Timing()
        async with node(tmp_path, valkey_url, ledger_url) as (meter, keys):
            asks = [request(meter.wrap(app), key) for key in keys]
            await under_load(asks, 10)
            for tasks in (1, 50):
                floor_ms = quantiles(await bare(valkey_url, tasks), n=100)
                app.waits_ms.clear()
                per_second = await under_load(asks, tasks)
                own_ms = quantiles(app.waits_ms, n=100)
                title = f"admission by Redis, ledger in PostgreSQL, {tasks} at once"
                tell(f"{title}: p50", own_ms[49], "ms", floor=floor_ms[49])
                tell(f"{title}: p99", own_ms[98], "ms", floor=floor_ms[98])
                tell(f"{title}: whole calls", per_second, "a second")

    asyncio.run(whole())
