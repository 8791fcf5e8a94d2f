"""One decision of the memory store against a rate limit written by hand on a dict.

Run from the root of the repository:

    pytest benchmarks/test_decision.py -o addopts= --import-mode=importlib

Each round makes `CALLS` decisions inside one coroutine, driven without an event loop:
what is measured is the decision, and the same for the floor. A counter tells both the
time, once a decision, so that a quota of 60 a minute never runs out, or always has.
"""

from collections import defaultdict
from collections.abc import Callable, Coroutine
from itertools import count, cycle, islice
from typing import Any

import pytest
from benchmarks.baselines import DictGcra, count_one

from metering.backends.memory import MemoryLimitStore
from metering.clock import NS_PER_S
from metering.quota import BudgetQuota, Demand, RateQuota

CALLS = 1000
KEYS = 100_000
RATE = RateQuota(60, 60 * NS_PER_S)
START_S = 1_768_435_200
LEASE_NS = 30 * NS_PER_S
STEPS_S = {"hot key, granted": 1.0, "hot key, refused": 0.0}
"""Seconds from one decision to the next."""

ONE_CALL = tuple(
    demand
    for whose in ("acct:0000001", "key:0000001")
    for demand in (
        Demand(f"{whose}:requests", RATE),
        Demand(f"{whose}:tokens", RateQuota(100_000, 60 * NS_PER_S), 500),
        Demand(f"{whose}:slots", BudgetQuota(1000)),
        Demand(f"{whose}:usd", BudgetQuota(2**62), 40_960_000_000),
    )
)
"""What one call may ask for; fewer demands are the first of these."""

USED = (1, 200, 0, 1_700_000_000) * 2
"""What it used of each."""

Work = Callable[[], Coroutine[Any, Any, None]]


def measure(
    benchmark: Any, group: str, work: Work, *, warm: int = 1, **extra: Any
) -> None:
    """Time a coroutine that makes `CALLS` decisions and never suspends."""

    def drive() -> None:
        coroutine = work()
        try:
            coroutine.send(None)
        except StopIteration:
            return
        raise AssertionError("a decision in memory must not suspend")

    for _ in range(warm):
        drive()
    benchmark.group = group
    benchmark.extra_info.update(calls=CALLS, **extra)
    benchmark(drive)


def by_hand(keys: list[str], step_s: float) -> Work:
    """Hit each of the keys in turn."""
    hit = DictGcra(amount=60, per_s=60.0).hit
    asks, clock = cycle(keys), count(float(START_S), step_s).__next__

    async def work() -> None:
        for key in islice(asks, CALLS):
            await hit(key, 1, clock())

    return work


def by_store(keys: list[str], step_s: float) -> Work:
    """Take one unit of each of the keys in turn, without a hold."""
    acquire = MemoryLimitStore().acquire
    asks = cycle([(Demand(key, RATE),) for key in keys])
    clock = count(START_S * NS_PER_S, int(step_s * NS_PER_S)).__next__

    async def work() -> None:
        for ask in islice(asks, CALLS):
            await acquire(ask, hold_id="", lease_ns=LEASE_NS, now_ns=clock())

    return work


@pytest.mark.parametrize("case", STEPS_S)
def test_floor_of_a_decision(benchmark: Any, case: str) -> None:
    measure(benchmark, case, by_hand(["acct:0000001"], STEPS_S[case]))


@pytest.mark.parametrize("case", STEPS_S)
def test_one_rate(benchmark: Any, case: str) -> None:
    work = by_store(["acct:0000001"], STEPS_S[case])
    measure(benchmark, case, work, floor=f"test_floor_of_a_decision[{case}]", goal=2.0)


def many_keys() -> list[str]:
    return [f"acct:{n:07d}" for n in range(KEYS)]


def test_floor_of_100k_keys(benchmark: Any) -> None:
    work = by_hand(many_keys(), 1 / KEYS)
    measure(benchmark, "100k keys", work, warm=KEYS // CALLS)


def test_one_rate_of_100k_keys(benchmark: Any) -> None:
    work = by_store(many_keys(), 1 / KEYS)
    measure(
        benchmark,
        "100k keys",
        work,
        warm=KEYS // CALLS,
        floor="test_floor_of_100k_keys",
        goal=2.0,
    )


@pytest.mark.parametrize("demands", [1, 2, 4, 8])
def test_floor_of_a_whole_call(benchmark: Any, demands: int) -> None:
    """As many hits by hand, which are neither all or none nor ever settled."""
    hit = DictGcra(amount=60, per_s=60.0).hit
    keys = [demand.key for demand in ONE_CALL[:demands]]
    clock = count(float(START_S), 1.0).__next__

    async def work() -> None:
        for _ in range(CALLS):
            now_s = clock()
            for key in keys:
                await hit(key, 1, now_s)

    measure(benchmark, f"whole call, demands: {demands}", work)


@pytest.mark.parametrize("demands", [1, 2, 4, 8])
def test_whole_call(benchmark: Any, demands: int) -> None:
    """All or none under a hold of its own, then settled."""
    store = MemoryLimitStore()
    asked = ONE_CALL[:demands]
    used = USED[:demands]
    ids = (f"{n:032x}" for n in count())
    clock = count(START_S * NS_PER_S, NS_PER_S).__next__

    async def work() -> None:
        acquire, settle = store.acquire, store.settle
        for hold_id in islice(ids, CALLS):
            now_ns = clock()
            await acquire(asked, hold_id=hold_id, lease_ns=LEASE_NS, now_ns=now_ns)
            await settle(hold_id, asked, used, now_ns=now_ns)

    floor = f"test_floor_of_a_whole_call[{demands}]"
    measure(benchmark, f"whole call, demands: {demands}", work, floor=floor)


def test_floor_of_counting(benchmark: Any) -> None:
    counts: dict[str, int] = defaultdict(int)

    async def work() -> None:
        for _ in range(CALLS):
            count_one(counts, "acct:0000001")

    measure(benchmark, "counting", work)
