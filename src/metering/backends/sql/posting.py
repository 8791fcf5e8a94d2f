"""Posts batches of usage events in SQL: a few statements a batch, however large."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, bindparam, select, update

from metering.backends.sql import schema
from metering.backends.sql.bulk import add_rows, matching, upsert_rows
from metering.backends.sql.funding import (
    Funding,
    Standing,
    as_owned,
    booked,
    first_of_each,
    fund,
    posted,
    spent_by_period,
)
from metering.backends.sql.key_spending import spend_of_keys
from metering.backends.sql.locks import lock_new_accounts
from metering.backends.sql.reading import sliced
from metering.backends.sql.rows import event_row, grant_of
from metering.backends.sql.transfers import book
from metering.backends.sql.upsert import insert
from metering.backends.sql.usage_days import add_to_days
from metering.ledger import CreditGrant
from metering.money import checked
from metering.stores import PostReport
from metering.usage import UsageEvent

__all__ = ["post"]

_accounts = schema.accounts.c
_events = schema.usage_events.c
_grants = schema.credit_grants.c
_periods = schema.periods.c

_set_consumed = (
    update(schema.credit_grants)
    .where(
        _grants.account_id == bindparam("owner"), _grants.id == bindparam("grant_id")
    )
    .values(consumed_p=bindparam("consumed"))
)
_set_debt = (
    update(schema.accounts)
    .where(_accounts.id == bindparam("owner"))
    .values(debt_p=bindparam("debt"))
)
_new_period = insert(schema.periods)
_add_spent = _new_period.on_conflict_do_update(
    index_elements=[_periods.account_id, _periods.period],
    set_={"spent_p": _periods.spent_p + _new_period.excluded.spent_p},
)


class _Owner(NamedTuple):
    """What of an account a batch depends on."""

    debt_p: int
    time_zone: str


def post(connection: Connection, events: Sequence[UsageEvent]) -> PostReport:
    """Post a batch: the events that are new, what credit pays, the period totals."""
    firsts = first_of_each(events)
    if not firsts:
        return PostReport(())
    owners = _locked_owners(connection, {e.account_id for e in firsts.values()})
    # Who has the accounts' rows locked sees every event of theirs. Should another batch
    # bring the same id for another account, the table refuses it: then all begins anew.
    standing = _standing(connection, firsts)
    fresh = [as_owned(e, owners) for e in firsts.values() if e.id not in standing]
    book(connection, booked(fresh, _fund(connection, fresh, owners)))
    _spend(connection, fresh)
    spend_of_keys(connection, fresh)
    zones = {account_id: owner.time_zone for account_id, owner in owners.items()}
    add_to_days(connection, fresh, zones)
    new = {e.id: Standing(e.charge_p, e.ending) for e in fresh}
    return posted(events, new, owners, standing | new)


def _locked_owners(connection: Connection, account_ids: set[str]) -> dict[str, _Owner]:
    """Return the accounts that exist; none comes or changes meanwhile."""
    owners = _owners(connection, account_ids)
    absent = account_ids - owners.keys()
    if absent:
        lock_new_accounts(connection)
        owners |= _owners(connection, absent)
    return owners


def _owners(connection: Connection, account_ids: Collection[str]) -> dict[str, _Owner]:
    # Always in one order, so that two writers who lock rows do not wait for each other.
    owners: dict[str, _Owner] = {}
    for ids in sliced(sorted(account_ids)):
        wanted = select(_accounts.id, _accounts.debt_p, _accounts.time_zone)
        wanted = wanted.where(_accounts.id.in_(ids))
        wanted = wanted.order_by(_accounts.id).with_for_update(key_share=True)
        rows = connection.execute(wanted)
        owners |= {row.id: _Owner(row.debt_p, row.time_zone) for row in rows}
    return owners


def _standing(connection: Connection, ids: Iterable[str]) -> dict[str, Standing]:
    standing: dict[str, Standing] = {}
    for condition in matching(connection, _events.id, ids):
        wanted = select(_events.id, _events.charge_p, _events.ending)
        for row in connection.execute(wanted.where(condition)):
            standing[row.id] = Standing(row.charge_p, row.ending)
    return standing


def _fund(
    connection: Connection, fresh: Iterable[UsageEvent], owners: Mapping[str, _Owner]
) -> dict[str, Funding]:
    """Keep the events and draw on credit; what it alone does not cover is debt."""
    owned: dict[str, list[UsageEvent]] = defaultdict(list)
    for event in fresh:
        if event.account_id in owners:
            owned[event.account_id].append(event)
    grants = _open_grants(connection, owned)
    fundings = {
        account_id: fund(events, grants[account_id])
        for account_id, events in owned.items()
        if account_id in grants or any(e.funding == "credit" for e in events)
    }
    _keep(connection, fresh, fundings.values())
    debts = [
        {
            "owner": account_id,
            "debt": checked(owners[account_id].debt_p + funding.debt_p),
        }
        for account_id, funding in fundings.items()
        if funding.debt_p
    ]
    if debts:
        connection.execute(_set_debt, debts)
    return fundings


def _keep(
    connection: Connection, fresh: Iterable[UsageEvent], fundings: Collection[Funding]
) -> None:
    """Add the events, what credit paid of each, and what is left of the credit."""
    charges = {c.event_id: c for funding in fundings for c in funding.charges}
    rows: list[dict[str, object]] = []
    draws: list[dict[str, object]] = []
    for event in sorted(fresh, key=lambda event: event.id):
        row = event_row(event)
        charge = charges.get(event.id)
        if charge is not None:
            row["rest_p"] = charge.rest_p
            draws += (
                {
                    "event_id": charge.event_id,
                    "position": position,
                    "grant_id": draw.grant_id,
                    "amount_p": draw.amount_p,
                }
                for position, draw in enumerate(charge.draws)
            )
        rows.append(row)
    add_rows(connection, schema.usage_events, rows)
    add_rows(connection, schema.draws, draws)
    consumed = [
        {"owner": g.account_id, "grant_id": g.id, "consumed": g.consumed_p}
        for funding in fundings
        for g in funding.grants
    ]
    if consumed:
        connection.execute(_set_consumed, consumed)


def _open_grants(
    connection: Connection, account_ids: Iterable[str]
) -> dict[str, list[CreditGrant]]:
    grants: dict[str, list[CreditGrant]] = defaultdict(list)
    for ids in sliced(account_ids):
        wanted = select(schema.credit_grants).where(
            _grants.account_id.in_(ids), _grants.consumed_p < _grants.amount_p
        )
        for row in connection.execute(wanted).mappings():
            grants[row["account_id"]].append(grant_of(row))
    return grants


def _spend(connection: Connection, fresh: Iterable[UsageEvent]) -> None:
    """Add the charges to their periods; a free call opens its period, too."""
    spent = spent_by_period(fresh)
    if not spent:
        return
    for ids in sliced(sorted({account_id for account_id, _ in spent})):
        wanted = select(_periods.account_id, _periods.period, _periods.spent_p).where(
            _periods.account_id.in_(ids),
            _periods.period.in_(sorted({period for _, period in spent})),
        )
        for row in connection.execute(wanted):
            checked(row.spent_p + spent.get((row.account_id, row.period), 0))
    rows = [
        {
            "account_id": account_id,
            "period": period,
            "spent_p": checked(spent_p),
            "early_paid_p": 0,
            "epoch": 0,
        }
        for (account_id, period), spent_p in sorted(spent.items())
    ]
    upsert_rows(connection, _add_spent, rows)
