"""What the API's words mean, for people."""

from collections.abc import Mapping

from metering.accounts import ModelClass
from metering.adaptive import PlatformState
from metering.adaptive.law import Cause
from metering.console.api.documents import NextTier
from metering.console.api.limits import LimitRow, PoolRow, RuleRow
from metering.console.pages.showing import duration, figure, plural, short_usd
from metering.ledger import LineKind, PaymentKind
from metering.usage import Ending, Usage

__all__ = [
    "BUDGETS",
    "CAUSES",
    "DONE",
    "ENDINGS",
    "LINES",
    "PAYMENTS",
    "STATES",
    "STATE_KINDS",
    "flags",
    "next_tier_takes",
    "of_models",
    "per_minute",
    "quantities",
    "rate",
    "reason",
    "rule",
    "why_adaptive",
]

ENDINGS: Mapping[Ending, str] = {
    "completed": "Completed",
    "client_gone": "Client left",
    "upstream_error": "Model failed",
    "app_error": "Service failed",
    "cancelled": "Cancelled",
    "recovered": "Recovered",
}

PAYMENTS: Mapping[PaymentKind, str] = {
    "credit_purchase": "Credit bought",
    "early_payment": "Early payment",
    "invoice": "Invoice paid",
    "refund": "Refund",
    "chargeback": "Chargeback",
}

LINES: Mapping[LineKind, str] = {
    "usage": "Usage",
    "late": "Usage of an earlier period",
    "correction": "Correction",
    "credit": "Paid from credit",
    "early_payment": "Paid early",
    "carried": "Carried over as credit",
}

BUDGETS: Mapping[str, str] = {
    "period": "Period limit",
    "credit": "Credit",
    "key": "Limit of the key you are signed in with",
}

DONE: Mapping[str, str] = {
    "created": "Account created, with its sign-up credit.",
    "suspend": "Account suspended. New calls are refused.",
    "resume": "Account resumed.",
    "payment_method": "Payment method updated; the tier follows from it.",
    "tier": "Tier updated.",
    "payment": "Payment recorded.",
    "credit": "Credit given.",
    "agreement": "Agreement saved. It applies from the next call.",
    "close": "Period closed.",
}
"""What an operator has just done with an account."""

_WHOLE_FROM = 10
"""Requests a minute from which on parts of one do not matter."""

_CLASSES: Mapping[ModelClass, str] = {"paid": "Paid models", "free": "Free models"}

_STATES: Mapping[PlatformState, str] = {
    "normal": "The platform has room for every request.",
    "limiting": "The platform is near capacity, so spare capacity is shared.",
    "busy": "The platform is busy: some calls wait briefly.",
    "shedding_paid": "The platform is over capacity, even for paid calls.",
}

STATES: Mapping[PlatformState, str] = {
    "normal": "Normal",
    "limiting": "Near capacity",
    "busy": "Busy",
    "shedding_paid": "Over capacity",
}
"""States of the platform in a word, for operators."""

STATE_KINDS: Mapping[PlatformState, str] = {
    "normal": "good",
    "limiting": "",
    "busy": "warn",
    "shedding_paid": "bad",
}

CAUSES: Mapping[Cause, str] = {
    "ceiling": "Maximum",
    "budget": "Spare capacity",
    "probe": "Probing upwards",
    "split": "Equal shares",
    "floor": "Minimum",
}

_CAUSES: Mapping[Cause, str] = {
    "ceiling": "The limit is at its maximum.",
    "budget": "The limit follows what the models could serve while calls were waiting.",
    "probe": "The limit is rising, as no calls are waiting.",
    "split": "Each account asking gets an equal share.",
    "floor": "The limit is at its minimum.",
}

_PERIODS: Mapping[float, str] = {
    1: "second",
    60: "minute",
    3600: "hour",
    86_400: "day",
}

_REASONS: Mapping[str, str] = {
    "invalid_json": "The body was not JSON.",
    "invalid_form": "The form could not be read.",
    "invalid_content_encoding": "The body did not match its content encoding.",
    "model_missing": "The request named no model.",
    "request_exceeds_limit": "The call alone exceeded a whole limit.",
    "input_not_bounded": "The input had no known upper bound.",
    "output_not_bounded": "The output had no known upper bound.",
    "invalid_api_key": "The key was unknown or revoked.",
    "insufficient_quota": "The credit was used up.",
    "usage_limit_reached": "The limit of the period was used up.",
    "account_suspended": "The account was suspended.",
    "route_not_metered": "The path is not served.",
    "model_not_priced": "The model was unknown or had no price.",
    "body_too_large": "The body was too large.",
    "unsupported_content_encoding": "The content encoding is not supported.",
    "rate_limit_exceeded": "A rate limit was reached.",
    "budget_in_flight": "Calls in progress held the remaining money.",
    "storage_unavailable": "The ledger or limit store did not respond.",
    "journal_full": "The journal was full.",
    "model_not_ready": "The model was not loaded and its queue was full.",
    "platform_busy": "The platform was busy.",
}


def of_models(kinds: list[ModelClass]) -> str:
    """Return which models a limit is of."""
    return " and ".join(_CLASSES[kind] for kind in kinds).capitalize()


def rate(limit: LimitRow) -> str:
    """Return a limit in words, such as "100 requests per minute"."""
    said = f"{plural(limit.amount, 'request')} per {_period(limit.per_s)}"
    if limit.burst != limit.amount:
        said += f", at most {limit.burst:,} at once"
    return said


def _period(seconds: float) -> str:
    return _PERIODS.get(seconds, f"{seconds:,.12g} s")


def why_adaptive(pool: PoolRow) -> str:
    """Return why an adaptive limit is what it is."""
    said = f"{_STATES[pool.state]} {_CAUSES[pool.cause]}"
    if pool.previous_rpm != pool.limit_rpm:
        said += f" Before that it was {figure(pool.previous_rpm)} per minute."
    return said


def per_minute(limit_rpm: float) -> str:
    """Return an adaptive limit, which may be less than one in a minute."""
    number = f"{limit_rpm:,.0f}" if limit_rpm >= _WHOLE_FROM else f"{limit_rpm:.2g}"
    return f"{number} requests"


def rule(row: RuleRow) -> str:
    """Return a limit of the plan in words."""
    counted = row.counts.replace("_", " ")
    said = f"{row.amount:,} {counted}"
    said += " at once" if row.per_s is None else f" per {_period(row.per_s)}"
    each = [name for name in row.per if name != "everyone"]
    said += f", per {' and '.join(each)}" if each else ", shared by everyone"
    if row.model is not None:
        return f"{said}, for {row.model}"
    return f"{said}, for {', '.join(row.models)}" if row.models else said


def reason(code: str) -> str:
    """Return why a call was refused, given the code that its client was told."""
    return _REASONS.get(code, "Refused.")


def flags(names: list[str]) -> str:
    """Return what is to be known of how a call was counted."""
    return ", ".join(name.replace("_", " ") for name in names)


def quantities(usage: Usage) -> str:
    """Return what was used, without what was not."""
    told = (
        (usage.input_total, "tokens in"),
        (usage.output_total, "tokens out"),
        (usage.images, "images"),
    )
    parts = [f"{number:,} {unit}" for number, unit in told if number]
    for milliseconds, unit in (
        (usage.audio_ms, "audio"),
        (usage.compute_ms, "compute"),
    ):
        if milliseconds:
            parts.append(f"{duration(milliseconds)} of {unit}")
    return ", ".join(parts)


def next_tier_takes(following: NextTier) -> str:
    """Return what the next tier takes."""
    takes = []
    if following.paid_usd != "0":
        takes.append(f"pay {short_usd(following.paid_usd)} more")
    if following.payment_method:
        takes.append("add a payment method")
    if not takes:
        return f"{following.name} starts with the next call."
    return f"{following.name}: {' and '.join(takes)}."
