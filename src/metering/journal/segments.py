"""Where a journal's lines are kept: an owner's folder, its lock, its segments.

<home>/journal/<owner>/lock            held by its owner for as long as it lives
<home>/journal/<owner>/00000001.log    lines, oldest segment first
"""

import contextlib
import fcntl
import os
import time
from pathlib import Path
from typing import NamedTuple

from metering.journal.lines import Line, parse_line

__all__ = [
    "Position",
    "SegmentReader",
    "breathe",
    "claim",
    "lock_path",
    "owners_home",
    "remove_owner",
    "segment_path",
    "segments_of",
]

_SLICE_BYTES = 16 * 1024
"""What is read and split at once: some 35 lines, less than 0.1 ms of work."""

_BREATH_S = 50e-6


class Position(NamedTuple):
    """A place in an owner's lines: *offset* bytes into segment *segment*."""

    owner: Path
    segment: int
    offset: int


def owners_home(home: Path) -> Path:
    """Return the folder that holds a folder for each owner."""
    return home / "journal"


def lock_path(owner: Path) -> Path:
    """Return the file whose lock says that the owner is alive."""
    return owner / "lock"


def segment_path(owner: Path, number: int) -> Path:
    """Return the file of a segment; the first is number 1."""
    return owner / f"{number:08d}.log"


def segments_of(owner: Path) -> list[Path]:
    """Return the segments that are there, oldest first."""
    return sorted(owner.glob("*.log"))


def claim(owner: Path) -> int | None:
    """Become the one owner of a folder.

    Returns:
        A file descriptor that holds the lock until it is closed; None if someone
        else holds it, or has adopted and removed the folder.
    """
    try:
        fd = os.open(lock_path(owner), os.O_RDWR | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        # Its maker died, or was overtaken here, before a lock was there. It is empty
        # then, and a maker that lives takes another name.
        with contextlib.suppress(OSError):
            owner.rmdir()
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    except OSError:
        os.close(fd)
        raise
    if os.fstat(fd).st_nlink == 0:  # adopted and removed between open and lock
        os.close(fd)
        return None
    return fd


def remove_owner(owner: Path) -> None:
    """Delete a claimed folder, oldest segment first.

    In this order a kill in between leaves no admission without its end, and what is
    left is posted again, which changes nothing.
    """
    for segment in segments_of(owner):
        segment.unlink()
    lock_path(owner).unlink()
    with contextlib.suppress(OSError):  # a stray file in it is somebody else's
        owner.rmdir()


def breathe() -> None:
    """Give the interpreter to another thread, between two slices of work.

    Without a true pause the event loop would wait out the interpreter's switch
    interval (5 ms) each time it comes back from a system call.
    """
    time.sleep(_BREATH_S)


class SegmentReader:
    """Reads one segment in small slices, from where it stopped.

    Attributes:
        offset: Bytes read so far; always the start of a line.
        damaged: Lines passed over so far because they were torn or altered.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.offset = 0
        self.damaged = 0

    @property
    def size(self) -> int:
        """Bytes in the file now."""
        return self._path.stat().st_size

    def read(self, end: int) -> list[Line] | None:
        """Return the good lines of the next slice before *end*; None if none is left.

        A slice may hold no good line at all. What follows the last newline is not
        read: it may be a line that is being written.
        """
        text = self._slice(end)
        if not text:
            return None
        self.offset += len(text)
        lines = []
        for piece in text[:-1].split(b"\n"):
            line = parse_line(piece)
            if line is None:
                self.damaged += 1
            else:
                lines.append(line)
        return lines

    def pass_tail(self) -> None:
        """Count what follows the last newline as damaged: nobody will complete it."""
        size = self.size
        if self.offset < size:
            self.damaged += 1
            self.offset = size

    def _slice(self, end: int) -> bytes:
        """Return whole lines from here: one slice, or a single line that is longer."""
        if end <= self.offset:
            return b""
        size = _SLICE_BYTES
        fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            while True:
                text = os.pread(fd, min(size, end - self.offset), self.offset)
                whole = text[: text.rfind(b"\n") + 1]
                if whole or len(text) < size:
                    return whole
                size *= 2
        finally:
            os.close(fd)
