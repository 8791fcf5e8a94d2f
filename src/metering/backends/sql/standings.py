"""What events cost now, read within a transaction that the caller has begun."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from sqlalchemy import Connection, RowMapping, select, tuple_

from metering.backends.sql import schema
from metering.backends.sql.reading import draws_of_events, sliced
from metering.backends.sql.rows import event_of
from metering.ledger import Correction, Draw, Standing, standing_of

__all__ = [
    "corrections",
    "standing",
    "standings",
    "standings_by_id",
    "standings_of_period",
]

_corrections = schema.corrections.c
_draws = schema.correction_draws.c
_events = schema.usage_events.c


def standing(connection: Connection, event_id: str) -> Standing | None:
    """Return what an event costs now, or None if there is none of that id."""
    return next(iter(standings_by_id(connection, [event_id])), None)


def standings_by_id(connection: Connection, event_ids: Iterable[str]) -> list[Standing]:
    """Return what events cost now, by id."""
    found: list[Standing] = []
    for ids in sliced(sorted(event_ids)):
        wanted = select(schema.usage_events).where(_events.id.in_(ids))
        rows = connection.execute(wanted.order_by(_events.id)).mappings().all()
        found += _standings(connection, rows)
    return found


def standings(
    connection: Connection,
    model: str,
    from_ns: int,
    to_ns: int,
    *,
    after: str,
    limit: int,
) -> list[Standing]:
    """Return what calls of a model cost now, by event id."""
    wanted = (
        select(schema.usage_events)
        .where(
            _events.id > after,
            _events.model == model,
            _events.admitted_ns >= from_ns,
            _events.admitted_ns < to_ns,
        )
        .order_by(_events.id)
        .limit(limit)
    )
    return _standings(connection, connection.execute(wanted).mappings().all())


def standings_of_period(
    connection: Connection,
    account_id: str,
    period: str,
    after: tuple[int, str],
    limit: int,
) -> list[Standing]:
    """Return what calls of a period cost now, in the order of their admission."""
    place = _events.admitted_ns, _events.id
    wanted = (
        select(schema.usage_events)
        .where(
            _events.account_id == account_id,
            _events.period == period,
            tuple_(*place) > after,
        )
        .order_by(*place)
        .limit(limit)
    )
    return _standings(connection, connection.execute(wanted).mappings().all())


def corrections(
    connection: Connection, account_id: str, booked_period: str, after: str, limit: int
) -> list[Correction]:
    """Return corrections that the invoice of a period tells, by id."""
    wanted = (
        select(schema.corrections)
        .where(
            _corrections.account_id == account_id,
            _corrections.booked_period == booked_period,
            _corrections.id > after,
        )
        .order_by(_corrections.id)
        .limit(limit)
    )
    return _corrected(connection, connection.execute(wanted).mappings().all())


def _standings(connection: Connection, rows: Sequence[RowMapping]) -> list[Standing]:
    ids = [row["id"] for row in rows]
    draws = draws_of_events(connection, ids)
    corrected: defaultdict[str, list[Correction]] = defaultdict(list)
    for some in sliced(ids):
        wanted = select(schema.corrections).where(_corrections.event_id.in_(some))
        for each in _corrected(connection, connection.execute(wanted).mappings().all()):
            corrected[each.event_id].append(each)
    for its in corrected.values():
        its.sort(key=_number)
    return [
        standing_of(
            event_of(row), draws[row["id"]], row["rest_p"], corrected[row["id"]]
        )
        for row in rows
    ]


def _number(correction: Correction) -> int:
    return int(correction.id.rpartition(":")[2])


def _corrected(connection: Connection, rows: Sequence[RowMapping]) -> list[Correction]:
    draws: defaultdict[str, list[Draw]] = defaultdict(list)
    for ids in sliced(row["id"] for row in rows):
        wanted = select(schema.correction_draws).where(_draws.correction_id.in_(ids))
        wanted = wanted.order_by(_draws.correction_id, _draws.position)
        for row in connection.execute(wanted):
            draws[row.correction_id].append(Draw(row.grant_id, row.amount_p))
    return [Correction(**row, draws=tuple(draws[row["id"]])) for row in rows]
