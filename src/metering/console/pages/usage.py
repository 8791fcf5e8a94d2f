"""The page of what an account used, by model and by day."""

from metering.console.api import reading
from metering.console.api.asked import UsageDaysOf, UsageOf
from metering.console.pages.measures import MEASURES, MeasureName, daily
from metering.console.pages.page import Answer, Look
from metering.console.pages.periods import choices, chosen
from metering.usage import Usage

__all__ = ["UsagePage", "usage"]


class UsagePage(UsageOf, frozen=True, kw_only=True):
    """And what it is counted in."""

    show: MeasureName = "money"


async def usage(look: Look, query: UsagePage) -> Answer:
    """Show what was used in a period: a bar for each day, a row for each model."""
    of = {"period": query.period}
    services, viewer = look.services, look.viewer
    totals = await reading.usage(services, viewer, look.asked(UsageOf, **of))
    days = await reading.usage_days(services, viewer, look.asked(UsageDaysOf, **of))
    by_day = daily(days, MEASURES[query.show], by_model=True)
    rank = {name: number for number, name in enumerate(by_day.names, start=1)}
    rows = sorted(
        totals.models,
        key=lambda row: (rank.get(row.model, len(rank) + 1), row.model),
    )
    return {
        "totals": totals,
        "sum": _sum([row.usage for row in rows]),
        "rows": [(row, rank.get(row.model, len(rank))) for row in rows],
        "days": by_day,
        "measures": list(MEASURES.values()),
        "measure": MEASURES[query.show],
        "periods": choices(look.owner, look.now_ns),
        "period": chosen(look.owner, query.period, look.now_ns),
    }


def _sum(parts: list[Usage]) -> Usage:
    names = Usage.__struct_fields__
    return Usage(**{name: sum(getattr(part, name) for part in parts) for name in names})
