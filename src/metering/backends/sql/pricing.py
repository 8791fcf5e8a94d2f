"""Published prices in SQL, within a transaction that the caller has begun."""

from collections.abc import Iterable

from sqlalchemy import Connection, delete, select

from metering.backends.sql import schema
from metering.backends.sql.locks import lock_prices
from metering.backends.sql.rows import price_of, price_row
from metering.backends.sql.rules import succeeding_prices
from metering.backends.sql.upsert import insert
from metering.pricing import PriceVersion

__all__ = ["publish", "published"]

_prices = schema.price_versions.c


def publish(
    connection: Connection, versions: Iterable[PriceVersion], now_ns: int
) -> int:
    """Let the versions follow what is published, and return how many are new.

    A row only ever goes because its version was given an end, and is written again with
    it, or because it was withdrawn before it was in force.
    """
    lock_prices(connection)
    before = published(connection)
    after, added = succeeding_prices(before, versions, now_ns)
    for version in before:
        if version not in after:
            connection.execute(
                delete(schema.price_versions).where(
                    _prices.model == version.model,
                    _prices.valid_from_ns == version.valid_from_ns,
                )
            )
    rows = [price_row(version) for version in after if version not in before]
    if rows:
        connection.execute(insert(schema.price_versions), rows)
    return added


def published(connection: Connection) -> list[PriceVersion]:
    """Return every version, by model and start."""
    wanted = select(schema.price_versions).order_by(
        _prices.model, _prices.valid_from_ns
    )
    return [price_of(row) for row in connection.execute(wanted).mappings()]
