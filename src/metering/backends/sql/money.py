"""Payments and credit in SQL, within a transaction that the caller has begun."""

from msgspec.structs import asdict
from sqlalchemy import Connection, select

from metering.accounts import Account, TierBook
from metering.backends.sql import identity, reading, schema
from metering.backends.sql.rows import grant_of, grant_row, payment_of
from metering.backends.sql.rules import (
    checked_grant,
    known_credit,
    refuse_other_grant,
    refuse_other_payment,
    settled,
)
from metering.backends.sql.upsert import insert
from metering.ledger import CreditGrant, Payment, PeriodState, period_of, revised
from metering.stores import PaymentReport

__all__ = ["grant_credit", "record_payment"]


def record_payment(
    connection: Connection, payment: Payment, tiers: TierBook
) -> PaymentReport:
    """Record a payment and all it changes, once for each reference."""
    identity.lock(connection, payment.account_id)
    known = _payment(connection, payment.reference)
    if known is not None:
        refuse_other_payment(known, payment)
        account = identity.get(connection, payment.account_id)
        return PaymentReport(account, new=False)
    account = identity.get(connection, payment.account_id)
    key = period_of(account, payment.at_ns).key
    before = reading.period(connection, account.id, key)
    effect = settled(account, before, payment, tiers)
    if effect.grant is not None:
        if _grant(connection, effect.grant) is not None:
            raise known_credit(effect.grant)
        connection.execute(insert(schema.credit_grants).values(grant_row(effect.grant)))
    if effect.period != before:
        _set_period(connection, account.id, key, effect.period)
    connection.execute(insert(schema.payments).values(asdict(payment)))
    identity.replace(connection, effect.account, tiers, payment.at_ns)
    freed_p = effect.period.early_paid_p - before.early_paid_p
    return PaymentReport(effect.account, new=True, freed_p=freed_p)


def grant_credit(
    connection: Connection, grant: CreditGrant, tiers: TierBook
) -> tuple[Account, bool]:
    """Add credit to an account, once for each grant id."""
    checked_grant(grant, grant.account_id)
    account = identity.get(connection, grant.account_id, to_write=True)
    known = _grant(connection, grant)
    if known is not None:
        refuse_other_grant(known, grant)
        return account, False
    connection.execute(insert(schema.credit_grants).values(grant_row(grant)))
    after = revised(account, account, tiers, grant.effective_ns)
    identity.replace(connection, after, tiers, grant.effective_ns)
    return after, True


def _payment(connection: Connection, reference: str) -> Payment | None:
    table = schema.payments
    wanted = select(table).where(table.c.reference == reference)
    row = connection.execute(wanted).mappings().first()
    return None if row is None else payment_of(row)


def _grant(connection: Connection, grant: CreditGrant) -> CreditGrant | None:
    table = schema.credit_grants
    wanted = select(table).where(
        table.c.account_id == grant.account_id, table.c.id == grant.id
    )
    row = connection.execute(wanted).mappings().first()
    return None if row is None else grant_of(row)


def _set_period(
    connection: Connection, account_id: str, key: str, state: PeriodState
) -> None:
    table = schema.periods.c
    row = asdict(state) | {"account_id": account_id, "period": key}
    statement = insert(schema.periods).values(row)
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=[table.account_id, table.period],
            set_={
                "early_paid_p": statement.excluded.early_paid_p,
                "epoch": statement.excluded.epoch,
            },
        )
    )
