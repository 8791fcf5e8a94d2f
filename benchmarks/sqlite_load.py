"""One process that loads a limits file, for so long, and says what it saw as JSON.

Started by `test_sqlite.py` as `python -m benchmarks.sqlite_load LOAD PATH TASKS`; it
says "ready", begins on a line of input, and ends after `SECONDS`.
"""

import asyncio
import sqlite3
import sys
import time
from itertools import count
from statistics import quantiles
from uuid import uuid4

import msgspec

from metering.backends.sqlite import SqliteLimitStore
from metering.clock import NS_PER_S
from metering.errors import StorageError
from metering.quota import BudgetQuota, Demand, RateQuota

__all__ = ["SECONDS", "Seen"]

SECONDS = 2.0
LEASE_NS = 30 * NS_PER_S
PACE_S = 0.1
"""A paced task asks ten times a second."""

RATE = RateQuota(2**40, 60 * NS_PER_S)
ONE = (Demand("requests", RATE),)
ONE_CALL = (
    *ONE,
    Demand("tokens", RATE, 500),
    Demand("slots", BudgetQuota(1_000_000)),
    Demand("usd", BudgetQuota(2**62), 40_960_000_000),
)
USED = (1, 200, 0, 1_700_000_000)

BARE_TABLE = """
CREATE TABLE IF NOT EXISTS bare (
  key TEXT PRIMARY KEY, due_us INTEGER NOT NULL
) STRICT, WITHOUT ROWID
"""
BARE_PUT = """
INSERT INTO bare VALUES (?, ?)
  ON CONFLICT (key) DO UPDATE SET due_us = excluded.due_us
"""


class Seen(msgspec.Struct):
    """What one process did and met.

    Attributes:
        decisions: How many it made.
        wait_ms: Percentiles 1 to 99 of how long one took.
        lag_ms: Percentiles 1 to 99 of how late the event loop was, once a millisecond.
        lag_max_ms: The longest of these.
        unanswered: How many times the file was locked for too long to decide.
    """

    decisions: int
    wait_ms: list[float] = []
    lag_ms: list[float] = []
    lag_max_ms: float = 0.0
    unanswered: int = 0


def bare(path: str) -> Seen:
    """One transaction a decision, one after the other: what SQLite itself can do."""
    connection = sqlite3.connect(path, isolation_level=None, timeout=10.0)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute(BARE_TABLE)
    start()
    decisions, waits_s = 0, []
    until_s = time.perf_counter() + SECONDS
    while (began_s := time.perf_counter()) < until_s:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("SELECT due_us FROM bare WHERE key = ?", ("k",)).fetchone()
        connection.execute(BARE_PUT, ("k", decisions))
        connection.execute("COMMIT")
        decisions += 1
        waits_s.append(time.perf_counter() - began_s)
    connection.close()
    return Seen(decisions, percentiles_ms(waits_s))


async def by_store(load: str, path: str, tasks: int) -> Seen:
    """So many tasks ask the store; under "idle" nobody does: the lag alone counts."""
    store = SqliteLimitStore(path, deadline_ms=10_000)
    await opened(store)
    ask = {"store": take, "call": call, "paced": paced, "idle": idle}[load]
    start()
    waits_s, lags_s, unanswered = list[float](), list[float](), count()
    until_s = time.perf_counter() + SECONDS

    async def asker() -> None:
        while (began_s := time.perf_counter()) < until_s:
            try:
                waits_s.append(await ask(store, began_s))
            except StorageError:
                next(unanswered)

    await asyncio.gather(watch(lags_s, until_s), *(asker() for _ in range(tasks)))
    await store.aclose()
    lag_ms = percentiles_ms(lags_s)
    decisions = 0 if load == "idle" else len(waits_s)
    return Seen(
        decisions,
        percentiles_ms(waits_s),
        lag_ms,
        max(lags_s) * 1000,
        next(unanswered),
    )


async def opened(store: SqliteLimitStore) -> None:
    """Wait until the file is there: several begin at once, and lock each other out."""
    while True:
        try:
            await store.peek(ONE_CALL, now_ns=time.time_ns())
        except StorageError:
            await asyncio.sleep(PACE_S)
        else:
            return


async def take(store: SqliteLimitStore, began_s: float) -> float:
    now_ns = time.time_ns()
    await store.acquire(ONE, hold_id="", lease_ns=LEASE_NS, now_ns=now_ns)
    return time.perf_counter() - began_s


async def call(store: SqliteLimitStore, began_s: float) -> float:
    hold_id, now_ns = uuid4().hex, time.time_ns()
    await store.acquire(ONE_CALL, hold_id=hold_id, lease_ns=LEASE_NS, now_ns=now_ns)
    took_s = time.perf_counter() - began_s
    await store.settle(hold_id, ONE_CALL, USED, now_ns=time.time_ns())
    return took_s


async def paced(store: SqliteLimitStore, began_s: float) -> float:
    took_s = await call(store, began_s)
    await asyncio.sleep(PACE_S - took_s)
    return took_s


async def idle(_store: SqliteLimitStore, _began_s: float) -> float:
    await asyncio.sleep(PACE_S)
    return 0.0


async def watch(lags_s: list[float], until_s: float) -> None:
    """Note how late the loop comes back from sleeping a millisecond."""
    while (began_s := time.perf_counter()) < until_s:
        await asyncio.sleep(0.001)
        lags_s.append(time.perf_counter() - began_s - 0.001)


def percentiles_ms(spans_s: list[float]) -> list[float]:
    return [span_s * 1000 for span_s in quantiles(spans_s, n=100)]


def start() -> None:
    print("ready", flush=True)
    sys.stdin.readline()


def main(load: str, path: str, tasks: str) -> None:
    seen = (
        bare(path) if load == "bare" else asyncio.run(by_store(load, path, int(tasks)))
    )
    print(msgspec.json.encode(seen).decode())


if __name__ == "__main__":
    main(*sys.argv[1:])
