"""Adds many rows to a table and finds many, each database in its fastest way."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Table,
    Text,
    any_,
    literal,
)
from sqlalchemy.dialects.postgresql import ARRAY, Insert
from sqlalchemy.dialects.sqlite import dialect as sqlite

from metering.backends.sql.reading import sliced

__all__ = ["COPIED", "add_rows", "matching", "upsert_rows"]

COPIED = "metering_copied"
"""The execution option by which rows reach the statement that copies them."""


def add_rows(
    connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]
) -> None:
    """Add rows that are not there yet, all with the same columns.

    PostgreSQL takes them by COPY, several times faster than by INSERT. SQLite is given
    them as they are: the parameters of a compiled statement cost as much as its work.
    """
    if not rows:
        return
    names = f"{table.name} ({', '.join(rows[0])})"
    cells = [tuple(row.values()) for row in rows]
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(
            f"COPY {names} FROM STDIN", execution_options={COPIED: cells}
        )
    else:
        marks = ", ".join("?" for _ in rows[0])
        insert = f"INSERT INTO {names} VALUES ({marks})"  # noqa: S608 - our own names
        connection.exec_driver_sql(insert, cells)


def upsert_rows(
    connection: Connection, upsert: Insert, rows: Sequence[Mapping[str, Any]]
) -> None:
    """Run a statement for each of the rows, all with the same columns, in their order.

    SQLite is given them as they are here, too: that takes a third of the time.
    """
    if not rows:
        return
    if connection.dialect.name == "postgresql":
        connection.execute(upsert, rows)
    else:
        sql, cells_of = _written(upsert, tuple(rows[0]))
        connection.exec_driver_sql(sql, list(map(cells_of, rows)))


@lru_cache(maxsize=16)
def _written(
    upsert: Insert, names: tuple[str, ...]
) -> tuple[str, Callable[[Mapping[str, Any]], tuple[Any, ...]]]:
    """Return a statement as SQLite takes it, and what puts a row in its order."""
    compiled = upsert.compile(dialect=sqlite(), column_keys=names)
    return str(compiled), itemgetter(*compiled.positiontup or ())


def matching(
    connection: Connection, column: Column[str], values: Iterable[str]
) -> Iterator[ColumnElement[bool]]:
    """Yield conditions that find, one after the other, the rows with those values.

    PostgreSQL takes all of them as one parameter, SQLite only so many at once.
    """
    if connection.dialect.name == "postgresql":
        yield column == any_(literal(list(values), ARRAY(Text)))
        return
    for some in sliced(values):
        yield column.in_(some)
