"""Brings closed calls from the journal to the ledger, in batches, from one thread."""

import contextlib
import os
import threading
from collections.abc import Callable, Sequence
from typing import Literal

from metering.errors import LedgerError, StorageError
from metering.journal import Journal
from metering.journal.tail import Tail
from metering.stores import PostReport
from metering.usage import UsageEvent

__all__ = ["OnFault", "ShipFault", "Shipper"]

ShipFault = Literal[
    "down", "failing", "up", "conflict", "damaged", "disk_failing", "disk_up", "lost"
]
"""`down`: the ledger does not answer. `failing`: something else keeps events from being
posted, and waiting may not mend it. Either way it is tried until it can be done. `up`:
it can again. `conflict`: the ledger has events with another charge. `damaged`: journal
lines were torn or altered; their calls are recovered after the process has ended.
`disk_failing`: the journal's disk took no line, or did not sync; `disk_up`: it does
again. `lost`: calls found no room to wait for the disk, and are charged from earlier
lines after the process has ended."""

OnFault = Callable[[ShipFault, Exception | None], None]
"""Is told of a fault, once for each change of state."""

_RETRY_FIRST_S = 0.1
_MS_PER_S = 1000
_JOIN_S = 1.0
_IDS_SHOWN_MAX = 5


class Shipper:
    """Posts what the journal of this process holds, in order, and frees its segments.

    It reads the events back from the journal's files, so that a ledger that is down
    for long costs disk and not memory: at most one batch, and an entry for each call
    that runs. A journal has one shipper.

    Args:
        journal: The journal of this process.
        post: Posts a batch, idempotent by event id; called from the shipper's thread.
        batch_max: Events in a batch; at least 1.
        wait_ms: How often it looks for new lines; above 0.
        retry_max_ms: The longest pause between two tries while the ledger is down;
            they begin at 100 ms and double.
        on_fault: Told of faults, from the shipper's thread; it is for logs.
    """

    def __init__(
        self,
        journal: Journal,
        post: Callable[[Sequence[UsageEvent]], PostReport],
        *,
        batch_max: int = 1000,
        wait_ms: int = 200,
        retry_max_ms: int = 5000,
        on_fault: OnFault = lambda _kind, _error: None,
    ) -> None:
        self._journal = journal
        self._post = post
        self._batch_max = batch_max
        self._wait_s = wait_ms / _MS_PER_S
        self._retry_max_s = retry_max_ms / _MS_PER_S
        self._on_fault = on_fault
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._pid = os.getpid()
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()
        self._stopping = False
        self._passed = threading.Condition()
        self._flushed = 0
        self._tail: Tail | None = None
        self._batch: list[UsageEvent] = []
        self._damaged_told = 0
        self._retry_s = 0.0
        self._fault: ShipFault | None = None
        self._disk_failing = False
        self._disk_errors_told = self._lost_told = 0

    def start(self) -> None:
        """Start the thread unless it runs. A forked child starts one of its own."""
        if self._pid != os.getpid():
            self._begin_anew()
        self._stopping = False
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(
                target=self._run, name="journal-shipper", daemon=True
            )
            self._thread.start()

    @property
    def fails(self) -> bool:
        """Whether the last try to post did."""
        return self._fault is not None

    def flush(self, timeout_s: float) -> bool:
        """Wait until all calls closed by now are in the ledger; try at once.

        Args:
            timeout_s: How long to wait at most.

        Returns:
            Whether they are.
        """
        target = self._journal.calls_closed
        self._wake.set()
        with self._passed:
            return self._passed.wait_for(lambda: self._flushed >= target, timeout_s)

    def stop(self, timeout_s: float) -> bool:
        """Flush, then end the thread. Close the journal after this.

        Args:
            timeout_s: How long to wait at most; a second more if a post hangs.

        Returns:
            Whether all closed calls are in the ledger; the others stay in the files.
        """
        if self._thread is None or self._pid != os.getpid():
            return self._journal.calls_posted >= self._journal.calls_closed
        flushed = self.flush(timeout_s)
        self._stopping = True
        self._wake.set()
        self._thread.join(_JOIN_S)
        return flushed

    def _run(self) -> None:
        pause_s = 0.0
        while True:
            self._wake.wait(pause_s)
            self._wake.clear()
            if self._stopping:
                return
            pause_s = self._try_pass()

    def _try_pass(self) -> float:
        """Post what there is. Return how long to wait before the next time."""
        self._tell_of_disk()
        try:
            self._pass()
        except Exception as error:  # noqa: BLE001 - a ledger may raise anything
            # What was read and not posted is still there: so it was the ledger.
            answers = not self._batch or not isinstance(error, StorageError | OSError)
            fault: ShipFault = "failing" if answers else "down"
            if fault != self._fault:
                self._fault = fault
                self._tell(fault, error)
            self._retry_s = min(self._retry_s * 2 or _RETRY_FIRST_S, self._retry_max_s)
            return self._retry_s
        self._retry_s = 0.0
        if self._fault is not None:
            self._fault = None
            self._tell("up", None)
        with self._passed:
            self._flushed = self._journal.calls_posted
            self._passed.notify_all()
        return self._wait_s

    def _pass(self) -> None:
        written = self._journal.written
        if written is None:
            return
        tail = self._tail
        if tail is None or tail.owner != written.owner:
            # What is left of a journal that was closed is for who adopts it.
            tail = self._tail = Tail(written.owner)
            self._batch = []
            self._damaged_told = 0
        while not self._stopping:
            self._batch = self._batch or tail.read(written, self._batch_max)
            if not self._batch:
                break
            self._post_batch(tail)
        self._tell_damaged(tail)
        with contextlib.suppress(StorageError):  # the journal tells of its own disk
            self._journal.release(tail.needed_from)

    def _post_batch(self, tail: Tail) -> None:
        with self._journal.posting:
            report = self._post(self._batch)
            self._journal.posted(self._batch, tail.owner)
        tail.posted(self._batch)
        self._batch = []
        if report.conflicts:
            shown = ", ".join(report.conflicts[:_IDS_SHOWN_MAX])
            self._tell(
                "conflict",
                LedgerError(
                    f"{len(report.conflicts)} events are in the ledger with another "
                    f"charge, which stands: {shown}."
                ),
            )

    def _tell_damaged(self, tail: Tail) -> None:
        if tail.damaged == self._damaged_told:
            return
        self._damaged_told = tail.damaged
        self._tell(
            "damaged",
            StorageError(
                f"{tail.damaged} lines in {tail.owner} are torn or altered and were "
                "passed over. A call that lost its last line is charged from an "
                "earlier one, after this process has ended."
            ),
        )

    def _tell_of_disk(self) -> None:
        faults = self._journal.faults
        errors = faults.write_errors + faults.sync_errors
        if errors > self._disk_errors_told and not self._disk_failing:
            self._disk_failing = True
            reason = faults.failing or faults.write_error or faults.sync_error
            self._tell(
                "disk_failing",
                StorageError(
                    f"The journal's disk failed: {reason}. New calls are refused until"
                    " it does not: free disk space there, or mend the disk."
                ),
            )
        self._disk_errors_told = errors
        if self._disk_failing and not faults.failing:
            self._disk_failing = False
            self._tell("disk_up", None)
        if faults.backlog_lost > self._lost_told:
            self._lost_told = faults.backlog_lost
            self._tell(
                "lost",
                StorageError(
                    f"{faults.backlog_lost} calls ended while the disk was full and"
                    " found no room to wait for it. They are charged from their earlier"
                    " lines, after this process has ended."
                ),
            )

    def _tell(self, kind: ShipFault, error: Exception | None) -> None:
        with contextlib.suppress(Exception):  # a log that fails must not stop charges
            self._on_fault(kind, error)
