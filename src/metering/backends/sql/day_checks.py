"""Finds where usage by day is not the usage of the calls, by account, period, model.

Not day by day: which zone an account had when a call was posted is known no more.
"""

from typing import Any

from sqlalchemy import Connection, Table, func, literal, or_, select, union_all

from metering.backends.sql import schema
from metering.backends.sql.reading import LIMB, exact_sum
from metering.backends.sql.usage_days import exact_day_sum, joined_day_sum
from metering.ledger.verification import Finding

__all__ = ["differing_days"]

_NAMES = schema.DAY_SUMS
_PARTS = ("high", "low", "carry")
_KEY = ("account_id", "period", "model")

_days = schema.usage_days
_events = schema.usage_events


def differing_days(connection: Connection, findings_max: int) -> list[Finding]:
    """Find what was used by the days otherwise than by the calls."""
    of_days = [part for name in _NAMES for part in exact_day_sum(name)]
    of_calls = [
        part
        for name in _NAMES
        for part in (*(-limb for limb in exact_sum(_events.c[name])), literal(0))
    ]
    every = union_all(
        _added(_days, func.sum(_days.c.calls), *of_days, *of_days[-3:]),
        _added(_events, -func.count(), *of_calls, *[literal(0)] * 3),
    ).subquery()
    of, off = every.c[:3], [func.sum(column) for column in every.c[3:]]
    differs = [off[0] != 0]
    for at in range(1, 1 + 3 * len(_NAMES), 3):
        # As elsewhere, limbs may differ where the sums do not.
        high, low, carry = off[at : at + 3]
        differs += (
            low % LIMB != 0,
            high + low // LIMB + carry * (schema.DAY_SUM_END // LIMB) != 0,
        )
    wanted = select(*of, *off).group_by(*of).having(or_(*differs)).order_by(*of)
    rows = connection.execute(wanted.limit(findings_max))
    return [_finding(*row) for row in rows]


def _added(table: Table, *sums: Any) -> Any:
    """Return sums of a table, named as those of the other one are."""
    names = ("calls", *(f"{n}_{part}" for n in (*_NAMES, "stated") for part in _PARTS))
    of = [table.c[name] for name in _KEY]
    told = (each.label(name) for each, name in zip(sums, names, strict=True))
    return select(*of, *told).group_by(*of)


def _finding(account_id: str, period: str, model: str, *sums: int) -> Finding:
    calls, *parts = sums
    *used, charge_p, stated_p = map(
        joined_day_sum, parts[::3], parts[1::3], parts[2::3]
    )
    off = {"calls": int(calls), **dict(zip(_NAMES, used, strict=False))}
    told = "".join(f", {name} {by:+}" for name, by in off.items() if by)
    return Finding(
        check="days",
        table="usage_days",
        account_id=account_id,
        place=f"period {period}, model {model}{told}",
        stated_p=stated_p,
        summed_p=stated_p - charge_p,
    )
