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
    "credit": "Paid by credit",
    "early_payment": "Paid early",
    "carried": "Carried over as credit",
}

BUDGETS: Mapping[str, str] = {
    "period": "Limit of the period",
    "credit": "Credit",
    "key": "Limit of the key you are signed in by",
}

DONE: Mapping[str, str] = {
    "created": "The account is there, with its sign-up credit.",
    "suspend": "The account is suspended. Its calls are refused from the next one on.",
    "resume": "The account is resumed.",
    "payment_method": "The payment method is noted; the tier follows it.",
    "tier": "The tier is set.",
    "payment": "The payment is recorded. Its reference counts once.",
    "credit": "The credit is given. Its reference counts once.",
    "agreement": "The agreement is kept, and holds from the next call on.",
    "close": "The period is closed.",
}
"""What an operator has just done with an account."""

_WHOLE_FROM = 10
"""Requests a minute from which on parts of one do not matter."""

_CLASSES: Mapping[ModelClass, str] = {"paid": "Paid models", "free": "Free models"}

_STATES: Mapping[PlatformState, str] = {
    "normal": "The platform has room for all that is asked of it.",
    "limiting": "The platform is near its capacity, so what is spare is shared.",
    "busy": "The platform is busy: some calls wait for a moment.",
    "shedding_paid": "The platform is over its capacity, for paid calls, too.",
}

STATES: Mapping[PlatformState, str] = {
    "normal": "Room for all",
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
    "ceiling": "Its highest",
    "budget": "What is spare",
    "probe": "Feeling upwards",
    "split": "An equal share",
    "floor": "Its lowest",
}

_CAUSES: Mapping[Cause, str] = {
    "ceiling": "The limit is at its highest.",
    "budget": "The limit follows what the models could take while calls had to wait.",
    "probe": "The limit is being raised, for nobody waits.",
    "split": "The limit is an equal share for each account that asks.",
    "floor": "The limit is at its lowest and goes no further down.",
}

_PERIODS: Mapping[float, str] = {
    1: "second",
    60: "minute",
    3600: "hour",
    86_400: "day",
}

_REASONS: Mapping[str, str] = {
    "invalid_json": "The body was not JSON.",
    "invalid_form": "The body was no form that can be read.",
    "invalid_content_encoding": "The body was not compressed as it said.",
    "model_missing": "The request named no model.",
    "request_exceeds_limit": "The call alone was above a whole limit.",
    "input_not_bounded": "Nothing told how long the input could be.",
    "output_not_bounded": "Nothing told how long the output could be.",
    "invalid_api_key": "The key was not known, or revoked.",
    "insufficient_quota": "The credit was used up.",
    "usage_limit_reached": "The limit of the period was used up.",
    "account_suspended": "The account was suspended.",
    "route_not_metered": "The path is not served.",
    "model_not_priced": "The model was not known, or had no price then.",
    "body_too_large": "The body was too large.",
    "unsupported_content_encoding": "The body was compressed in a way not known.",
    "rate_limit_exceeded": "A limit was used up for the moment.",
    "budget_in_flight": "Running calls held what was left of the money.",
    "storage_unavailable": "The ledger or the limits did not answer.",
    "journal_full": "Nothing more could be recorded.",
    "model_not_ready": "The model was cold and its queue full.",
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
        said += f" Before that it was {figure(pool.previous_rpm)} a minute."
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
    said += f", of each {' and '.join(each)}" if each else ", of everyone together"
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
        return f"{following.name} comes with the next call."
    return f"{following.name}: {' and '.join(takes)}."
