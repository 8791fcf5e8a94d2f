"""Lines of the journal beside the same lines written bare.

Run from the root of the repository:

    pytest benchmarks/test_journal.py -o addopts= --import-mode=importlib

The floor writes lines that were made beforehand, one `write` each, and calls fdatasync
after every 64 of them, as the journal does; in a second floor after each line.
"""

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from metering.clock import system_clock
from metering.journal import Journal
from metering.journal.lines import CLOSED, encode_line
from metering.testing.contracts.samples import used
from metering.usage import UsageEvent

pytestmark = pytest.mark.timeout(120)

LINES = 20_000
SINGLE = 500
GROUP = 64
ROUNDS = 5


def events() -> list[UsageEvent]:
    """Return calls that have ended."""
    return [
        used(f"019bbf0a-0000-7000-8000-{n:012d}", 1_700_000_000, key_id="k" * 36)
        for n in range(LINES)
    ]


def write_bare(path: Path, lines: Sequence[bytes], group: int) -> float:
    """Return the lines a second."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    began_s = time.perf_counter()
    for number, line in enumerate(lines, 1):
        os.write(fd, line)
        if number % group == 0:
            os.fdatasync(fd)
    os.fdatasync(fd)
    took_s = time.perf_counter() - began_s
    os.close(fd)
    return len(lines) / took_s


def write_journal(home: Path, ended: Sequence[UsageEvent]) -> float:
    """Return the lines a second, until all of them are on the disk."""
    journal = Journal(home, clock=system_clock)
    began_s = time.perf_counter()
    for event in ended:
        journal.close_call(event)
    asyncio.run(journal.durable())
    took_s = time.perf_counter() - began_s
    journal.close()
    return len(ended) / took_s


def test_lines(tmp_path: Path, tell: Any) -> None:
    """In turns, several times."""
    ended = events()
    lines = [encode_line(CLOSED, event) for event in ended]
    works: dict[str, Callable[[Path], float]] = {
        "journal": lambda path: write_journal(path, ended),
        "floor": lambda path: write_bare(path, lines, GROUP),
        "single": lambda path: write_bare(path, lines[:SINGLE], 1),
        "encoded": lambda _: len(ended) / encoding_s(ended),
    }
    seen: dict[str, list[float]] = {name: [] for name in works}
    for number in range(ROUNDS):
        for name, work in works.items():
            seen[name].append(work(tmp_path / f"{name}-{number}"))
    own, floor, single, encoded = (median(rates) for rates in seen.values())
    tell("journal: lines on the disk", own, "a second", floor=floor)
    tell("journal: fdatasync after each line, bare", single, "a second")
    tell("journal: lines made, not written", encoded, "a second")


def encoding_s(ended: Sequence[UsageEvent]) -> float:
    """Return how long it takes to make the lines."""
    began_s = time.perf_counter()
    for event in ended:
        encode_line(CLOSED, event)
    return time.perf_counter() - began_s
