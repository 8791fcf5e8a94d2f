"""From the tiers of a plan file to the tier book."""

from metering.accounts import Falls, ModelClass, Tier, TierBook
from metering.config.document import Document
from metering.config.notation import rate_quotas
from metering.config.schema import RequestTable, TierRequestTable, TierTable
from metering.quota import RateQuota

__all__ = ["request_quotas", "tier_book"]

ADAPTIVE = "adaptive"
"""Written in place of a rate: the limit follows what the platform can spare."""


def tier_book(
    tables: tuple[TierTable, ...], falls: Falls, document: Document
) -> TierBook:
    """Return the tiers, lowest first.

    Raises:
        ConfigurationError: Names the first tier that cannot be.
    """
    tiers: list[Tier] = []
    for at, table in enumerate(tables):
        path = f"tiers[{at}]"
        _check_qualification(table, path, tiers, document)
        tiers.append(_tier(table, path, document))
        with document.at(path):  # so that the error points at the first bad tier
            TierBook(tuple(tiers))
    with document.at("tiers"):
        return TierBook(tuple(tiers), falls)


def _check_qualification(
    table: TierTable, path: str, lower: list[Tier], document: Document
) -> None:
    """Refuse a tier that contradicts itself, or that empties one below it."""
    if table.by_agreement:
        if table.lifetime_spend is not None or table.payment_method:
            raise document.fault(
                f"{path}.by_agreement",
                "Nobody qualifies for such a tier by itself, so it takes neither"
                " lifetime_spend nor payment_method.",
            )
        return
    least_p = table.lifetime_spend.pico if table.lifetime_spend else 0
    for tier in lower:
        eased = tier.payment_method or not table.payment_method
        if tier.lifetime_paid_min_p == least_p and eased:
            raise document.fault(
                path,
                f"Whoever qualifies for {tier.name!r} qualifies for it too, so nobody"
                " would be in the lower one. Give it a higher lifetime_spend,"
                " payment_method = true or by_agreement = true.",
            )


def _tier(table: TierTable, path: str, document: Document) -> Tier:
    spend, limit = table.lifetime_spend, table.usage_limit
    reasoning = table.reasoning_output_tokens_max
    least_p = spend.pico if spend else 0
    fixed, adaptive = _fixed_and_adaptive(table.requests)
    return Tier(
        level=table.level,
        name=table.name,
        lifetime_paid_min_p=None if table.by_agreement else least_p,
        payment_method=table.payment_method,
        requests=request_quotas(fixed, f"{path}.requests", document),
        adaptive=adaptive,
        output_tokens_max=table.output_tokens_max.units,
        reasoning_output_tokens_max=reasoning.units if reasoning else None,
        usage_limit_p=limit.pico if limit else None,
        funding=table.funding,
    )


def _fixed_and_adaptive(
    table: TierRequestTable,
) -> tuple[RequestTable, frozenset[ModelClass]]:
    """Return the limits that are rates, and the model classes without one."""
    adaptive: set[ModelClass] = set()
    paid, free = table.paid, table.free
    if paid == ADAPTIVE:
        adaptive.add("paid")
        paid = None
    if free == ADAPTIVE:
        adaptive.add("free")
        free = None
    return RequestTable(paid=paid, free=free), frozenset(adaptive)


def request_quotas(
    table: RequestTable, path: str, document: Document
) -> dict[ModelClass, tuple[RateQuota, ...]]:
    """Return request quotas by class of model.

    Raises:
        ConfigurationError: Names the first that cannot be.
    """
    quotas: dict[ModelClass, tuple[RateQuota, ...]] = {}
    classes: tuple[ModelClass, ...] = ("paid", "free")
    for name in classes:
        limit = table.paid if name == "paid" else table.free
        if isinstance(limit, str):
            with document.at(f"{path}.{name}"):
                quotas[name] = rate_quotas(limit)
        elif limit is not None:
            with document.at(f"{path}.{name}.rate"):
                quotas[name] = rate_quotas(limit.rate, limit.burst)
    return quotas
