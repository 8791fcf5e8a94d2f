"""Grants of credit in SQL, within a transaction that the caller has begun."""

from msgspec.structs import replace
from sqlalchemy import Connection, and_, select, update

from metering.backends.sql import identity, schema
from metering.backends.sql.debts import repay_debt
from metering.backends.sql.rows import grant_of, grant_row
from metering.backends.sql.transfers import book
from metering.backends.sql.upsert import insert
from metering.ledger import CreditGrant, books

__all__ = ["add_grant", "expire_credit", "find_grant", "set_grant"]

ACCOUNTS_AT_ONCE = 500
"""Of how many accounts credit expires in one transaction."""

_grants = schema.credit_grants.c
_left_p = (
    _grants.amount_p - _grants.consumed_p - _grants.expired_p - _grants.withdrawn_p
)


def find_grant(
    connection: Connection, account_id: str, grant_id: str
) -> CreditGrant | None:
    """Return a grant, or None if there is none of that id."""
    wanted = select(schema.credit_grants).where(
        _grants.account_id == account_id, _grants.id == grant_id
    )
    row = connection.execute(wanted).mappings().first()
    return None if row is None else grant_of(row)


def add_grant(connection: Connection, grant: CreditGrant) -> None:
    """Add a new grant, which first repays what calls ran over earlier credit."""
    connection.execute(insert(schema.credit_grants).values(grant_row(grant)))
    repay_debt(connection, grant)


def set_grant(connection: Connection, grant: CreditGrant) -> None:
    """Write what is now drawn, expired or taken back of a grant."""
    statement = update(schema.credit_grants).where(
        _grants.account_id == grant.account_id, _grants.id == grant.id
    )
    connection.execute(statement.values(grant_row(grant)))


def expire_credit(connection: Connection, ended_by_ns: int, now_ns: int) -> int:
    """Book what is left of grants that have ended by an instant, of some accounts.

    Returns:
        How many grants that were; 0 when there are no more.
    """
    due = and_(_grants.expires_ns <= ended_by_ns, _left_p > 0)
    some = select(_grants.account_id).distinct().where(due)
    some = some.order_by(_grants.account_id).limit(ACCOUNTS_AT_ONCE)
    expired = 0
    for account_id in connection.execute(some).scalars().all():
        identity.lock(connection, account_id)
        wanted = select(schema.credit_grants).where(
            _grants.account_id == account_id, due
        )
        for row in connection.execute(wanted).mappings().all():
            grant = grant_of(row)
            book(connection, [books.expired(grant, grant.left_p, now_ns)])
            expired_p = grant.expired_p + grant.left_p
            set_grant(connection, replace(grant, expired_p=expired_p))
            expired += 1
    return expired
