"""Limits in an SQLite file: one host, any number of processes, no server."""

from collections.abc import Sequence
from pathlib import Path

from anyio import CancelScope, to_thread

from metering.backends.sqlite.checks import (
    Acquire,
    Announce,
    Peek,
    Renew,
    Seed,
    Settle,
    Sweep,
)
from metering.backends.sqlite.file import LimitsFile, path_of
from metering.backends.sqlite.worker import Worker
from metering.clock import NS_PER_US
from metering.errors import ConfigurationError
from metering.quota import BudgetQuota, Demand, Verdict, require_costs
from metering.stores import Outcome, SettleResult

__all__ = ["SqliteLimitStore"]


class SqliteLimitStore:
    """A `LimitStore` for the processes of one host, and where accounts' changes go.

    A thread of its own does all that touches the file. The checks of one tick of the
    event loop travel to it together and are answered in one transaction, each all or
    none by itself. It runs on asyncio and on trio, may be made before a fork, and opens
    the file with the first check.

    Time is the caller's: all processes of a host read the same clock. One that steps
    back gives nothing away: rates refill and leases end only when it is again where it
    was.

    Limits survive a process that is killed. A power cut may take back the latest 4 MB
    or so of changes: a rate then grants once more what it granted in them; ledgered
    budgets are seeded from the ledger again, as after each restart of all processes;
    other budgets forget those calls.

    What it keeps is bounded so; old rows are dropped a few at a time:

    - Rates: about a third more than were ever in use at once.
    - Ledgered budgets: those used within a day; others: within 400 days; slots: those
      that are held.
    - Holds: those open. Each transaction ends the ones whose lease is over.
    - Settled holds: the latest 262,144; a repeated settlement of an older one would be
      charged again. Announced versions: the latest 65,536.
    - The write-ahead log: it is shortened whenever it is above 4 MB.
    - Waiting: 10,000 checks an event loop. While the file cannot be written, 10,000
      settlements are kept in memory and tried again.

    Args:
        path: The file, or a URL such as "sqlite:///data/limits.db"; on a local disk.
            Files named after it lie beside it.
        busy_timeout_ms: How long to wait for the lock of another process.
        deadline_ms: How long a call waits in all before it raises `StorageError`; what
            an admission took nevertheless is given back.

    Raises:
        ConfigurationError: The path names no file, or SQLite is too old.
    """

    waits = True
    forgets = False

    def __init__(
        self,
        path: str | Path,
        *,
        busy_timeout_ms: int = 200,
        deadline_ms: int = 250,
    ) -> None:
        file = LimitsFile(path_of(path), busy_timeout_ms)
        self._worker = Worker(file, deadline_ms=deadline_ms)

    async def acquire(
        self,
        demands: Sequence[Demand],
        *,
        hold_id: str,
        lease_ns: int,
        now_ns: int,
        account: tuple[str, int] | None = None,
    ) -> Outcome:
        """Grant all demands and hold what was granted, or take nothing."""
        require_costs(demands)
        for demand in demands:
            _require_text(demand.key)
            if not hold_id and isinstance(demand.quota, BudgetQuota):
                raise ConfigurationError(
                    f"Demand {demand.name or demand.key!r} is on a budget, which is"
                    " held until it is settled. Give acquire a hold_id; only rates can"
                    " do without."
                )
        _require_text(hold_id)
        if account is not None:
            _require_text(account[0])
        now_us = now_ns // NS_PER_US
        return await self._worker.ask(
            Acquire(demands, hold_id, lease_ns, now_us, account)
        )

    async def settle(
        self,
        hold_id: str,
        demands: Sequence[Demand],
        costs: Sequence[int],
        *,
        now_ns: int,
    ) -> SettleResult:
        """Replace a hold by what was used, once."""
        if len(costs) != len(demands):
            raise ConfigurationError(
                f"{len(costs)} costs for {len(demands)} demands: say of each what it"
                " used, 0 for nothing."
            )
        _require_text(hold_id, *(demand.key for demand in demands))
        return await self._worker.ask(
            Settle(hold_id, demands, costs, now_ns // NS_PER_US)
        )

    async def renew(
        self, hold_id: str, demands: Sequence[Demand], *, lease_ns: int, now_ns: int
    ) -> bool:
        """Extend a lease, never shorten it; or hold again what was lost."""
        require_costs(demands, granted=True)
        _require_text(hold_id, *(demand.key for demand in demands))
        return await self._worker.ask(
            Renew(hold_id, demands, lease_ns, now_ns // NS_PER_US)
        )

    async def seed(self, key: str, spent: int, *, now_ns: int) -> bool:
        """Say what a ledgered budget has spent, unless the store knows already."""
        _require_text(key)
        return await self._worker.ask(Seed(key, spent, now_ns // NS_PER_US))

    async def peek(
        self, demands: Sequence[Demand], *, now_ns: int
    ) -> tuple[Verdict, ...]:
        """Return what each demand would be answered now, by itself; take nothing."""
        require_costs(demands)
        _require_text(*(demand.key for demand in demands))
        return await self._worker.ask(Peek(demands, now_ns // NS_PER_US))

    async def sweep(self, *, now_ns: int) -> int:
        """End the holds whose lease is over, each once. Return how many."""
        return await self._worker.ask(Sweep(now_ns // NS_PER_US))

    async def announce(self, account_id: str, version: int) -> None:
        """Make `acquire` answer `stale` to snapshots older than *version*."""
        _require_text(account_id)
        await self._worker.ask(Announce(account_id, version))

    async def aclose(self) -> None:
        """Do as `close` does, without blocking the event loop."""
        with CancelScope(shield=True):
            await to_thread.run_sync(self.close)

    def close(self) -> None:
        """Answer what waits and close the file; a later call opens it again."""
        self._worker.close()


def _require_text(*names: str) -> None:
    """Refuse what SQLite would cut short, or not take as text."""
    for name in names:
        if "\0" in name or not (name.isascii() or _is_unicode(name)):
            raise ConfigurationError(
                f"{name!r} has a NUL or half a surrogate pair in it, which no key,"
                " hold or account may have in SQLite. Take it out."
            )


def _is_unicode(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
