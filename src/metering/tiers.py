"""From a credential to what its account may do, read once a while."""

import contextlib
import threading
from collections.abc import Awaitable, Callable
from typing import NamedTuple, TypeVar

import anyio
from anyio import to_thread

from metering.accounts import Account, TierBook, hash_key
from metering.clock import NS_PER_S, Clock
from metering.errors import AccountNotFoundError, StorageError
from metering.log import Log
from metering.resolved import Resolved, resolved
from metering.stores import Ledger, Snapshots

__all__ = ["TierResolver"]

SIZE_MAX = 100_000
"""Credentials remembered; the oldest leaves first."""

UNKNOWN_NS = NS_PER_S
"""How long a key that nobody has is refused without asking the ledger again."""

UNKNOWN_MAX = 10_000
"""Unknown keys remembered; the oldest leaves first."""

LOOK_EVERY_NS = NS_PER_S
"""How often the ledger is asked whether another process has changed anything."""

LOOK_MAX_S = 0.25
"""How long that may hold up the one call that asks."""

LAST_KNOWN_NS = 300 * NS_PER_S
"""How long after its time an answer serves while the ledger is down."""

_log = Log()

_Entry = TypeVar("_Entry")


class _Known(NamedTuple):
    """What is remembered, and the count of the ledger's changes when it was read."""

    caller: Resolved
    changes: int


class _Flight:
    """One read that several callers wait for, and what became of it."""

    __slots__ = ("done", "error", "found", "landed")

    def __init__(self) -> None:
        self.done = anyio.Event()
        self.landed = False
        self.found: Resolved | None = None
        self.error: StorageError | None = None


class TierResolver:
    """Resolves credentials, with a bounded memory and one read at a time for each.

    What another process changes is seen a second later: so often the ledger is asked,
    by one caller, whether anything has changed; then all that is remembered is read
    again.

    Args:
        ledger: Where accounts and keys are; asked in a worker thread.
        tiers: The tier book.
        clock: The node's clock.
        ttl_ns: How long an answer is good for.
        pepper: Secret under which keys are hashed; empty for none.
        snapshots: A second level that processes share, or None.
    """

    def __init__(
        self,
        ledger: Ledger,
        tiers: TierBook,
        *,
        clock: Clock,
        ttl_ns: int = 30 * NS_PER_S,
        pepper: bytes = b"",
        snapshots: Snapshots | None = None,
    ) -> None:
        self._ledger = ledger
        self._tiers = tiers
        self._clock = clock
        self._ttl_ns = ttl_ns
        self._pepper = pepper
        self._snapshots = snapshots
        self._known: dict[str, _Known] = {}
        self._unknown_until_ns: dict[str, int] = {}
        self._flights: dict[str, _Flight] = {}
        self._forgotten = 0
        self._changes = -1
        self._look_due_ns = 0
        self._first_look: anyio.Event | None = None
        self._looking = threading.Lock()

    async def by_key(self, secret: bytes, *, fresh: bool = False) -> Resolved | None:
        """Return who shows *secret*, or None if nobody has it.

        Args:
            secret: The credential as sent.
            fresh: Whether what is remembered is too old to be asked.

        Raises:
            StorageError: The ledger is down and nothing is remembered.
        """
        await self._look_for_changes()
        key_hash = hash_key(secret, self._pepper)
        name = f"key:{key_hash}"
        if not fresh:
            known = self._remembered(name)
            if known is not None:
                return known
            if self._clock() < self._unknown_until_ns.get(name, 0):
                return None

        async def load() -> Resolved | None:
            return await self._load_key(key_hash, fresh=fresh)

        return await self._through_memory(name, load, fresh=fresh)

    async def by_account(
        self, account_id: str, *, fresh: bool = False
    ) -> Resolved | None:
        """Return an account that the app vouches for, or None if there is none.

        Raises:
            StorageError: The ledger is down and nothing is remembered.
        """
        await self._look_for_changes()

        async def load() -> Resolved | None:
            return await to_thread.run_sync(self._load_account, account_id)

        return await self._through_memory(f"account:{account_id}", load, fresh=fresh)

    def forget(self, account_id: str) -> None:
        """Read the account again at its next call."""
        self._outdate_reads()
        for name, known in list(self._known.items()):
            if known.caller.account.id == account_id:
                del self._known[name]

    async def forget_key(self, key_hash: str) -> None:
        """Read a key again at its next call, in every process that shares snapshots."""
        self._outdate_reads()
        self._known.pop(f"key:{key_hash}", None)
        self._unknown_until_ns.pop(f"key:{key_hash}", None)
        if self._snapshots is not None:
            await self._snapshots.drop(f"{key_hash}:{self._changes}")

    def _outdate_reads(self) -> None:
        # A read that is under way may find the old: it serves who waits for it already,
        # is not remembered, and nobody else waits for it.
        self._forgotten += 1
        self._flights.clear()

    async def _look_for_changes(self) -> None:
        """See, once a second, whether another process has changed anything."""
        now_ns = self._clock()
        if 0 < self._look_due_ns - now_ns <= LOOK_EVERY_NS:
            if self._changes < 0 and self._first_look is not None:
                # What is read before the first count might be older than it.
                await self._first_look.wait()
            return
        self._look_due_ns = now_ns + LOOK_EVERY_NS
        self._first_look = anyio.Event() if self._changes < 0 else None
        try:
            changes = await self._count_in_time()
        finally:
            if self._first_look is not None:
                self._first_look.set()
                self._first_look = None
        if changes is not None and changes != self._changes:
            self._changes = changes
            self._unknown_until_ns.clear()
            self._outdate_reads()

    async def _count_in_time(self) -> int | None:
        # A ledger that does not answer is told of by who must read it.
        with anyio.move_on_after(LOOK_MAX_S), contextlib.suppress(StorageError):
            return await to_thread.run_sync(self._count_changes, abandon_on_cancel=True)
        return None

    def _count_changes(self) -> int | None:
        # A ledger that hangs must not be given one more thread each second.
        if not self._looking.acquire(blocking=False):
            return None
        try:
            return self._ledger.changes()
        finally:
            self._looking.release()

    def _remembered(self, name: str) -> Resolved | None:
        known = self._known.get(name)
        if known is None or known.changes != self._changes:
            return None
        return known.caller if self._clock() < known.caller.good_until_ns else None

    async def _through_memory(
        self, name: str, load: Callable[[], Awaitable[Resolved | None]], *, fresh: bool
    ) -> Resolved | None:
        """Return what is remembered, or read it: one caller reads, the others wait.

        Who needs it fresh does not take part in a read that began before it asked.
        """
        joins = not fresh
        while fresh or (known := self._remembered(name)) is None:
            flight = self._flights.get(name)
            if flight is None:
                return await self._lead(name, load)
            await flight.done.wait()
            if joins and flight.landed:
                if flight.error is not None:
                    raise StorageError(str(flight.error)) from flight.error
                return flight.found
            # It was too old, or its leader was cancelled: the next one leads.
            joins = True
        return known

    async def _lead(
        self, name: str, load: Callable[[], Awaitable[Resolved | None]]
    ) -> Resolved | None:
        self._flights[name] = flight = _Flight()
        try:
            flight.found = await self._read(name, load)
        except StorageError as error:
            flight.landed, flight.error = True, error
            raise
        else:
            flight.landed = True
            return flight.found
        finally:
            if self._flights.get(name) is flight:
                del self._flights[name]
            flight.done.set()

    async def _read(
        self, name: str, load: Callable[[], Awaitable[Resolved | None]]
    ) -> Resolved | None:
        forgotten = self._forgotten
        try:
            found = await load()
        except StorageError as error:
            known = self._known.get(name)
            if known is None:
                raise
            if self._clock() > known.caller.good_until_ns + LAST_KNOWN_NS:
                raise
            _log.warning("ledger_down_last_known_used", error=str(error))
            return known.caller
        if found is None:
            self._known.pop(name, None)
        if forgotten != self._forgotten:
            return found  # something changed meanwhile, and the old must not stick
        if found is None:
            _put(self._unknown_until_ns, name, self._clock() + UNKNOWN_NS, UNKNOWN_MAX)
        else:
            self._unknown_until_ns.pop(name, None)
            _put(self._known, name, _Known(found, self._changes), SIZE_MAX)
        return found

    async def _load_key(self, key_hash: str, *, fresh: bool) -> Resolved | None:
        record = None
        # What was put before a change is found by nobody who knows of the change.
        snapshot = f"{key_hash}:{self._changes}"
        if self._snapshots is not None and not fresh:
            record = await self._snapshots.get(snapshot)
        now_ns = self._clock()
        if record is None:
            record = await to_thread.run_sync(
                lambda: self._ledger.find_key(key_hash, now_ns=now_ns)
            )
            if record is None:
                return None
            if self._snapshots is not None:
                await self._snapshots.put(snapshot, record, ttl_ns=self._ttl_ns)
        self._tell_of_pin(record.account, now_ns)
        return resolved(
            record.account,
            record.credit,
            self._tiers,
            now_ns=now_ns,
            good_until_ns=now_ns + self._ttl_ns,
            key=record.key,
        )

    def _load_account(self, account_id: str) -> Resolved | None:
        now_ns = self._clock()
        try:
            account = self._ledger.get(account_id)
        except AccountNotFoundError:
            return None
        credit = self._ledger.credit(account_id, now_ns=now_ns)
        self._tell_of_pin(account, now_ns)
        return resolved(
            account,
            credit,
            self._tiers,
            now_ns=now_ns,
            good_until_ns=now_ns + self._ttl_ns,
        )

    def _tell_of_pin(self, account: Account, now_ns: int) -> None:
        if self._tiers.lacks_pin_of(account):
            _log.error(
                "pinned_tier_missing",
                account=account.id,
                pin=account.pin,
                served=self._tiers.tier_of(account, now_ns).name,
            )


def _put(memory: dict[str, _Entry], name: str, entry: _Entry, size_max: int) -> None:
    """Put an entry in, as the newest; the oldest leaves when there are too many."""
    memory.pop(name, None)
    if len(memory) >= size_max:
        del memory[next(iter(memory))]
    memory[name] = entry
