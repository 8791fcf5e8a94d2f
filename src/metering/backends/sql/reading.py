"""What is read from the ledger, within a transaction that the caller has begun."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

from sqlalchemy import ColumnElement, Connection, func, select, tuple_

from metering.accounts import Account, ApiKey
from metering.backends.sql import schema
from metering.backends.sql.rows import (
    account_of,
    event_of,
    grant_of,
    key_of,
    payment_of,
    period_of,
)
from metering.ledger import (
    Charge,
    CreditGrant,
    CreditState,
    Draw,
    Payment,
    PeriodState,
    credit_ceiling_p,
)
from metering.stores import ChargedEvent

__all__ = [
    "LIMB",
    "accounts",
    "credit",
    "draws_of_events",
    "events",
    "exact_sum",
    "grants",
    "joined_sum",
    "keys",
    "known",
    "payments",
    "period",
    "sliced",
]

_Item = TypeVar("_Item")
_SLICE = 500

LIMB = 1_000_000
"""Sums are told in so many, and what is left over."""


def sliced(items: Iterable[_Item]) -> Iterator[Sequence[_Item]]:
    """Yield the items in slices short enough for the parameters of one statement."""
    rest = iter(items)
    while piece := tuple(islice(rest, _SLICE)):
        yield piece


def exact_sum(column: ColumnElement[int]) -> tuple[ColumnElement[int], ...]:
    """Return two sums that `joined_sum` joins: one alone may not fit into 64 bits."""
    return func.sum(column // LIMB), func.sum(column % LIMB)


def joined_sum(high: int | None, low: int | None) -> int:
    """Return the sum of which `exact_sum` gave the parts; of no rows it is 0."""
    return int(high or 0) * LIMB + int(low or 0)


def period(connection: Connection, account_id: str, key: str) -> PeriodState:
    """Return the state of a period; zeros if there is none."""
    table = schema.periods
    wanted = select(table).where(
        table.c.account_id == account_id, table.c.period == key
    )
    row = connection.execute(wanted).mappings().first()
    return PeriodState() if row is None else period_of(row)


def grants(connection: Connection, account_id: str) -> list[CreditGrant]:
    """Return the grants of an account, oldest first."""
    table = schema.credit_grants
    wanted = select(table).where(table.c.account_id == account_id)
    rows = connection.execute(wanted.order_by(table.c.effective_ns, table.c.id))
    return [grant_of(row) for row in rows.mappings()]


def payments(connection: Connection, account_id: str) -> list[Payment]:
    """Return the payments of an account, oldest first."""
    table = schema.payments
    wanted = select(table).where(table.c.account_id == account_id)
    rows = connection.execute(wanted.order_by(table.c.at_ns, table.c.reference))
    return [payment_of(row) for row in rows.mappings()]


def keys(connection: Connection, account_id: str) -> list[ApiKey]:
    """Return the keys of an account, oldest first."""
    table = schema.api_keys
    wanted = select(table).where(table.c.account_id == account_id)
    rows = connection.execute(wanted.order_by(table.c.created_ns, table.c.id))
    return [key_of(row) for row in rows.mappings()]


def credit(connection: Connection, account_id: str, now_ns: int) -> CreditState:
    """Return the credit of an account; zeros if there is no such account."""
    table = schema.accounts
    wanted = select(table.c.debt_p).where(table.c.id == account_id)
    debt_p = connection.execute(wanted).scalar_one_or_none()
    if debt_p is None:
        return CreditState()
    return credit_ceiling_p(grants(connection, account_id), debt_p, now_ns)


def events(
    connection: Connection,
    account_id: str,
    *,
    key: str | None,
    model: str | None,
    before: tuple[str, int, str] | None,
    limit: int,
) -> list[ChargedEvent]:
    """Return the events of an account, the last admitted first.

    The period goes with the admission, so the index on both serves with and without.
    """
    table = schema.usage_events
    wanted = select(table).where(table.c.account_id == account_id)
    if key is not None:
        wanted = wanted.where(table.c.period == key)
    if model is not None:
        wanted = wanted.where(table.c.model == model)
    place = table.c.period, table.c.admitted_ns, table.c.id
    if before is not None:
        wanted = wanted.where(tuple_(*place) < before)
    wanted = wanted.order_by(*(column.desc() for column in place))
    rows = connection.execute(wanted.limit(max(limit, 0))).mappings().all()
    paid = draws_of_events(connection, (row["id"] for row in rows))
    return [
        ChargedEvent(
            event_of(row),
            Charge(
                event_id=row["id"],
                amount_p=row["charge_p"],
                draws=tuple(paid[row["id"]]),
                rest_p=row["rest_p"],
            ),
        )
        for row in rows
    ]


def known(connection: Connection, event_ids: Iterable[str]) -> set[str]:
    """Return which of the events are posted."""
    column = schema.usage_events.c.id
    found: set[str] = set()
    for ids in sliced(event_ids):
        found.update(
            connection.execute(select(column).where(column.in_(ids))).scalars()
        )
    return found


def accounts(connection: Connection, after: str, limit: int) -> list[Account]:
    """Return accounts by id, after the one named."""
    table = schema.accounts
    wanted = select(table).where(table.c.id > after).order_by(table.c.id)
    rows = connection.execute(wanted.limit(max(limit, 0))).mappings()
    return [account_of(row) for row in rows]


def draws_of_events(
    connection: Connection, event_ids: Iterable[str]
) -> dict[str, list[Draw]]:
    """Return what credit paid of events; of others nothing."""
    table = schema.draws
    draws: dict[str, list[Draw]] = defaultdict(list)
    for ids in sliced(event_ids):
        wanted = select(table).where(table.c.event_id.in_(ids))
        for row in connection.execute(
            wanted.order_by(table.c.event_id, table.c.position)
        ):
            draws[row.event_id].append(Draw(row.grant_id, row.amount_p))
    return draws
