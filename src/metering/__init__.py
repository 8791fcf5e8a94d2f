"""Tiers, rate limits, output caps, metering and billing for ASGI model servers."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from metering.accounts import Agreement, Overrides, RateOverride, TokenPrices
    from metering.adaptive import AdaptiveSettings
    from metering.asgi.adaptive import AdaptiveMiddleware
    from metering.asgi.billing import BillingMiddleware
    from metering.asgi.clamp import ClampMiddleware
    from metering.asgi.coldstart import ColdStartMiddleware
    from metering.asgi.limiter import LimiterMiddleware
    from metering.asgi.meter import MeterMiddleware
    from metering.asgi.parts import Parts
    from metering.asgi.reported import report
    from metering.asgi.subjects import FromBody
    from metering.asgi.tier import TierMiddleware
    from metering.backends.engine_gauges import PrometheusGauges as PrometheusGauges
    from metering.backends.memory import MemoryLimitStore
    from metering.billing import Biller
    from metering.coldstart import ColdStart
    from metering.config import Plan, load_plan
    from metering.errors import (
        AccountNotFoundError,
        ConfigurationError,
        JournalFullError,
        LedgerError,
        MeteringError,
        StorageError,
        UsageError,
    )
    from metering.exports.opentelemetry import OpenTelemetry as OpenTelemetry
    from metering.limit_rules import LimitRule
    from metering.limiter import Limiter
    from metering.metering import Metering, MeteringMiddleware
    from metering.observing import Observer
    from metering.platform import Platform, PlatformSettings
    from metering.quota import BudgetQuota, RateQuota
    from metering.tiers import TierResolver

__version__ = "0.1.0"

# What `import *` brings is there with every install. Names of extras are imported by
# name, and a missing one says which.
__all__ = [
    "AccountNotFoundError",
    "AdaptiveMiddleware",
    "AdaptiveSettings",
    "Agreement",
    "Biller",
    "BillingMiddleware",
    "BudgetQuota",
    "ClampMiddleware",
    "ColdStart",
    "ColdStartMiddleware",
    "ConfigurationError",
    "FromBody",
    "JournalFullError",
    "LedgerError",
    "LimitRule",
    "Limiter",
    "LimiterMiddleware",
    "MemoryLimitStore",
    "MeterMiddleware",
    "Metering",
    "MeteringError",
    "MeteringMiddleware",
    "Observer",
    "Overrides",
    "Parts",
    "Plan",
    "Platform",
    "PlatformSettings",
    "RateOverride",
    "RateQuota",
    "StorageError",
    "TierMiddleware",
    "TierResolver",
    "TokenPrices",
    "UsageError",
    "load_plan",
    "report",
]

# Where each name lives. It is imported when it is first asked for: pytest imports this
# package at every start for the plugin's sake, and SQLAlchemy alone takes 0.1 s.
_HOMES = {
    "AdaptiveMiddleware": "metering.asgi.adaptive",
    "AdaptiveSettings": "metering.adaptive",
    "Agreement": "metering.accounts",
    "Biller": "metering.billing",
    "BillingMiddleware": "metering.asgi.billing",
    "BudgetQuota": "metering.quota",
    "ClampMiddleware": "metering.asgi.clamp",
    "LimitRule": "metering.limit_rules",
    "Limiter": "metering.limiter",
    "LimiterMiddleware": "metering.asgi.limiter",
    "MemoryLimitStore": "metering.backends.memory",
    "MeterMiddleware": "metering.asgi.meter",
    "Metering": "metering.metering",
    "MeteringMiddleware": "metering.metering",
    "Observer": "metering.observing",
    "OpenTelemetry": "metering.exports.opentelemetry",
    "Overrides": "metering.accounts",
    "Parts": "metering.asgi.parts",
    "Plan": "metering.config",
    "Platform": "metering.platform",
    "PlatformSettings": "metering.platform",
    "PrometheusGauges": "metering.backends.engine_gauges",
    "RateOverride": "metering.accounts",
    "RateQuota": "metering.quota",
    "TierMiddleware": "metering.asgi.tier",
    "TierResolver": "metering.tiers",
    "TokenPrices": "metering.accounts",
    "load_plan": "metering.config",
    "report": "metering.asgi.reported",
    "ColdStart": "metering.coldstart",
    "ColdStartMiddleware": "metering.asgi.coldstart",
    "FromBody": "metering.asgi.subjects",
}

_EXTRAS = {"OpenTelemetry": "otel", "PrometheusGauges": "engine"}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in __all__ and name not in _EXTRAS:
        raise AttributeError(f"module 'metering' has no attribute {name!r}", name=name)
    try:
        home = import_module(_HOMES.get(name, "metering.errors"))
    except ModuleNotFoundError as error:
        if name not in _EXTRAS:
            raise
        raise ImportError(
            f"metering.{name} needs the package {error.name}, which is not installed:"
            f" pip install 'asgi-metering[{_EXTRAS[name]}]'.",
            name=error.name,
        ) from error
    value = globals()[name] = getattr(home, name)
    return value


def __dir__() -> list[str]:
    """List the public names, also those that are not imported yet."""
    return sorted({*globals(), *__all__, *_EXTRAS})
