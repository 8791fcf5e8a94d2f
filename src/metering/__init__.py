"""Tiers, rate limits, output caps, metering and billing for ASGI model servers."""

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
