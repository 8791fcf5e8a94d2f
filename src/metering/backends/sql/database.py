"""The databases a ledger may be in. A driver is imported only where it is used."""

from contextlib import AbstractContextManager
from importlib import import_module
from pathlib import Path
from typing import Protocol

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from metering.backends.sql.sqlite import Sqlite
from metering.errors import ConfigurationError

__all__ = ["TIMEOUT_MS", "Database", "database_of", "migrate"]

TIMEOUT_MS = 5_000
"""How long a database is waited for, unless told otherwise."""

_POSTGRES = ("postgresql://", "postgres://")


class Database(Protocol):
    """What differs from one kind of database to the other."""

    @property
    def in_memory(self) -> bool:
        """Whether all is lost with the last connection."""
        ...

    def open(self) -> Engine:
        """Return an engine on tables of the present schema.

        Raises:
            ConfigurationError: The schema is another, and may not be changed now.
        """
        ...

    def migrate(self) -> None:
        """Bring the schema to its present version."""
        ...

    def reader(self, engine: Engine) -> Engine:
        """Return the engine as readers use it: one snapshot of everything."""
        ...

    def writer(self, engine: Engine) -> Engine:
        """Return the engine as writers use it."""
        ...

    def may_repeat(self, error: DBAPIError, attempt: int, /) -> bool:
        """Whether a transaction that failed so, left nothing, and may now succeed."""
        ...

    def errors(self) -> AbstractContextManager[None]:
        """Turn what the driver raises into errors of this library."""
        ...


def database_of(url_or_path: str | Path, timeout_ms: int = TIMEOUT_MS) -> Database:
    """Return the database that a URL, or the path of an SQLite file, names.

    Raises:
        ConfigurationError: It names none, or its driver is not installed.
    """
    if not str(url_or_path).startswith(_POSTGRES):
        return Sqlite(url_or_path, timeout_ms)
    try:
        postgres = import_module("metering.backends.sql.postgres")
    except ImportError as error:
        raise ConfigurationError(
            f"A ledger in PostgreSQL needs a package that is not installed"
            f' ({error.name}): pip install "asgi-metering[postgres]".'
        ) from error
    found: Database = postgres.Postgres(str(url_or_path), timeout_ms)
    return found


def migrate(url_or_path: str | Path) -> None:
    """Bring a ledger's database to the schema that this version of metering needs.

    All of it is one transaction, and one process does it while others wait. What is up
    to date stays as it is.

    Args:
        url_or_path: As for `SqlLedger`.

    Raises:
        ConfigurationError: The URL cannot be used, or a newer version wrote the schema.
        StorageError: The database fails or stays locked.
    """
    database = database_of(url_or_path)
    with database.errors():
        database.migrate()
