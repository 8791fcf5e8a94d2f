"""From the limits of a plan file to the rules that the limiter applies."""

from metering.accounts import TierBook
from metering.config.document import Document
from metering.config.notation import rate_quotas
from metering.config.schema import LimitTable
from metering.limit_rules import LimitRule, LimitUnit
from metering.pricing import PriceBook
from metering.quota import BudgetQuota, Quota

__all__ = ["limit_rules"]

_TAKEN = frozenset({"requests", "credit", "spend"})
"""Names of the quotas that tiers have."""


def limit_rules(
    tables: tuple[LimitTable, ...],
    tiers: TierBook,
    prices: PriceBook,
    document: Document,
) -> tuple[LimitRule, ...]:
    """Return the limits.

    Raises:
        ConfigurationError: Names the first limit that cannot be.
    """
    names = set(_TAKEN)
    rules: list[LimitRule] = []
    for at, table in enumerate(tables):
        path = f"limits[{at}]"
        if table.name in names:
            raise document.fault(
                f"{path}.name", "Another quota has this name, and clients see it."
            )
        names.add(table.name)
        _check_scope(table, path, tiers, prices, document)
        rules.append(_rule(table, path, document))
    return tuple(rules)


def _check_scope(
    table: LimitTable,
    path: str,
    tiers: TierBook,
    prices: PriceBook,
    document: Document,
) -> None:
    for at, level in enumerate(table.tiers):
        with document.at(f"{path}.tiers[{at}]"):
            tiers.by_level(level)
    for at, name in enumerate(table.models):
        model = prices.model(name)
        if model is None or model.name != name:
            reason = "There is no such model."
            if model is not None:
                reason = f"It is an alias: write {model.name!r}."
            raise document.fault(f"{path}.models[{at}]", reason)


def _rule(table: LimitTable, path: str, document: Document) -> LimitRule:
    unit: LimitUnit = table.unit
    quotas: tuple[Quota, ...]
    if (table.rate is None) == (table.at_once is None):
        raise document.fault(path, "A limit has either a rate or at_once.")
    if table.at_once is not None:
        if table.unit != "requests":
            raise document.fault(f"{path}.unit", "at_once counts requests.")
        unit, quotas = "running", (BudgetQuota(table.at_once.units),)
    elif isinstance(table.rate, str):
        with document.at(f"{path}.rate"):
            quotas = rate_quotas(table.rate)
    elif table.rate is not None:
        with document.at(f"{path}.rate.rate"):
            quotas = rate_quotas(table.rate.rate, table.rate.burst)
    return LimitRule(
        name=table.name,
        quotas=quotas,
        unit=unit,
        per=table.per,
        tiers=frozenset(table.tiers) or None,
        models=frozenset(table.models) or None,
        shadow=table.shadow,
    )
