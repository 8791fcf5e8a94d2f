"""What the services need of a store. A backend is a class with these methods.

Each method is one atomic operation and takes the time as an argument. Limit stores are
asynchronous, for they sit on the way of every call; the others are synchronous and are
called from worker threads.
"""

from collections.abc import Iterable, Sequence
from typing import Literal, Protocol

import msgspec

from metering.accounts import Account, ApiKey, Overrides, TierBook
from metering.ledger import Charge, CreditGrant, CreditState, Payment, PeriodState
from metering.pricing import PriceVersion
from metering.quota import Demand, Verdict
from metering.usage import Usage, UsageEvent

__all__ = [
    "AccountChange",
    "AccountStore",
    "ChargedEvent",
    "KeyRecord",
    "LedgerReader",
    "LedgerWriter",
    "LimitStore",
    "Outcome",
    "PaymentReport",
    "PostReport",
    "PriceStore",
    "SettleResult",
    "Snapshots",
    "Status",
    "UsageTotal",
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

    Attributes:
        waits: Whether a method may suspend, so that it can be cancelled or take long.
    """

    waits: bool

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
            ConfigurationError: A demand is on a budget and `hold_id` is "".
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
                than was held is debt; it is charged, never dropped.
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


class KeyRecord(msgspec.Struct, frozen=True):
    """A key, its account, and the credit of the account, read in one transaction."""

    key: ApiKey
    account: Account
    credit: CreditState


class AccountChange(msgspec.Struct, frozen=True, kw_only=True):
    """What to change of an account; what is UNSET stays."""

    payment_method: bool | msgspec.UnsetType = msgspec.UNSET
    pin: int | msgspec.UnsetType | None = msgspec.UNSET
    overrides: Overrides | msgspec.UnsetType = msgspec.UNSET
    suspended: bool | msgspec.UnsetType = msgspec.UNSET


class AccountStore(Protocol):
    """Keeps accounts and their keys."""

    def create(self, account: Account, credit: CreditGrant | None) -> Account:
        """Add an account with its sign-up credit; return the one there if it exists.

        An existing account gets nothing a second time.
        """
        ...

    def get(self, account_id: str) -> Account:
        """Return an account.

        Raises:
            AccountNotFoundError: There is none of that id.
        """
        ...

    def find_key(self, key_hash: str, *, now_ns: int) -> KeyRecord | None:
        """Return the key of that hash with its account, or None. Also revoked ones."""
        ...

    def add_key(self, key: ApiKey) -> None:
        """Add a key to an existing account.

        Raises:
            AccountNotFoundError: There is no such account.
        """
        ...

    def revoke_key(self, key_id: str, *, now_ns: int) -> ApiKey:
        """Mark a key revoked, for good; again changes nothing.

        Raises:
            AccountNotFoundError: There is no such key.
        """
        ...

    def change(self, account_id: str, change: AccountChange) -> Account:
        """Apply a change and return the account in its new version.

        Raises:
            AccountNotFoundError: There is none of that id.
            ConfigurationError: It is pinned to a tier that does not exist, or its
                overrides cannot be kept to.
        """
        ...

    def changes(self) -> int:
        """Return a count that grows with each change of any account, key or credit.

        It grows in the transaction that changes it, so that who sees the count sees
        the change. What calls use does not count.
        """
        ...


class PriceStore(Protocol):
    """Keeps every price that was ever in force."""

    def publish(self, versions: Iterable[PriceVersion], *, now_ns: int) -> int:
        """Add the versions not yet known, and return how many that were.

        Raises:
            ConfigurationError: A past instant would cost something else.
        """
        ...

    def published(self) -> list[PriceVersion]:
        """Return every version, by model and start."""
        ...


class PostReport(msgspec.Struct, frozen=True):
    """What became of a batch of events.

    Attributes:
        posted: Ids that were new.
        conflicts: Ids that were there already with another charge; the first stands.
        unowned: New ids whose account does not exist. They are posted all the same,
            flagged, and become the account's own once it is created.
    """

    posted: tuple[str, ...]
    conflicts: tuple[str, ...] = ()
    unowned: tuple[str, ...] = ()


class PaymentReport(msgspec.Struct, frozen=True):
    """What recording a payment changed.

    Attributes:
        account: As it is now.
        new: Whether the payment was not known yet.
        freed_p: What an early payment freed of the period's usage limit.
    """

    account: Account
    new: bool
    freed_p: int = 0


class LedgerWriter(Protocol):
    """Posts to the ledger. What is posted is never edited."""

    def post(self, events: Sequence[UsageEvent]) -> PostReport:
        """Post a batch in one transaction: charges, credit drawn, period totals.

        An event whose id is known changes nothing, however late it comes again.
        """
        ...

    def record_payment(self, payment: Payment) -> PaymentReport:
        """Record a payment and all it changes in one transaction.

        Raises:
            AccountNotFoundError: There is no such account.
            LedgerError: The reference is known with another account, kind or amount.
        """
        ...

    def grant_credit(self, grant: CreditGrant) -> tuple[Account, bool]:
        """Add credit to an account, once for each grant id.

        Returns:
            The account in its new version, and whether the grant was new.

        Raises:
            AccountNotFoundError: There is no such account.
            LedgerError: The id is known with another amount, kind or end.
        """
        ...


class ChargedEvent(msgspec.Struct, frozen=True):
    """A posted event and how it was paid for."""

    event: UsageEvent
    charge: Charge


class UsageTotal(msgspec.Struct, frozen=True):
    """What an account used of one model in one period."""

    model: str
    calls: int
    usage: Usage
    charge_p: int


class LedgerReader(Protocol):
    """Reads from the ledger."""

    def period(self, account_id: str, period: str) -> PeriodState:
        """Return what the account spent in that period; zeros if nothing."""
        ...

    def credit(self, account_id: str, *, now_ns: int) -> CreditState:
        """Return the credit of the account."""
        ...

    def grants(self, account_id: str) -> list[CreditGrant]:
        """Return the account's grants, oldest first."""
        ...

    def events(
        self, account_id: str, *, period: str | None = None, limit: int = 100
    ) -> list[ChargedEvent]:
        """Return the account's latest events, newest first, at most *limit*."""
        ...

    def totals(self, account_id: str, period: str) -> list[UsageTotal]:
        """Return what the account used in that period, by model name."""
        ...

    def accounts(self, *, after: str = "", limit: int = 100) -> list[Account]:
        """Return accounts by id, after the one named, at most *limit*."""
        ...


class Ledger(AccountStore, PriceStore, LedgerWriter, LedgerReader, Protocol):
    """All that is kept in one database."""

    @property
    def tiers(self) -> TierBook:
        """The tier book that payments are judged by."""
        ...

    def close(self) -> None:
        """Give back what the ledger holds open."""
        ...


class Snapshots(Protocol):
    """A cache of key records that processes share; losing it costs only time."""

    async def get(self, name: str) -> KeyRecord | None:
        """Return the record, or None if it is not there or not in time.

        Args:
            name: The key's hash and the ledger's count of changes.
        """
        ...

    async def put(self, name: str, record: KeyRecord, *, ttl_ns: int) -> None:
        """Keep a record for a while."""
        ...

    async def drop(self, name: str) -> None:
        """Forget a record."""
        ...
