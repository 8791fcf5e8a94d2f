"""Events that a ledger refuses for themselves, set aside so that all others go on."""

import fcntl
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

import msgspec

from metering.errors import MeteringError, StorageError
from metering.stores import PostReport
from metering.usage import UsageEvent

__all__ = ["BYTES_MAX", "RefusedEvent", "SetAside", "held", "set_aside_path"]

BYTES_MAX = 64 * 1024 * 1024
"""How large the file may grow: some 100,000 events."""

_encode = msgspec.json.Encoder().encode


class RefusedEvent(msgspec.Struct, frozen=True):
    """A line of the file: the event, and why the ledger does not take it."""

    reason: str
    event: UsageEvent


class _Sorted(NamedTuple):
    reports: list[PostReport]
    refused: list[RefusedEvent]


def set_aside_path(home: Path) -> Path:
    """Return the file in which a data home keeps what was set aside."""
    return home / "journal" / "set-aside.jsonl"


@contextmanager
def held(path: Path) -> Iterator[IO[bytes]]:
    """Open the file to append to it while no other process does, or takes it away."""
    while True:
        with open(path, "a+b", opener=_private) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if _is_at(path, file):
                yield file
                return


class SetAside:
    """Posts batches to a ledger; what it refuses for itself goes to a file instead.

    A ledger that does not answer is another matter: its `StorageError` passes through,
    nothing is set aside, and the whole batch can be posted again. Safe to share between
    threads.

    Args:
        home: The data home.
        post: Posts a batch to the ledger, all or nothing, idempotent by event id.
        on_refused: Told of each event once it was set aside, and whether the file had
            room for it; it is for logs.
    """

    def __init__(
        self,
        home: Path,
        post: Callable[[Sequence[UsageEvent]], PostReport],
        *,
        on_refused: Callable[[RefusedEvent, bool], None],
        bytes_max: int = BYTES_MAX,
    ) -> None:
        self._path = set_aside_path(home)
        self._post = post
        self._on_refused = on_refused
        self._bytes_max = bytes_max
        self._lock = threading.Lock()

    def post(self, events: Sequence[UsageEvent]) -> PostReport:
        """Post what the ledger takes of a batch; it reports nothing of the rest.

        Raises:
            StorageError: The ledger does not answer, or the file cannot be written.
        """
        found = _Sorted([], [])
        self._sort(events, found)
        if found.refused:
            # Only now: were the batch posted again, they would be set aside twice.
            with self._lock:
                kept = self._keep(found.refused)
            for at, refused in enumerate(found.refused):
                self._on_refused(refused, at < kept)
        return PostReport(
            posted=tuple(id_ for each in found.reports for id_ in each.posted),
            conflicts=tuple(id_ for each in found.reports for id_ in each.conflicts),
            unowned=tuple(id_ for each in found.reports for id_ in each.unowned),
        )

    def _sort(self, events: Sequence[UsageEvent], found: _Sorted) -> None:
        """Post a batch, or else its halves: one bad event of 1,000 takes 20 tries."""
        try:
            found.reports.append(self._post(events))
        except StorageError:
            raise
        except MeteringError as error:
            if len(events) == 1:
                found.refused.append(RefusedEvent(str(error), events[0]))
                return
            half = len(events) // 2
            self._sort(events[:half], found)
            self._sort(events[half:], found)

    def _keep(self, refused: Sequence[RefusedEvent]) -> int:
        """Write what the file has room for, and return how many that were."""
        lines = [_encode(each) + b"\n" for each in refused]
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with held(self._path) as file:
                room = self._bytes_max - _end_line(file)
                kept = 0
                for line in lines:
                    room -= len(line)
                    if room < 0:
                        break
                    file.write(line)
                    kept += 1
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise StorageError(
                f"{len(refused)} events that the ledger refuses cannot be set aside in"
                f" {self._path}: {error}. They stay in the journal: free disk space"
                " there, or mend the disk."
            ) from error
        return kept


def _is_at(path: Path, file: IO[bytes]) -> bool:
    """Whether nobody took the file away between its opening and its lock."""
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def _end_line(file: IO[bytes]) -> int:
    """End a line that a power cut left without its end; return the file's size."""
    size = file.seek(0, os.SEEK_END)
    if size and os.pread(file.fileno(), 1, size - 1) != b"\n":
        size += file.write(b"\n")
    return size


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)
