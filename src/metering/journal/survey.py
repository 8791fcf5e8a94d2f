"""What lies in the journals of a data home, read beside those who write them."""

import fcntl
import os
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path

import msgspec

from metering.journal.lines import CLOSED, Line
from metering.journal.segments import (
    SegmentReader,
    lock_path,
    owners_home,
    segments_of,
)

__all__ = ["JournalSurvey", "survey_journals"]

_BATCH = 500


class JournalSurvey(msgspec.Struct, frozen=True, kw_only=True):
    """One journal.

    Attributes:
        path: Its folder.
        alive: Whether the process that writes it lives. If not, the next start of a
            service posts what it left.
        size: Bytes of its segments.
        running: Calls that began and have not ended.
        unposted: Calls that ended and are not in the ledger.
        unposted_p: What those cost, in pico-dollars.
    """

    path: str
    alive: bool
    size: int
    running: int
    unposted: int
    unposted_p: int


def survey_journals(
    home: Path, known: Callable[[Iterable[str]], set[str]]
) -> list[JournalSurvey]:
    """Return what each journal of a data home holds. Blocks; nothing is changed.

    Args:
        home: The data home.
        known: Says which events, by id, are in the ledger.
    """
    folder = owners_home(home)
    owners = sorted(folder.iterdir()) if folder.is_dir() else []
    return [_survey(owner, known) for owner in owners if lock_path(owner).is_file()]


def _survey(owner: Path, known: Callable[[Iterable[str]], set[str]]) -> JournalSurvey:
    alive = _is_held(lock_path(owner))
    size = unposted = unposted_p = 0
    running: set[str] = set()
    for segment in segments_of(owner):
        lines = _lines_of(segment)
        while batch := list(islice(lines, _BATCH)):
            running.update(line.id() for line in batch if line.kind != CLOSED)
            ended = [line.event() for line in batch if line.kind == CLOSED]
            running.difference_update(event.id for event in ended)
            posted = known(event.id for event in ended)
            owed = [event for event in ended if event.id not in posted]
            unposted += len(owed)
            unposted_p += sum(event.charge_p for event in owed)
        if segment.exists():
            size += segment.stat().st_size
    return JournalSurvey(
        path=str(owner),
        alive=alive,
        size=size,
        running=len(running),
        unposted=unposted,
        unposted_p=unposted_p,
    )


def _lines_of(segment: Path) -> Iterator[Line]:
    reader = SegmentReader(segment)
    try:
        while (lines := reader.read(reader.size)) is not None:
            yield from lines
    except FileNotFoundError:
        return  # posted meanwhile, and let go


def _is_held(lock: Path) -> bool:
    """Whether someone holds the lock. It is shared for an instant, never taken."""
    try:
        fd = os.open(lock, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False
