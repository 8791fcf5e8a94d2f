"""All that holds for SQLite alone: how it is opened, begins, and inserts or updates."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.engine import URL
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry

from metering.errors import ConfigurationError, StorageError, without_credentials

__all__ = [
    "enter_wal",
    "insert",
    "open_engine",
    "path_of",
    "storage_errors",
    "writer",
]

_POOL_SIZE = 8
_RETRY_S = 0.01
_SCHEME = "sqlite:///"
_WAL = "PRAGMA journal_mode = WAL"


def path_of(url_or_path: str | Path) -> Path:
    """Return the file that a URL such as `sqlite:///ledger.db`, or a path, names.

    A bare word is more likely the name of a database than of a file.

    Raises:
        ConfigurationError: It names another database, or one in memory, or is a word
            without a folder, a suffix or the scheme.
    """
    named = str(url_or_path)
    file = named.removeprefix(_SCHEME)
    path = Path(file)
    another = "://" in file or file.startswith("sqlite:") or ":memory:" in file
    word = file == url_or_path == path.name and not path.suffix
    if not path.name or another or word:
        raise ConfigurationError(
            f"{without_credentials(named)!r} is not a file for the ledger. Write a path"
            ' such as "./ledger" or "ledger.db", or "sqlite:///path/ledger.db";'
            " MemoryLedger keeps one in memory."
        )
    return path


def open_engine(path: Path, busy_timeout_ms: int) -> Engine:
    """Return an engine on the file; at most 8 connections, opened when needed.

    Args:
        path: The file; its folder is made if absent.
        busy_timeout_ms: How long to wait for another's lock, or a free connection.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    timeout_s = busy_timeout_ms / 1000
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        connect_args={"timeout": timeout_s},
        pool_size=_POOL_SIZE,
        max_overflow=0,
        pool_timeout=timeout_s,
        hide_parameters=True,
    )
    event.listen(engine, "connect", _set_up)
    event.listen(engine, "begin", _begin)
    return engine


def writer(engine: Engine) -> Engine:
    """Return the engine as writers use it: the write lock is taken at the start.

    A transaction that reads first and writes later would fail at once, whatever the
    timeout, if another wrote in between.
    """
    return engine.execution_options(metering_begin="BEGIN IMMEDIATE")


def enter_wal(engine: Engine, busy_timeout_ms: int) -> None:
    """Let readers and one writer work at the same time; the file remembers it.

    Where several processes do this at once, SQLite fails at once instead of waiting for
    the lock: so it is tried again, until *busy_timeout_ms* is over.
    """
    connection = engine.raw_connection()
    deadline_s = time.monotonic() + busy_timeout_ms / 1000
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


@contextmanager
def storage_errors(path: Path, busy_timeout_ms: int) -> Iterator[None]:
    """Turn what the driver raises into a `StorageError` that says what to do.

    What a table can never take is a `ConfigurationError` instead.
    """
    try:
        yield
    except (DBAPIError, sqlite3.Error) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        if isinstance(cause, sqlite3.Error) and _is_busy(cause):
            raise StorageError(
                f"The ledger {path} was locked by another for more than"
                f" {busy_timeout_ms} ms. Nothing was written; try again, and see what"
                " keeps a transaction open on it."
            ) from error
        if isinstance(cause, sqlite3.IntegrityError | sqlite3.DataError):
            raise _refused(path, cause) from error
        raise StorageError(
            f"The ledger {path} failed: {cause}. Nothing was written; see that the file"
            " can be written, is a ledger, and its disk has room."
        ) from error
    except SQLAlchemyError as error:
        raise StorageError(f"The ledger {path} cannot be used: {error}") from error
    except OverflowError as error:
        raise _refused(path, "it has a number beyond 64 bits") from error
    except UnicodeEncodeError as error:
        raise _refused(path, "it has text that is not Unicode") from error
    except OSError as error:
        raise StorageError(f"The ledger {path} cannot be opened: {error}") from error


def _refused(path: Path, reason: object) -> ConfigurationError:
    # However often it is tried, it stays refused: so it is no StorageError.
    return ConfigurationError(
        f"The ledger {path} refuses what it was given: {reason}. Nothing was written."
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
