"""One process in which a limiter in memory grows to so many keys.

Started by `test_growth.py` as `python -m benchmarks.key_load NAME KEYS`; it says
"ready", begins on a line of input, and answers with `Seen` as JSON.
"""

import asyncio
import gc
import resource
import sys
from pathlib import Path
from statistics import median
from time import thread_time_ns
from typing import Any

import msgspec
from benchmarks.baselines import DictGcra

from metering.backends.memory import MemoryLimitStore
from metering.clock import NS_PER_S
from metering.quota import Demand, RateQuota

__all__ = ["Seen"]

PART = 1000
PARTS = 20
START_S = 1_768_435_200
DAY = RateQuota(60, 24 * 3600 * NS_PER_S)
"""Such that no key is whole again, and so none leaves, while this runs."""


class Seen(msgspec.Struct):
    """What a limiter cost once it had so many keys.

    Attributes:
        decision_us: Usual time of a decision on a known key, in no order.
        longest_us: Of all decisions while it grew, the longest.
        key_bytes: Memory that the process took for each key, the key included.
    """

    decision_us: float
    longest_us: float
    key_bytes: float


def by_hand() -> Any:
    hit = DictGcra(60, 24 * 3600.0).hit
    return lambda key: hit(key, 1, float(START_S))


def ours() -> Any:
    acquire = MemoryLimitStore().acquire
    now_ns = START_S * NS_PER_S
    return lambda key: acquire(
        (Demand(key, DAY),), hold_id="", lease_ns=NS_PER_S, now_ns=now_ns
    )


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize()


async def grow(decide: Any, keys: int) -> Seen:
    """Make the keys one by one, as they come, and ask some of them again."""
    await decide("acct:warm")
    gc.collect()
    empty_bytes = resident_bytes()
    longest_ns = 0
    for n in range(keys):
        key = f"acct:{n:07d}"
        began_ns = thread_time_ns()
        await decide(key)
        longest_ns = max(longest_ns, thread_time_ns() - began_ns)
    gc.collect()
    key_bytes = (resident_bytes() - empty_bytes) / keys
    known = [f"acct:{n * 7919 % keys:07d}" for n in range(PART * PARTS)]
    means_us = []
    for at in range(0, len(known), PART):
        began_ns = thread_time_ns()
        for key in known[at : at + PART]:
            await decide(key)
        means_us.append((thread_time_ns() - began_ns) / 1000 / PART)
    return Seen(median(means_us), longest_ns / 1000, key_bytes)


def main(name: str, keys: str) -> None:
    decide = {"ours": ours, "by hand": by_hand}[name]()
    print("ready", flush=True)
    sys.stdin.readline()
    seen = asyncio.run(grow(decide, int(keys)))
    print(msgspec.json.encode(seen).decode())


if __name__ == "__main__":
    main(*sys.argv[1:])
