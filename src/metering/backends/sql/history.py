"""The history in SQL: refusals and adaptive pools by the minute."""

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any, get_args

from msgspec import structs
from sqlalchemy import (
    ColumnElement,
    Connection,
    RowMapping,
    Select,
    Subquery,
    Table,
    case,
    delete,
    func,
    select,
    tuple_,
)

from metering.adaptive import PlatformState
from metering.adaptive.law import Cause
from metering.backends.sql import schema
from metering.backends.sql.transact import Transact
from metering.backends.sql.upsert import insert
from metering.stores import (
    PoolMinute,
    PoolSpan,
    RefusalMinute,
    RefusalPlace,
    RefusalReason,
)

__all__ = ["SqlHistory"]

_STATES: tuple[PlatformState, ...] = get_args(PlatformState)
_CAUSES: tuple[Cause, ...] = get_args(Cause)
_AVERAGED = ("limit_rpm", "awaiting", "waiting", "capacity_per_s", "unloaded_s")

_refusals = schema.refusals.c
_pools = schema.pool_minutes.c
_place = [_refusals[name] for name in RefusalPlace._fields]


class SqlHistory:
    """The history of a ledger; see `History`. Each method writes in one transaction.

    Args:
        read: Runs what only reads.
        write: Runs what writes.
    """

    def __init__(self, read: Transact, write: Transact) -> None:
        self._read = read
        self._write = write

    def note(
        self, refusals: Sequence[RefusalMinute], pools: Sequence[PoolMinute]
    ) -> None:
        """Add refusals and minutes of pools; see `History.note`."""
        self._write(_note, refusals, pools)

    def refusals(
        self,
        account_id: str | None,
        *,
        before: RefusalPlace | None = None,
        limit: int = 100,
    ) -> list[RefusalMinute]:
        """Return refusals; see `History.refusals`."""
        return self._read(_refusals_of, account_id, before, limit)

    def reasons(self, *, since_ns: int) -> list[RefusalReason]:
        """Return reasons of refusals; see `History.reasons`."""
        return self._read(_reasons_since, since_ns)

    def pools(
        self, pool: str | None, *, since_ns: int, until_ns: int, step_ns: int
    ) -> list[PoolSpan]:
        """Return what pools did; see `History.pools`."""
        return self._read(_spans, pool, since_ns, until_ns, step_ns)

    def forget(
        self,
        *,
        refusals_before_ns: int,
        refusals_max: int,
        pools_before_ns: int,
        limit: int,
    ) -> int:
        """Forget old minutes; see `History.forget`."""
        # Counted beforehand: no writer waits for that, and to forget is harmless twice.
        cut_ns = self._read(_minute_too_many, refusals_max)
        before_ns = {
            schema.refusals: max(refusals_before_ns, cut_ns + 1),
            schema.pool_minutes: pools_before_ns,
        }
        return self._write(_forget, before_ns, limit)


def _note(
    connection: Connection,
    refusals: Sequence[RefusalMinute],
    pools: Sequence[PoolMinute],
) -> None:
    # In one order everywhere: nodes that write the same rows never wait in a circle.
    if refusals:
        rows = [_refusal_row(each) for each in refusals]
        rows.sort(key=itemgetter(*RefusalPlace._fields))
        connection.execute(_add_refusals, rows)
    if pools:
        connection.execute(_put_pools, [structs.asdict(each) for each in pools])


def _refusal_row(refusal: RefusalMinute) -> dict[str, Any]:
    return {
        **refusal.place._asdict(),
        "status": refusal.status,
        "calls": refusal.calls,
        "first_ns": refusal.first_ns,
        "last_ns": refusal.last_ns,
    }


def _adding_refusals() -> Any:
    new = insert(schema.refusals)
    was, now = _refusals, new.excluded
    return new.on_conflict_do_update(
        index_elements=_place,
        set_={
            "calls": was.calls + now.calls,
            "first_ns": case(
                (now.first_ns < was.first_ns, now.first_ns), else_=was.first_ns
            ),
            "last_ns": case(
                (now.last_ns > was.last_ns, now.last_ns), else_=was.last_ns
            ),
        },
    )


def _putting_pools() -> Any:
    new = insert(schema.pool_minutes)
    key = schema.pool_minutes.primary_key.columns
    figures = [name for name in _pools.keys() if name not in key]  # noqa: SIM118 - a collection of columns, not a dict
    return new.on_conflict_do_update(
        index_elements=list(key), set_={name: new.excluded[name] for name in figures}
    )


_add_refusals = _adding_refusals()
_put_pools = _putting_pools()


def _refusals_of(
    connection: Connection,
    account_id: str | None,
    before: RefusalPlace | None,
    limit: int,
) -> list[RefusalMinute]:
    order, wanted = _place, select(schema.refusals)
    if account_id is not None:
        # Without the account, which is the same in all rows, the primary key serves.
        order = [column for column in _place if column is not _refusals.account_id]
        wanted = wanted.where(_refusals.account_id == account_id)
    if before is not None:
        passed = [getattr(before, column.name) for column in order]
        wanted = wanted.where(tuple_(*order) < tuple(passed))
    wanted = wanted.order_by(*(column.desc() for column in order))
    rows = connection.execute(wanted.limit(max(limit, 0))).mappings()
    return [_refusal(row) for row in rows]


def _refusal(row: RowMapping) -> RefusalMinute:
    return RefusalMinute(
        place=RefusalPlace(*(row[name] for name in RefusalPlace._fields)),
        status=row["status"],
        calls=row["calls"],
        first_ns=row["first_ns"],
        last_ns=row["last_ns"],
    )


def _reasons_since(connection: Connection, since_ns: int) -> list[RefusalReason]:
    calls = func.sum(_refusals.calls).label("calls")
    wanted = (
        select(
            _refusals.code,
            _refusals.quota,
            calls,
            func.count(_refusals.account_id.distinct()).label("accounts"),
            func.max(_refusals.last_ns).label("last_ns"),
        )
        .where(_refusals.minute_ns >= since_ns)
        .group_by(_refusals.code, _refusals.quota)
        .order_by(calls.desc(), _refusals.code, _refusals.quota)
    )
    rows = connection.execute(wanted).mappings()
    # PostgreSQL adds whole numbers up to a decimal.
    return [RefusalReason(**{**row, "calls": int(row["calls"])}) for row in rows]


def _spans(
    connection: Connection,
    pool: str | None,
    since_ns: int,
    until_ns: int,
    step_ns: int,
) -> list[PoolSpan]:
    within = [_pools.minute_ns >= since_ns, _pools.minute_ns < until_ns]
    if pool is not None:
        within.append(_pools.pool == pool)
    rows = connection.execute(_averages(_of_all_nodes(within), step_ns)).mappings()
    return [_span(row) for row in rows]


def _of_all_nodes(within: Sequence[ColumnElement[bool]]) -> Subquery:
    """Return one row of each minute of a pool."""
    worst = case(
        {state: rank for rank, state in enumerate(_STATES)}, value=_pools.state
    )
    unbounded = func.count() > func.count(_pools.budget_per_s)
    return (
        select(
            _pools.minute_ns,
            _pools.pool,
            func.count().label("nodes"),
            func.max(worst).label("state"),
            *(
                func.max(case((_pools.cause == cause, 1), else_=0)).label(cause)
                for cause in _CAUSES
            ),
            func.avg(_pools.limit_rpm).label("limit_rpm"),
            func.min(_pools.limit_rpm_min).label("limit_rpm_min"),
            func.sum(_pools.awaiting).label("awaiting"),
            func.sum(_pools.waiting).label("waiting"),
            case((unbounded, None), else_=func.sum(_pools.budget_per_s)).label(
                "budget_per_s"
            ),
            func.sum(_pools.capacity_per_s).label("capacity_per_s"),
            func.avg(_pools.unloaded_s).label("unloaded_s"),
        )
        .where(*within)
        .group_by(_pools.minute_ns, _pools.pool)
        .subquery()
    )


def _averages(minutes: Subquery, step_ns: int) -> Select[Any]:
    """Return what makes one row of the minutes of each span of a pool."""
    of = minutes.c
    start_ns = (of.minute_ns // step_ns * step_ns).label("start_ns")
    unbounded = func.count() > func.count(of.budget_per_s)
    return (
        select(
            of.pool,
            start_ns,
            *(func.max(of[name]).label(name) for name in ("nodes", "state", *_CAUSES)),
            func.min(of.limit_rpm_min).label("limit_rpm_min"),
            *(func.avg(of[name]).label(name) for name in _AVERAGED),
            case((unbounded, None), else_=func.avg(of.budget_per_s)).label(
                "budget_per_s"
            ),
        )
        .group_by(of.pool, "start_ns")
        .order_by(of.pool, "start_ns")
    )


def _span(row: RowMapping) -> PoolSpan:
    told = {name: row[name] for name in PoolSpan.__struct_fields__ if name in row}
    causes = tuple(cause for cause in _CAUSES if row[cause])
    return PoolSpan(**told | {"state": _STATES[row["state"]], "causes": causes})


def _minute_too_many(connection: Connection, refusals_max: int) -> int:
    """Return the latest minute with which more are there than are kept; -1: none."""
    latest = select(_refusals.minute_ns).order_by(_refusals.minute_ns.desc())
    found = connection.execute(latest.offset(refusals_max).limit(1))
    return found.scalar_one_or_none() or -1


def _forget(connection: Connection, before_ns: Mapping[Table, int], limit: int) -> int:
    forgotten = 0
    for table, before in before_ns.items():
        key = list(table.primary_key.columns)
        old = select(*key).where(table.c.minute_ns < before).limit(limit)
        # What another process forgets just now is left to it: nobody waits in a circle.
        old = old.with_for_update(skip_locked=True)
        statement = delete(table).where(tuple_(*key).in_(old))
        forgotten += connection.execute(statement).rowcount
    return forgotten
