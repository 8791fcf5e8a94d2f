"""How commands read instants, and how they write amounts, instants and accounts."""

from collections.abc import Mapping
from datetime import UTC, datetime

from metering.accounts import Account, Overrides, Tier
from metering.clock import NS_PER_S, NS_PER_US, iso_utc
from metering.errors import ConfigurationError
from metering.ledger import CreditState
from metering.money import PICO, format_usd
from metering.quota import RateQuota
from metering.resolved import Resolved

__all__ = [
    "ADAPTIVE_TEXT",
    "account_document",
    "agreed_document",
    "amount",
    "credit_document",
    "dollars",
    "instant_ns",
    "may_document",
    "rate_text",
    "when",
]

ADAPTIVE_TEXT = "adaptive"
"""Said of a request limit that follows what the platform can spare."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CENT_P = PICO // 100
_SPANS = {1: "second", 60: "minute", 3600: "hour", 86_400: "day", 2_592_000: "month"}


def amount(amount_p: int) -> str:
    """Return an amount as people read it: $5.00, $0.000145, -$1.50; nothing is cut."""
    text = format_usd(abs(amount_p))
    if amount_p % _CENT_P == 0:
        whole, _, cents = text.partition(".")
        text = f"{int(whole):,}.{cents:0<2}"
    return f"{'-' if amount_p < 0 else ''}${text}"


def dollars(amount_p: int) -> str:
    """Return an amount as a plan has it: $50, $5,000, $0.6."""
    whole, point, rest = format_usd(amount_p).partition(".")
    return f"${int(whole):,}{point}{rest}"


def instant_ns(text: str) -> int:
    """Return the instant that is written as 2026-02-12 or 2026-02-12T09:30:00Z.

    A day means its first instant in UTC.

    Raises:
        ConfigurationError: It is no such instant, or has a time without an offset.
    """
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is not None and at.tzinfo is None and len(text) <= len("2026-02-12"):
        at = at.replace(tzinfo=UTC)
    if at is None or at.tzinfo is None or at < _EPOCH:
        raise ConfigurationError(
            f"{text!r} is not an instant. Write a day, such as 2026-02-12, or a time"
            " with its offset, such as 2026-02-12T09:30:00Z."
        )
    since = at - _EPOCH
    return (since.days * 86_400 + since.seconds) * NS_PER_S + since.microseconds * (
        NS_PER_US
    )


def when(at_ns: int) -> str:
    """Return an instant as people read it: to the second, such as 2026-02-12 09:30:00Z.

    JSON has it whole, and so has what is to be copied.
    """
    return iso_utc(at_ns // NS_PER_S * NS_PER_S).replace("T", " ")


def rate_text(quota: RateQuota) -> str:
    """Return a rate as a plan writes it, such as "100/minute"."""
    seconds = quota.per_ns / NS_PER_S
    span = _SPANS.get(round(seconds)) if seconds.is_integer() else None
    text = f"{quota.amount:,}/{span}" if span else f"{quota.amount:,} in {seconds:g} s"
    return text if quota.burst == quota.amount else f"{text}, {quota.burst:,} at once"


def account_document(account: Account, tier: Tier) -> dict[str, object]:
    """Return an account in its tier as `--json` writes it."""
    return {
        "id": account.id,
        "created": iso_utc(account.created_ns),
        "tier": {"level": tier.level, "name": tier.name},
        "pinned": account.pin,
        "payment_method": account.payment_method,
        "lifetime_paid_usd": format_usd(account.lifetime_paid_p),
        "suspended": account.suspended,
        "agreed": agreed_document(account.overrides),
    }


def agreed_document(agreed: Overrides) -> dict[str, object]:
    """Return what was agreed with an account: only what replaces its tier's values."""
    document: dict[str, object] = {}
    if agreed.usage_limit_p is not None:
        document["usage_limit_usd"] = format_usd(agreed.usage_limit_p)
    if agreed.output_tokens_max is not None:
        document["output_tokens_max"] = agreed.output_tokens_max
    if agreed.reasoning_output_tokens_max is not None:
        document["reasoning_output_tokens_max"] = agreed.reasoning_output_tokens_max
    if agreed.requests:
        rates = agreed.requests.items()
        document["requests"] = {kind: rate_text(r.quota()) for kind, r in rates}
    if agreed.prices:
        document["prices_p"] = {
            model: {"input": p.input_p, "output": p.output_p, "per_tokens": p.per}
            for model, p in agreed.prices.items()
        }
    return document


def may_document(caller: Resolved) -> Mapping[str, object]:
    """Return what an account may do: its tier's values, and what was agreed instead."""
    limit_p = caller.usage_limit_p
    return {
        "requests": {
            kind: [
                rate_text(d.quota) for d in demands if isinstance(d.quota, RateQuota)
            ]
            for kind, demands in caller.requests.items()
        }
        | {kind: [ADAPTIVE_TEXT] for kind in sorted(caller.adaptive)},
        "output_tokens_max": caller.output_tokens_max,
        "reasoning_output_tokens_max": caller.reasoning_output_tokens_max,
        "usage_limit_usd": None if limit_p is None else format_usd(limit_p),
        "funding": caller.funding,
        "credit": credit_document(caller.credit),
    }


def credit_document(credit: CreditState) -> dict[str, str]:
    """Return the credit of an account as the ledger has it."""
    return {
        "granted_usd": format_usd(credit.ceiling_p),
        "used_usd": format_usd(credit.used_p),
        "left_usd": format_usd(credit.ceiling_p - credit.used_p),
    }
