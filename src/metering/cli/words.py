"""A plan in words: who is in a tier and may do what, what a model costs."""

from collections.abc import Iterable, Iterator

from metering.accounts import ModelClass, Tier, TierBook
from metering.cli.values import ADAPTIVE_TEXT, dollars, rate_text
from metering.clock import NS_PER_S, iso_utc
from metering.config import Plan
from metering.limit_rules import OWN_SUBJECTS, LimitRule
from metering.money import format_usd
from metering.pricing import Leaf, PricedModel, PriceVersion
from metering.quota import RateQuota

__all__ = [
    "limit_words",
    "notices",
    "price_words",
    "qualification",
    "requests_words",
    "storage_words",
    "tier_words",
    "validity",
]

_KINDS: tuple[ModelClass, ...] = ("paid", "free")
_TOKENS = 1_000_000
_MS_PER_S = 1_000
_UNIT: dict[Leaf, tuple[int, str]] = {
    "input_tokens": (_TOKENS, "in"),
    "output_tokens": (_TOKENS, "out"),
    "cache_read_tokens": (_TOKENS, "in from cache"),
    "cache_write_tokens": (_TOKENS, "in to cache"),
    "reasoning_tokens": (_TOKENS, "reasoning"),
    "compute_ms": (_MS_PER_S, "a second"),
    "audio_ms": (_MS_PER_S, "a second of audio"),
    "images": (1, "an image"),
    "requests": (1, "a call"),
}
_SOON_NS = 30 * 86_400 * NS_PER_S


def tier_words(tier: Tier) -> str:
    """Return a tier as a sentence."""
    spend = "spends what it likes, credit first"
    if tier.funding == "credit":
        spend = "spends credit alone"
    elif tier.usage_limit_p is not None:
        spend = f"spends up to {dollars(tier.usage_limit_p)} a month, credit first"
    rates = [
        f"{_requests_made(tier, kind)} to {kind} models"
        for kind in _KINDS
        if tier.requests.get(kind) or kind in tier.adaptive
    ]
    cap = tier.reasoning_output_tokens_max
    reasoning = "" if cap is None else f" ({cap:,} where the model reasons)"
    requests = f"makes {' and '.join(rates)}" if rates else "makes requests at any rate"
    if len(tier.adaptive) == len(_KINDS):
        requests = "makes as many requests as can be spared"
    return (
        f"{tier.name} (level {tier.level}): {qualification(tier)}. It {requests}, gets"
        f" at most {tier.output_tokens_max:,} tokens of output from each{reasoning},"
        f" and {spend}."
    )


def qualification(tier: Tier) -> str:
    """Return who is in a tier."""
    if tier.lifetime_paid_min_p is None:
        return "by agreement"
    needs = []
    if tier.lifetime_paid_min_p:
        needs.append(f"paid {dollars(tier.lifetime_paid_min_p)}")
    if tier.payment_method:
        needs.append("payment method")
    return " and ".join(needs) or "everyone"


def requests_words(tier: Tier, kind: ModelClass) -> str:
    """Return a tier's request quota for a class of models."""
    if kind in tier.adaptive:
        return ADAPTIVE_TEXT
    return "; ".join(map(rate_text, tier.requests.get(kind, ()))) or "no limit"


def _requests_made(tier: Tier, kind: ModelClass) -> str:
    if kind in tier.adaptive:
        return "as many requests as can be spared"
    return requests_words(tier, kind)


def price_words(version: PriceVersion | None) -> str:
    """Return what is paid for what; tokens by the million."""
    if version is None:
        return "no price"
    if version.kind == "free":
        return "free"
    parts = []
    for leaf, rate in version.rates.items():
        units, name = _UNIT[leaf]
        parts.append(
            (list(_UNIT).index(leaf), f"{_price(rate.num_p * units, rate.per)} {name}")
        )
    steps = [f"more above {s.above_input_tokens:,} tokens in" for s in version.steps]
    return ", ".join([text for _, text in sorted(parts)] + steps)


def _price(num_p: int, per: int) -> str:
    whole_p, rest = divmod(num_p, per)
    return f"${format_usd(whole_p)}{'…' if rest else ''}"


def validity(version: PriceVersion | None) -> str:
    """Return from when until when a price is in force, where that has an end."""
    if version is None:
        return ""
    parts = []
    if version.valid_from_ns:
        parts.append(f"from {iso_utc(version.valid_from_ns)}")
    if version.valid_to_ns is not None:
        parts.append(f"until {iso_utc(version.valid_to_ns)}")
    return " ".join(parts)


def limit_words(rule: LimitRule) -> str:
    """Return a limit as a sentence."""
    if rule.unit == "running":
        amounts = f"{rule.quotas[0].amount:,} calls at once"
    else:
        rates = [rate_text(q) for q in rule.quotas if isinstance(q, RateQuota)]
        amounts = f"{'; '.join(rates)} {rule.unit.replace('_', ' ')}"
    text = f"{rule.name}: {amounts} per {' and '.join(rule.per)}"
    if rule.tiers is not None:
        text += f", for tiers {', '.join(map(str, sorted(rule.tiers)))}"
    if rule.models is not None:
        text += f", for {', '.join(sorted(rule.models))}"
    if rule.window is not None:
        text += f", counted in a {rule.window} window"
    return f"{text}{', only tried out' if rule.shadow else ''}."


def storage_words(plan: Plan, data: str) -> Iterator[str]:
    """Yield where things are kept, and what follows from it."""
    yield f"The journal is in {data}/journal."
    yield f"The ledger is {_kind(plan.ledger, f'the SQLite file {data}/ledger.db')}."
    if plan.limits_store is None or plan.limits_store.startswith("memory:"):
        yield (
            "Limits are in the memory of one process: a second one on the same data is"
            " refused at its start."
        )
    else:
        yield f"Limits are shared, in {_kind(plan.limits_store, '')}."


def _kind(url: str | None, default: str) -> str:
    """Return what a URL names, without what may be secret in it."""
    if url is None:
        return default
    scheme, slashes, _ = url.partition("://")
    if not slashes or scheme == "sqlite":
        return f"the file {url.removeprefix('sqlite:///')}"
    return scheme


def notices(plan: Plan, now_ns: int) -> Iterator[str]:
    """Yield what is no fault, but what who runs the plan may not have meant."""
    yield from _of_tiers(plan.tiers)
    for model in plan.prices.models:
        yield from _of_model(model, plan, now_ns)
    yield from _of_limits(plan.limits)
    if plan.anonymous is not None:
        yield (
            f"Calls without a key are billed to {plan.anonymous!r}, for anonymous is"
            " set."
        )
    for name, value in (("unpriced", plan.unpriced), ("unmetered", plan.unmetered)):
        if value == "pass":
            yield f'Calls that are {name} are served for nothing: {name} = "pass".'


def _of_tiers(tiers: TierBook) -> Iterator[str]:
    for tier in tiers.tiers:
        if tier.funding == "postpaid" and tier.usage_limit_p is None:
            yield f"{tier.name} has no usage_limit: nothing bounds what it may spend."
        if not (tier.requests or tier.adaptive):
            yield f"{tier.name} has no request limit."


def _of_model(model: PricedModel, plan: Plan, now_ns: int) -> Iterator[str]:
    version = model.at(now_ns)
    if version is None:
        fate = "are refused" if plan.unpriced == "refuse" else "are not charged"
        yield f"{model.name} has no price now: calls to it {fate}."
        return
    end_ns = version.valid_to_ns
    if end_ns is None or end_ns > now_ns + _SOON_NS:
        return
    following = model.at(end_ns)
    then = "it has none" if following is None else price_words(following)
    yield f"The price of {model.name} ends at {iso_utc(end_ns)}; then: {then}."


def _of_limits(rules: Iterable[LimitRule]) -> Iterator[str]:
    for rule in rules:
        for name in rule.per:
            if name not in OWN_SUBJECTS:
                yield (
                    f"Limit {rule.name} is per {name!r}: the app must say what that is,"
                    f' by Metering.from_file(..., subjects={{"{name}": function}}).'
                )
