"""Lists of what a ledger keeps, page by page."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    RowMapping,
    Select,
    and_,
    case,
    func,
    literal,
    or_,
    select,
    tuple_,
)

from metering.accounts import ApiKey, Tier, TierBook
from metering.backends.sql import schema
from metering.backends.sql.rows import account_of, grant_of, key_of, payment_of
from metering.backends.sql.transact import Transact
from metering.ledger import Alert, Allowance, CreditGrant, Payment, period_at
from metering.stores import AccountSpend, AccountsWanted, AlertPlace

__all__ = ["SqlListing"]

_accounts = schema.accounts.c
_alerts = schema.alert_firings.c
_keys = schema.api_keys.c
_periods = schema.periods.c
_spent_p = func.coalesce(_periods.spent_p, 0)

_LAST_CHARACTER = "\U0010ffff"

_Place = tuple[int, str]


class SqlListing:
    """What a ledger keeps, page by page; see `Listing`. Each method is one transaction.

    Args:
        read: Runs what only reads.
        tiers: Who is in which tier.
    """

    def __init__(self, read: Transact, tiers: TierBook) -> None:
        self._read = read
        self._tiers = tiers

    def accounts(
        self,
        wanted: AccountsWanted,
        *,
        now_ns: int,
        after: _Place | None = None,
        limit: int,
    ) -> list[AccountSpend]:
        """Return accounts with their spend; see `Listing.accounts`."""
        conditions = _conditions(wanted, self._tiers, now_ns)
        by_spend = wanted.order == "spent"
        list_them = _by_spend if by_spend else _by_id
        return self._read(list_them, conditions, now_ns, after, limit)

    def payments(
        self, account_id: str, *, before: _Place | None = None, limit: int
    ) -> list[Payment]:
        """Return payments; see `Listing.payments`."""
        table = schema.payments
        wanted = select(table).where(table.c.account_id == account_id)
        by = table.c.at_ns, table.c.reference
        rows = self._read(_latest, wanted, by, before, limit)
        return [payment_of(row) for row in rows]

    def grants(
        self, account_id: str, *, before: _Place | None = None, limit: int
    ) -> list[CreditGrant]:
        """Return credit; see `Listing.grants`."""
        table = schema.credit_grants
        wanted = select(table).where(table.c.account_id == account_id)
        by = table.c.effective_ns, table.c.id
        rows = self._read(_latest, wanted, by, before, limit)
        return [grant_of(row) for row in rows]

    def keys(
        self, account_id: str, *, before: _Place | None = None, limit: int
    ) -> list[ApiKey]:
        """Return keys; see `Listing.keys`."""
        wanted = select(schema.api_keys).where(_keys.account_id == account_id)
        rows = self._read(_latest, wanted, (_keys.created_ns, _keys.id), before, limit)
        return [key_of(row) for row in rows]

    def key(self, key_id: str) -> ApiKey | None:
        """Return a key; see `Listing.key`."""
        return self._read(_key, key_id)

    def alerts(
        self,
        account_id: str | None,
        *,
        before: AlertPlace | None = None,
        limit: int,
    ) -> list[Alert]:
        """Return alerts; see `Listing.alerts`."""
        wanted = select(schema.alert_firings).where(_alerts.told == 1)
        if account_id is not None:
            wanted = wanted.where(_alerts.account_id == account_id)
        by = (
            *(_alerts.at_ns, _alerts.account_id, _alerts.subject, _alerts.period),
            *(_alerts.epoch, _alerts.limit_p, _alerts.threshold),
        )
        return [_alert(row) for row in self._read(_latest, wanted, by, before, limit)]


def _latest(
    connection: Connection,
    wanted: Select[Any],
    by: tuple[Column[Any], ...],
    before: tuple[Any, ...] | None,
    limit: int,
) -> list[RowMapping]:
    """Return the latest rows before a place, latest first."""
    if before is not None:
        wanted = wanted.where(tuple_(*by) < before)
    wanted = wanted.order_by(*(column.desc() for column in by)).limit(max(limit, 0))
    return list(connection.execute(wanted).mappings())


def _key(connection: Connection, key_id: str) -> ApiKey | None:
    wanted = select(schema.api_keys).where(_keys.id == key_id)
    row = connection.execute(wanted).mappings().first()
    return None if row is None else key_of(row)


def _alert(row: RowMapping) -> Alert:
    return Alert(
        allowance=Allowance(
            account_id=row["account_id"],
            subject=row["subject"],
            period=row["period"],
            epoch=row["epoch"],
            limit_p=row["limit_p"],
            used_p=row["value_p"],
        ),
        threshold=row["threshold"],
        at_ns=row["at_ns"],
        told=bool(row["told"]),
    )


def _by_id(
    connection: Connection,
    conditions: Sequence[ColumnElement[bool]],
    now_ns: int,
    after: _Place | None,
    limit: int,
) -> list[AccountSpend]:
    wanted = _with_spend(connection, now_ns).where(*conditions)
    if after is not None:
        wanted = wanted.where(_accounts.id > after[1])
    return _spends(connection, wanted.order_by(_accounts.id), limit)


def _by_spend(
    connection: Connection,
    conditions: Sequence[ColumnElement[bool]],
    now_ns: int,
    after: _Place | None,
    limit: int,
) -> list[AccountSpend]:
    wanted = _with_spend(connection, now_ns).where(*conditions)
    if after is not None:
        spent_p, account_id = after
        of_equals = and_(_spent_p == spent_p, _accounts.id > account_id)
        wanted = wanted.where(or_(_spent_p < spent_p, of_equals))
    return _spends(connection, wanted.order_by(_spent_p.desc(), _accounts.id), limit)


def _with_spend(connection: Connection, now_ns: int) -> Select[Any]:
    period = _present_period(connection, now_ns)
    return select(
        schema.accounts, period.label("present"), _spent_p.label("spent_p")
    ).outerjoin(
        schema.periods,
        and_(_periods.account_id == _accounts.id, _periods.period == period),
    )


def _spends(
    connection: Connection, wanted: Select[Any], limit: int
) -> list[AccountSpend]:
    rows = connection.execute(wanted.limit(max(limit, 0))).mappings()
    return [
        AccountSpend(account_of(row), row["present"], row["spent_p"]) for row in rows
    ]


def _conditions(
    wanted: AccountsWanted, tiers: TierBook, now_ns: int
) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if wanted.prefix:
        # Not LIKE: to SQLite that is blind to case.
        last = wanted.prefix + _LAST_CHARACTER
        conditions += [_accounts.id >= wanted.prefix, _accounts.id < last]
    if wanted.tier is not None:
        conditions.append(_level_of(tiers, now_ns) == wanted.tier)
    if wanted.suspended is not None:
        conditions.append(_accounts.suspended == int(wanted.suspended))
    return conditions


def _present_period(connection: Connection, now_ns: int) -> ColumnElement[str]:
    """Return the key of each account's period; calendars are far fewer than they."""
    calendar = _accounts.time_zone, _accounts.anchor_day
    calendars: dict[str, list[tuple[str, int]]] = {}
    for time_zone, anchor_day in connection.execute(select(*calendar).distinct()):
        key = period_at(now_ns, time_zone, anchor_day).key
        calendars.setdefault(key, []).append((time_zone, anchor_day))
    if len(calendars) < 2:  # noqa: PLR2004 - nothing to choose between
        return literal(next(iter(calendars), ""))
    return case(
        *((tuple_(*calendar).in_(some), key) for key, some in calendars.items())
    )


def _level_of(tiers: TierBook, now_ns: int) -> ColumnElement[int]:
    """Return the level that `TierBook.tier_of` gives each account."""
    levels = [tier.level for tier in tiers.tiers]
    return case(
        (_accounts.pin.in_(levels), _accounts.pin),
        *(
            (or_(_qualifies(tier), _keeps(tier, now_ns)), tier.level)
            for tier in reversed(tiers.tiers)
        ),
        else_=levels[0],
    )


def _qualifies(tier: Tier) -> ColumnElement[bool]:
    if tier.lifetime_paid_min_p is None:
        return literal(value=False)
    return and_(
        _accounts.lifetime_paid_p >= tier.lifetime_paid_min_p, _has_method(tier)
    )


def _keeps(tier: Tier, now_ns: int) -> ColumnElement[bool]:
    still = or_(_accounts.kept_until_ns.is_(None), _accounts.kept_until_ns > now_ns)
    return and_(_accounts.kept_tier == tier.level, still, _has_method(tier))


def _has_method(tier: Tier) -> ColumnElement[bool]:
    return or_(literal(not tier.payment_method), _accounts.payment_method == 1)
