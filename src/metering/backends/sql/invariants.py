"""Figures that must be sums of rows: one statement finds where they are not."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Select,
    case,
    func,
    literal,
    literal_column,
    or_,
    select,
    union_all,
)

from metering.backends.sql import schema
from metering.backends.sql.reading import LIMB, exact_sum, joined_sum
from metering.ledger import OF_CORRECTION, OF_PAYMENT, TAKEN_BACK
from metering.ledger.books import CASH, REVENUE
from metering.ledger.verification import CheckName, Finding

__all__ = ["Found", "differing_sums"]

Found = Callable[[Connection, int], list[Finding]]
"""Returns findings, at most so many."""

_accounts = schema.accounts.c
_corrections = schema.corrections.c
_corrected = schema.correction_draws.c
_draws = schema.draws.c
_events = schema.usage_events.c
_grants = schema.credit_grants.c
_keys = schema.key_periods.c
_payments = schema.payments.c
_periods = schema.periods.c
_transfers = schema.transfers.c

_net_p = case(
    (_payments.kind.in_(TAKEN_BACK), -_payments.amount_p), else_=_payments.amount_p
)
_left_p = (
    _grants.amount_p - _grants.consumed_p - _grants.expired_p - _grants.withdrawn_p
)
_of_own_period = _corrections.booked_period == _corrections.period
_event_of_draw = schema.draws.outerjoin(
    schema.usage_events, _events.id == _draws.event_id
)
_event_of_correction = schema.corrections.join(
    schema.usage_events, _events.id == _corrections.event_id
)
_correction_of_draw = schema.correction_draws.join(
    schema.corrections, _corrections.id == _corrected.correction_id
)
_original = schema.payments.alias("original")
_taken_back = schema.payments.join(
    _original, _original.c.reference == _payments.refers_to
)
_bought = schema.credit_grants.join(
    schema.payments, literal(OF_PAYMENT) + _payments.reference == _grants.id
)


class _Rows(NamedTuple):
    """Amounts of some rows, and of what each is: account first, then the place."""

    of: tuple[ColumnElement[str], ...]
    amount_p: ColumnElement[int]
    where: ColumnElement[bool] | None = None
    within: FromClause | None = None


class _Sum(NamedTuple):
    """A figure and the rows whose sum it must be.

    Attributes:
        check: The claim.
        table: Where the figure is.
        named: What the place in it is called, such as "period".
        stated: The figures.
        summed: The rows, of one table or several.
    """

    check: CheckName
    table: str
    named: tuple[str, ...]
    stated: tuple[_Rows, ...]
    summed: tuple[_Rows, ...]


def differing_sums() -> Iterator[tuple[CheckName, Found]]:
    """Yield each check of a sum, with what finds where it does not hold."""
    for each in (*_of_calls(), *_of_credit(), *_of_money()):
        yield each.check, partial(_differing, each)


def _of_calls() -> Iterator[_Sum]:
    yield _Sum(
        "event_paid",
        "usage_events",
        ("event",),
        (
            _Rows(
                (_events.account_id, _events.id),
                _events.charge_p - _events.rest_p,
                _events.charge_p != _events.rest_p,
            ),
        ),
        (
            _Rows(
                (func.coalesce(_events.account_id, ""), _draws.event_id),
                _draws.amount_p,
                within=_event_of_draw,
            ),
        ),
    )
    yield _Sum(
        "correction_paid",
        "corrections",
        ("correction",),
        (
            _Rows(
                (_corrections.account_id, _corrections.id),
                _corrections.amount_p - _corrections.rest_p,
                _corrections.amount_p != _corrections.rest_p,
            ),
        ),
        (
            _Rows(
                (_corrections.account_id, _corrected.correction_id),
                _corrected.amount_p,
                within=_correction_of_draw,
            ),
        ),
    )
    yield _Sum(
        "period_spent",
        "periods",
        ("period",),
        (_Rows((_periods.account_id, _periods.period), _periods.spent_p),),
        (
            _Rows((_events.account_id, _events.period), _events.charge_p),
            _Rows(
                (_corrections.account_id, _corrections.period),
                _corrections.amount_p,
                _of_own_period,
            ),
        ),
    )
    yield _Sum(
        "period_corrected",
        "periods",
        ("period",),
        (_Rows((_periods.account_id, _periods.period), _periods.corrected_p),),
        (
            _Rows(
                (_corrections.account_id, _corrections.booked_period),
                _corrections.amount_p,
                ~_of_own_period,
            ),
        ),
    )
    yield _Sum(
        "key_spent",
        "key_periods",
        ("key", "period"),
        (_Rows((_keys.account_id, _keys.key_id, _keys.period), _keys.spent_p),),
        (
            _Rows(
                (_events.account_id, _events.key_id, _events.period),
                _events.charge_p,
                _events.key_id != "",
            ),
            _Rows(
                (_events.account_id, _events.key_id, _events.period),
                _corrections.amount_p,
                (_events.key_id != "") & _of_own_period,
                _event_of_correction,
            ),
        ),
    )


def _of_credit() -> Iterator[_Sum]:
    of_grant = _grants.account_id, _grants.id
    yield _Sum(
        "grant_drawn",
        "credit_grants",
        ("grant",),
        (_Rows(of_grant, _grants.consumed_p),),
        (
            _Rows(
                (func.coalesce(_events.account_id, ""), _draws.grant_id),
                _draws.amount_p,
                within=_event_of_draw,
            ),
            _Rows(
                (_corrections.account_id, _corrected.grant_id),
                _corrected.amount_p,
                within=_correction_of_draw,
            ),
        ),
    )
    over = _grants.consumed_p + _grants.expired_p > _grants.amount_p
    yield _Sum(
        "grant_overdrawn",
        "credit_grants",
        ("grant",),
        (_Rows(of_grant, _grants.consumed_p + _grants.expired_p, over),),
        (_Rows(of_grant, _grants.amount_p, over),),
    )
    kept = literal("credit_") + _grants.kind + ":" + _grants.account_id
    yield _Sum(
        "credit_left",
        "transfers",
        ("in the books",),
        (
            _Rows(
                (_transfers.account_id, _transfers.credit),
                _transfers.amount_p,
                _transfers.credit.startswith("credit_", autoescape=True),
            ),
            _Rows(
                (_transfers.account_id, _transfers.debit),
                -_transfers.amount_p,
                _transfers.debit.startswith("credit_", autoescape=True),
            ),
        ),
        (_Rows((_grants.account_id, kept), _left_p, _left_p > 0),),
    )
    on_credit = _events.funding == "credit"
    yield _Sum(
        "debt",
        "accounts",
        (),
        (_Rows((_accounts.id,), _accounts.debt_p),),
        (
            _Rows(
                (_events.account_id,),
                _events.rest_p,
                on_credit & (_events.rest_p > 0),
                schema.usage_events.join(
                    schema.accounts, _accounts.id == _events.account_id
                ),
            ),
            _Rows(
                (_events.account_id,),
                _corrections.rest_p,
                on_credit,
                _event_of_correction,
            ),
        ),
    )


def _of_money() -> Iterator[_Sum]:
    payments = _Rows((_payments.account_id,), _net_p)
    yield _Sum(
        "lifetime_paid",
        "accounts",
        (),
        (_Rows((_accounts.id,), _accounts.lifetime_paid_p),),
        (payments,),
    )
    early = _payments.kind == "early_payment"
    became_credit_p = _grants.withdrawn_p - _grants.amount_p
    yield _Sum(
        "early_paid",
        "periods",
        (),
        (
            _Rows(
                (_periods.account_id,), _periods.early_paid_p, _periods.early_paid_p > 0
            ),
        ),
        (
            _Rows((_payments.account_id,), _payments.amount_p, early),
            _Rows(
                (_payments.account_id,),
                -_payments.amount_p,
                _payments.kind.in_(TAKEN_BACK) & (_original.c.kind == "early_payment"),
                _taken_back,
            ),
            _Rows((_grants.account_id,), became_credit_p, early, _bought),
            _Rows(
                (_grants.account_id,),
                became_credit_p,
                _grants.id.startswith(OF_CORRECTION, autoescape=True),
            ),
        ),
    )
    # Credit that is given as if it had been bought comes without a payment.
    paid = _balance(CASH, 1, _transfers.code != "grant")
    yield _Sum("cash", "transfers", (), paid, (payments,))
    yield _Sum(
        "revenue",
        "transfers",
        (),
        _balance(REVENUE, -1),
        (
            _Rows((_events.account_id,), _events.charge_p),
            _Rows((_corrections.account_id,), _corrections.amount_p),
        ),
    )


def _balance(
    name: str, sign: int, which: ColumnElement[bool] | None = None
) -> tuple[_Rows, _Rows]:
    """Return what was debited of an account of the books, and what was credited."""
    of = (_transfers.account_id,)
    sides = (_transfers.debit, sign), (_transfers.credit, -sign)
    debited, credited = (
        _Rows(
            of,
            _transfers.amount_p * by,
            side == name if which is None else (side == name) & which,
        )
        for side, by in sides
    )
    return debited, credited


def _differing(check: _Sum, connection: Connection, findings_max: int) -> list[Finding]:
    parts = [_added(rows, stated=True) for rows in check.stated]
    parts += [_added(rows, stated=False) for rows in check.summed]
    every = union_all(*parts).subquery()
    *of, stated_high, stated_low, summed_high, summed_low = every.c
    sums = [func.sum(part) for part in (stated_high, stated_low)]
    sums += [func.sum(part) for part in (summed_high, summed_low)]
    # Limbs of a sum may differ where the sums do not: 1 and -1 of it are one million.
    high = func.sum(stated_high - summed_high)
    low = func.sum(stated_low - summed_low)
    wanted = (
        select(*of, *sums)
        .group_by(*of)
        .having(or_(low % LIMB != 0, high + low // LIMB != 0))
        .order_by(*of)
        .limit(findings_max)
    )
    return [_finding(check, tuple(row)) for row in connection.execute(wanted)]


def _added(rows: _Rows, *, stated: bool) -> Select[Any]:
    """Return the sums of rows, in limbs, by what they are of."""
    high, low = exact_sum(rows.amount_p)
    sums: Sequence[ColumnElement[Any]] = (high, low, literal(0), literal(0))
    if not stated:
        sums = (*sums[2:], *sums[:2])
    of = [f"of_{n}" for n in range(len(rows.of))]
    names = (*of, "stated_high", "stated_low", "summed_high", "summed_low")
    columns = (c.label(name) for c, name in zip((*rows.of, *sums), names, strict=True))
    wanted = select(*columns).group_by(*map(literal_column, of))
    if rows.within is not None:
        wanted = wanted.select_from(rows.within)
    return wanted if rows.where is None else wanted.where(rows.where)


def _finding(check: _Sum, row: tuple[Any, ...]) -> Finding:
    account_id, *place = row[:-4]
    return Finding(
        check=check.check,
        table=check.table,
        account_id=account_id,
        place=", ".join(
            f"{name} {key}" for name, key in zip(check.named, place, strict=True)
        ),
        stated_p=joined_sum(*row[-4:-2]),
        summed_p=joined_sum(*row[-2:]),
    )
