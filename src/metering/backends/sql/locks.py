"""Locks on what is not there yet, so that no row of it can be locked.

In PostgreSQL, which lets writers work side by side: what a transaction builds on it
locks, always in one order. First come the rows of accounts by id, then one of these,
then whatever belongs to the accounts, and last the count of changes. In SQLite a writer
is alone from its start.
"""

from sqlalchemy import Connection, func, select

__all__ = ["lock_new_accounts", "lock_prices", "lock_schema"]

# Any numbers that nobody else who uses the database would take.
_NEW_ACCOUNTS, _PRICES, _SCHEMA = range(0x6D65746572, 0x6D65746572 + 3)


def lock_new_accounts(connection: Connection) -> None:
    """Keep others from creating accounts, and from posting for those not created."""
    _lock(connection, _NEW_ACCOUNTS)


def lock_prices(connection: Connection) -> None:
    """Keep others from publishing prices."""
    _lock(connection, _PRICES)


def lock_schema(connection: Connection) -> None:
    """Keep others from changing the schema."""
    _lock(connection, _SCHEMA)


def _lock(connection: Connection, number: int) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(number)))
