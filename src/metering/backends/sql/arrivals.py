"""Adds a batch of events and tells which were new, each database in its fastest way.

PostgreSQL takes rows by COPY, which knows no ON CONFLICT: so they go into a table of
the connection's own, and from there into the ledger, in the order of their ids. Its
driver takes several times as long to INSERT as many values and return what it did.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection

from metering.backends.sql import schema
from metering.backends.sql.upsert import insert

__all__ = ["COPIED", "add_new"]

COPIED = "metering_copied"
"""The execution option by which rows reach the statement that copies them."""

_events = schema.usage_events.c
_names = tuple(column.name for column in _events)
_listed = ", ".join(_names)

_add_events = (
    insert(schema.usage_events)
    .on_conflict_do_nothing(index_elements=[_events.id])
    .returning(_events.id)
)
_MAKE = (
    "CREATE TEMPORARY TABLE IF NOT EXISTS arrivals (LIKE usage_events)"
    " ON COMMIT DELETE ROWS"
)
_COPY = f"COPY arrivals ({_listed}) FROM STDIN"
_MOVE = (
    f"INSERT INTO usage_events ({_listed}) SELECT {_listed} FROM arrivals"  # noqa: S608 - our own names
    " ORDER BY id ON CONFLICT (id) DO NOTHING RETURNING id"
)


def add_new(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> set[str]:
    """Add the events whose id is not known, and return their ids."""
    if connection.dialect.name != "postgresql":
        return set(connection.execute(_add_events, rows).scalars())
    connection.exec_driver_sql(_MAKE)
    copied: Iterable[tuple[Any, ...]] = (
        tuple(row[name] for name in _names) for row in rows
    )
    connection.exec_driver_sql(_COPY, execution_options={COPIED: copied})
    return set(connection.exec_driver_sql(_MOVE).scalars())
