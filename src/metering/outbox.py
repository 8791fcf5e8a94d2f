"""Sends what waits in the outbox, in a thread of its own: no request waits for it."""

import asyncio
import random
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import NamedTuple, Protocol

from metering.clock import NS_PER_S, Clock
from metering.errors import without_credentials
from metering.log import Log
from metering.stores import Outbox, OutboxMessage

__all__ = ["Carrier", "Failure", "Patience", "Sender", "pause_ns"]

SEND_S = 15.0
"""The longest that one try may take, whatever the other side does."""

LEASE_NS = 60 * NS_PER_S
"""How long messages are one sender's: longer than a try and what is noted of it."""

KEPT_NS = 30 * 24 * 3600 * NS_PER_S
"""How long messages are kept that nobody will send."""

_SWEEP_S = 3600.0
_FINISH_S = 1.0
_JOIN_S = 3.0
_OUTBOX = "outbox"

_log = Log()


class Patience(NamedTuple):
    """How often a message is tried, and how long it waits in between.

    Attributes:
        tries_max: Tries until it is given up; None: it never is.
        first_ns: The pause after the first try.
        factor: How much longer each pause is than the one before.
        longest_ns: The longest pause.
    """

    tries_max: int | None
    first_ns: int
    factor: int
    longest_ns: int


class Failure(NamedTuple):
    """Why a message was not taken.

    Attributes:
        reason: For the log, without any secret.
        wait_ns: How long the other side asks to wait at least.
        gone: Whether the other side wants no message any more.
    """

    reason: str
    wait_ns: int = 0
    gone: bool = False


class Carrier(Protocol):
    """Brings messages to one destination. Used by one event loop of asyncio."""

    @property
    def name(self) -> str:
        """The destination, as messages name it."""
        ...

    @property
    def batch_max(self) -> int:
        """How many messages one try may take along."""
        ...

    @property
    def at_once(self) -> int:
        """How many tries may run at the same time."""
        ...

    @property
    def patience(self) -> Patience:
        """How often it is tried."""
        ...

    async def send(self, messages: Sequence[OutboxMessage]) -> list[Failure | None]:
        """Try to send messages; say of each why it was not taken, or None if it was.

        Any exception counts as a failure of all of them.
        """
        ...

    async def aclose(self) -> None:
        """Give back what it holds open."""
        ...


def pause_ns(patience: Patience, attempts: int, draw: float) -> int:
    """Return how long to wait before the next try.

    Args:
        patience: Of whoever sends.
        attempts: How often it was tried, at least 1.
        draw: From 0 to 1: it spreads pauses over a tenth more or less, so that what
            failed together is not tried together.
    """
    grown = patience.first_ns * patience.factor ** min(attempts - 1, 64)
    return int(min(grown, patience.longest_ns) * (0.9 + 0.2 * draw))


class Sender:
    """Brings messages from an outbox to their destinations, each by one sender alone.

    Any number of processes may do so on one outbox. What is due is looked for twice a
    second; a destination that fails is not asked again before the next look. What a
    process had taken when it died is sent by another after a minute, under the same id.

    Args:
        outbox: Where messages wait; its methods are called in worker threads.
        carriers: One for each destination.
        clock: The node's clock.
        look_s: How often to look for messages, in seconds.
        draw: Numbers from 0 to 1 that spread the pauses.
    """

    def __init__(
        self,
        outbox: Outbox,
        carriers: Sequence[Carrier],
        *,
        clock: Clock,
        look_s: float = 0.5,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._outbox = outbox
        self._carriers = carriers
        self._clock = clock
        self._look_s = look_s
        self._draw = draw
        self._thread: threading.Thread | None = None
        self._end: Callable[[], object] | None = None
        self._failing: set[str] = set()
        self._gone: dict[str, str] = {}

    def start(self) -> None:
        """Start the thread, if there is anything to send to."""
        if self._carriers and self._thread is None:
            running = threading.Event()
            self._thread = threading.Thread(
                target=self._run, args=(running,), name="outbox-sender", daemon=True
            )
            self._thread.start()
            running.wait()

    def stop(self) -> None:
        """End the thread; tries that take long are cut off, and made again later."""
        if self._thread is not None and self._end is not None:
            self._end()
            self._thread.join(_JOIN_S)
            self._thread = None

    def _run(self, running: threading.Event) -> None:
        asyncio.run(self._serve_all(running))

    async def _serve_all(self, running: threading.Event) -> None:
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        self._end = partial(loop.call_soon_threadsafe, ended.set)
        running.set()
        tasks = [asyncio.create_task(self._serve(each)) for each in self._carriers]
        tasks.append(asyncio.create_task(self._sweep()))
        # No worker thread waits for it: the interpreter would not end without a stop.
        await ended.wait()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for carrier in self._carriers:
            with suppress(Exception):
                await carrier.aclose()

    async def _serve(self, carrier: Carrier) -> None:
        """Send what is due until there is nobody there; cancelled in the end."""
        running: set[asyncio.Task[bool]] = set()
        try:
            while carrier.name not in self._gone:
                room = carrier.at_once - len(running)
                for some in await self._take(carrier, room):
                    running.add(asyncio.create_task(self._try(carrier, some)))
                running -= await self._some_done(carrier, running)
        finally:
            # What has arrived just now is to be noted, or it would be sent again.
            if running:
                await asyncio.wait(running, timeout=_FINISH_S)
            for task in running:
                task.cancel()
        while True:
            with suppress(Exception):  # tried again in an hour
                await self._give_up_all(carrier.name)
            await asyncio.sleep(_SWEEP_S)

    async def _some_done(
        self, carrier: Carrier, running: set[asyncio.Task[bool]]
    ) -> set[asyncio.Task[bool]]:
        """Wait until there is room and reason to look again; return who is done."""
        pause_s = 0.0
        if len(running) < carrier.at_once:
            pause_s = self._look_s  # nothing more is due
        else:
            done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            if not all(task.result() for task in done):
                pause_s = self._look_s
        await asyncio.sleep(pause_s)
        return {task for task in running if task.done()}

    async def _take(self, carrier: Carrier, room: int) -> list[Sequence[OutboxMessage]]:
        """Take what may be tried now, in batches; nothing if the outbox is away."""
        size = carrier.batch_max
        try:
            taken = await asyncio.to_thread(
                self._outbox.take,
                carrier.name,
                limit=room * size,
                lease_ns=LEASE_NS,
                now_ns=self._clock(),
            )
        except Exception as error:  # noqa: BLE001 - a ledger may raise anything
            self._tell_failing(_OUTBOX, str(error))
            return []
        return [taken[at : at + size] for at in range(0, len(taken), size)]

    async def _try(self, carrier: Carrier, messages: Sequence[OutboxMessage]) -> bool:
        """Send messages and note what became of them; return whether all were taken."""
        try:
            async with asyncio.timeout(SEND_S):
                outcomes = await carrier.send(messages)
        except TimeoutError:
            outcomes = [Failure(f"no answer within {SEND_S:g} s")] * len(messages)
        except Exception as error:  # noqa: BLE001 - another's library may raise anything
            told = without_credentials(f"{type(error).__name__}: {error}")
            outcomes = [Failure(told)] * len(messages)
        failures = [each for each in outcomes if each is not None]
        if failures:
            self._tell_failing(carrier.name, failures[0].reason)
        else:
            self._tell_sent(carrier.name)
        try:
            await self._note(carrier, messages, outcomes)
        except Exception as error:  # noqa: BLE001 - a ledger may raise anything
            # They are due again when the lease is over: sent twice, under the same id.
            self._tell_failing(_OUTBOX, str(error))
            return False
        self._tell_sent(_OUTBOX)
        return not failures

    async def _note(
        self,
        carrier: Carrier,
        messages: Sequence[OutboxMessage],
        outcomes: Sequence[Failure | None],
    ) -> None:
        sent: list[OutboxMessage] = []
        failed: dict[tuple[Failure, int], list[OutboxMessage]] = defaultdict(list)
        for message, failure in zip(messages, outcomes, strict=True):
            if failure is None:
                sent.append(message)
            else:
                failed[failure, message.attempts].append(message)
        if sent:
            await asyncio.to_thread(self._outbox.sent, sent)
        for (failure, attempts), some in failed.items():
            if failure.gone:
                self._note_gone(carrier.name, failure)
            await self._fail(carrier.patience, some, failure, attempts)

    async def _fail(
        self,
        patience: Patience,
        messages: Sequence[OutboxMessage],
        failure: Failure,
        attempts: int,
    ) -> None:
        due_ns: int | None = None
        if patience.tries_max is None or attempts < patience.tries_max:
            pause = pause_ns(patience, attempts, self._draw())
            due_ns = self._clock() + max(pause, failure.wait_ns)
        else:
            for message in messages:
                _tell_given_up(message, failure.reason)
        await asyncio.to_thread(
            self._outbox.failed, messages, error=failure.reason, due_ns=due_ns
        )

    def _note_gone(self, name: str, failure: Failure) -> None:
        if name not in self._gone:
            self._gone[name] = failure.reason
            with suppress(Exception):  # a log that fails must not stop the others
                _log.error("destination_gone", destination=name, reason=failure.reason)

    async def _give_up_all(self, name: str) -> None:
        await asyncio.to_thread(self._outbox.give_up, name, error=self._gone[name])

    async def _sweep(self) -> None:
        """Forget from time to time what nobody will send."""
        names = [carrier.name for carrier in self._carriers]
        while True:
            before_ns = self._clock() - KEPT_NS
            with suppress(Exception):  # tried again in an hour
                await asyncio.to_thread(self._outbox.sweep, names, before_ns=before_ns)
            await asyncio.sleep(_SWEEP_S)

    def _tell_failing(self, name: str, reason: str) -> None:
        if name not in self._failing:
            self._failing.add(name)
            with suppress(Exception):
                _log.warning("notices_not_sent", destination=name, reason=reason)

    def _tell_sent(self, name: str) -> None:
        if name in self._failing:
            self._failing.discard(name)
            with suppress(Exception):
                _log.info("notices_sent_again", destination=name)


def _tell_given_up(message: OutboxMessage, reason: str) -> None:
    with suppress(Exception):
        _log.error(
            "notice_given_up",
            destination=message.destination,
            id=message.id,
            kind=message.kind,
            account=message.account_id,
            attempts=message.attempts,
            reason=reason,
        )
