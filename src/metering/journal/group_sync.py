"""Brings written lines to the disk, many at once and never on a writer's thread."""

import threading
from collections.abc import Callable

import anyio
import anyio.lowlevel
import anyio.to_thread

from metering.errors import StorageError
from metering.journal.writer import SegmentWriter, Sync, sync

__all__ = ["GroupSync"]


class GroupSync:
    """One thread that syncs what the journal wrote, and those who wait for it.

    Args:
        lock: The journal's, held by it around `start` and `note_line`.
        sync_lines: So many unsynced lines are synced at once.
        sync_s: The first unsynced line waits no longer than this, in seconds.
        sync_file: `os.fdatasync`, or what stands for it in a test.
        write_backlog: Tries, with the lock held, to write what the disk did not take;
            returns whether nothing is left of it.

    Attributes:
        lines: Lines written so far.
        errors: Syncs that failed so far.
        last_error: Why the latest of them did.
        failing: Whether the latest sync failed.
    """

    def __init__(
        self,
        lock: threading.Lock,
        *,
        sync_lines: int,
        sync_s: float,
        sync_file: Sync,
        write_backlog: Callable[[], bool],
    ) -> None:
        self._lock = lock
        self._lines_due = sync_lines
        self._sync_s = sync_s
        self._sync_file = sync_file
        self._write_backlog = write_backlog
        self._due = threading.Condition(lock)
        self._done = threading.Condition(lock)
        self._leader = anyio.lowlevel.RunVar[anyio.Event](f"{__name__}.{id(self)}")
        self._thread: threading.Thread | None = None
        self._urgent = self._stopping = False
        self._synced = 0
        self.lines = 0
        self.errors = 0
        self.last_error = ""
        self.failing = False

    # With the lock held

    def start(self, writer: SegmentWriter) -> None:
        """Begin to sync the lines of *writer*.

        Raises:
            RuntimeError: There can be no more threads.
        """
        thread = threading.Thread(
            target=self._run, args=(writer,), name="journal-sync", daemon=True
        )
        thread.start()
        self._thread = thread

    def note_line(self) -> None:
        """Count a line that was written, and wake the thread if it is due."""
        self.lines += 1
        if self.lines - self._synced in (1, self._lines_due):
            self._due.notify()

    def wake(self) -> None:
        """Have the thread look at the backlog."""
        self._due.notify()

    # Without it

    async def durable(self) -> None:
        """Return once every line written so far has reached the disk.

        All who wait on one event loop share one worker thread, and the syncs.

        Raises:
            StorageError: The disk did not take them.
        """
        with self._lock:
            target, errors = self.lines, self.errors
        while self._synced < target:
            self._check(errors)
            if (others := self._leader.get(None)) is not None:
                await others.wait()
                continue
            done = anyio.Event()
            token = self._leader.set(done)
            try:
                await anyio.to_thread.run_sync(
                    self._wait,
                    target,
                    errors,
                    abandon_on_cancel=True,
                    limiter=anyio.CapacityLimiter(1),  # not the app's forty threads
                )
            finally:
                self._leader.reset(token)
                done.set()

    def wait(self) -> None:
        """Do as `durable` does, blocking."""
        with self._lock:
            target, errors = self.lines, self.errors
        self._wait(target, errors)

    def stop(self, writer: SegmentWriter) -> None:
        """End the thread and sync what it left."""
        with self._lock:
            thread = self._thread
            self._stopping = True
            self._due.notify()
        if thread is not None:
            thread.join()
        self._sync(writer)
        with self._lock:
            self._thread = None
            self._stopping = False
            self._done.notify_all()

    def _wait(self, target: int, errors: int) -> None:
        with self._lock:
            while self._synced < target:
                self._check(errors)
                self._urgent = True
                self._due.notify()
                self._done.wait()

    def _check(self, errors: int) -> None:
        # A sync that succeeds after one that failed proves nothing of the lines in
        # between: the system may have dropped them.
        if self.errors != errors or self._thread is None:
            reason = self.last_error or "the journal was closed"
            raise StorageError(f"Journal lines may not be on the disk: {reason}.")

    def _run(self, writer: SegmentWriter) -> None:
        while self._await_lines():
            self._sync(writer)

    def _await_lines(self) -> bool:
        """Wait until lines are due. Return False when the thread is to end."""
        with self._lock:
            # A disk that fails is not tried again at once.
            waited = self.failing and not self._due.wait(self._sync_s)
            while not self._stopping:
                at_rest = self._write_backlog()
                unsynced = self.lines - self._synced
                due = unsynced >= self._lines_due or waited or self._urgent
                if unsynced and due:
                    return True
                at_rest = at_rest and not unsynced
                waited = not self._due.wait(None if at_rest else self._sync_s)
        return False

    def _sync(self, writer: SegmentWriter) -> None:
        with self._lock:
            self._urgent = False
            target, part = self.lines, writer.unsynced()
        try:
            sync(part, self._sync_file)
        except OSError as error:
            with self._lock:
                self.failing = True
                self.errors += 1
                self.last_error = str(error)
                self._done.notify_all()
        else:
            with self._lock:
                writer.synced(part)
                self.failing = False
                self._synced = target
                self._done.notify_all()
