"""The files of one owner, being written: its folder and the segment at its end."""

import contextlib
import errno
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from metering.clock import NS_PER_MS
from metering.journal.lines import SPOILED
from metering.journal.segments import (
    Position,
    claim,
    lock_path,
    owners_home,
    remove_owner,
    segment_path,
)

__all__ = ["SegmentWriter", "Sync", "Unsynced", "Write"]

Write = Callable[[int, bytes | memoryview], int]
"""Writes to a file descriptor and returns how much of it, as `os.write` does."""

Sync = Callable[[int], None]
"""Brings a file descriptor's file to the disk, as `os.fdatasync` does."""

_CLAIMS_MAX = 8

_DISK_ERRORS = (errno.EIO, errno.ENOSPC, errno.EDQUOT)


class Unsynced(NamedTuple):
    """What must reach the disk for all lines written so far to survive its power."""

    folders: tuple[Path, ...]
    finished_fd: int
    fd: int


class SegmentWriter:
    """Writes whole lines, and begins a new segment where one is long enough.

    Not safe by itself: the journal's lock is held around each method but `sync` and
    `drop_before`.

    Args:
        home: The data home.
        now_ns: Names the owner's folder, so that folders sort by age.
        segment_bytes: A segment this long is followed by the next.
        write: `os.write`, or what stands for it in a test.

    Attributes:
        owner: The owner's folder.
        segment: Number of the segment being written.
        segment_first: Number of the oldest segment that is there.

    Raises:
        OSError: The folder or the first segment cannot be made.
    """

    def __init__(
        self, home: Path, *, now_ns: int, segment_bytes: int, write: Write
    ) -> None:
        self._segment_bytes = segment_bytes
        self._write = write
        self.owner, self._lock_fd = _new_owner(owners_home(home), now_ns)
        self._folders: tuple[Path, ...] = (
            home.parent,
            home,
            owners_home(home),
            self.owner,
        )
        self._fd = self._finished_fd = -1
        self.segment_first = 1
        self.segment = 0
        try:
            self._begin_segment()
        except OSError:
            self.remove()
            raise

    def _begin_segment(self) -> None:
        path = segment_path(self.owner, self.segment + 1)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        fd = os.open(path, flags, 0o600)
        self._finished_fd, self._fd = self._fd, fd
        self._folders = (*self._folders, self.owner)
        self.segment += 1
        self._offset = 0
        self._torn = False

    @property
    def position(self) -> Position:
        """The end of what is written; a line cut short may lie before it."""
        return Position(self.owner, self.segment, self._offset)

    def write(self, line: bytes) -> None:
        """Append a line.

        Raises:
            OSError: Not all of it was written; what was will never pass for a line.
        """
        # A segment still to be synced keeps its descriptor; so that there are two at
        # most, this one grows until then. It also does where no file can be made.
        if self._offset >= self._segment_bytes and self._finished_fd < 0:
            with contextlib.suppress(OSError):
                self._begin_segment()
        if self._torn:
            line = SPOILED + line
        written = self._write(self._fd, line)
        self._offset += written
        if written != len(line):
            self._write_rest(memoryview(line)[written:])
        self._torn = False

    def _write_rest(self, rest: memoryview) -> None:
        self._torn = True
        while rest:
            written = self._write(self._fd, rest)
            if not written:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self._offset += written
            rest = rest[written:]

    def unsynced(self) -> Unsynced:
        """Return what `sync` needs for all lines written until now."""
        return Unsynced(self._folders, self._finished_fd, self._fd)

    def synced(self, part: Unsynced) -> None:
        """Note that *part* has reached the disk."""
        self._folders = self._folders[len(part.folders) :]
        if part.finished_fd >= 0:
            os.close(part.finished_fd)
            self._finished_fd = -1

    def drop_before(self, segment: int) -> None:
        """Delete the segments before one, oldest first."""
        for number in range(self.segment_first, segment):
            segment_path(self.owner, number).unlink(missing_ok=True)
        self.segment_first = segment

    def close(self) -> None:
        """Give back the files, and with them the lock unless a parent holds it too."""
        for fd in (self._fd, self._finished_fd, self._lock_fd):
            if fd >= 0:
                os.close(fd)
        self._fd = self._finished_fd = self._lock_fd = -1

    def remove(self) -> None:
        """Delete the folder and give back the files."""
        with contextlib.suppress(OSError):  # what stays is adopted later, harmlessly
            remove_owner(self.owner)
        self.close()


def sync(part: Unsynced, sync_file: Sync) -> None:
    """Bring *part* to the disk: the files, and the folders that name them.

    Raises:
        OSError: The disk did not take it.
    """
    if part.finished_fd >= 0:
        sync_file(part.finished_fd)
    sync_file(part.fd)
    for folder in dict.fromkeys(part.folders):
        try:
            _sync_folder(folder)
        except OSError as error:
            # Some file systems sync no folder, some folders may not be opened.
            if error.errno in _DISK_ERRORS:
                raise


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _new_owner(folder: Path, now_ns: int) -> tuple[Path, int]:
    """Make an owner's folder and take its lock."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for _ in range(_CLAIMS_MAX):
        owner = folder / _uuid7_hex(now_ns)
        owner.mkdir(mode=0o700)
        # Who adopts orphans may find the folder before it is locked, and remove it.
        with contextlib.suppress(FileNotFoundError):
            lock_path(owner).touch(mode=0o600)
        if (lock_fd := claim(owner)) is not None:
            return owner, lock_fd
    raise OSError(
        errno.EBUSY,
        f"{_CLAIMS_MAX} new folders were taken away before they were locked; another "
        "program deletes files there",
        str(folder),
    )


def _uuid7_hex(now_ns: int) -> str:
    bits = (now_ns // NS_PER_MS) << 80 | secrets.randbits(80)
    bits &= ~(0xF << 76 | 0x3 << 62)
    return f"{bits | 7 << 76 | 2 << 62:032x}"
