"""From the adaptive limits of a plan file to what the platform is told."""

from collections.abc import Sequence

from metering.accounts import TierBook
from metering.adaptive import AdaptiveClass, AdaptiveSettings
from metering.clock import NS_PER_MS, NS_PER_S
from metering.config.document import Document
from metering.config.schema import AdaptiveTable, PoolTable
from metering.platform import OTHERS, PlatformSettings
from metering.pricing import PriceBook

__all__ = ["platform_settings"]

_SPARE_DELAY_NS = 80 * NS_PER_MS
_LOWEST_PAID_DELAY_S = 1.0
_HIGHEST_PAID_DELAY_S = 8.0


def platform_settings(
    table: AdaptiveTable | None,
    tiers: TierBook,
    prices: PriceBook,
    document: Document,
) -> PlatformSettings | None:
    """Return the settings of adaptive limits; None where no tier has any.

    Raises:
        ConfigurationError: Names what contradicts the rest of the plan.
    """
    if not any(tier.adaptive for tier in tiers.tiers):
        if table is not None:
            raise document.fault(
                "adaptive", 'No tier has requests that are "adaptive": leave it out.'
            )
        return None
    table = table or AdaptiveTable()
    levels = [tier.level for tier in tiers.tiers if tier.requests or not tier.adaptive]
    target_ms = table.first_byte_target_ms
    with document.at("adaptive"):
        pool = AdaptiveSettings(
            classes=_classes(len(levels), table.wait_max_s * NS_PER_S),
            floor_rpm=float(table.floor_rpm),
            ceiling_rpm=float(table.ceiling_rpm),
            first_byte_target_ns=None if target_ms is None else target_ms * NS_PER_MS,
        )
    return PlatformSettings(
        pool=pool,
        pools=_pools(table.pools, prices, document),
        gauges={one.name: one.gauges for one in table.pools if one.gauges},
        classes=_ranks(tiers, levels),
    )


def _classes(paid: int, wait_max_ns: int) -> tuple[AdaptiveClass, ...]:
    """Return class 0 and one for each tier that pays; the highest never waits."""
    classes = [AdaptiveClass(delay_ns=_SPARE_DELAY_NS, wait_max_ns=wait_max_ns)]
    step = (_HIGHEST_PAID_DELAY_S / _LOWEST_PAID_DELAY_S) ** (1 / max(1, paid - 1))
    for above in reversed(range(paid)):  # how many tiers are above it
        delay_s = _HIGHEST_PAID_DELAY_S / step**above
        wait_ns = wait_max_ns if above else 0
        classes.append(
            AdaptiveClass(delay_ns=round(delay_s * NS_PER_S), wait_max_ns=wait_ns)
        )
    return tuple(classes)


def _ranks(tiers: TierBook, levels: Sequence[int]) -> dict[int, int]:
    """Return the class of each tier; one that is all adaptive has agreements only."""
    return {
        tier.level: min(len(levels), 1 + sum(level < tier.level for level in levels))
        for tier in tiers.tiers
    }


def _pools(
    tables: tuple[PoolTable, ...], prices: PriceBook, document: Document
) -> dict[str, str]:
    """Return the pool of each model: one that is named, else its own."""
    pools: dict[str, str] = {}
    names = {OTHERS}
    for at, table in enumerate(tables):
        path = f"adaptive.pools[{at}]"
        if table.name in names:
            raise document.fault(f"{path}.name", "Another pool has this name.")
        names.add(table.name)
        for number, model in enumerate(table.models):
            known = prices.model(model)
            reason = ""
            if known is None:
                reason = "There is no such model."
            elif known.name != model:
                reason = f"It is an alias: write {known.name!r}."
            elif model in pools:
                reason = "It is in a pool already."
            if reason:
                raise document.fault(f"{path}.models[{number}]", reason)
            pools[model] = table.name
    for priced in prices.models:
        if priced.name not in pools and priced.name in names:
            at = [table.name for table in tables].index(priced.name)
            raise document.fault(
                f"adaptive.pools[{at}].name", "A model that is not in it is called so."
            )
        pools.setdefault(priced.name, priced.name)
    return pools
