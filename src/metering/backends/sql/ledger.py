"""The ledger in an SQL database: each method is one transaction."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

from sqlalchemy import Connection, Engine

from metering.accounts import Account, ApiKey, TierBook
from metering.backends.sql import identity, money, posting, pricing, reading
from metering.backends.sql.sqlite import (
    enter_wal,
    open_engine,
    path_of,
    storage_errors,
    writer,
)
from metering.backends.sql.version import SCHEMA_VERSION, schema_version
from metering.ledger import CreditGrant, CreditState, Payment, PeriodState
from metering.pricing import PriceVersion
from metering.stores import (
    AccountChange,
    ChargedEvent,
    KeyRecord,
    PaymentReport,
    PostReport,
    UsageTotal,
)
from metering.usage import UsageEvent

__all__ = ["SqlLedger"]


class SqlLedger:
    """Keeps the ledger in a SQLite file that several processes may share.

    The file is opened and brought to the present schema by the first use, so that an
    instance may be made before a fork. What a method returned from is on the disk.

    Args:
        url_or_path: A path, or `sqlite:///` and a path.
        tiers: The tier book that payments are judged by.
        busy_timeout_ms: How long to wait for another process that writes.

    Raises:
        ConfigurationError: The URL names no file.
        StorageError: From any method, where the database fails or stays locked.
    """

    def __init__(
        self, url_or_path: str | Path, *, tiers: TierBook, busy_timeout_ms: int = 5_000
    ) -> None:
        self._path = path_of(url_or_path)
        self._tiers = tiers
        self._busy_timeout_ms = busy_timeout_ms
        self._opening = Lock()
        self._engine: Engine | None = None

    @property
    def tiers(self) -> TierBook:
        """The tier book that payments are judged by."""
        return self._tiers

    def close(self) -> None:
        """Close every connection; a later call opens the file anew."""
        with self._opening:
            if self._engine is not None:
                self._engine.dispose()
                self._engine = None

    # Accounts and keys

    def create(self, account: Account, credit: CreditGrant | None) -> Account:
        """Add an account; see `AccountStore.create`."""
        with self._writing() as connection:
            return identity.create(connection, account, credit, self._tiers)

    def get(self, account_id: str) -> Account:
        """Return an account; see `AccountStore.get`."""
        with self._reading() as connection:
            return identity.get(connection, account_id)

    def find_key(self, key_hash: str, *, now_ns: int) -> KeyRecord | None:
        """Return a key and its account; see `AccountStore.find_key`."""
        with self._reading() as connection:
            return identity.find_key(connection, key_hash, now_ns)

    def add_key(self, key: ApiKey) -> None:
        """Add a key; see `AccountStore.add_key`."""
        with self._writing() as connection:
            identity.add_key(connection, key)

    def revoke_key(self, key_id: str, *, now_ns: int) -> ApiKey:
        """Revoke a key; see `AccountStore.revoke_key`."""
        with self._writing() as connection:
            return identity.revoke_key(connection, key_id, now_ns)

    def change(self, account_id: str, change: AccountChange) -> Account:
        """Change an account; see `AccountStore.change`."""
        with self._writing() as connection:
            return identity.change(connection, account_id, change, self._tiers)

    def changes(self) -> int:
        """Return the count of changes; see `AccountStore.changes`."""
        with self._reading() as connection:
            return identity.changes(connection)

    # Prices

    def publish(self, versions: Iterable[PriceVersion], *, now_ns: int) -> int:
        """Add prices; see `PriceStore.publish`."""
        with self._writing() as connection:
            return pricing.publish(connection, versions, now_ns)

    def published(self) -> list[PriceVersion]:
        """Return every price; see `PriceStore.published`."""
        with self._reading() as connection:
            return pricing.published(connection)

    # Posting

    def post(self, events: Sequence[UsageEvent]) -> PostReport:
        """Post a batch of events; see `LedgerWriter.post`."""
        with self._writing() as connection:
            return posting.post(connection, events)

    def record_payment(self, payment: Payment) -> PaymentReport:
        """Record a payment; see `LedgerWriter.record_payment`."""
        with self._writing() as connection:
            return money.record_payment(connection, payment, self._tiers)

    def grant_credit(self, grant: CreditGrant) -> tuple[Account, bool]:
        """Grant credit; see `LedgerWriter.grant_credit`."""
        with self._writing() as connection:
            return money.grant_credit(connection, grant, self._tiers)

    # Reading

    def period(self, account_id: str, period: str) -> PeriodState:
        """Return a period; see `LedgerReader.period`."""
        with self._reading() as connection:
            return reading.period(connection, account_id, period)

    def credit(self, account_id: str, *, now_ns: int) -> CreditState:
        """Return credit; see `LedgerReader.credit`."""
        with self._reading() as connection:
            return reading.credit(connection, account_id, now_ns)

    def grants(self, account_id: str) -> list[CreditGrant]:
        """Return grants; see `LedgerReader.grants`."""
        with self._reading() as connection:
            return reading.grants(connection, account_id)

    def events(
        self, account_id: str, *, period: str | None = None, limit: int = 100
    ) -> list[ChargedEvent]:
        """Return the latest events; see `LedgerReader.events`."""
        with self._reading() as connection:
            return reading.events(connection, account_id, period, limit)

    def totals(self, account_id: str, period: str) -> list[UsageTotal]:
        """Return totals by model; see `LedgerReader.totals`."""
        with self._reading() as connection:
            return reading.totals(connection, account_id, period)

    def accounts(self, *, after: str = "", limit: int = 100) -> list[Account]:
        """Return accounts by id; see `LedgerReader.accounts`."""
        with self._reading() as connection:
            return reading.accounts(connection, after, limit)

    # Transactions

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        """One snapshot of the whole database; it waits for no writer."""
        with (
            storage_errors(self._path, self._busy_timeout_ms),
            self._opened().begin() as connection,
        ):
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        """All or nothing, one writer at a time over all processes."""
        with (
            storage_errors(self._path, self._busy_timeout_ms),
            writer(self._opened()).begin() as connection,
        ):
            yield connection

    def _opened(self) -> Engine:
        with self._opening:
            if self._engine is None:
                engine = open_engine(self._path, self._busy_timeout_ms)
                try:
                    self._prepare(engine)
                except BaseException:
                    engine.dispose()
                    raise
                self._engine = engine
            return self._engine

    def _prepare(self, engine: Engine) -> None:
        enter_wal(engine, self._busy_timeout_ms)
        with engine.begin() as connection:
            if schema_version(connection) == SCHEMA_VERSION:
                return
        from metering.backends.sql.migrate import migrate  # noqa: PLC0415 - see there

        with writer(engine).begin() as connection:
            migrate(connection)
