"""What dead processes left in their journals, posted once and deleted."""

import fcntl
import itertools
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from metering.journal.lines import CLOSED, Line
from metering.journal.segments import (
    SegmentReader,
    breathe,
    claim,
    owners_home,
    remove_owner,
    segments_of,
)
from metering.stores import PostReport
from metering.usage import UsageEvent

__all__ = ["Adoption", "adopt_orphans"]


class Adoption(msgspec.Struct, frozen=True, kw_only=True):
    """What was found in the journals of dead processes.

    Attributes:
        owners: Journals adopted.
        closed: Events of calls that had ended.
        recovered: Events of calls that had not.
        posted: How many of both were new to the ledger.
        conflicts: How many the ledger had with another charge.
        damaged: Lines passed over because they were torn or altered.
    """

    owners: int = 0
    closed: int = 0
    recovered: int = 0
    posted: int = 0
    conflicts: int = 0
    damaged: int = 0


def adopt_orphans(
    home: Path,
    post: Callable[[Sequence[UsageEvent]], PostReport],
    *,
    batch_max: int = 1000,
) -> Adoption:
    """Post what dead processes left in their journals, and delete those.

    Blocks; run it in a worker thread, at start. Several processes may, one after the
    other: who returns knows that all is posted that was left when it began, so that no
    budget is seeded without it. Memory is bounded by one batch and the calls that were
    running when a process died.

    Args:
        home: The data home.
        post: Posts a batch, idempotent by event id. What it raises passes through,
            and the journal it was raised for stays as it was.
        batch_max: Events in a batch, at least 1.
    """
    tally: Counter[str] = Counter()
    folder = owners_home(home)
    if not folder.is_dir():
        return Adoption()
    turn = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(turn, fcntl.LOCK_EX)
        for owner in sorted(folder.iterdir()):
            _adopt(owner, post, batch_max, tally)
    finally:
        os.close(turn)
    return Adoption(**tally)


def _adopt(
    owner: Path,
    post: Callable[[Sequence[UsageEvent]], PostReport],
    batch_max: int,
    tally: Counter[str],
) -> None:
    """Adopt one journal, if nobody has it."""
    lock = claim(owner)
    if lock is None:
        return
    try:
        tally["owners"] += 1
        events = _events_left(owner, tally)
        while batch := list(itertools.islice(events, batch_max)):
            report = post(batch)
            tally["posted"] += len(report.posted)
            tally["conflicts"] += len(report.conflicts)
        remove_owner(owner)
    finally:
        os.close(lock)


def _events_left(owner: Path, tally: Counter[str]) -> Iterator[UsageEvent]:
    """Yield one event for each call of a journal: the last line of an id wins."""
    running: dict[str, Line] = {}
    for path in segments_of(owner):
        reader = SegmentReader(path)
        for line in _lines_of(reader):
            if line.kind == CLOSED:
                event = line.event()
                running.pop(event.id, None)
                tally["closed"] += 1
                yield event
            else:
                running[line.id()] = line
        tally["damaged"] += reader.damaged
    for line in running.values():
        tally["recovered"] += 1
        yield msgspec.structs.replace(line.event(), ending="recovered")


def _lines_of(reader: SegmentReader) -> Iterator[Line]:
    while (lines := reader.read(reader.size)) is not None:
        yield from lines
        breathe()
    reader.pass_tail()
