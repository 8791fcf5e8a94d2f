"""The price book: dated, immutable prices, and what a usage costs under one of them."""

from metering.pricing.book import PriceBook, PricedModel
from metering.pricing.published import PublishedPrices, refuse_changed_past
from metering.pricing.rates import Leaf, Rate, Step
from metering.pricing.version import PriceKind, PriceVersion

__all__ = [
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
