"""What calls with each key cost in a period, for keys with a limit of their own."""

from collections import Counter
from collections.abc import Iterable

from sqlalchemy import Connection, select

from metering.backends.sql import schema
from metering.backends.sql.bulk import upsert_rows
from metering.backends.sql.upsert import insert
from metering.money import checked
from metering.usage import UsageEvent

__all__ = ["key_spent_p", "spend_of_keys"]

_rows = schema.key_periods.c
_new = insert(schema.key_periods)
_add_spent = _new.on_conflict_do_update(
    index_elements=[_rows.key_id, _rows.period],
    set_={"spent_p": _rows.spent_p + _new.excluded.spent_p},
)


def spend_of_keys(connection: Connection, fresh: Iterable[UsageEvent]) -> None:
    """Add charges to the periods of the keys that were shown."""
    spent_p: Counter[tuple[str, str, str]] = Counter()
    for event in fresh:
        if event.key_id and event.charge_p:
            spent_p[event.key_id, event.period, event.account_id] += event.charge_p
    if spent_p:
        rows = [
            {"key_id": key, "period": period, "account_id": of, "spent_p": checked(p)}
            for (key, period, of), p in sorted(spent_p.items())
        ]
        upsert_rows(connection, _add_spent, rows)


def key_spent_p(connection: Connection, key_id: str, period: str) -> int:
    """Return what calls with a key cost in a period; 0 if there were none."""
    wanted = select(_rows.spent_p).where(_rows.key_id == key_id)
    found = connection.execute(wanted.where(_rows.period == period)).scalar()
    return found or 0
