"""The plan as an account sees it: the table of tiers, and the price book."""

from typing import Annotated, Literal

import msgspec

from metering.accounts import ModelClass, Overrides, Tier, TokenPrices
from metering.clock import iso_utc
from metering.console.api.asked import OwnedQuery
from metering.console.api.fields import Instant, Usd
from metering.console.lane import in_thread
from metering.console.services import Services, Viewer
from metering.money import format_usd
from metering.pricing import Leaf, PricedModel, PriceKind, PriceVersion, Rate, Step
from metering.quota import RateQuota
from metering.usage import FundingMode

__all__ = [
    "ModelPrices",
    "PriceShown",
    "PricesShown",
    "RateShown",
    "RequestsShown",
    "StepShown",
    "TierRow",
    "TiersShown",
    "prices",
    "requests_shown",
    "tiers",
]

_TOKENS = 1_000_000
_MS_PER_S, _MS_PER_MINUTE, _MS_PER_HOUR = 1_000, 60_000, 3_600_000
_USUAL_UNITS: dict[Leaf, tuple[int, ...]] = {
    "compute_ms": (_MS_PER_S, _MS_PER_MINUTE, _MS_PER_HOUR),
    "audio_ms": (_MS_PER_S, _MS_PER_MINUTE, _MS_PER_HOUR),
    "images": (1,),
    "requests": (1,),
}


class RequestsShown(msgspec.Struct, frozen=True, kw_only=True):
    """A request limit: so many in each period, and so many at once."""

    amount: int
    per_s: float
    burst: int


class TierRow(msgspec.Struct, frozen=True, kw_only=True):
    """A tier: how one gets into it, and what it gives."""

    level: int
    name: str
    own: Annotated[bool, msgspec.Meta(description="Whether the account is in it.")]
    lifetime_paid_usd: (
        Annotated[
            Usd, msgspec.Meta(description="What it takes; null: an agreement alone.")
        ]
        | None
    )
    payment_method: Annotated[
        bool, msgspec.Meta(description="Whether it takes one on file.")
    ]
    requests: Annotated[
        dict[ModelClass, list[RequestsShown]],
        msgspec.Meta(description="All of them hold; without one there is no limit."),
    ]
    adaptive: Annotated[
        list[ModelClass],
        msgspec.Meta(description="Models whose requests get what can be spared."),
    ]
    output_tokens_max: int
    reasoning_output_tokens_max: int | None
    usage_limit_usd: Usd | None
    funding: FundingMode


class TiersShown(msgspec.Struct, frozen=True, kw_only=True):
    """The tiers of the plan, lowest first."""

    tiers: list[TierRow]


class RateShown(msgspec.Struct, frozen=True, kw_only=True):
    """What so many units cost: a million tokens, 1,000 ms, an image or a call."""

    of: Leaf
    usd: Usd
    per: Annotated[int, msgspec.Meta(description="Units that cost so much.")]
    units_min: Annotated[
        int, msgspec.Meta(description="What a call is billed for at least.")
    ]


class StepShown(msgspec.Struct, frozen=True, kw_only=True):
    """Other prices of all tokens of calls that read more than so many."""

    above_input_tokens: int
    rates: list[RateShown]


class PriceShown(msgspec.Struct, frozen=True, kw_only=True):
    """A price and when it is in force."""

    version: str
    when: Literal["past", "present", "future"]
    start: Annotated[Instant, msgspec.Meta(description="Null: ever.")] | None
    end: Annotated[Instant, msgspec.Meta(description="Null: open.")] | None
    kind: PriceKind
    rates: list[RateShown]
    steps: list[StepShown]


class ModelPrices(msgspec.Struct, frozen=True, kw_only=True):
    """A model and what it costs when."""

    model: str
    aliases: list[str]
    reasoning: bool
    context_tokens_max: int | None
    kind: (
        Annotated[PriceKind, msgspec.Meta(description="Now; null: it has no price.")]
        | None
    )
    agreed: (
        Annotated[
            list[RateShown],
            msgspec.Meta(description="What the account pays in place of it."),
        ]
        | None
    )
    versions: Annotated[list[PriceShown], msgspec.Meta(description="Oldest first.")]


class PricesShown(msgspec.Struct, frozen=True, kw_only=True):
    """The price book."""

    models: list[ModelPrices]


async def tiers(services: Services, viewer: Viewer, query: OwnedQuery) -> TiersShown:
    """The plan's tiers, lowest first; the account's own is marked."""
    account_id = viewer.sees_of_all(query.account)
    level = None
    if account_id is not None:
        level = services.accounts.tier_of(
            await in_thread(services.ledger.get, account_id)
        ).level
    return TiersShown(
        tiers=[_tier_row(tier, level) for tier in services.ledger.tiers.tiers]
    )


async def prices(services: Services, viewer: Viewer, query: OwnedQuery) -> PricesShown:
    """The price book: past, present and future prices, and those agreed."""
    account_id, agreed = viewer.sees_of_all(query.account), Overrides()
    if account_id is not None:
        agreed = (await in_thread(services.ledger.get, account_id)).overrides
    book, now_ns = services.prices, services.clock()
    aliases = book.aliases()
    return PricesShown(
        models=[
            _model_prices(
                model,
                aliases.get(model.name, ()),
                agreed.prices.get(model.name),
                now_ns,
            )
            for model in book.models
        ]
    )


def requests_shown(quota: RateQuota) -> RequestsShown:
    """Return a request limit."""
    return RequestsShown(
        amount=quota.amount,
        per_s=quota.per_us / 1_000_000,
        burst=quota.burst or quota.amount,
    )


def _tier_row(tier: Tier, own: int | None) -> TierRow:
    least_p, limit_p = tier.lifetime_paid_min_p, tier.usage_limit_p
    return TierRow(
        level=tier.level,
        name=tier.name,
        own=tier.level == own,
        lifetime_paid_usd=None if least_p is None else format_usd(least_p),
        payment_method=tier.payment_method,
        requests={
            kind: [requests_shown(quota) for quota in quotas]
            for kind, quotas in tier.requests.items()
        },
        adaptive=sorted(tier.adaptive),
        output_tokens_max=tier.output_tokens_max,
        reasoning_output_tokens_max=tier.reasoning_output_tokens_max,
        usage_limit_usd=None if limit_p is None else format_usd(limit_p),
        funding=tier.funding,
    )


def _model_prices(
    model: PricedModel,
    aliases: tuple[str, ...],
    agreed: TokenPrices | None,
    now_ns: int,
) -> ModelPrices:
    now = model.at(now_ns)
    agreed_rates = None
    if agreed is not None:
        agreed_rates = [
            _rate_shown("input_tokens", Rate(agreed.input_p, agreed.per)),
            _rate_shown("output_tokens", Rate(agreed.output_p, agreed.per)),
        ]
    return ModelPrices(
        model=model.name,
        aliases=list(aliases),
        reasoning=model.reasoning,
        context_tokens_max=model.context_tokens_max,
        kind=None if now is None else now.kind,
        agreed=agreed_rates,
        versions=[_price_shown(version, now_ns) for version in model.versions],
    )


def _price_shown(version: PriceVersion, now_ns: int) -> PriceShown:
    start_ns, end_ns = version.valid_from_ns, version.valid_to_ns
    when: Literal["past", "present", "future"] = "present"
    if start_ns > now_ns:
        when = "future"
    elif end_ns is not None and end_ns <= now_ns:
        when = "past"
    return PriceShown(
        version=version.id,
        when=when,
        start=iso_utc(start_ns) if start_ns else None,
        end=None if end_ns is None else iso_utc(end_ns),
        kind=version.kind,
        rates=[_rate_shown(leaf, rate) for leaf, rate in version.rates.items()],
        steps=[_step_shown(step) for step in version.steps],
    )


def _step_shown(step: Step) -> StepShown:
    return StepShown(
        above_input_tokens=step.above_input_tokens,
        rates=[_rate_shown(leaf, rate) for leaf, rate in step.rates.items()],
    )


def _rate_shown(leaf: Leaf, rate: Rate) -> RateShown:
    """Return a rate by its usual unit, or one in which it is exact."""
    units = (*_USUAL_UNITS.get(leaf, (_TOKENS,)), rate.per)
    per = next(unit for unit in units if rate.num_p * unit % rate.per == 0)
    return RateShown(
        of=leaf,
        usd=format_usd(rate.num_p * per // rate.per),
        per=per,
        units_min=rate.units_min,
    )
