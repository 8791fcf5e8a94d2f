"""What an account has, latest first: payments, credit, keys, alerts."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, Literal, TypeVar

import msgspec

from metering.accounts import ApiKey
from metering.clock import iso_utc
from metering.console.api.asked import OwnedPage
from metering.console.api.documents import Cursor
from metering.console.api.fields import Instant, Usd
from metering.console.api.places import AlertPlaced, Placed, RowPlaced
from metering.console.lane import in_thread
from metering.console.services import Services, Viewer
from metering.ledger import Alert, AlertSubject, CreditGrant, Payment, PaymentKind
from metering.money import format_usd

__all__ = [
    "AlertRow",
    "AlertsShown",
    "CreditRow",
    "CreditsShown",
    "KeyIssued",
    "KeyRow",
    "KeysShown",
    "PaymentRow",
    "PaymentsShown",
    "alerts",
    "credits_of",
    "key_row",
    "keys",
    "payments",
]

_Row = TypeVar("_Row")


class PaymentRow(msgspec.Struct, frozen=True, kw_only=True):
    """A payment."""

    reference: str
    kind: PaymentKind
    usd: Usd
    at: Instant
    refers_to: str | None


class PaymentsShown(msgspec.Struct, frozen=True, kw_only=True):
    """A page of payments, newest first."""

    payments: list[PaymentRow]
    next: Cursor | None


class CreditRow(msgspec.Struct, frozen=True, kw_only=True):
    """Credit that was granted or bought."""

    reference: str
    kind: Literal["promo", "paid"]
    granted_usd: Usd
    left_usd: Usd
    effective: Instant
    expires: Instant | None
    models: list[str] | None
    priority: int


class CreditsShown(msgspec.Struct, frozen=True, kw_only=True):
    """A page of credit, newest first."""

    credits: list[CreditRow]
    next: Cursor | None


class KeyRow(msgspec.Struct, frozen=True, kw_only=True):
    """A key; its secret is kept nowhere."""

    id: str
    account: str
    hint: Annotated[str, msgspec.Meta(description="How its secret ends.")]
    issued: Instant
    revoked: Instant | None
    usage_limit_usd: Usd | None


class KeysShown(msgspec.Struct, frozen=True, kw_only=True):
    """A page of keys, newest first."""

    keys: list[KeyRow]
    next: Cursor | None


class KeyIssued(msgspec.Struct, frozen=True, kw_only=True):
    """A new key. The secret is shown here once."""

    id: str
    account: str
    secret: str


class AlertRow(msgspec.Struct, frozen=True, kw_only=True):
    """A threshold that an account was told it had passed."""

    account: str
    subject: Annotated[AlertSubject, msgspec.Meta(description="What comes to its end.")]
    period: (
        Annotated[str, msgspec.Meta(description="Null: credit, which has none.")] | None
    )
    threshold: Annotated[int, msgspec.Meta(description="Per cent that are used.")]
    used_usd: Usd
    limit_usd: (
        Annotated[Usd, msgspec.Meta(description="Null: all credit there was.")] | None
    )
    at: Annotated[Instant, msgspec.Meta(description="End of the call that passed it.")]


class AlertsShown(msgspec.Struct, frozen=True, kw_only=True):
    """A page of alerts, newest first."""

    alerts: list[AlertRow]
    next: Cursor | None


async def payments(
    services: Services, viewer: Viewer, query: OwnedPage
) -> PaymentsShown:
    """Payments of an account, the newest first."""
    list_them = services.ledger.listing.payments
    found = await _latest(services, viewer, query, list_them)
    page, more = _cut(found, query, lambda last: RowPlaced(last.at_ns, last.reference))
    return PaymentsShown(payments=[_payment_row(each) for each in page], next=more)


async def credits_of(
    services: Services, viewer: Viewer, query: OwnedPage
) -> CreditsShown:
    """Credit of an account, the newest first."""
    list_them = services.ledger.listing.grants
    found = await _latest(services, viewer, query, list_them)
    page, more = _cut(found, query, lambda last: RowPlaced(last.effective_ns, last.id))
    return CreditsShown(credits=[_credit_row(each) for each in page], next=more)


async def keys(services: Services, viewer: Viewer, query: OwnedPage) -> KeysShown:
    """Keys of an account, the newest first; also revoked ones."""
    list_them = services.ledger.listing.keys
    found = await _latest(services, viewer, query, list_them)
    page, more = _cut(found, query, lambda last: RowPlaced(last.created_ns, last.id))
    return KeysShown(keys=[key_row(each) for each in page], next=more)


async def alerts(services: Services, viewer: Viewer, query: OwnedPage) -> AlertsShown:
    """What an account was alerted of, the newest first; an operator's of all."""
    account_id, place = viewer.sees_of_all(query.account), None
    if account_id is not None:
        await in_thread(services.ledger.get, account_id)
    if query.cursor is not None:
        place = msgspec.structs.astuple(AlertPlaced.of(query.cursor))
    found = await in_thread(
        services.ledger.listing.alerts,
        account_id,
        before=place,
        limit=query.limit + 1,
    )
    page, more = _cut(found, query, _alert_place)
    return AlertsShown(alerts=[_alert_row(each) for each in page], next=more)


async def _latest(
    services: Services,
    viewer: Viewer,
    query: OwnedPage,
    list_them: Callable[..., list[_Row]],
) -> list[_Row]:
    """Return a page of an account's rows, and one more where there is one."""
    account_id, place = viewer.sees(query.account), None
    if query.cursor is not None:
        place = msgspec.structs.astuple(RowPlaced.of(query.cursor))
    await in_thread(services.ledger.get, account_id)
    find = partial(list_them, account_id, before=place, limit=query.limit + 1)
    return await in_thread(find)


def _cut(
    found: Sequence[_Row], query: OwnedPage, place_of: Callable[[_Row], Placed]
) -> tuple[Sequence[_Row], str | None]:
    """Return the rows of a page, and the cursor of the next."""
    page = found[: query.limit]
    more = place_of(page[-1]).cursor() if len(found) > len(page) else None
    return page, more


def _payment_row(payment: Payment) -> PaymentRow:
    return PaymentRow(
        reference=payment.reference,
        kind=payment.kind,
        usd=format_usd(payment.amount_p),
        at=iso_utc(payment.at_ns),
        refers_to=payment.refers_to,
    )


def _credit_row(grant: CreditGrant) -> CreditRow:
    expires_ns, models = grant.expires_ns, grant.models
    return CreditRow(
        reference=grant.id,
        kind=grant.kind,
        granted_usd=format_usd(grant.amount_p),
        left_usd=format_usd(grant.left_p),
        effective=iso_utc(grant.effective_ns),
        expires=None if expires_ns is None else iso_utc(expires_ns),
        models=None if models is None else list(models),
        priority=grant.priority,
    )


def key_row(key: ApiKey) -> KeyRow:
    """Return a key."""
    revoked_ns, limit_p = key.revoked_ns, key.usage_limit_p
    return KeyRow(
        id=key.id,
        account=key.account_id,
        hint=key.hint,
        issued=iso_utc(key.created_ns),
        revoked=None if revoked_ns is None else iso_utc(revoked_ns),
        usage_limit_usd=None if limit_p is None else format_usd(limit_p),
    )


def _alert_row(alert: Alert) -> AlertRow:
    of = alert.allowance
    return AlertRow(
        account=of.account_id,
        subject=of.subject,
        period=of.period or None,
        threshold=alert.threshold,
        used_usd=format_usd(of.used_p),
        limit_usd=format_usd(of.limit_p) if of.limit_p else None,
        at=iso_utc(alert.at_ns),
    )


def _alert_place(alert: Alert) -> AlertPlaced:
    of = alert.allowance
    return AlertPlaced(
        *(alert.at_ns, of.account_id, of.subject, of.period),
        *(of.epoch, of.limit_p, alert.threshold),
    )
