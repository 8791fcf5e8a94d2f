"""One connection to one server: what is asked in one turn of the loop goes as one.

While a batch is on its way the next one gathers, so there is one write and one read for
all that is asked meanwhile. One task does this, and it ends when nothing is left to do.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from math import inf
from typing import Any

from redis.exceptions import MovedError, ResponseError

from metering.backends.redis.exchange import exchange
from metering.backends.redis.operation import Operation, Owed
from metering.backends.redis.patience import Patience
from metering.backends.redis.script import scripts_of
from metering.backends.redis.wire import (
    CONNECT_S,
    FAULTS,
    Connect,
    Connection,
    closed_by_server,
    reply_of,
)
from metering.errors import StorageError

__all__ = ["QUEUE_MAX", "Link"]

QUEUE_MAX = 16_384
"""Operations that may wait; one more is refused."""

_ERRORS_MAX = 3
_PAUSE_S = 0.05
_PAUSE_S_MAX = 1.0
_IDLE_S = 0.5


class Link:
    """Sends operations in batches, and fails at once while the server is away.

    The first missed deadline, connection refused, or three errors in a row open the
    circuit. While it is open a probe is sent now and then, and nothing else.

    Args:
        connect: Makes a connection.
        deadline_s: Longest time an operation waits for its answer.
        grace_ms: How much longer than needed instants are kept in the server.
        on_change: Told when the circuit opened or closed.
        on_moved: Told of operations whose slot is elsewhere; it sends them there.
    """

    def __init__(
        self,
        connect: Connect,
        *,
        deadline_s: float,
        grace_ms: int,
        on_change: Callable[[], None],
        on_moved: Callable[[MovedError, list[Operation]], None] | None = None,
    ) -> None:
        self.fault: StorageError | None = None
        self._connect = connect
        self._deadline_s = deadline_s
        self._grace_ms = grace_ms
        self._on_change = on_change
        self._on_moved = on_moved
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connection: Connection | None = None
        self._used_s = 0.0
        self._queue: deque[Operation] = deque()
        self._flying: list[list[Operation]] = []
        self.owed = Owed()
        self._errors = 0
        self._pause_s = _PAUSE_S
        self._task: asyncio.Task[None] | None = None
        self._patience = Patience(
            deadline_s, first_due=self._first_due, missed=self._missed
        )

    def submit(self, operation: Operation) -> None:
        """Put an operation into the next batch; it is answered in any case."""
        loop = asyncio.get_running_loop()
        if self.fault is not None:
            self._give_up(operation, self.fault)
            return
        if len(self._queue) >= QUEUE_MAX:
            crowded = f"{QUEUE_MAX} operations wait for Redis; it cannot keep up."
            self._give_up(operation, StorageError(crowded))
            return
        self._queue.append(operation)
        if self._task is None:
            self._task = loop.create_task(self._work())
        self._patience.until(operation.due_s)

    async def connect(self) -> None:
        """Ask for nothing, so that the connection is there and the script loaded.

        Raises:
            StorageError: There is no answer within the time for a connection.
        """
        operation = Operation("nothing", [])
        loop = asyncio.get_running_loop()
        operation.future = loop.create_future()
        operation.due_s = loop.time() + 2 * CONNECT_S
        self.submit(operation)
        await operation.future

    async def command(self, *words: str) -> Any:
        """Run one plain command on a connection of its own."""
        try:
            async with asyncio.timeout(CONNECT_S):
                return await reply_of(self._connect, *words)
        except FAULTS as error:
            raise StorageError(f"Redis did not answer {words[0]}: {error}") from error

    async def aclose(self) -> None:
        """End the task and the connection, after what is on its way, if that is quick.

        Who waits longer gets an error.
        """
        task = self._task
        if task is not None:
            if self.fault is None:
                await asyncio.wait([task], timeout=min(self._deadline_s, CONNECT_S))
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        self._patience.stop()
        await self._drop()

    async def _work(self) -> None:
        try:
            while self._queue or self.fault is not None:
                if self.fault is None:
                    await self._exchange()
                else:
                    await self._probe()
        finally:
            self._task = None
            self._fail(StorageError("The store was closed before it was answered."))

    async def _exchange(self) -> None:
        self._flying = scripts = scripts_of(self._queue)
        if not scripts:
            return
        errors = self._errors
        try:
            async with asyncio.timeout(CONNECT_S):
                await self._run(scripts)
            if errors == self._errors and self.fault is None:
                self._errors = 0
                self._pay()
        except FAULTS as error:
            await self._drop()
            self._errors += 1
            fault = StorageError(f"Redis did not answer: {error!r}")
            if self.fault is None and self._errors < _ERRORS_MAX:
                self._send_again(scripts, fault)
            else:
                self._open(fault)
        self._flying = []

    async def _run(self, scripts: list[list[Operation]]) -> None:
        connection = await self._connected()
        await exchange(
            connection, scripts, grace_ms=self._grace_ms, refused=self._refused
        )

    async def _connected(self) -> Connection:
        """Return a live connection; refusing one opens the circuit at once."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:  # a connection of a loop that has ended is of no use
            self._loop, self._connection = loop, None
        now_s, connection = loop.time(), self._connection
        idle = connection is not None and now_s - self._used_s > _IDLE_S
        # A server that restarted has closed it, and it would cost a batch to learn so.
        if connection is not None and idle and await closed_by_server(connection):
            await self._drop()
            connection = None
        if connection is None:
            try:
                connection = self._connection = await self._connect()
            except BaseException:
                self._errors = _ERRORS_MAX
                raise
        self._used_s = now_s
        return connection

    def _refused(self, error: ResponseError, operations: list[Operation]) -> None:
        """The server answered an error instead of running the script."""
        if isinstance(error, MovedError) and self._on_moved is not None:
            self._on_moved(error, operations)
            return
        fault = StorageError(f"Redis refused to decide: {error}")
        for operation in operations:
            operation.sent = False
            self._give_up(operation, fault)
        self._errors += 1
        if self._errors >= _ERRORS_MAX and self.fault is None:
            raise ConnectionError(str(error)) from error

    async def _probe(self) -> None:
        """Ask for nothing, now and then, until that is answered in time."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_S):
                await self._connected()
                began_s = loop.time()
                nothing = Operation("nothing", [])
                answer = nothing.future = loop.create_future()
                await self._run([[nothing]])
                in_time = loop.time() - began_s <= self._deadline_s
                answered = answer.exception() is None
        except FAULTS:
            await self._drop()
            in_time = answered = False
        if in_time and answered:
            self._close()
        else:
            await asyncio.sleep(self._pause_s)
            self._pause_s = min(2 * self._pause_s, _PAUSE_S_MAX)

    def _open(self, fault: StorageError) -> None:
        known, self.fault = self.fault, fault
        self._fail(fault)
        if known is None:
            self._on_change()

    def _close(self) -> None:
        self.fault, self._errors, self._pause_s = None, 0, _PAUSE_S
        self._pay()
        self._on_change()

    def _pay(self) -> None:
        """Send what is owed, before anything that is asked now."""
        if self.owed:
            self._queue.extendleft(reversed(self.owed.take()))

    def _first_due(self) -> float:
        waiting = (op for op in self._all() if op.awaited)
        return min((operation.due_s for operation in waiting), default=inf)

    def _missed(self) -> None:
        if self.fault is None:
            ms = self._deadline_s * 1000
            self._open(StorageError(f"Redis did not answer within {ms:g} ms."))

    def _all(self) -> Iterable[Operation]:
        for script in self._flying:
            yield from script
        yield from self._queue

    def _send_again(self, scripts: list[list[Operation]], fault: StorageError) -> None:
        """Put what was lost with a connection in front, once, if that is harmless."""
        for script in reversed(scripts):
            for operation in reversed(script):
                if operation.over:
                    continue
                if operation.tries or (operation.sent and not operation.repeatable):
                    self._give_up(operation, fault)
                else:
                    operation.tries += 1
                    self._queue.appendleft(operation)

    def _fail(self, fault: StorageError) -> None:
        for operation in [*self._all()]:
            self._give_up(operation, fault)
        self._queue.clear()
        self._flying = []

    def _give_up(self, operation: Operation, fault: StorageError) -> None:
        """Tell who waits, and keep what must arrive all the same."""
        if not operation.over:
            operation.answer(fault)
            self.owed.add(operation)

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.disconnect(nowait=True)
