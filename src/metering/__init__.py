"""Tiers, rate limits, output caps, metering and billing for ASGI model servers."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from metering.asgi.billing import BillingMiddleware
    from metering.asgi.clamp import ClampMiddleware
    from metering.asgi.limiter import LimiterMiddleware
    from metering.asgi.meter import MeterMiddleware
    from metering.asgi.parts import Parts
    from metering.asgi.tier import TierMiddleware
    from metering.errors import (
        AccountNotFoundError,
        ConfigurationError,
        JournalFullError,
        LedgerError,
        MeteringError,
        StorageError,
        UsageError,
    )
    from metering.metering import Metering, MeteringMiddleware

__version__ = "0.1.0"

__all__ = [
    "AccountNotFoundError",
    "BillingMiddleware",
    "ClampMiddleware",
    "ConfigurationError",
    "JournalFullError",
    "LedgerError",
    "LimiterMiddleware",
    "MeterMiddleware",
    "Metering",
    "MeteringError",
    "MeteringMiddleware",
    "Parts",
    "StorageError",
    "TierMiddleware",
    "UsageError",
]

# Where each name lives. It is imported when it is first asked for: pytest imports this
# package at every start for the plugin's sake, and SQLAlchemy alone takes 0.1 s.
_HOMES = {
    "BillingMiddleware": "metering.asgi.billing",
    "ClampMiddleware": "metering.asgi.clamp",
    "LimiterMiddleware": "metering.asgi.limiter",
    "MeterMiddleware": "metering.asgi.meter",
    "Metering": "metering.metering",
    "MeteringMiddleware": "metering.metering",
    "Parts": "metering.asgi.parts",
    "TierMiddleware": "metering.asgi.tier",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in __all__:
        raise AttributeError(f"module 'metering' has no attribute {name!r}", name=name)
    home = import_module(_HOMES.get(name, "metering.errors"))
    value = globals()[name] = getattr(home, name)
    return value
