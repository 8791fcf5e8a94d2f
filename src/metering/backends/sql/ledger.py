"""The ledger in an SQL database: each method is one transaction."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from threading import Lock
from typing import Concatenate, ParamSpec, TypeVar
from weakref import finalize

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from metering.accounts import Account, ApiKey, TierBook
from metering.backends.sql import (
    correcting,
    identity,
    invoicing,
    key_spending,
    pricing,
    reading,
    standings,
    usage_days,
)
from metering.backends.sql.credit import expire_credit
from metering.backends.sql.database import TIMEOUT_MS, database_of
from metering.backends.sql.history import SqlHistory
from metering.backends.sql.listing import SqlListing
from metering.backends.sql.outbox import SqlOutbox
from metering.backends.sql.sessions import SqlSessions
from metering.backends.sql.telling import Telling
from metering.backends.sql.transfers import balances_p
from metering.ledger import (
    Correction,
    CreditGrant,
    CreditState,
    Invoice,
    Notices,
    Payment,
    PeriodState,
    Revision,
    Standing,
)
from metering.pricing import PriceVersion
from metering.stores import (
    AccountChange,
    ChargedEvent,
    CorrectionReport,
    KeyRecord,
    PaymentReport,
    PostReport,
    UnbilledPeriod,
    UsageDay,
    UsageTotal,
)
from metering.usage import UsageEvent

__all__ = ["SqlLedger"]

_ATTEMPTS = 5
"""How often one transaction is begun, where others are in its way."""

_Asked = ParamSpec("_Asked")
_Answer = TypeVar("_Answer")


class SqlLedger:
    """Keeps the ledger in SQLite, in a file or in memory, or in PostgreSQL.

    The database is opened by the first use, so that an instance may be made before a
    fork. An SQLite file, which several processes may share, is then brought to the
    present schema; PostgreSQL must be there already (`metering migrate`). What a method
    returned from is on the disk. A ledger in memory is one process's, and lasts as
    long as the instance.

    Args:
        url_or_path: A path, or `sqlite:///` and a path; `sqlite://` is in memory;
            `postgresql://USER:PASSWORD@HOST/NAME` as libpq reads it.
        tiers: The tier book that payments are judged by.
        notices: What is told of what is written, and whom; None: nobody is told, and
            reports of posting name the accounts to be alerted.
        timeout_ms: How long to wait for another that writes, and for PostgreSQL to take
            a connection or to answer a statement.

    Raises:
        ConfigurationError: The URL names no database, or its driver is not installed;
            from any method, where the schema is not of this version.
        StorageError: From any method, where the database fails or does not answer.
    """

    def __init__(
        self,
        url_or_path: str | Path,
        *,
        tiers: TierBook,
        notices: Notices | None = None,
        timeout_ms: int = TIMEOUT_MS,
    ) -> None:
        self._database = database_of(url_or_path, timeout_ms)
        self._tiers = tiers
        self._notices = notices or Notices()
        self._telling = Telling(tiers, self._notices)
        self._opening = Lock()
        self._engine: Engine | None = None

    @property
    def tiers(self) -> TierBook:
        """The tier book that payments are judged by."""
        return self._tiers

    @property
    def notices(self) -> Notices:
        """What is told of what is written, and whom."""
        return self._notices

    @property
    def outbox(self) -> SqlOutbox:
        """Where that waits until it is sent."""
        return SqlOutbox(self._read, self._write)

    @property
    def listing(self) -> SqlListing:
        """What is kept, page by page."""
        return SqlListing(self._read, self._tiers)

    @property
    def sessions(self) -> SqlSessions:
        """Who is signed in to the console."""
        return SqlSessions(self._read, self._write)

    @property
    def history(self) -> SqlHistory:
        """What is told of the service over time."""
        return SqlHistory(self._read, self._write)

    def close(self) -> None:
        """Close every connection; a later call opens the database anew.

        A ledger in memory stays as it is, until nobody has it any more.
        """
        with self._opening:
            if self._engine is not None and not self._database.in_memory:
                self._engine.dispose()
                self._engine = None

    # Accounts and keys

    def create(self, account: Account, credit: CreditGrant | None) -> Account:
        """Add an account; see `AccountStore.create`."""
        return self._write(identity.create, account, credit, self._tiers)

    def get(self, account_id: str) -> Account:
        """Return an account; see `AccountStore.get`."""
        return self._read(identity.get, account_id)

    def find_key(self, key_hash: str, *, now_ns: int) -> KeyRecord | None:
        """Return a key and its account; see `AccountStore.find_key`."""
        return self._read(identity.find_key, key_hash, now_ns)

    def add_key(self, key: ApiKey, *, in_use_max: int | None = None) -> None:
        """Add a key; see `AccountStore.add_key`."""
        self._write(identity.add_key, key, in_use_max)

    def revoke_key(self, key_id: str, *, now_ns: int) -> ApiKey:
        """Revoke a key; see `AccountStore.revoke_key`."""
        return self._write(identity.revoke_key, key_id, now_ns)

    def change(self, account_id: str, change: AccountChange, *, now_ns: int) -> Account:
        """Change an account; see `AccountStore.change`."""
        return self._write(self._telling.change, account_id, change, now_ns)

    def changes(self) -> int:
        """Return the count of changes; see `AccountStore.changes`."""
        return self._read(identity.changes)

    # Prices

    def publish(self, versions: Iterable[PriceVersion], *, now_ns: int) -> int:
        """Add prices; see `PriceStore.publish`."""
        return self._write(pricing.publish, tuple(versions), now_ns)

    def published(self) -> list[PriceVersion]:
        """Return every price; see `PriceStore.published`."""
        return self._read(pricing.published)

    # Posting

    def post(self, events: Sequence[UsageEvent]) -> PostReport:
        """Post a batch of events; see `LedgerWriter.post`."""
        return self._write(self._telling.post, events)

    def record_payment(self, payment: Payment) -> PaymentReport:
        """Record a payment; see `LedgerWriter.record_payment`."""
        return self._write(self._telling.record_payment, payment)

    def grant_credit(self, grant: CreditGrant) -> tuple[Account, bool]:
        """Grant credit; see `LedgerWriter.grant_credit`."""
        return self._write(self._telling.grant_credit, grant)

    def expire_credit(self, *, ended_by_ns: int, now_ns: int) -> int:
        """Book credit that has ended; see `LedgerWriter.expire_credit`."""
        expired = 0
        while some := self._write(expire_credit, ended_by_ns, now_ns):
            expired += some
        return expired

    # Invoices and corrections

    def close_period(
        self, account_id: str, period: str, *, now_ns: int, grace_ns: int
    ) -> Invoice:
        """Make a period's invoice; see `InvoiceStore.close_period`."""
        return self._write(
            invoicing.close_period,
            account_id,
            period,
            self._tiers,
            now_ns=now_ns,
            grace_ns=grace_ns,
        )

    def invoice(self, invoice_id: str) -> Invoice | None:
        """Return an invoice; see `InvoiceStore.invoice`."""
        return self._read(invoicing.invoice, invoice_id)

    def invoices(
        self, account_id: str | None = None, *, after: str = "", limit: int = 100
    ) -> list[Invoice]:
        """Return invoices by id; see `InvoiceStore.invoices`."""
        return self._read(invoicing.invoices, account_id, after, limit)

    def unbilled(
        self, *, after: tuple[str, str] = ("", ""), limit: int = 100
    ) -> list[UnbilledPeriod]:
        """Return what is not on an invoice; see `InvoiceStore.unbilled`."""
        return self._read(invoicing.unbilled, after, limit)

    def correct(
        self, revisions: Sequence[Revision], *, now_ns: int
    ) -> CorrectionReport:
        """Correct charges; see `CorrectionStore.correct`."""
        return self._write(correcting.correct, revisions, self._tiers, now_ns)

    def standing(self, event_id: str) -> Standing | None:
        """Return what an event costs now; see `CorrectionStore.standing`."""
        return self._read(standings.standing, event_id)

    def standings_by_id(self, event_ids: Iterable[str]) -> list[Standing]:
        """Return what events cost now; see `CorrectionStore.standings_by_id`."""
        return self._read(standings.standings_by_id, tuple(event_ids))

    def standings(
        self, model: str, from_ns: int, to_ns: int, *, after: str = "", limit: int = 500
    ) -> list[Standing]:
        """Return what a model's calls cost now; see `CorrectionStore.standings`."""
        find = standings.standings
        return self._read(find, model, from_ns, to_ns, after=after, limit=limit)

    def standings_of_period(
        self,
        account_id: str,
        period: str,
        *,
        after: tuple[int, str] = (-1, ""),
        limit: int = 500,
    ) -> list[Standing]:
        """Return a period's calls; see `CorrectionStore.standings_of_period`."""
        find = standings.standings_of_period
        return self._read(find, account_id, period, after, limit)

    def corrections(
        self, account_id: str, booked_period: str, *, after: str = "", limit: int = 500
    ) -> list[Correction]:
        """Return a period's corrections; see `CorrectionStore.corrections`."""
        find = standings.corrections
        return self._read(find, account_id, booked_period, after, limit)

    # Reading

    def period(self, account_id: str, period: str) -> PeriodState:
        """Return a period; see `LedgerReader.period`."""
        return self._read(reading.period, account_id, period)

    def key_spent_p(self, key_id: str, period: str) -> int:
        """Return what calls with a key cost; see `LedgerReader.key_spent_p`."""
        return self._read(key_spending.key_spent_p, key_id, period)

    def credit(self, account_id: str, *, now_ns: int) -> CreditState:
        """Return credit; see `LedgerReader.credit`."""
        return self._read(reading.credit, account_id, now_ns)

    def grants(self, account_id: str) -> list[CreditGrant]:
        """Return grants; see `LedgerReader.grants`."""
        return self._read(reading.grants, account_id)

    def payments(self, account_id: str) -> list[Payment]:
        """Return payments; see `LedgerReader.payments`."""
        return self._read(reading.payments, account_id)

    def balances_p(self, account_id: str | None = None) -> dict[str, int]:
        """Return balances of the books; see `LedgerReader.balances_p`."""
        return self._read(balances_p, account_id)

    def keys(self, account_id: str) -> list[ApiKey]:
        """Return keys; see `LedgerReader.keys`."""
        return self._read(reading.keys, account_id)

    def events(
        self,
        account_id: str,
        *,
        period: str | None = None,
        model: str | None = None,
        before: tuple[str, int, str] | None = None,
        limit: int = 100,
    ) -> list[ChargedEvent]:
        """Return the latest events; see `LedgerReader.events`."""
        return self._read(
            reading.events,
            account_id,
            key=period,
            model=model,
            before=before,
            limit=limit,
        )

    def known(self, event_ids: Iterable[str]) -> set[str]:
        """Return which events are posted; see `LedgerReader.known`."""
        return self._read(reading.known, event_ids)

    def totals(self, account_id: str, period: str) -> list[UsageTotal]:
        """Return totals by model; see `LedgerReader.totals`."""
        return self._read(usage_days.totals, account_id, period)

    def days(
        self, account_id: str, period: str, *, model: str | None = None
    ) -> list[UsageDay]:
        """Return usage by day and model; see `LedgerReader.days`."""
        return self._read(usage_days.days, account_id, period, model)

    def days_of_all(
        self, first_day: str, last_day: str, *, model: str | None = None
    ) -> list[UsageDay]:
        """Return everybody's usage by day; see `LedgerReader.days_of_all`."""
        return self._read(usage_days.days_of_all, first_day, last_day, model)

    def accounts(self, *, after: str = "", limit: int = 100) -> list[Account]:
        """Return accounts by id; see `LedgerReader.accounts`."""
        return self._read(reading.accounts, after, limit)

    # Transactions

    def _read(
        self,
        work: Callable[Concatenate[Connection, _Asked], _Answer],
        *args: _Asked.args,
        **kwargs: _Asked.kwargs,
    ) -> _Answer:
        """Read in one snapshot of the whole database."""
        with self._database.errors():
            engine = self._database.reader(self._opened())
            return self._transact(engine, lambda on: work(on, *args, **kwargs))

    def _write(
        self,
        work: Callable[Concatenate[Connection, _Asked], _Answer],
        *args: _Asked.args,
        **kwargs: _Asked.kwargs,
    ) -> _Answer:
        """Write all or nothing."""
        with self._database.errors():
            engine = self._database.writer(self._opened())
            return self._transact(engine, lambda on: work(on, *args, **kwargs))

    def _transact(
        self, engine: Engine, work: Callable[[Connection], _Answer]
    ) -> _Answer:
        attempt = 1
        while True:
            try:
                with engine.begin() as connection:
                    return work(connection)
            except DBAPIError as error:
                if attempt == _ATTEMPTS or not self._database.may_repeat(
                    error, attempt
                ):
                    raise
            attempt += 1

    def _opened(self) -> Engine:
        with self._opening:
            if self._engine is None:
                self._engine = self._database.open()
                finalize(self, self._engine.dispose).atexit = False
            return self._engine
