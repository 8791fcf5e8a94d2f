"""Payments and credit in SQL, within a transaction that the caller has begun."""

from msgspec.structs import asdict
from sqlalchemy import Connection, select

from metering.accounts import Account, TierBook
from metering.backends.sql import identity, reading, schema
from metering.backends.sql.credit import add_grant, find_grant, set_grant
from metering.backends.sql.invoicing import note_payment
from metering.backends.sql.rows import payment_of
from metering.backends.sql.rules import (
    checked_grant,
    known_credit,
    no_payment,
    refuse_other_grant,
    refuse_other_payment,
    settled,
    taken_back,
)
from metering.backends.sql.transfers import book
from metering.backends.sql.upsert import insert
from metering.ledger import (
    OF_CORRECTION,
    OF_PAYMENT,
    TAKEN_BACK,
    CreditGrant,
    Payment,
    PaymentEffect,
    PeriodState,
    Settled,
    books,
    period_of,
    revised,
)
from metering.stores import PaymentReport

__all__ = ["grant_credit", "record_payment"]

_payments = schema.payments.c


def record_payment(
    connection: Connection, payment: Payment, tiers: TierBook
) -> PaymentReport:
    """Record a payment and all it changes, once for each reference."""
    identity.lock(connection, payment.account_id)
    known = _payment(connection, payment.reference)
    if known is not None:
        refuse_other_payment(known, payment)
        account = identity.get(connection, payment.account_id)
        freed_p = _freed_before_p(connection, known)
        return PaymentReport(account, new=False, freed_p=freed_p)
    account = identity.get(connection, payment.account_id)
    if payment.takes_back:
        return _take_back(connection, account, payment, tiers)
    return _settle(connection, account, payment, tiers)


def grant_credit(
    connection: Connection, grant: CreditGrant, tiers: TierBook
) -> tuple[Account, bool]:
    """Add credit to an account, once for each grant id."""
    checked_grant(grant, grant.account_id)
    account = identity.get(connection, grant.account_id, to_write=True)
    known = find_grant(connection, grant.account_id, grant.id)
    if known is not None:
        refuse_other_grant(known, grant)
        return account, False
    book(connection, [books.granted(grant)])
    add_grant(connection, grant)
    after = revised(account, account, tiers, grant.effective_ns)
    identity.replace(connection, after, tiers, grant.effective_ns)
    return after, True


def _settle(
    connection: Connection, account: Account, payment: Payment, tiers: TierBook
) -> PaymentReport:
    key = period_of(account, payment.at_ns).key
    before = reading.period(connection, account.id, key)
    effect = settled(account, before, payment, tiers)
    grant = effect.grant
    _record(connection, payment, effect, tiers)
    if grant is not None:
        if find_grant(connection, account.id, grant.id) is not None:
            raise known_credit(grant)
        add_grant(connection, grant)
    return _report(connection, key, before, effect)


def _take_back(
    connection: Connection, account: Account, payment: Payment, tiers: TierBook
) -> PaymentReport:
    original = _payment(connection, payment.checked().refers_to or "")
    if original is None:
        raise no_payment(payment)
    key = period_of(account, original.at_ns).key
    before = reading.period(connection, account.id, key)
    grant = find_grant(connection, account.id, OF_PAYMENT + original.reference)
    stands = Settled(
        payment=original,
        returned_p=_returned_p(connection, original),
        period=before,
        grant=grant,
        moved=tuple(
            each
            for each in reading.grants(connection, account.id)
            if each.id.startswith(OF_CORRECTION)
        ),
    )
    effect = taken_back(account, stands, payment, tiers)
    _record(connection, payment, effect, tiers)
    for each in (effect.grant, *effect.moved):
        if each is not None:
            set_grant(connection, each)
    return _report(connection, key, before, effect)


def _record(
    connection: Connection, payment: Payment, effect: PaymentEffect, tiers: TierBook
) -> None:
    connection.execute(insert(schema.payments).values(asdict(payment)))
    book(connection, books.paid(payment, effect.credit_p))
    note_payment(connection, payment)
    identity.replace(connection, effect.account, tiers, payment.at_ns)


def _report(
    connection: Connection, key: str, before: PeriodState, effect: PaymentEffect
) -> PaymentReport:
    """Write the period as it is then, and return what has changed."""
    if effect.period != before:
        _set_period(connection, effect.account.id, key, effect.period)
    freed_p = effect.period.early_paid_p - before.early_paid_p
    return PaymentReport(effect.account, new=True, freed_p=freed_p)


def _freed_before_p(connection: Connection, known: Payment) -> int:
    """Return what an early payment freed when it was recorded; of others 0."""
    if known.kind != "early_payment":
        return 0
    grant = find_grant(connection, known.account_id, OF_PAYMENT + known.reference)
    return known.amount_p - (0 if grant is None else grant.amount_p)


def _returned_p(connection: Connection, original: Payment) -> int:
    """Return what was taken back of a payment before."""
    wanted = select(*reading.exact_sum(_payments.amount_p)).where(
        _payments.account_id == original.account_id,
        _payments.kind.in_(TAKEN_BACK),
        _payments.refers_to == original.reference,
    )
    row = connection.execute(wanted).one()
    return reading.joined_sum(row[0], row[1])


def _payment(connection: Connection, reference: str) -> Payment | None:
    wanted = select(schema.payments).where(_payments.reference == reference)
    row = connection.execute(wanted).mappings().first()
    return None if row is None else payment_of(row)


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
