"""One process that decides in Redis for so long, and says how often it did.

Started by `test_growth.py` as `python -m benchmarks.redis_processes NAME URL TASKS`; it
says "ready", begins on a line of input, and ends after `SECONDS`.
"""

import asyncio
import sys
from itertools import count
from time import perf_counter

from benchmarks.redis_load import Bare, Candidate, Ours

__all__ = ["SECONDS"]

SECONDS = 1.5


async def run(candidate: Candidate, tasks: int) -> int:
    await candidate.start()
    await candidate.decide(0)
    print("ready", flush=True)
    sys.stdin.readline()
    until_s, asked = perf_counter() + SECONDS, count()

    async def work() -> None:
        while perf_counter() < until_s:
            await candidate.decide(next(asked))

    await asyncio.gather(*(work() for _ in range(tasks)))
    await candidate.stop()
    return next(asked)


def main(name: str, url: str, tasks: str) -> None:
    candidate = {"bare": Bare(url), "ours": Ours(url, 1)}[name]
    print(asyncio.run(run(candidate, int(tasks))))


if __name__ == "__main__":
    main(*sys.argv[1:])
