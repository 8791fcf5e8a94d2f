"""The thread that owns the file; checks come to it from event loops, and return."""

import asyncio
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, TypeVar, cast

import anyio
from anyio.lowlevel import RunVar

from metering.backends.sqlite.checks import Acquire, Check, Release
from metering.backends.sqlite.file import LimitsFile
from metering.errors import StorageError

__all__ = ["CHECKS_MAX", "OWED_MAX", "WAITING_MAX", "Worker"]

T = TypeVar("T")
Soon = Callable[[Callable[[], object]], object]

CHECKS_MAX = 256
"""Checks in one transaction: how long it keeps others waiting is bounded by this."""

WAITING_MAX = 10_000
"""Checks of one event loop that may wait; one more is an error at once. Settlements are
always taken: there is at most one for each call that was admitted."""

OWED_MAX = 10_000
"""Settlements kept for another try while the file cannot be written."""

_OWED_RETRY_S = 0.25
_OPENING_S = 5.0
_JOIN_S = 5.0
_MS_PER_S = 1000


class Batch:
    """Checks of one tick of one event loop, which wait together."""

    __slots__ = ("checks", "ended", "line")

    def __init__(self, line: "Line") -> None:
        self.line = line
        self.checks: list[Check[Any]] = []
        self.ended = anyio.Event()


class Line:
    """One event loop's line to the thread: checks in, answers out.

    Everything here runs in the loop, but for `soon_from_thread`.

    Args:
        send: Hands batches to the thread.
    """

    def __init__(self, send: Callable[[list[Batch]], None]) -> None:
        self._send = send
        self._soon, self.soon_from_thread = _ways_into_loop()
        self._batches: list[Batch] = []
        self.waiting = 0

    def add(self, check: Check[Any]) -> Batch:
        """Put a check into this tick's batch."""
        batches = self._batches
        if not batches:
            self._soon(self._flush)
        if not batches or len(batches[-1].checks) >= CHECKS_MAX:
            batches.append(Batch(self))
        batches[-1].checks.append(check)
        self.waiting += 1
        return batches[-1]

    def _flush(self) -> None:
        batches, self._batches = self._batches, []
        self._send(batches)

    def deliver(self, batches: Iterable[Batch]) -> None:
        """Wake those who wait for these."""
        for batch in batches:
            self.waiting -= len(batch.checks)
            batch.ended.set()


class Worker:
    """Answers checks in a thread of its own, many in one transaction.

    The thread begins with the first check, so after any fork; a forked child begins one
    of its own.

    Args:
        file: The limits; nobody else uses it.
        deadline_ms: How long a check waits for its answer at most. The first one, which
            opens the file, waits up to 5 s.
    """

    def __init__(self, file: LimitsFile, *, deadline_ms: int) -> None:
        self._file = file
        self._deadline_ms = deadline_ms
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._pid = os.getpid()
        self._lines: RunVar[Line] = RunVar(f"{__name__}.{id(self)}")
        self._due = threading.Condition()
        self._batches: deque[Batch] = deque()
        self._owed: list[Check[Any]] = []
        self._thread: threading.Thread | None = None
        self._ending: threading.Thread | None = None
        self._opened = False
        self._fault = ""

    async def ask(self, check: Check[T]) -> T:
        """Return the answer to a check.

        Raises:
            StorageError: There is none, or not in time. What an admission took
                nevertheless is given back; a settlement is tried again.
        """
        line = self._line()
        if line.waiting >= WAITING_MAX and not check.lasting:
            raise StorageError(
                f"{line.waiting} checks wait for the limits in {self._file.path}, and"
                " no more can. See what keeps it busy, or give it fewer processes."
            )
        batch = line.add(check)
        deadline_s = self._deadline_ms / _MS_PER_S if self._opened else _OPENING_S
        try:
            with anyio.move_on_after(deadline_s):
                await batch.ended.wait()
        except BaseException:
            self._abandon(check, line)
            raise
        if not check.ended:
            self._abandon(check, line)
            raise StorageError(
                f"The limits in {self._file.path} did not answer within"
                f" {deadline_s * _MS_PER_S:.0f} ms. See how busy its disk and"
                f" processors are. {self._fault}".rstrip()
            )
        if check.error is not None:
            raise StorageError(str(check.error)) from check.error
        return check.answer

    def close(self) -> None:
        """Answer what waits, end the thread and close the file.

        A later check begins anew.
        """
        if self._pid != os.getpid():
            return
        with self._due:
            thread, self._thread = self._thread, None
            self._ending = thread or self._ending
            self._due.notify()
        if thread is not None:
            thread.join(_JOIN_S)

    # In event loops

    def _line(self) -> Line:
        if self._pid != os.getpid():
            self._file.leave()
            self._begin_anew()
        line = self._lines.get(None)
        if line is None:
            line = Line(self._send)
            self._lines.set(line)
        return line

    def _abandon(self, check: Check[Any], line: Line) -> None:
        check.abandoned = True
        if isinstance(check, Acquire):
            # Behind the admission in line, and before whatever is asked next.
            line.add(Release(check))

    def _send(self, batches: list[Batch]) -> None:
        with self._due:
            self._batches.extend(batches)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(
                    target=self._run, name="sqlite-limits", daemon=True
                )
                self._thread.start()
            self._due.notify()

    # In the thread

    def _run(self) -> None:
        if self._ending is not None:
            self._ending.join()  # the file is for one thread at a time
        stopping = False
        while not stopping:
            batches = self._await_batches()
            stopping = self._is_stopping and not batches
            self._answer(batches)
            self._file.shorten_log()
        self._file.close()

    @property
    def _is_stopping(self) -> bool:
        return self._thread is not threading.current_thread()

    def _await_batches(self) -> list[Batch]:
        """Return what fits into one transaction; nothing when something else is due."""
        batches, count = list[Batch](), 0
        with self._due:
            if not self._batches and not self._is_stopping:
                self._due.wait(_OWED_RETRY_S if self._owed else None)
            while self._batches:
                count += len(self._batches[0].checks)
                if batches and count > CHECKS_MAX:
                    break
                batches.append(self._batches.popleft())
        return batches

    def _answer(self, batches: list[Batch]) -> None:
        waiting = [check for batch in batches for check in batch.checks]
        live = [c for c in waiting if c.lasting or not c.abandoned]
        owed, self._owed = self._owed, []
        if owed or live:
            self._try([*owed, *live])
        for check in waiting:
            check.ended = True
        lines: dict[Line, list[Batch]] = {}
        for batch in batches:
            lines.setdefault(batch.line, []).append(batch)
        for line, answered in lines.items():
            try:
                line.soon_from_thread(partial(line.deliver, answered))
            except RuntimeError:  # its loop has ended, and with it all who waited
                self._owed += [
                    Release(check)
                    for batch in answered
                    for check in batch.checks
                    if isinstance(check, Acquire)
                ]

    def _try(self, checks: list[Check[Any]]) -> None:
        try:
            self._file.answer(checks)
        except StorageError as error:
            self._fault = str(error)
            for check in checks:
                check.error = error
            owed = [check for check in checks if check.lasting]
            self._owed += owed[: OWED_MAX - len(self._owed)]
        except Exception as error:  # noqa: BLE001 - told to whoever asked
            if len(checks) > 1:
                # A check that cannot be written takes no other along.
                for check in checks:
                    self._try([check])
                return
            checks[0].error = StorageError(
                f"The limits in {self._file.path} cannot take {checks[0]!r}: {error}"
            )
        else:
            self._opened, self._fault = True, ""
            for check in checks:
                check.error = None


def _ways_into_loop() -> tuple[Soon, Soon]:
    """How to have the running loop call something: from itself, from a thread."""
    trio = cast("Any", sys.modules.get("trio"))
    if trio is not None and trio.lowlevel.in_trio_run():
        soon = trio.lowlevel.current_trio_token().run_sync_soon
        return soon, soon
    loop = asyncio.get_running_loop()
    return loop.call_soon, loop.call_soon_threadsafe
