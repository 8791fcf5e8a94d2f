"""One rate decision in memory: ours beside what other libraries do.

Run from the root of the repository:

    pytest benchmarks/test_peers_memory.py -p benchmark

What counts is the processor time of the thread that runs the loop, so that other
processes leave no trace; nor do threads which a library starts.
"""

import asyncio
import gc
from collections.abc import Sequence
from itertools import cycle, islice
from statistics import median
from time import thread_time_ns
from typing import Any

import pytest
from benchmarks.peers import CANDIDATES, LIMITS, OURS, Candidate, Decide

pytestmark = pytest.mark.timeout(120)

HOT_KEY = "acct:0000001"
ROUNDS, CALLS = 30, 1000
KEYS = 100_000
TURNS, TURNS_MAX_NS = 5000, 400_000_000
"""Loop turns that are timed, or as many as begin in that time."""


@pytest.mark.parametrize("name", CANDIDATES)
def test_each_candidate_limits(name: str) -> None:
    """Of five calls against three a minute, each lets in three."""
    candidate = CANDIDATES[name]

    async def run() -> list[bool]:
        decide, ask = candidate.make(3), candidate.ask(HOT_KEY, 3)
        return [candidate.admits(await decide(ask)) for _ in range(5)]

    assert asyncio.run(run()) == [True] * 3 + [False] * 2


def test_one_hot_key(tell: Any) -> None:
    """In turns, each on a loop of its own: none meets what another has left there."""
    means_us: dict[str, list[float]] = {name: [] for name in CANDIDATES}
    for _ in range(ROUNDS):
        for name, candidate in CANDIDATES.items():
            means_us[name].append(asyncio.run(on_hot_key(candidate)))
    tell_of(tell, "memory, hot key", {n: median(us) for n, us in means_us.items()})


def test_100k_keys(tell: Any) -> None:
    """One after the other, and with a turn of the loop each, as under a server.

    A key is in use for a second after each call, so ours keeps all of them. Beside it
    is what ours takes where each key was whole again, so it is new and old ones leave.
    """
    keys = [f"acct:{n:07d}" for n in range(KEYS)]
    seen = {n: asyncio.run(among(of, keys, 60)) for n, of in CANDIDATES.items()}
    new_us, _ = asyncio.run(among(OURS, keys, 10**7))
    tell("memory, 100k keys: ours, all new", new_us, floor=seen["GCRA by hand"][0])
    tell_of(tell, "memory, 100k keys", {n: us for n, (us, _) in seen.items()})
    turns_us = {name: turns for name, (_, turns) in seen.items()}
    for title, of in (("usual", median), ("longest", max)):
        tell_of(
            tell,
            f"memory, 100k keys, a loop turn each, {title}",
            {name: of(turns) for name, turns in turns_us.items()},
            goal=False,  # the turn itself is most of ours
        )


async def on_hot_key(candidate: Candidate) -> float:
    """Return microseconds per decision on one key."""
    decide, ask = candidate.make(10**6), candidate.ask(HOT_KEY, 10**6)
    await calls_us(decide, [ask] * (CALLS // 10))
    return await calls_us(decide, [ask] * CALLS) / CALLS


async def among(
    candidate: Candidate, keys: list[str], amount: int
) -> tuple[float, list[float]]:
    """Return microseconds per decision among *keys*, and those of each loop turn."""
    decide = candidate.make(amount)
    asks = [candidate.ask(key, amount) for key in keys]
    spread = [asks[n * 7919 % KEYS] for n in range(20 * CALLS)]
    gc.collect()
    for ask in asks:
        await decide(ask)
    parts = [spread[at : at + CALLS] for at in range(0, len(spread), CALLS)]
    mean_us = median([await calls_us(decide, part) / CALLS for part in parts])
    turns_ns: list[int] = []
    until_ns = thread_time_ns() + TURNS_MAX_NS
    for ask in islice(cycle(spread), TURNS):
        began_ns = thread_time_ns()
        if began_ns > until_ns:
            break
        await decide(ask)
        await asyncio.sleep(0)
        turns_ns.append(thread_time_ns() - began_ns)
    return mean_us, [ns / 1000 for ns in turns_ns]


async def calls_us(decide: Decide, asks: Sequence[Any]) -> float:
    began_ns = thread_time_ns()
    for ask in asks:
        await decide(ask)
    return (thread_time_ns() - began_ns) / 1000


def tell_of(
    tell: Any, title: str, took_us: dict[str, float], *, goal: bool = True
) -> None:
    """Tell ours beside the floor, and each peer beside ours."""
    ours_us = took_us["ours"]
    tell(f"{title}: ours", ours_us, floor=took_us["GCRA by hand"])
    for name, us in took_us.items():
        if name not in {"ours", "GCRA by hand"}:
            ratio_min = 5.0 if goal and name in LIMITS else None
            tell(
                f"{title}: {name}, beside ours", us, floor=ours_us, ratio_min=ratio_min
            )
