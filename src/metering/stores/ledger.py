"""What a ledger promises: accounts, prices, charges. Worker threads call it."""

from collections.abc import Iterable, Sequence
from typing import Protocol

import msgspec

from metering.accounts import Account, ApiKey, Overrides, TierBook
from metering.ledger import (
    Alert,
    Charge,
    CreditGrant,
    CreditState,
    Notices,
    Payment,
    PeriodState,
)
from metering.pricing import PriceVersion
from metering.stores.history import History
from metering.stores.invoices import CorrectionStore, InvoiceStore
from metering.stores.listing import Listing
from metering.stores.outbox import Outbox
from metering.stores.sessions import Sessions
from metering.usage import Usage, UsageEvent

__all__ = [
    "AccountChange",
    "AccountStore",
    "ChargedEvent",
    "KeyRecord",
    "Ledger",
    "LedgerReader",
    "LedgerWriter",
    "PaymentReport",
    "PostReport",
    "PriceStore",
    "Snapshots",
    "UsageDay",
    "UsageTotal",
]


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

    def add_key(self, key: ApiKey, *, in_use_max: int | None = None) -> None:
        """Add a key to an existing account.

        Args:
            key: The key.
            in_use_max: How many keys that are not revoked the account may have with it;
                None: any number.

        Raises:
            AccountNotFoundError: There is no such account.
            LedgerError: The key is known already, or the account has that many.
        """
        ...

    def revoke_key(self, key_id: str, *, now_ns: int) -> ApiKey:
        """Mark a key revoked, for good; again changes nothing.

        Raises:
            AccountNotFoundError: There is no such key.
        """
        ...

    def change(self, account_id: str, change: AccountChange, *, now_ns: int) -> Account:
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
        alerts: What accounts were alerted of by it.
    """

    posted: tuple[str, ...]
    conflicts: tuple[str, ...] = ()
    unowned: tuple[str, ...] = ()
    alerts: tuple[Alert, ...] = ()


class PaymentReport(msgspec.Struct, frozen=True):
    """What recording a payment changed.

    Attributes:
        account: As it is now.
        new: Whether the payment was not known yet.
        freed_p: What an early payment freed of its period's usage limit, told again if
            it was known; below 0 where that was taken back, which is told once.
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
            LedgerError: The reference is known with another account, kind or amount, or
                more is taken back than was paid.
        """
        ...

    def grant_credit(self, grant: CreditGrant) -> tuple[Account, bool]:
        """Add credit to an account, once for each grant id.

        Returns:
            The account in its new version, and whether the grant was new.

        Raises:
            AccountNotFoundError: There is no such account.
            LedgerError: The id is known with another amount, kind, end, priority or
                other models.
        """
        ...

    def expire_credit(self, *, ended_by_ns: int, now_ns: int) -> int:
        """Book as expired what is left of credit that had ended by an instant.

        Nobody may draw on it any more, so let each call that was admitted before that
        instant be posted first: what is posted later finds nothing to draw on.

        Returns:
            Of how many grants something expired.
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


class UsageDay(msgspec.Struct, frozen=True):
    """What was used of one model on one day, such as "2026-01-31"."""

    day: str
    model: str
    calls: int
    usage: Usage
    charge_p: int


class LedgerReader(Protocol):
    """Reads from the ledger."""

    def period(self, account_id: str, period: str) -> PeriodState:
        """Return what the account spent in that period; zeros if nothing."""
        ...

    def key_spent_p(self, key_id: str, period: str) -> int:
        """Return what calls with a key cost in that period, in pico-dollars."""
        ...

    def credit(self, account_id: str, *, now_ns: int) -> CreditState:
        """Return the credit of the account."""
        ...

    def grants(self, account_id: str) -> list[CreditGrant]:
        """Return the account's grants, oldest first."""
        ...

    def payments(self, account_id: str) -> list[Payment]:
        """Return the account's payments, oldest first."""
        ...

    def balances_p(self, account_id: str | None = None) -> dict[str, int]:
        """Return debits less credits by account of the books (`metering.ledger.books`).

        Args:
            account_id: Whose money to look at; None for everybody's.
        """
        ...

    def keys(self, account_id: str) -> list[ApiKey]:
        """Return the account's keys, oldest first; also revoked ones."""
        ...

    def events(
        self,
        account_id: str,
        *,
        period: str | None = None,
        model: str | None = None,
        before: tuple[str, int, str] | None = None,
        limit: int = 100,
    ) -> list[ChargedEvent]:
        """Return the account's latest events, newest first.

        Args:
            account_id: Whose.
            period: The key of the one period to look at; None for all.
            model: The one model to look at, by its name in the price book; None for
                all.
            before: Period, instant of the admission and id of the event after which, in
                that order, to go on; None to begin with the latest.
            limit: How many at most.
        """
        ...

    def known(self, event_ids: Iterable[str]) -> set[str]:
        """Return which of the events are posted, by their ids."""
        ...

    def totals(self, account_id: str, period: str) -> list[UsageTotal]:
        """Return what the account used in that period, by model name."""
        ...

    def days(
        self, account_id: str, period: str, *, model: str | None = None
    ) -> list[UsageDay]:
        """Return what the account used in that period, by day and model name.

        The day is the one of the admission, in the zone that the account had when the
        call was posted; UTC if there was no such account.

        Args:
            account_id: Whose.
            period: The key of the period.
            model: The one model to look at, by its name in the price book; None for
                all.
        """
        ...

    def days_of_all(
        self, first_day: str, last_day: str, *, model: str | None = None
    ) -> list[UsageDay]:
        """Return what all accounts used together, by day and model name.

        Args:
            first_day: The first day, such as "2026-01-01".
            last_day: The last one, included.
            model: As for `days`.
        """
        ...

    def accounts(self, *, after: str = "", limit: int = 100) -> list[Account]:
        """Return accounts by id, after the one named, at most *limit*."""
        ...


class Ledger(
    AccountStore,
    PriceStore,
    LedgerWriter,
    LedgerReader,
    InvoiceStore,
    CorrectionStore,
    Protocol,
):
    """All that is kept in one database."""

    @property
    def tiers(self) -> TierBook:
        """The tier book that payments are judged by."""
        ...

    @property
    def notices(self) -> Notices:
        """What is told of what is written, and whom."""
        ...

    @property
    def outbox(self) -> Outbox:
        """Where that waits until it is sent."""
        ...

    @property
    def listing(self) -> Listing:
        """What is kept, page by page."""
        ...

    @property
    def sessions(self) -> Sessions:
        """Who is signed in to the console."""
        ...

    @property
    def history(self) -> History:
        """What is told of the service over time."""
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
