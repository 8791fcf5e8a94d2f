"""The commit point of a charge: lines in a file, written before the client hears of it.

Three kinds of line tell of a call: `open_call` at admission, `checkpoint` while it
streams, `close_call` at its end. Each holds a whole event, so that any of them can
stand for the call alone. What a line survives, and what bounds the files, is told in
docs/explanation/journal.md.
"""

import os
import threading
import weakref
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from metering.clock import NS_PER_S, Clock
from metering.errors import JournalFullError, StorageError
from metering.journal.group_sync import GroupSync
from metering.journal.lines import CHECKPOINT, CLOSED, OPEN, encode_line, parse_line
from metering.journal.owed import Owed
from metering.journal.segments import Position, owners_home
from metering.journal.writer import SegmentWriter, Sync, Write
from metering.usage import UsageEvent

__all__ = ["Journal", "JournalFaults"]

SEGMENT_BYTES = 8 * 1024 * 1024

_MS_PER_S = 1000

_fdatasync: Sync = getattr(os, "fdatasync", os.fsync)  # macOS has the latter only


class JournalFaults(msgspec.Struct, frozen=True, kw_only=True):
    """What went wrong since the process started, for logs and metrics.

    Attributes:
        write_errors: Writes that failed.
        write_error: Why the latest of them did; "" if none.
        sync_errors: Syncs that failed.
        sync_error: Why the latest of them did; "" if none.
        backlog: Closed calls whose line waits in memory for the disk, now.
        backlog_lost: Closed calls that found the backlog full; each is recovered
            from its earlier lines once the process has ended.
        failing: Why the disk takes no lines just now; "" while it does.
    """

    write_errors: int = 0
    write_error: str = ""
    sync_errors: int = 0
    sync_error: str = ""
    backlog: int = 0
    backlog_lost: int = 0
    failing: str = ""


class Journal:
    """Writes the journal of this process. Safe to share between threads and loops.

    Constructing it opens nothing: folder, lock, file and thread come with the first
    line, so after any fork; and a forked child begins a journal of its own.

    Args:
        home: The data home, on a local disk.
        clock: The node's wall clock, the same that stamps the events.
        segment_bytes: A segment this long is followed by the next.
        sync_lines: So many unsynced lines are synced at once; at least 1.
        sync_ms: The first unsynced line waits no longer than this; at least 1.
        backlog_max: Closed calls kept in memory while the disk is full.
        lag_max_s: A charge owed to the ledger for longer refuses new calls.

    Attributes:
        posting: Held around posting a batch and `posted`. Who adds what is owed to
            what the ledger says holds it around both.
        owed: What this process has closed and not yet posted.
    """

    def __init__(
        self,
        home: Path,
        *,
        clock: Clock,
        segment_bytes: int = SEGMENT_BYTES,
        sync_lines: int = 64,
        sync_ms: int = 100,
        backlog_max: int = 10_000,
        lag_max_s: int = 60,
        _write: Write = os.write,
        _sync: Sync = _fdatasync,
    ) -> None:
        self._home = home
        self._clock = clock
        self._segment_bytes = segment_bytes
        self._sync_lines = sync_lines
        self._sync_s = sync_ms / _MS_PER_S
        self._backlog_max = backlog_max
        self._lag_max_ns = lag_max_s * NS_PER_S
        self._os_write = _write
        self._sync_file = _sync
        self._begin_anew()
        # The hook outlives the journal, so it must not keep it alive.
        in_child = weakref.WeakMethod(self._after_fork)
        os.register_at_fork(
            after_in_child=lambda: (hook := in_child()) is not None and hook()
        )

    def _begin_anew(self) -> None:
        self.posting = threading.Lock()
        self._lock = threading.Lock()
        self._close_lock = threading.Lock()
        # The files.
        self._writer: SegmentWriter | None = None
        self._released: Position | None = None
        self._group = GroupSync(
            self._lock,
            sync_lines=self._sync_lines,
            sync_s=self._sync_s,
            sync_file=self._sync_file,
            write_backlog=self._write_backlog,
        )
        # What the disk did not take.
        self._backlog: deque[bytes] = deque()
        self._backlog_lost = self._write_errors = 0
        self._write_error = ""
        self._write_failing = False
        # What is owed to the ledger.
        self.owed = Owed()
        self._closed = self._posted = 0
        self._oldest_ns: int | None = None

    def _after_fork(self) -> None:
        # The child has neither the threads nor their locks, and owes nothing: lines
        # and charges are the parent's. Closing a copy leaves the parent its lock.
        if self._writer is not None:
            self._writer.close()
        self._begin_anew()

    # Writing

    def open_call(self, event: UsageEvent) -> None:
        """Write that a call is admitted.

        Args:
            event: What to post should nothing more ever be heard of the call.

        Raises:
            JournalFullError: The line cannot be written, or charges do not reach the
                ledger; the call must be refused.
        """
        line = encode_line(OPEN, event)
        with self._lock:
            if self._lags(event.admitted_ns):
                raise JournalFullError(
                    "The ledger has not taken a charge for more than "
                    f"{self._lag_max_ns // NS_PER_S} s. Calls are refused until it "
                    "does: see that its database can be reached and written to."
                )
            if self._group.failing or not self._append(line):
                raise JournalFullError(
                    f"The journal in {owners_home(self._home)} takes no line: "
                    f"{self._last_error}. Calls are refused until it does: free disk "
                    "space there, or mend the disk."
                )

    def checkpoint(self, event: UsageEvent) -> None:
        """Write the counts of a running call; dropped if the disk cannot take it.

        Args:
            event: What to post should nothing more be heard. Never after `close_call`.
        """
        line = encode_line(CHECKPOINT, event)
        with self._lock:
            self._append(line)

    def close_call(self, event: UsageEvent) -> None:
        """Write the final event of a call; from here on its charge is owed.

        Never raises: a line that the disk cannot take waits in memory, and is tried
        again with each later line and sync. Should it be lost even there, the call is
        still charged from its earlier lines.
        """
        line = encode_line(CLOSED, event)
        with self._lock:
            self.owed.add(event)
            if not self._append(line):
                if len(self._backlog) >= self._backlog_max:
                    self._backlog_lost += 1
                    return
                self._backlog.append(line)
                self._group.wake()
            self._closed += 1
            if self._oldest_ns is None:
                self._oldest_ns = event.ended_ns

    def _append(self, line: bytes) -> bool:
        """Write a line behind those that wait; say whether it is in the file."""
        return (not self._backlog or self._write_backlog()) and self._write(line)

    def _write_backlog(self) -> bool:
        while self._backlog:
            if not self._write(self._backlog[0]):
                return False
            self._backlog.popleft()
        return True

    def _write(self, line: bytes) -> bool:
        try:
            writer = self._writer or self._open()
            writer.write(line)
        except (OSError, RuntimeError) as error:  # RuntimeError: no more threads
            self._write_failing = True
            self._write_errors += 1
            self._write_error = str(error)
            return False
        self._write_failing = False
        self._group.note_line()
        return True

    def _open(self) -> SegmentWriter:
        writer = SegmentWriter(
            self._home,
            now_ns=self._clock(),
            segment_bytes=self._segment_bytes,
            write=self._os_write,
        )
        try:
            self._group.start(writer)
        except RuntimeError:
            writer.remove()
            raise
        self._writer = writer
        return writer

    async def durable(self) -> None:
        """Return once every line written so far has reached the disk.

        Raises:
            StorageError: The disk did not take them. The calls are charged all the
                same, unless the machine fails as well.
        """
        if self._backlog:
            raise StorageError(
                f"{len(self._backlog)} closed calls wait in memory for the disk of "
                f"{owners_home(self._home)}: {self._write_error}."
            )
        await self._group.durable()

    def close(self) -> None:
        """Sync, and give up the lock.

        What is not posted stays for whoever adopts it; a journal that owes nothing is
        deleted. A line written later begins a new one.
        """
        with self._close_lock:
            with self._lock:
                writer = self._writer
                if writer is None:
                    return
                self._write_backlog()
            self._group.stop(writer)
            with self._lock:
                if writer.position == self._released:
                    writer.remove()
                else:
                    writer.close()
                self._writer = self._released = None
                # What is in the files is owed by who adopts them.
                self.owed = Owed(_events_of(self._backlog))
                self._posted = self._closed - len(self._backlog)
                if not self._backlog:
                    self._oldest_ns = None

    # Shipping

    @property
    def calls_closed(self) -> int:
        """Calls closed so far that are or will be in the files."""
        return self._closed

    @property
    def calls_posted(self) -> int:
        """How many of them are in the ledger."""
        return self._posted

    @property
    def oldest_ns(self) -> int | None:
        """When the oldest call ended that is not in the ledger; None without any."""
        return self._oldest_ns

    @property
    def written(self) -> Position | None:
        """The end of what is written, for who reads along; None before any line."""
        with self._lock:
            return self._writer.position if self._writer else None

    def posted(self, events: Sequence[UsageEvent], owner: Path) -> None:
        """Take posted events off what is owed. Call it with `posting` held.

        Args:
            events: At least one, in the order in which they were read.
            owner: The folder they were read from; nothing is owed for one that this
                journal has given up.
        """
        with self._lock:
            if self._writer is None or self._writer.owner != owner:
                return
            self.owed.take(events)
            self._posted += len(events)
            # What is left was closed after the last of these.
            all_posted = self._posted == self._closed
            self._oldest_ns = None if all_posted else events[-1].ended_ns

    def release(self, upto: Position) -> None:
        """Delete the segments before *upto*, which nothing needs any more.

        Raises:
            StorageError: What lies after them is not on the disk yet; they stay.
        """
        with self._lock:
            writer = self._writer
            if writer is None or writer.owner != upto.owner:
                return
            self._released = upto
        if writer.segment_first < upto.segment:
            self._group.wait()
            writer.drop_before(upto.segment)

    # State

    def _lags(self, now_ns: int) -> bool:
        oldest_ns = self._oldest_ns
        return oldest_ns is not None and now_ns - oldest_ns > self._lag_max_ns

    @property
    def _last_error(self) -> str:
        return self._write_error if self._write_failing else self._group.last_error

    @property
    def is_full(self) -> bool:
        """Whether new calls are refused now, as far as is known without a write."""
        failing = self._write_failing or self._group.failing
        return failing or bool(self._backlog) or self._lags(self._clock())

    @property
    def faults(self) -> JournalFaults:
        """What went wrong since the process started."""
        with self._lock:
            failing = self._write_failing or self._group.failing
            return JournalFaults(
                write_errors=self._write_errors,
                write_error=self._write_error,
                sync_errors=self._group.errors,
                sync_error=self._group.last_error,
                backlog=len(self._backlog),
                backlog_lost=self._backlog_lost,
                failing=self._last_error if failing else "",
            )


def _events_of(lines: Iterable[bytes]) -> Iterator[UsageEvent]:
    for line in lines:
        whole = parse_line(line.removesuffix(b"\n"))
        if whole is not None:
            yield whole.event()
