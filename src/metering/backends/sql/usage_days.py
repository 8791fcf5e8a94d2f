"""What was used on each day, by account and model: added up as calls are posted.

So a month of a million calls is read from some hundred rows. A day is that of the
admission, as the period is, in the zone that the account has when the call is posted;
where there is no account, in UTC.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from msgspec.structs import astuple
from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    func,
    literal_column,
    select,
)

from metering.backends.sql import schema
from metering.backends.sql.bulk import upsert_rows
from metering.backends.sql.reading import exact_sum, joined_sum
from metering.backends.sql.upsert import insert
from metering.ledger import day_at
from metering.stores import UsageDay, UsageTotal
from metering.usage import Usage, UsageEvent

__all__ = [
    "add_to_days",
    "days",
    "days_of_all",
    "exact_day_sum",
    "joined_day_sum",
    "totals",
]

_rows = schema.usage_days.c
_COLUMNS = tuple(_rows.keys())
_end = literal_column(str(schema.DAY_SUM_END), BigInteger)

_new = insert(schema.usage_days)


def _with_new(name: str) -> dict[str, ColumnElement[int]]:
    """Return the two columns of a sum after a row was added to another."""
    # Each is below half of what 64 bits hold, so together they are below it.
    both = _rows[name] + _new.excluded[name]
    carry = f"{name}_carry"
    carries = _rows[carry] + _new.excluded[carry] + both // _end
    return {name: both % _end, carry: carries}


_add = _new.on_conflict_do_update(
    index_elements=list(schema.usage_days.primary_key),
    set_={"calls": _rows.calls + _new.excluded.calls}
    | {column: sums for n in schema.DAY_SUMS for column, sums in _with_new(n).items()},
)


def add_to_days(
    connection: Connection, fresh: Iterable[UsageEvent], zones: Mapping[str, str]
) -> None:
    """Add new events to their days.

    Args:
        connection: Whoever has it has the accounts locked.
        fresh: Events that were not posted before.
        zones: The time zones of the accounts that exist.
    """
    of_days: defaultdict[tuple[str, ...], list[UsageEvent]] = defaultdict(list)
    for event in fresh:
        account_id = event.account_id
        day = day_at(event.admitted_ns, zones.get(account_id, "UTC"))
        of_days[account_id, event.period, day, event.model].append(event)
    if of_days:
        rows = [
            dict(zip(_COLUMNS, (*key, len(its), *_cells(its)), strict=True))
            for key, its in sorted(of_days.items())
        ]
        upsert_rows(connection, _add, rows)


def _cells(events: Iterable[UsageEvent]) -> Iterator[int]:
    amounts = ((*astuple(event.usage), event.charge_p) for event in events)
    for column in zip(*amounts, strict=True):
        carry, rest = divmod(sum(column), schema.DAY_SUM_END)
        yield rest
        yield carry


def totals(connection: Connection, account_id: str, key: str) -> list[UsageTotal]:
    """Return what an account used in a period, by model name."""
    where = _rows.account_id == account_id, _rows.period == key
    return [UsageTotal(*row) for row in _added_up(connection, (_rows.model,), where)]


def days(
    connection: Connection, account_id: str, key: str, model: str | None
) -> list[UsageDay]:
    """Return what an account used in a period, by day and model name."""
    where = [_rows.account_id == account_id, _rows.period == key]
    return _by_day(connection, where, model)


def days_of_all(
    connection: Connection, first_day: str, last_day: str, model: str | None
) -> list[UsageDay]:
    """Return what all accounts used on those days, by day and model name."""
    where = [_rows.day >= first_day, _rows.day <= last_day]
    return _by_day(connection, where, model)


def _by_day(
    connection: Connection, where: list[ColumnElement[bool]], model: str | None
) -> list[UsageDay]:
    if model is not None:
        where.append(_rows.model == model)
    found = _added_up(connection, (_rows.day, _rows.model), where)
    return [UsageDay(*row) for row in found]


def _added_up(
    connection: Connection,
    by: Sequence[Column[str]],
    where: Iterable[ColumnElement[bool]],
) -> Iterator[tuple[Any, ...]]:
    """Yield what rows are of, and their calls, usage and charge, in that order."""
    sums = [part for name in schema.DAY_SUMS for part in exact_day_sum(name)]
    wanted = select(*by, func.sum(_rows.calls), *sums).where(*where)
    found = connection.execute(wanted.group_by(*by).order_by(*by))
    for row in map(tuple, found):
        of, (calls, *parts) = row[: len(by)], row[len(by) :]
        *used, charge_p = map(joined_day_sum, parts[::3], parts[1::3], parts[2::3])
        yield (*of, int(calls), Usage(*used), charge_p)


def exact_day_sum(name: str) -> tuple[ColumnElement[int], ...]:
    """Return the sums of a column over rows: two of `exact_sum`, then the carry's."""
    return *exact_sum(_rows[name]), func.sum(_rows[f"{name}_carry"])


def joined_day_sum(high: int, low: int, carry: int) -> int:
    """Return the sum of which `exact_day_sum` gave the parts."""
    return joined_sum(high, low) + int(carry) * schema.DAY_SUM_END
