"""The page of the plan: what models cost, and what tiers give and take."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from metering.accounts import ModelClass
from metering.console.api import plan
from metering.console.api.asked import OwnedQuery
from metering.console.api.plan import (
    ModelPrices,
    PriceShown,
    RateShown,
    RequestsShown,
    TierRow,
)
from metering.console.pages.page import Answer, Look
from metering.console.pages.showing import duration, places_of, short_usd
from metering.pricing import Leaf, PriceKind

__all__ = ["PriceGroup", "PriceLine", "price_groups", "prices", "rates_said"]

_KINDS: Mapping[PriceKind | None, str] = {
    "token": "By token",
    "time": "By compute time",
    "audio": "By audio length",
    "image": "By image",
    "request": "By call",
    "free": "Free",
    None: "No price right now",
}

_LEAVES: Mapping[Leaf, str] = {
    "input_tokens": "Input",
    "cache_read_tokens": "Cached input",
    "cache_write_tokens": "Cache writes",
    "output_tokens": "Output",
    "reasoning_tokens": "Reasoning",
    "compute_ms": "Compute",
    "audio_ms": "Audio",
    "images": "Images",
    "requests": "Calls",
}

_TOKENS = "1M tokens"
_UNITS: Mapping[Leaf, Mapping[int, str]] = {
    "compute_ms": {1_000: "second", 60_000: "minute", 3_600_000: "hour"},
    "audio_ms": {1_000: "second", 60_000: "minute", 3_600_000: "hour"},
    "images": {1: "image"},
    "requests": {1: "call"},
}
_TOKEN_UNITS: Mapping[int, str] = {1_000_000: _TOKENS}

_PERIODS: Mapping[float, str] = {1: "second", 60: "minute", 3600: "hour", 86400: "day"}
_K = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceLine:
    """A model and what it costs now.

    Attributes:
        model: The model, as the API tells of it.
        now: The price in force; None: there is none.
        cells: A rate for each column of its group; None: it has none.
        agreed: The same of what was agreed with the account.
        notes: What else is to be known of the price, in sentences.
        others: Prices of the past and the future, oldest first.
    """

    model: ModelPrices
    now: PriceShown | None
    cells: tuple[RateShown | None, ...]
    agreed: tuple[RateShown | None, ...] | None
    notes: tuple[str, ...]
    others: tuple[PriceShown, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceGroup:
    """Models that are billed alike.

    Attributes:
        title: How.
        columns: What each column is of, and for how much.
        unit: For how much all of them are; "" where they differ, or there are none.
        places: Decimal places that line its amounts up.
        lines: The models, in the order of the price book.
    """

    title: str
    columns: tuple[tuple[str, str], ...]
    unit: str
    places: int
    lines: tuple[PriceLine, ...]


async def prices(look: Look, query: OwnedQuery) -> Answer:
    """Show the price book and the table of tiers."""
    services, viewer = look.services, look.viewer
    book = await plan.prices(services, viewer, query)
    shown = await plan.tiers(services, viewer, query)
    groups = price_groups(book.models)
    return {
        "groups": groups,
        "others": [line for group in groups for line in group.lines if line.others],
        "tiers": [(tier, _takes(tier), _requests(tier)) for tier in shown.tiers],
        "said": rates_said,
        "tokens": _tokens,
        "unit": _unit,
    }


def rates_said(rates: Iterable[RateShown]) -> str:
    """Return rates in words: "$0.30 per 1M tokens input, …", or "free"."""
    said = [
        f"{_LEAVES[rate.of].lower()} {short_usd(rate.usd)} per {_unit(rate)}"
        for rate in rates
    ]
    return ", ".join(said) or "free"


def price_groups(models: Sequence[ModelPrices]) -> list[PriceGroup]:
    """Return models by how they are billed now, those without a price last."""
    by_kind: dict[PriceKind | None, list[ModelPrices]] = {kind: [] for kind in _KINDS}
    for model in models:
        by_kind[model.kind].append(model)
    return [_group(kind, some) for kind, some in by_kind.items() if some]


def _group(kind: PriceKind | None, models: Sequence[ModelPrices]) -> PriceGroup:
    present = {model.model: _present(model) for model in models}
    rates = [rate for now in present.values() if now is not None for rate in now.rates]
    rates += [rate for model in models for rate in model.agreed or ()]
    leaves: list[Leaf] = [
        leaf for leaf in _LEAVES if any(rate.of == leaf for rate in rates)
    ]
    units = {_usual(leaf) for leaf in leaves}
    return PriceGroup(
        title=_KINDS[kind],
        unit=units.pop() if len(units) == 1 else "",
        columns=tuple((_LEAVES[leaf], _usual(leaf)) for leaf in leaves),
        places=places_of(rate.usd for rate in rates),
        lines=tuple(_line(model, present[model.model], leaves) for model in models),
    )


def _line(
    model: ModelPrices, now: PriceShown | None, leaves: Sequence[Leaf]
) -> PriceLine:
    notes = []
    if now is not None:
        notes += [
            f"above {step.above_input_tokens:,} tokens of input:"
            f" {rates_said(step.rates)}"
            for step in now.steps
        ]
        notes += [
            f"{_LEAVES[rate.of].lower()} counts for {_least(rate)} at least"
            for rate in now.rates
            if rate.units_min
        ]
    return PriceLine(
        model=model,
        now=now,
        cells=_cells(() if now is None else now.rates, leaves),
        agreed=None if model.agreed is None else _cells(model.agreed, leaves),
        notes=tuple(notes),
        others=tuple(each for each in model.versions if each.when != "present"),
    )


def _cells(
    rates: Iterable[RateShown], leaves: Sequence[Leaf]
) -> tuple[RateShown | None, ...]:
    by_leaf = {rate.of: rate for rate in rates}
    return tuple(by_leaf.get(leaf) for leaf in leaves)


def _present(model: ModelPrices) -> PriceShown | None:
    return next((each for each in model.versions if each.when == "present"), None)


def _unit(rate: RateShown) -> str:
    """Return for how much a rate is, such as "1M tokens"."""
    return _UNITS.get(rate.of, _TOKEN_UNITS).get(rate.per, f"{rate.per:,} units")


def _usual(leaf: Leaf) -> str:
    return next(iter(_UNITS.get(leaf, _TOKEN_UNITS).values()))


def _least(rate: RateShown) -> str:
    if rate.of in {"compute_ms", "audio_ms"}:
        return duration(rate.units_min)
    return f"{rate.units_min:,}"


def _takes(tier: TierRow) -> str:
    """Return how one gets into a tier."""
    if tier.lifetime_paid_usd is None:
        return "By agreement"
    takes = []
    if tier.lifetime_paid_usd != "0":
        takes.append(f"{short_usd(tier.lifetime_paid_usd)} paid")
    if tier.payment_method:
        takes.append("a payment method on file")
    return " and ".join(takes).capitalize() or "Sign-up"


def _requests(tier: TierRow) -> tuple[str, str]:
    """Return how often calls of paid and of free models may be made."""
    return _asks(tier, "paid"), _asks(tier, "free")


def _asks(tier: TierRow, kind: ModelClass) -> str:
    if kind in tier.adaptive:
        return "Adaptive"
    return ", ".join(map(_rate, tier.requests.get(kind, ()))) or "No limit"


def _rate(limit: RequestsShown) -> str:
    period = _PERIODS.get(limit.per_s, f"{limit.per_s:g} s")
    said = f"{limit.amount:,} per {period}"
    if limit.burst != limit.amount:
        said += f", bursts of {limit.burst:,}"
    return said


def _tokens(number: int) -> str:
    """Return a number of tokens as plans write it: "16K" is 16,384."""
    return f"{number // _K:,}K" if number % _K == 0 else f"{number:,}"
