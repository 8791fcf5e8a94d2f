"""The books in SQL, within a transaction that the caller has begun."""

from collections import defaultdict
from collections.abc import Iterable

from msgspec.structs import asdict
from sqlalchemy import Connection, select

from metering.backends.sql import schema
from metering.backends.sql.reading import exact_sum, joined_sum
from metering.backends.sql.upsert import insert
from metering.ledger import Transfer
from metering.money import checked

__all__ = ["balances_p", "book"]

_rows = schema.transfers.c


def book(connection: Connection, transfers: Iterable[Transfer]) -> None:
    """Add transfers to the books; what is booked is never edited."""
    rows = [asdict(transfer) for transfer in transfers]
    for row in rows:
        checked(row["amount_p"])
    if rows:
        connection.execute(insert(schema.transfers), rows)


def balances_p(connection: Connection, account_id: str | None) -> dict[str, int]:
    """Return debits less credits by account of the books.

    Args:
        connection: Within a transaction.
        account_id: Whose transfers to sum; None for everybody's.
    """
    sums_p: defaultdict[str, int] = defaultdict(int)
    for side, sign in ((_rows.debit, 1), (_rows.credit, -1)):
        wanted = select(side, *exact_sum(_rows.amount_p)).group_by(side)
        if account_id is not None:
            wanted = wanted.where(_rows.account_id == account_id)
        for row in connection.execute(wanted):
            name, high, low = tuple(row)
            sums_p[name] += sign * joined_sum(high, low)
    return dict(sums_p)
