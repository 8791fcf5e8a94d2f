"""Debt of calls on credit alone, repaid by credit that comes later."""

from sqlalchemy import Connection, bindparam, func, select, update

from metering.backends.sql import schema
from metering.backends.sql.transfers import book
from metering.backends.sql.upsert import insert
from metering.ledger import CreditGrant, books

__all__ = ["repay_debt"]

_AT_ONCE = 500

_accounts = schema.accounts.c
_corrections = schema.corrections.c
_draws = schema.draws.c
_events = schema.usage_events.c
_grants = schema.credit_grants.c

_set_rest = (
    update(schema.usage_events)
    .where(_events.id == bindparam("event_id"))
    .values(rest_p=bindparam("rest"))
)
_next_position = (
    select(func.count())
    .where(_draws.event_id == _events.id)
    .correlate(schema.usage_events)
    .scalar_subquery()
    .label("position")
)


def repay_debt(connection: Connection, grant: CreditGrant) -> None:
    """Let a new grant pay for the oldest calls that no credit paid for.

    To be called with the account's row locked, or about to be.
    """
    wanted = select(_accounts.debt_p).where(_accounts.id == grant.account_id)
    debt_p = connection.execute(wanted).scalar_one()
    repaid_p = 0
    while repaid_p < min(debt_p, grant.amount_p):
        part_p = _repay_some(connection, grant, grant.amount_p - repaid_p)
        if not part_p:
            break  # the rest is owed for models that it does not pay for
        repaid_p += part_p
    if not repaid_p:
        return
    owner = update(schema.accounts).where(_accounts.id == grant.account_id)
    connection.execute(owner.values(debt_p=debt_p - repaid_p))
    drawn = update(schema.credit_grants).where(
        _grants.account_id == grant.account_id, _grants.id == grant.id
    )
    connection.execute(drawn.values(consumed_p=repaid_p))
    book(connection, [books.debt_repaid(grant, repaid_p, grant.effective_ns)])


def _repay_some(connection: Connection, grant: CreditGrant, left_p: int) -> int:
    """Draw on a grant for at most so many calls; return how much that took."""
    rests: list[dict[str, object]] = []
    draws: list[dict[str, object]] = []
    repaid_p = 0
    for event_id, rest_p, position in _oldest(connection, grant):
        part_p = min(rest_p, left_p - repaid_p)
        if not part_p:
            break
        repaid_p += part_p
        rests.append({"event_id": event_id, "rest": rest_p - part_p})
        draws.append(
            {
                "event_id": event_id,
                "position": position,
                "grant_id": grant.id,
                "amount_p": part_p,
            }
        )
    if draws:
        connection.execute(_set_rest, rests)
        connection.execute(insert(schema.draws), draws)
    return repaid_p


def _oldest(connection: Connection, grant: CreditGrant) -> list[tuple[str, int, int]]:
    # A call that was corrected costs something else now.
    corrected = select(_corrections.event_id).where(
        _corrections.account_id == grant.account_id
    )
    wanted = select(_events.id, _events.rest_p, _next_position).where(
        _events.account_id == grant.account_id,
        _events.funding == "credit",
        _events.rest_p > 0,
        _events.id.not_in(corrected),
    )
    if grant.models is not None:
        wanted = wanted.where(_events.model.in_(grant.models))
    wanted = wanted.order_by(_events.ended_ns, _events.id).limit(_AT_ONCE)
    return [(row[0], row[1], row[2]) for row in connection.execute(wanted)]
