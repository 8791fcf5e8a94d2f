"""From the limits of a plan file to the rules that the limiter applies."""

from metering.accounts import TierBook
from metering.config.document import Document
from metering.config.notation import rate_quotas
from metering.config.schema import LimitTable, RateTable
from metering.limit_rules import LimitRule
from metering.pricing import PriceBook
from metering.quota import BudgetQuota, Quota

__all__ = ["limit_rules"]

_TAKEN = frozenset({"requests", "credit", "spend", "key"})
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


def _quotas(table: LimitTable, path: str, document: Document) -> tuple[Quota, ...]:
    rate, at_once = table.rate, table.at_once
    if rate is None and at_once is not None:
        return (BudgetQuota(at_once.units),)
    if isinstance(rate, str) and at_once is None:
        with document.at(f"{path}.rate"):
            return rate_quotas(rate)
    if isinstance(rate, RateTable) and at_once is None:
        with document.at(f"{path}.rate.rate"):
            return rate_quotas(rate.rate, rate.burst)
    raise document.fault(path, "A limit has either a rate or at_once.")


def _rule(table: LimitTable, path: str, document: Document) -> LimitRule:
    if table.at_once is not None and table.unit != "requests":
        raise document.fault(f"{path}.unit", "at_once counts requests.")
    if table.window is not None:
        _check_window(table, path, document)
    return LimitRule(
        name=table.name,
        quotas=_quotas(table, path, document),
        unit=table.unit if table.at_once is None else "running",
        per=table.per,
        tiers=frozenset(table.tiers) or None,
        models=frozenset(table.models) or None,
        shadow=table.shadow,
        window=table.window,
    )


def _check_window(table: LimitTable, path: str, document: Document) -> None:
    if table.unit != "requests":
        raise document.fault(
            f"{path}.unit",
            "A window counts requests: what it counted cannot be corrected, and how"
            " many tokens a call takes is known when it has ended.",
        )
    if table.at_once is not None:
        raise document.fault(
            f"{path}.at_once",
            "A window counts requests per time, and gives nothing back when one ends.",
        )
    if isinstance(table.rate, RateTable):
        raise document.fault(
            f"{path}.rate.burst", "A window has no burst: write the rate alone."
        )
