"""What a store of limits promises, and one of windows: on the way of every call."""

from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec

from metering.quota import Demand, Verdict

__all__ = [
    "AccountVersions",
    "LimitStore",
    "Outcome",
    "SettleResult",
    "Status",
    "WindowStore",
]

Status = Literal["admitted", "refused", "unseeded", "stale"]
SettleResult = Literal["settled", "late", "repeated"]


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """A limit store's answer to all demands of one call.

    Attributes:
        status: `admitted`: all were granted but those in shadow. `refused`: none was
            taken. `unseeded`: nothing was decided, seed the keys named and ask again.
            `stale`: nothing was decided, the account has changed: resolve it again.
        verdicts: One for each demand, in order; empty where nothing was decided.
        binding: Index of the demand that a refused caller must be told of, or -1.
        unseeded: The ledgered keys that the store does not know.
    """

    status: Status
    verdicts: tuple[Verdict, ...] = ()
    binding: int = -1
    unseeded: tuple[str, ...] = ()


class LimitStore(Protocol):
    """Keeps the state of quotas, and the holds of running calls.

    The contract is `metering.testing.LimitStoreContract`: every store answers as the
    pure rules in `metering.quota` do. The keys within one call are distinct. Instants
    count in whole microseconds, rounded down; spans and leases are rounded up.

    What a budget has spent ends at 2**63 - 1: more is charged without an error and
    forgotten, for such a budget refuses whatever costs anything. What is held is exact.

    Attributes:
        waits: Whether a method may suspend, so that it can be cancelled or take long.
        forgets: Whether it may lose what it knows while calls run, as a server does
            that is emptied or restarted.
    """

    waits: bool
    forgets: bool

    async def acquire(
        self,
        demands: Sequence[Demand],
        *,
        hold_id: str,
        lease_ns: int,
        now_ns: int,
        account: tuple[str, int] | None = None,
    ) -> Outcome:
        """Grant all demands and hold what was granted, or take nothing.

        Args:
            demands: At least one; a demand on a budget is held, one on a rate is
                taken at once.
            hold_id: Names the hold. While it is open, the same id again returns the
                first answer. "" takes without a hold, which only rates can: it leaves
                nothing to settle, and costs less.
            lease_ns: How long the hold lives unless renewed; above 0.
            now_ns: The present instant.
            account: Id and version of the account snapshot the demands were made
                from; an older version than the one announced is answered `stale`.

        Raises:
            ConfigurationError: A demand is on a budget and `hold_id` is "", its cost is
                not an int from 0 to 2**63 - 1, or its key no text that can be kept.
        """
        ...

    async def settle(
        self,
        hold_id: str,
        demands: Sequence[Demand],
        costs: Sequence[int],
        *,
        now_ns: int,
    ) -> SettleResult:
        """Replace a hold by what was used, once.

        A hold that is over, or unknown, is settled late: what was used is charged all
        the same, but a rate gets nothing back: it has refilled since, or never gave.

        Args:
            hold_id: The hold to end.
            demands: The demands it was made for, with `cost` as granted; that is 0
                where one in shadow was refused.
            costs: Units used, one for each demand; 0 gives a demand back whole. More
                than was held is debt; it is charged, never dropped. Below 0, of a
                budget, it is a relief: spending that was paid for early.
            now_ns: The present instant.

        Returns:
            `settled`; `late` if there was no open hold; `repeated` if it had been
            settled before, which changes nothing.
        """
        ...

    async def renew(
        self, hold_id: str, demands: Sequence[Demand], *, lease_ns: int, now_ns: int
    ) -> bool:
        """Extend a lease to `now_ns + lease_ns`, or hold again what was lost.

        A store that forgot a hold, or saw its lease end, gets it back with all its
        demands had of budgets, whether there is room or not: the call is running.
        Rates are not taken again, so they get nothing back either when it is settled.

        Args:
            hold_id: The hold of a running call.
            demands: The demands it was made for, with `cost` as granted.
            lease_ns: How long it lives from now on; a longer lease is not shortened.
            now_ns: The present instant.

        Returns:
            Whether it was open. If not, it is open again unless it had been settled.

        Raises:
            ConfigurationError: A cost is not an int from 0 to 2**63 - 1.
        """
        ...

    async def seed(self, key: str, spent: int, *, now_ns: int) -> bool:
        """Say what a ledgered budget has spent, unless the store knows already."""
        ...

    async def peek(
        self, demands: Sequence[Demand], *, now_ns: int
    ) -> tuple[Verdict, ...]:
        """Return what each demand would be answered now, by itself; take nothing.

        A ledgered key that the store does not know is answered as if it were unspent.

        Raises:
            ConfigurationError: A cost is not an int from 0 to 2**63 - 1.
        """
        ...

    async def sweep(self, *, now_ns: int) -> int:
        """End the holds whose lease is over, each once. Return how many it ended.

        It only frees memory: an expired hold refuses nobody, swept or not.
        """
        ...

    async def aclose(self) -> None:
        """Give back what the store holds open; a later method opens it again."""
        ...


class WindowStore(Protocol):
    """Counts requests in windows, at once and for good.

    Nothing can be held, corrected or given back, and the windows of one call are not
    one operation: between two callers, one may lose a request to a window that neither
    got through. The time is the store's own.

    Attributes:
        shared: Whether other processes count in the same windows.
    """

    shared: bool

    async def take(self, demands: Sequence[Demand]) -> tuple[Verdict, ...]:
        """Count one request in each window, unless one of them refuses.

        Windows in shadow are counted where they have room, and refuse nobody.

        Raises:
            StorageError: The store did not answer in time; some may have counted.
        """
        ...

    async def peek(self, demands: Sequence[Demand]) -> tuple[Verdict, ...]:
        """Return what each window would be answered now; count nothing.

        Raises:
            StorageError: The store did not answer in time.
        """
        ...

    async def aclose(self) -> None:
        """Give back what the store holds open; a later method opens it again."""
        ...


class AccountVersions(Protocol):
    """Where changes of accounts are announced to every worker. Limit stores are one."""

    async def announce(self, account_id: str, version: int) -> None:
        """Make `acquire` answer `stale` to snapshots older than *version*."""
        ...
