"""Notices: what the ledger tells others, and who is told of what."""

from typing import Any, Literal, get_args

import msgspec

from metering.accounts import Account, Tier
from metering.clock import iso_utc
from metering.ids import uuid7
from metering.ledger.alerts import THRESHOLDS, Alert, AlertSubject
from metering.ledger.payments import Payment
from metering.money import format_usd
from metering.usage import UsageEvent

__all__ = [
    "NOTICE_KINDS",
    "USAGE_RECORDED",
    "Notice",
    "NoticeKind",
    "Notices",
    "Subscription",
    "notice_kind",
    "notice_of_alert",
    "notice_of_payment",
    "notice_of_suspension",
    "notice_of_tier",
    "notice_of_usage",
]

NoticeKind = Literal[
    "usage_limit.near",
    "usage_limit.reached",
    "credit.low",
    "credit.used_up",
    "payment.recorded",
    "tier.changed",
    "account.suspended",
    "usage.recorded",
]
"""What a notice is about. `usage.recorded` comes with each call, to who asks for it."""

NOTICE_KINDS: tuple[NoticeKind, ...] = get_args(NoticeKind)

USAGE_RECORDED: NoticeKind = "usage.recorded"

_OF_ALERT: dict[tuple[AlertSubject, bool], NoticeKind] = {
    ("usage_limit", False): "usage_limit.near",
    ("usage_limit", True): "usage_limit.reached",
    ("credit", False): "credit.low",
    ("credit", True): "credit.used_up",
}

_encode = msgspec.json.Encoder().encode


class Subscription(msgspec.Struct, frozen=True):
    """Who is told of what.

    Attributes:
        destination: Names where notices go; they wait under it until they are sent.
        kinds: What is sent there.
    """

    destination: str
    kinds: tuple[NoticeKind, ...]


class Notices(msgspec.Struct, frozen=True, kw_only=True):
    """What a ledger tells.

    Attributes:
        thresholds: Per cent of an allowance at which alerts are fired; none for none.
        subscriptions: Who is told.
    """

    thresholds: tuple[int, ...] = THRESHOLDS
    subscriptions: tuple[Subscription, ...] = ()

    def destinations(self, kind: NoticeKind) -> tuple[str, ...]:
        """Return where notices of that kind go."""
        return tuple(
            each.destination for each in self.subscriptions if kind in each.kinds
        )


class Notice(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One message to whoever subscribed to its kind.

    Attributes:
        id: Its own, the same however often and wherever it is sent.
        kind: What it is about.
        account_id: Whom it is about.
        at_ns: When it happened.
        data: What happened, as JSON; amounts are decimal strings of dollars.
    """

    id: str
    kind: NoticeKind
    account_id: str
    at_ns: int
    data: bytes


def notice_kind(alert: Alert) -> NoticeKind:
    """Return what the notice of an alert is about."""
    return _OF_ALERT[alert.allowance.subject, alert.reached]


def notice_of_alert(alert: Alert) -> Notice:
    """Return the notice that an allowance comes to its end."""
    of = alert.allowance
    data: dict[str, Any] = {"account": of.account_id}
    if of.period:
        data["period"] = of.period
    data |= {
        "threshold_percent": alert.threshold,
        "limit_usd": format_usd(of.limit_p),
        "used_usd": format_usd(of.used_p),
        "left_usd": format_usd(max(0, of.limit_p - of.used_p)),
    }
    return _notice(notice_kind(alert), of.account_id, alert.at_ns, data)


def notice_of_payment(payment: Payment) -> Notice:
    """Return the notice that money came in, or was taken back."""
    data = {
        "account": payment.account_id,
        "reference": payment.reference,
        "kind": payment.kind,
        "amount_usd": format_usd(payment.amount_p),
    }
    return _notice("payment.recorded", payment.account_id, payment.at_ns, data)


def notice_of_tier(account: Account, before: Tier, after: Tier, at_ns: int) -> Notice:
    """Return the notice that an account is in another tier."""
    data = {
        "account": account.id,
        "before": {"level": before.level, "name": before.name},
        "after": {"level": after.level, "name": after.name},
    }
    return _notice("tier.changed", account.id, at_ns, data)


def notice_of_suspension(account: Account, at_ns: int) -> Notice:
    """Return the notice that calls of an account are refused from now on."""
    return _notice("account.suspended", account.id, at_ns, {"account": account.id})


def notice_of_usage(event: UsageEvent) -> Notice:
    """Return the notice of a call; its id is the event's."""
    data: dict[str, Any] = {
        "account": event.account_id,
        "key": event.key_id,
        "tier": event.tier,
        "model": event.model,
        "model_asked": event.model_asked or event.model,
        "dialect": event.dialect,
        "period": event.period,
        "admitted_at": iso_utc(event.admitted_ns),
        "ended_at": iso_utc(event.ended_ns),
        "ending": event.ending,
        "status": event.status,
        "usage": event.usage,
        "usage_source": event.usage_source,
        "price_version": event.price_version,
        "charge_usd": format_usd(event.charge_p),
        "flags": event.flags,
    }
    return Notice(
        id=event.id,
        kind=USAGE_RECORDED,
        account_id=event.account_id,
        at_ns=event.ended_ns,
        data=_encode(data),
    )


def _notice(
    kind: NoticeKind, account_id: str, at_ns: int, data: dict[str, Any]
) -> Notice:
    return Notice(
        id=uuid7(at_ns),
        kind=kind,
        account_id=account_id,
        at_ns=at_ns,
        data=_encode(data),
    )
