"""What of a call's demands was granted, and by whom: pure rules of the limiter."""

from collections.abc import Iterable, Sequence

import msgspec

from metering.quota import Demand, RateQuota, Verdict
from metering.stores import Outcome

__all__ = ["as_granted", "in_order", "not_yet_taken"]


def as_granted(demands: Sequence[Demand], outcome: Outcome) -> list[Demand]:
    """Return the demands as they were granted; none if they were refused."""
    if outcome.status != "admitted":
        return []
    return [
        demand
        if verdict.granted == demand.cost
        else msgspec.structs.replace(demand, cost=verdict.granted, cost_min=None)
        for demand, verdict in zip(demands, outcome.verdicts, strict=True)
    ]


def in_order(
    demands: Sequence[Demand], kept: Iterable[Verdict], counted: Iterable[Verdict]
) -> tuple[Verdict, ...]:
    """Return one verdict for each demand, from those of both kinds."""
    kept, counted = iter(kept), iter(counted)
    return tuple(next(counted if demand.window else kept) for demand in demands)


def not_yet_taken(demands: Sequence[Demand]) -> list[Demand]:
    """Return demands as the shared store must see them: it has granted no rate."""
    return [
        msgspec.structs.replace(demand, cost=0)
        if isinstance(demand.quota, RateQuota)
        else demand
        for demand in demands
    ]
