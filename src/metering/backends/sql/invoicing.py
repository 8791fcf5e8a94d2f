"""Invoices in SQL, within a transaction that the caller has begun."""

from collections.abc import Collection
from typing import Any

import msgspec
from msgspec.structs import asdict
from sqlalchemy import (
    ColumnElement,
    Connection,
    RowMapping,
    and_,
    case,
    func,
    or_,
    select,
    tuple_,
    update,
)

from metering.accounts import Account, TierBook
from metering.backends.sql import identity, pricing, schema
from metering.backends.sql.credit import add_grant
from metering.backends.sql.reading import exact_sum, joined_sum
from metering.backends.sql.transfers import book
from metering.backends.sql.upsert import insert
from metering.ledger import (
    TAKEN_BACK,
    Invoice,
    InvoiceLine,
    Payment,
    PeriodState,
    carried_over,
    checked_closing,
    checked_invoice_payment,
    draw_up,
    moved_to_credit,
    not_yet_billed,
    period_named,
    period_of,
    revised,
    rounding_of,
)
from metering.pricing import PublishedPrices
from metering.stores import UnbilledPeriod
from metering.usage import Usage

__all__ = ["close_period", "invoice", "invoices", "note_payment", "unbilled"]

_corrections = schema.corrections.c
_events = schema.usage_events.c
_invoices = schema.invoices.c
_payments = schema.payments.c
_periods = schema.periods.c

_LEAVES = Usage.__struct_fields__

_encode = msgspec.json.Encoder().encode
_decode_lines = msgspec.json.Decoder(tuple[InvoiceLine, ...]).decode

_came_later = and_(
    _periods.invoiced_p.is_not(None),
    or_(
        _periods.spent_p != _periods.invoiced_p,
        _periods.early_paid_p != _periods.invoiced_early_p,
    ),
)


def close_period(
    connection: Connection,
    account_id: str,
    key: str,
    tiers: TierBook,
    *,
    now_ns: int,
    grace_ns: int,
) -> Invoice:
    """Make the invoice of a period, once; see `InvoiceStore.close_period`."""
    account = identity.get(connection, account_id, to_write=True)
    named = period_named(key, account.time_zone, account.anchor_day)
    known = _of_period(connection, account_id, key)
    if known is not None:
        return known
    first = _first_period(connection, account)
    period = checked_closing(account_id, named, first, now_ns, grace_ns)
    states = _states(connection, account_id, key)
    made = draw_up(
        account_id, period, _lines(connection, account_id, key, states), now_ns
    )
    row = asdict(made) | {"lines": _encode(made.lines).decode()}
    connection.execute(insert(schema.invoices).values(row))
    book(connection, rounding_of(made))
    _mark_billed(connection, account_id, states)
    _carry_over(connection, account, made, tiers)
    return made


def invoice(connection: Connection, invoice_id: str) -> Invoice | None:
    """Return an invoice, or None if there is none of that id."""
    wanted = select(schema.invoices).where(_invoices.id == invoice_id)
    row = connection.execute(wanted).mappings().first()
    return None if row is None else _invoice_of(row)


def invoices(
    connection: Connection, account_id: str | None, after: str, limit: int
) -> list[Invoice]:
    """Return invoices by id, after the one named."""
    wanted = select(schema.invoices).where(_invoices.id > after)
    if account_id is not None:
        wanted = wanted.where(_invoices.account_id == account_id)
    rows = connection.execute(wanted.order_by(_invoices.id).limit(limit)).mappings()
    return [_invoice_of(row) for row in rows]


def unbilled(
    connection: Connection, after: tuple[str, str], limit: int
) -> list[UnbilledPeriod]:
    """Return periods that are not wholly on an invoice, by account and period."""
    place = _periods.account_id, _periods.period
    wanted = (
        select(*place, _periods.invoiced_p.is_not(None))
        .where(tuple_(*place) > after, or_(_periods.invoiced_p.is_(None), _came_later))
        .order_by(*place)
        .limit(limit)
    )
    return [
        UnbilledPeriod(account_id, period, bool(invoiced))
        for account_id, period, invoiced in connection.execute(wanted)
    ]


def note_payment(connection: Connection, payment: Payment) -> None:
    """Note on an invoice that it is paid, or no longer so: all of it was taken back."""
    if payment.kind == "invoice" and payment.refers_to is not None:
        paid = checked_invoice_payment(invoice(connection, payment.refers_to), payment)
        settled = update(schema.invoices).where(_invoices.id == paid.id)
        connection.execute(settled.values(paid_by=payment.reference))
    elif payment.takes_back:
        sums = select(*exact_sum(_payments.amount_p)).where(
            _payments.account_id == payment.account_id,
            _payments.kind.in_(TAKEN_BACK),
            _payments.refers_to == payment.refers_to,
        )
        whole = select(_payments.amount_p).where(
            _payments.reference == payment.refers_to
        )
        row = connection.execute(sums).one()
        if joined_sum(row[0], row[1]) == connection.execute(whole).scalar_one():
            reopened = update(schema.invoices).where(
                _invoices.paid_by == payment.refers_to
            )
            connection.execute(reopened.values(paid_by=None))


def _first_period(connection: Connection, account: Account) -> str:
    """Return the key of the one it was created in, or of calls from before that."""
    created_in = period_of(account, account.created_ns).key
    used_in = select(func.min(_periods.period)).where(_periods.account_id == account.id)
    return min(created_in, connection.execute(used_in).scalar_one() or created_in)


def _of_period(connection: Connection, account_id: str, key: str) -> Invoice | None:
    wanted = select(schema.invoices).where(
        _invoices.account_id == account_id, _invoices.period == key
    )
    row = connection.execute(wanted).mappings().first()
    return None if row is None else _invoice_of(row)


def _invoice_of(row: RowMapping) -> Invoice:
    return Invoice(**{**row, "lines": _decode_lines(row["lines"])})


def _states(
    connection: Connection, account_id: str, key: str
) -> dict[str, PeriodState]:
    """Return the period, and earlier ones to which something came after they closed."""
    wanted = select(schema.periods).where(
        _periods.account_id == account_id, or_(_periods.period == key, _came_later)
    )
    found = {
        row["period"]: PeriodState(row["spent_p"], row["early_paid_p"], row["epoch"])
        for row in connection.execute(wanted).mappings()
    }
    return {key: PeriodState()} | found


def _lines(
    connection: Connection, account_id: str, key: str, states: dict[str, PeriodState]
) -> list[InvoiceLine]:
    prices = PublishedPrices(pricing.published(connection))
    now = _used(connection, account_id, states.keys(), prices, key)
    now += _corrected(connection, account_id, key, prices)
    now += [
        InvoiceLine(kind="early_payment", period=period, amount_p=-state.early_paid_p)
        for period, state in sorted(states.items())
    ]
    if len(states) == 1:
        return now
    wanted = select(_invoices.lines).where(_invoices.account_id == account_id)
    billed = [
        line
        for lines in connection.execute(wanted).scalars()
        for line in _decode_lines(lines)
        if line.period in states and line.kind in {"usage", "late", "early_payment"}
    ]
    return not_yet_billed(now, billed)


def _used(
    connection: Connection,
    account_id: str,
    periods: Collection[str],
    prices: PublishedPrices,
    key: str,
) -> list[InvoiceLine]:
    """Return what calls of some periods cost, by period, model and price."""
    by = _events.period, _events.model, _events.price_version
    sums = [exact_sum(_events[leaf]) for leaf in _LEAVES]
    sums += [exact_sum(_events.charge_p), exact_sum(_billed_p(_events.rest_p))]
    wanted = (
        select(*by, func.count(), *(part for pair in sums for part in pair))
        .where(_events.account_id == account_id, _events.period.in_(sorted(periods)))
        .group_by(*by)
        .order_by(*by)
    )
    lines: list[InvoiceLine] = []
    for row in connection.execute(wanted):
        period, model, version, calls, *parts = tuple(row)
        *used, charge_p, billed_p = map(joined_sum, parts[::2], parts[1::2])
        lines.append(
            InvoiceLine(
                kind="usage" if period == key else "late",
                period=period,
                model=model,
                price_version=version,
                price_kind=_kind(prices, version),
                calls=calls,
                usage=Usage(**dict(zip(_LEAVES, used, strict=True))),
                amount_p=charge_p,
                credit_p=charge_p - billed_p,
            )
        )
    return lines


def _corrected(
    connection: Connection, account_id: str, key: str, prices: PublishedPrices
) -> list[InvoiceLine]:
    """Return what corrections changed that the period's invoice tells."""
    by = _corrections.period, _events.model, _corrections.price_version
    sums = (
        *exact_sum(_corrections.amount_p),
        *exact_sum(_billed_p(_corrections.rest_p)),
    )
    wanted = (
        select(*by, func.count(), *sums)
        .join(schema.usage_events, _events.id == _corrections.event_id)
        .where(_corrections.account_id == account_id, _corrections.booked_period == key)
        .group_by(*by)
        .order_by(*by)
    )
    lines: list[InvoiceLine] = []
    for row in connection.execute(wanted):
        period, model, version, calls, *parts = tuple(row)
        amount_p, billed_p = map(joined_sum, parts[::2], parts[1::2])
        lines.append(
            InvoiceLine(
                kind="correction",
                period=period,
                model=model,
                price_version=version,
                price_kind=_kind(prices, version),
                calls=calls,
                amount_p=amount_p,
                credit_p=amount_p - billed_p,
            )
        )
    return lines


def _billed_p(rest_p: ColumnElement[int]) -> ColumnElement[int]:
    """Return what of a rest an invoice bills: on credit alone, later credit pays it."""
    return case((_events.funding == "postpaid", rest_p), else_=0)


def _kind(prices: PublishedPrices, version: str) -> str:
    known = prices.by_id(version)
    if known is not None:
        return known.kind
    return "agreed" if version else "unpriced"


def _mark_billed(
    connection: Connection, account_id: str, states: dict[str, PeriodState]
) -> None:
    rows: list[dict[str, Any]] = [
        asdict(state)
        | {
            "account_id": account_id,
            "period": key,
            "invoiced_p": state.spent_p,
            "invoiced_early_p": state.early_paid_p,
        }
        for key, state in states.items()
    ]
    statement = insert(schema.periods)
    new = statement.excluded
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=[_periods.account_id, _periods.period],
            set_={
                "invoiced_p": new.invoiced_p,
                "invoiced_early_p": new.invoiced_early_p,
            },
        ),
        rows,
    )


def _carry_over(
    connection: Connection, account: Account, made: Invoice, tiers: TierBook
) -> None:
    grant = carried_over(made)
    if grant is not None:
        add_grant(connection, grant)
        book(connection, [moved_to_credit(grant)])
        after = revised(account, account, tiers, made.closed_ns)
        identity.replace(connection, after, tiers, made.closed_ns)
