"""Times what is compared in turns, so that a busy moment falls on all alike."""

import asyncio
import gc
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from statistics import median, quantiles
from time import perf_counter_ns, thread_time_ns

__all__ = ["Timing", "in_turns"]

Ask = Callable[[], Awaitable[None]]

WARM = 200
"""Calls of each before any is timed."""


class Timing:
    """How long one candidate took, in microseconds."""

    def __init__(self) -> None:
        self.means_us: list[float] = []
        self.busy_means_us: list[float] = []
        self.all_us: list[float] = []

    @property
    def usual_us(self) -> float:
        """Median over the rounds of a round's mean."""
        return median(self.means_us)

    @property
    def busy_us(self) -> float:
        """The same in processor time of the loop's thread: others leave no trace."""
        return median(self.busy_means_us)

    def percentile_us(self, percent: int) -> float:
        """Time within which that share of all calls ended."""
        return quantiles(self.all_us, n=100)[percent - 1]


async def in_turns(
    asks: Mapping[str, Ask], *, rounds: int, calls: int
) -> dict[str, Timing]:
    """Time each of *asks*: in each round, so many calls of one, then of the next.

    Each round begins with another one: the first pays for what came between rounds.
    The garbage collector is off in all of them, and runs between rounds.
    """
    timings = {name: Timing() for name in asks}
    order = deque(asks)
    for ask in asks.values():
        for _ in range(WARM):
            await ask()
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        for _ in range(rounds):
            for name in order:
                ask = asks[name]
                busy_ns = -thread_time_ns()
                spent_ns = [await _timed_ns(ask) for _ in range(calls)]
                busy_ns += thread_time_ns()
                timings[name].busy_means_us.append(busy_ns / calls / 1000)
                timings[name].means_us.append(sum(spent_ns) / calls / 1000)
                timings[name].all_us += [ns / 1000 for ns in spent_ns]
                await asyncio.sleep(0)  # the loop drops the timers that calls left
            order.rotate(1)
            gc.collect()
    finally:
        gc.enable()
        gc.unfreeze()
    return timings


async def _timed_ns(ask: Ask) -> int:
    began_ns = perf_counter_ns()
    await ask()
    return perf_counter_ns() - began_ns
