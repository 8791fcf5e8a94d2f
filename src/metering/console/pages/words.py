"""What the API's words mean, for people."""

from collections.abc import Mapping

from metering.accounts import ModelClass
from metering.adaptive import PlatformState
from metering.adaptive.law import Cause
from metering.console.api.documents import NextTier
from metering.console.api.limits import LimitRow, PoolRow
from metering.console.pages.showing import plural, short_usd
from metering.ledger import LineKind, PaymentKind
from metering.usage import Ending

__all__ = [
    "ENDINGS",
    "LINES",
    "PAYMENTS",
    "next_tier_takes",
    "of_models",
    "rate",
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

_CLASSES: Mapping[ModelClass, str] = {"paid": "Paid models", "free": "Free models"}

_STATES: Mapping[PlatformState, str] = {
    "normal": "The platform has room for all that is asked of it.",
    "limiting": "The platform is near its capacity, so what is spare is shared.",
    "busy": "The platform is busy: some calls wait for a moment.",
    "shedding_paid": "The platform is over its capacity, for paid calls, too.",
}

_CAUSES: Mapping[Cause, str] = {
    "ceiling": "The limit is at its highest.",
    "budget": "The limit follows what the models could take while calls had to wait.",
    "probe": "The limit is being raised, for nobody waits.",
    "split": "The limit is an equal share for each account that asks.",
    "floor": "The limit is at its lowest and goes no further down.",
}

_PERIODS = {1: "second", 60: "minute", 3600: "hour", 86_400: "day"}


def of_models(kinds: list[ModelClass]) -> str:
    """Return which models a limit is of."""
    return " and ".join(_CLASSES[kind] for kind in kinds).capitalize()


def rate(limit: LimitRow) -> str:
    """Return a limit in words, such as "100 requests per minute"."""
    period = _PERIODS.get(int(limit.per_s), f"{limit.per_s:g} s")
    said = f"{plural(limit.amount, 'request')} per {period}"
    if limit.burst != limit.amount:
        said += f", at most {limit.burst:,} at once"
    return said


def why_adaptive(pool: PoolRow) -> str:
    """Return why an adaptive limit is what it is."""
    said = f"{_STATES[pool.state]} {_CAUSES[pool.cause]}"
    if pool.previous_rpm != pool.limit_rpm:
        said += f" Before that it was {pool.previous_rpm:,.3g} a minute."
    return said


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
