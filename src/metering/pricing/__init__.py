"""The price book: dated, immutable prices, and what a usage costs under one of them."""

from metering.pricing.book import PriceBook, PricedModel
from metering.pricing.published import PublishedPrices, refuse_changed_past
from metering.pricing.rates import (
    LEAVES_BESIDE,
    LEAVES_NEEDED,
    TIMES,
    Leaf,
    PriceKind,
    Rate,
    Step,
)
from metering.pricing.version import PriceVersion

__all__ = [
    "LEAVES_BESIDE",
    "LEAVES_NEEDED",
    "TIMES",
    "Leaf",
    "PriceBook",
    "PriceKind",
    "PriceVersion",
    "PricedModel",
    "PublishedPrices",
    "Rate",
    "Step",
    "refuse_changed_past",
]
