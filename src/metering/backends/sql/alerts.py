"""Fires alerts in the transaction that passes their thresholds, each of them once."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import Connection, select

from metering.accounts import Account, TierBook
from metering.backends.sql import reading, schema
from metering.backends.sql.reading import sliced
from metering.backends.sql.rows import account_of, grant_of, period_of
from metering.backends.sql.upsert import insert
from metering.ledger import (
    Alert,
    Allowance,
    CreditGrant,
    alerts_of,
    credit_allowance,
    credit_ceiling_p,
    usage_allowance,
)
from metering.ledger import period_of as period_at_instant
from metering.usage import UsageEvent

__all__ = ["fire", "pass_over"]

_accounts = schema.accounts
_firings = schema.alert_firings
_grants = schema.credit_grants
_periods = schema.periods

_KEY = ("account_id", "subject", "period", "epoch", "limit_p", "threshold")

_add = (
    insert(_firings)
    .on_conflict_do_nothing(index_elements=[_firings.c[name] for name in _KEY])
    .returning(*(_firings.c[name] for name in _KEY))
)


class _Spending:
    """What new events of an account have charged.

    Attributes:
        periods: Their periods.
        last_ns: When the last of them ended.
    """

    def __init__(self) -> None:
        self.periods: set[str] = set()
        self.last_ns = 0

    def add(self, event: UsageEvent) -> None:
        """Count an event in."""
        self.periods.add(event.period)
        self.last_ns = max(self.last_ns, event.ended_ns)


def fire(
    connection: Connection,
    fresh: Iterable[UsageEvent],
    tiers: TierBook,
    thresholds: Sequence[int],
) -> list[Alert]:
    """Fire what the charges of new events have passed, and return what is to be told.

    Args:
        connection: In the transaction that has added the charges.
        fresh: The events that were new.
        tiers: Whose limits hold.
        thresholds: Per cent at which alerts are fired; none for no alerts.
    """
    if not thresholds:
        return []
    spending: dict[str, _Spending] = defaultdict(_Spending)
    for event in fresh:
        if event.charge_p:
            spending[event.account_id].add(event)
    alerts: list[Alert] = []
    for allowance, at_ns in _allowances(connection, spending, tiers):
        alerts += alerts_of(allowance, thresholds, at_ns)
    return _fired(connection, alerts)


def pass_over(
    connection: Connection,
    account: Account,
    tiers: TierBook,
    thresholds: Sequence[int],
    now_ns: int,
) -> None:
    """Let money that has come in be followed by no alert of what was used before."""
    tier = tiers.tier_of(account, now_ns)
    key = period_at_instant(account, now_ns).key
    period = reading.period(connection, account.id, key)
    credit = reading.credit(connection, account.id, now_ns)
    limit = usage_allowance(account, tier, key, period)
    left = credit_allowance(account, tier, credit, credit.used_p)
    passed = [] if limit is None else alerts_of(limit, thresholds, now_ns)
    if left is not None:
        # A threshold of nothing marks from where on what is used counts.
        passed.append(Alert(allowance=left, threshold=0, at_ns=now_ns, told=False))
    if passed:
        connection.execute(_add, [_row(alert) | {"told": 0} for alert in passed])


def _allowances(
    connection: Connection, spending: Mapping[str, _Spending], tiers: TierBook
) -> list[tuple[Allowance, int]]:
    """Return what the accounts have used of what, and until when that was."""
    found: list[tuple[Allowance | None, int]] = []
    on_credit: dict[str, tuple[Account, int]] = {}
    periods = sorted({period for each in spending.values() for period in each.periods})
    for ids in sliced(sorted(spending)):
        wanted = (
            select(_accounts, _periods)
            .join(_periods, _periods.c.account_id == _accounts.c.id)
            .where(_accounts.c.id.in_(ids), _periods.c.period.in_(periods))
        )
        for row in connection.execute(wanted).mappings():
            of = spending[row["id"]]
            if row["period"] not in of.periods:
                continue
            account = account_of(row)
            tier = tiers.tier_of(account, of.last_ns)
            limit = usage_allowance(account, tier, row["period"], period_of(row))
            found.append((limit, of.last_ns))
            if tier.funding == "credit":
                on_credit[account.id] = account, row["debt_p"]
    grants = _all_grants(connection, on_credit)
    used_before_p = _used_before_p(connection, on_credit)
    for account, debt_p in on_credit.values():
        at_ns = spending[account.id].last_ns
        state = credit_ceiling_p(grants[account.id], debt_p, at_ns)
        tier = tiers.tier_of(account, at_ns)
        credit = credit_allowance(account, tier, state, used_before_p[account.id])
        found.append((credit, at_ns))
    return [(each, at_ns) for each, at_ns in found if each is not None]


def _all_grants(
    connection: Connection, account_ids: Iterable[str]
) -> dict[str, list[CreditGrant]]:
    grants: dict[str, list[CreditGrant]] = defaultdict(list)
    for ids in sliced(account_ids):
        wanted = select(_grants).where(_grants.c.account_id.in_(ids))
        for row in connection.execute(wanted).mappings():
            grants[row["account_id"]].append(grant_of(row))
    return grants


def _used_before_p(
    connection: Connection, account_ids: Iterable[str]
) -> Mapping[str, int]:
    """Return what of their credit accounts had used when some last came in."""
    used_p: dict[str, int] = defaultdict(int)
    rows = _firings.c
    for ids in sliced(account_ids):
        wanted = select(rows.account_id, rows.epoch).where(
            rows.account_id.in_(ids), rows.subject == "credit", rows.threshold == 0
        )
        for row in connection.execute(wanted.order_by(rows.at_ns)):
            used_p[row.account_id] = row.epoch
    return used_p


def _fired(connection: Connection, alerts: Sequence[Alert]) -> list[Alert]:
    """Keep the alerts that were not fired yet; return those of them to be told."""
    if not alerts:
        return []
    rows = {_key(row): (row, alert) for alert in alerts for row in (_row(alert),)}
    added = connection.execute(_add, [row for row, _ in rows.values()])
    new = (rows[tuple(row)][1] for row in added)
    told = [alert for alert in new if alert.told]
    return sorted(told, key=lambda alert: (alert.at_ns, alert.allowance.account_id))


def _key(row: Mapping[str, object]) -> tuple[object, ...]:
    return tuple(row[name] for name in _KEY)


def _row(alert: Alert) -> dict[str, object]:
    of = alert.allowance
    return {
        "account_id": of.account_id,
        "subject": of.subject,
        "period": of.period,
        "epoch": of.epoch,
        # Credit that ended is as large as what was drawn of it: with each late call it
        # would be another one, and told anew.
        "limit_p": of.limit_p if of.subject == "usage_limit" else 0,
        "threshold": alert.threshold,
        "value_p": of.used_p,
        "at_ns": alert.at_ns,
        "told": int(alert.told),
    }
