"""A ledger in PostgreSQL: how it is reached, waited for, and how it fails."""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine.interfaces import ExecutionContext
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from metering.backends.sql.bulk import COPIED
from metering.backends.sql.locks import lock_schema
from metering.backends.sql.version import SCHEMA_VERSION, schema_version
from metering.errors import ConfigurationError, StorageError, without_credentials

__all__ = ["Postgres"]

_POOL_SIZE = 8
_MARGIN_S = 1.0
_GAVE_WAY = ("40001", "40P01")
"""Not serialisable, or in a deadlock."""

_IS_KNOWN = "23505"
"""A key is there already: another was first with it, which a second look may show."""


class _NoAnswerError(psycopg.OperationalError):
    """The server kept silent for longer than it may take."""


class _Connection(psycopg.Connection[Any]):
    """A connection that waits for no answer longer than a given time.

    The server's own timeout ends a slow statement; this one is for a server that is
    gone, or behind a proxy that is stuck, and will never say so.
    """

    answer_s = 0.0

    def wait(self, gen: Generator[Any, Any, Any], *args: Any, **kwargs: Any) -> Any:
        """Run a step of the protocol to its end."""
        return super().wait(self._until_late(gen), *args, **kwargs)

    def _until_late(self, gen: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
        deadline_s = monotonic() + self.answer_s
        try:
            state = next(gen)
            while True:
                ready = yield state
                if not ready and self.answer_s and monotonic() >= deadline_s:
                    self.pgconn.finish()
                    raise _NoAnswerError(f"no answer for {self.answer_s:g} s")
                state = gen.send(ready)
        except StopIteration as end:
            return end.value


def _copy(
    cursor: psycopg.Cursor[Any],
    statement: str,
    _parameters: object,
    context: ExecutionContext,
) -> bool:
    """Send the rows of a COPY; tell whether the statement was one.

    So it fails as any statement does, and SQLAlchemy knows that a connection is lost.
    """
    rows = context.execution_options.get(COPIED)
    if rows is None:
        return False
    with cursor.copy(statement.encode()) as copy:
        for row in rows:
            copy.write_row(row)
    return True


class Postgres:
    """A database that many nodes share; at most 8 connections from each.

    It is waited for `timeout_ms` where it must take a connection, where all of ours are
    busy, and where it must answer a statement; one second more and a silent one is
    given up. Its schema is only changed by `migrate`.

    Args:
        url: As libpq reads it, so with any of its parameters, such as `sslmode`.
        timeout_ms: How long to wait, at least a second.

    Raises:
        ConfigurationError: libpq cannot read the URL.
    """

    in_memory = False

    def __init__(self, url: str, timeout_ms: int) -> None:
        try:
            named = conninfo_to_dict(url)
        except psycopg.ProgrammingError:
            raise ConfigurationError(
                f"{without_credentials(url)!r} is not a URL that PostgreSQL's library"
                " can read. Write postgresql://USER:PASSWORD@HOST:PORT/NAME, with %40"
                " for an @ in the password."
            ) from None
        self._url = url
        self._timeout_ms = timeout_ms
        at = named.get("host") or "its local socket"
        self._name = (
            f"PostgreSQL at {at}, database {named.get('dbname') or 'by default'}"
        )

    def open(self) -> Engine:
        """Return an engine, if the schema is what this version needs.

        Raises:
            ConfigurationError: It is not.
        """
        engine = self._engine()
        try:
            with engine.begin() as connection:
                self._check(schema_version(connection))
        except BaseException:
            engine.dispose()
            raise
        return engine

    def migrate(self) -> None:
        """Bring the schema to its present version; others who do so wait."""
        from metering.backends.sql.upgrade import upgrade  # noqa: PLC0415 - see there

        engine = self._engine(statement_timeout=False)
        try:
            with engine.begin() as connection:
                lock_schema(connection)
                upgrade(connection)
        finally:
            engine.dispose()

    def reader(self, engine: Engine) -> Engine:
        """Return the engine as readers use it: one snapshot, and no locks."""
        return engine.execution_options(
            isolation_level="REPEATABLE READ", postgresql_readonly=True
        )

    def writer(self, engine: Engine) -> Engine:
        """Return the engine as writers use it: what they build on they lock."""
        return engine

    def may_repeat(self, error: DBAPIError, attempt: int) -> bool:
        """Whether another was in the way, or the connection had been lost before.

        Connections that the server dropped while nobody used them are noticed by their
        next use, so that is tried once more; what fails while it commits may be done.
        """
        if isinstance(error.orig, _NoAnswerError):
            return False
        if error.connection_invalidated:
            return attempt == 1 and error.statement is not None
        return getattr(error.orig, "sqlstate", None) in (*_GAVE_WAY, _IS_KNOWN)

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turn what the driver raises into a `StorageError` that says what to do.

        What a table can never take is a `ConfigurationError` instead.
        """
        try:
            yield
        except DBAPIError as error:
            raise self._told(error) from None
        except PoolTimeoutError as error:
            raise StorageError(
                f"{self._name}: all {_POOL_SIZE} connections were busy for"
                f" {self._timeout_ms} ms. Nothing was written; try again."
            ) from error
        except SQLAlchemyError as error:
            raise StorageError(f"{self._name} cannot be used: {error}") from error
        except UnicodeEncodeError as error:
            raise self._refused("it has text that is not Unicode") from error

    def _engine(self, *, statement_timeout: bool = True) -> Engine:
        timeout_s = self._timeout_ms / 1000
        options = f"-c client_min_messages=warning -c lock_timeout={self._timeout_ms}"
        if statement_timeout:
            options += (
                f" -c statement_timeout={self._timeout_ms}"
                f" -c idle_in_transaction_session_timeout={2 * self._timeout_ms}"
            )
        named = conninfo_to_dict(self._url)

        def connect() -> psycopg.Connection[Any]:
            connection = _Connection.connect(
                self._url,
                connect_timeout=max(2, round(timeout_s)),
                application_name=named.get("application_name") or "metering",
                options=f"{options} {named.get('options') or ''}".strip(),
            )
            if statement_timeout:
                connection.answer_s = timeout_s + _MARGIN_S
            return connection

        engine = create_engine(
            "postgresql+psycopg://",
            creator=connect,
            use_native_hstore=False,
            pool_size=_POOL_SIZE,
            max_overflow=0,
            pool_timeout=timeout_s,
            hide_parameters=True,
        )
        event.listen(engine, "do_execute", _copy)
        return engine

    def _check(self, found: str | None) -> None:
        if found == SCHEMA_VERSION:
            return
        if found is not None and found > SCHEMA_VERSION:
            raise ConfigurationError(
                f"{self._name}: the ledger has schema {found}, which this version of"
                " metering does not know. Upgrade the package."
            )
        has = "no ledger yet" if found is None else f"a ledger of schema {found}"
        raise ConfigurationError(
            f"{self._name} has {has}, and this version of metering needs"
            f" {SCHEMA_VERSION}. Run `metering migrate`, once for all nodes."
        )

    def _told(self, error: DBAPIError) -> Exception:
        # The first line only: the others may quote rows, with hashes and charges.
        cause = str(error.orig).partition("\n")[0]
        state = getattr(error.orig, "sqlstate", None) or ""
        if state in _GAVE_WAY:
            return StorageError(
                f"{self._name}: others were in the way of a transaction each time it"
                f" was tried ({cause}). Nothing was written; try again."
            )
        if state.startswith(("22", "23")) or isinstance(error.orig, psycopg.DataError):
            return self._refused(cause)
        if state in {"57014", "55P03"}:
            return StorageError(
                f"{self._name} took more than {self._timeout_ms} ms for a statement, or"
                " for another's lock. Nothing was written; try again, and see what"
                " keeps it busy."
            )
        outcome = "Nothing was written; see that it runs and lets metering in."
        if error.connection_invalidated and error.statement is None:
            outcome = (
                "Whether the transaction was kept is not known; try it again, for what"
                " has an id or a reference counts once."
            )
        return StorageError(f"{self._name} failed: {cause}. {outcome}")

    def _refused(self, reason: str) -> ConfigurationError:
        # However often it is tried, it stays refused: so it is no StorageError.
        return ConfigurationError(
            f"{self._name} refuses what it was given: {reason}. Nothing was written."
        )
