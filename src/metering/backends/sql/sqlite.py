"""A ledger in SQLite, in a file or in memory: how it is opened, begins, and fails."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine, QueuePool, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry

from metering.backends.sql.version import SCHEMA_VERSION, make, schema_version
from metering.errors import ConfigurationError, StorageError, without_credentials

__all__ = ["Sqlite"]

_POOL_SIZE = 8
_RETRY_S = 0.01
_IN_MEMORY = "sqlite://"
_SCHEME = "sqlite:///"
_WAL = "PRAGMA journal_mode = WAL"


class Sqlite:
    """A file that several processes may share, or memory that one process has.

    A file is brought to the present schema when it is opened. Memory has a single
    connection, which one thread has at a time, and is gone when the engine is.

    Args:
        url_or_path: `sqlite://` for memory, `sqlite:///` and a path, or a path.
        timeout_ms: How long to wait for another's lock, or a free connection.

    Raises:
        ConfigurationError: It names no file, nor memory.
    """

    def __init__(self, url_or_path: str | Path, timeout_ms: int) -> None:
        self._path = None if url_or_path == _IN_MEMORY else _path_of(url_or_path)
        self._timeout_ms = timeout_ms

    @property
    def in_memory(self) -> bool:
        """Whether all is lost with the last connection."""
        return self._path is None

    def open(self) -> Engine:
        """Return an engine on tables of the present schema."""
        engine = self._memory() if self._path is None else self._file(self._path)
        event.listen(engine, "connect", _set_up)
        event.listen(engine, "begin", _begin)
        try:
            self._prepare(engine)
        except BaseException:
            engine.dispose()
            raise
        return engine

    def migrate(self) -> None:
        """Bring the schema to its present version, as opening does."""
        self.open().dispose()

    def reader(self, engine: Engine) -> Engine:
        """Return the engine as readers use it: a snapshot that waits for no writer."""
        return engine

    def writer(self, engine: Engine) -> Engine:
        """Return the engine as writers use it: the write lock is taken at the start.

        A transaction that reads first and writes later would fail at once, whatever
        the timeout, if another wrote in between.
        """
        return engine.execution_options(metering_begin="BEGIN IMMEDIATE")

    def may_repeat(self, _error: DBAPIError, _attempt: int) -> bool:
        """Return False: who has the write lock is disturbed by nobody."""
        return False

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turn what the driver raises into a `StorageError` that says what to do.

        What a table can never take is a `ConfigurationError` instead.
        """
        ledger = "in memory" if self._path is None else self._path
        try:
            yield
        except (DBAPIError, sqlite3.Error) as error:
            cause = error.orig if isinstance(error, DBAPIError) else error
            if isinstance(cause, sqlite3.Error) and _is_busy(cause):
                raise StorageError(
                    f"The ledger {ledger} was locked by another for more than"
                    f" {self._timeout_ms} ms. Nothing was written; try again, and see"
                    " what keeps a transaction open on it."
                ) from error
            if isinstance(cause, sqlite3.IntegrityError | sqlite3.DataError):
                raise _refused(ledger, cause) from error
            raise StorageError(
                f"The ledger {ledger} failed: {cause}. Nothing was written; see that"
                " the file can be written, is a ledger, and its disk has room."
            ) from error
        except SQLAlchemyError as error:
            raise StorageError(
                f"The ledger {ledger} cannot be used: {error}"
            ) from error
        except OverflowError as error:
            raise _refused(ledger, "it has a number beyond 64 bits") from error
        except UnicodeEncodeError as error:
            raise _refused(ledger, "it has text that is not Unicode") from error
        except OSError as error:
            raise StorageError(
                f"The ledger {ledger} cannot be opened: {error}"
            ) from error

    def _file(self, path: Path) -> Engine:
        path.parent.mkdir(parents=True, exist_ok=True)
        timeout_s = self._timeout_ms / 1000
        return create_engine(
            URL.create("sqlite", database=str(path)),
            connect_args={"timeout": timeout_s},
            pool_size=_POOL_SIZE,
            max_overflow=0,
            pool_timeout=timeout_s,
            hide_parameters=True,
        )

    def _memory(self) -> Engine:
        return create_engine(
            _IN_MEMORY,
            connect_args={"check_same_thread": False},
            poolclass=QueuePool,
            pool_size=1,
            max_overflow=0,
            pool_timeout=self._timeout_ms / 1000,
            hide_parameters=True,
        )

    def _prepare(self, engine: Engine) -> None:
        if self._path is None:
            # Nothing was ever there, so there is nothing to migrate from.
            with engine.begin() as connection:
                make(connection)
            return
        self._enter_wal(engine)
        with engine.begin() as connection:
            if schema_version(connection) == SCHEMA_VERSION:
                return
        from metering.backends.sql.upgrade import upgrade  # noqa: PLC0415 - see there

        with self.writer(engine).begin() as connection:
            upgrade(connection)

    def _enter_wal(self, engine: Engine) -> None:
        """Let readers and one writer work at the same time; the file remembers it.

        Where several processes do this at once, SQLite fails at once instead of waiting
        for the lock: so it is tried again, until the time is over.
        """
        connection = engine.raw_connection()
        deadline_s = time.monotonic() + self._timeout_ms / 1000
        try:
            while True:
                try:
                    connection.cursor().execute(_WAL).close()
                except sqlite3.OperationalError as error:
                    if not _is_busy(error) or time.monotonic() >= deadline_s:
                        raise
                    time.sleep(_RETRY_S)
                else:
                    return
        finally:
            connection.close()


def _path_of(url_or_path: str | Path) -> Path:
    """Return the file; a bare word is more likely the name of a database."""
    named = str(url_or_path)
    file = named.removeprefix(_SCHEME)
    path = Path(file)
    another = "://" in file or file.startswith("sqlite:") or ":memory:" in file
    word = file == url_or_path == path.name and not path.suffix
    if not path.name or another or word:
        raise ConfigurationError(
            f"{without_credentials(named)!r} is not a file for the ledger. Write a path"
            ' such as "./ledger" or "ledger.db", or "sqlite:///path/ledger.db";'
            ' "sqlite://" keeps one in memory, and "postgresql://user@host/name" is'
            " PostgreSQL."
        )
    return path


def _refused(ledger: object, reason: object) -> ConfigurationError:
    # However often it is tried, it stays refused: so it is no StorageError.
    return ConfigurationError(
        f"The ledger {ledger} refuses what it was given: {reason}. Nothing was written."
    )


def _is_busy(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorname", "").startswith("SQLITE_BUSY")


def _set_up(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
    # The driver must not begin transactions by itself: `_begin` does.
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _begin(connection: Connection) -> None:
    options = connection.get_execution_options()
    connection.exec_driver_sql(options.get("metering_begin", "BEGIN"))
