"""The operator's first page: what all accounts use and spend, and what needs a look."""

from collections.abc import Sequence
from dataclasses import dataclass

from metering.console.api import history, lists, operating, reading
from metering.console.api.asked import (
    Nothing,
    OwnedPage,
    OwnedQuery,
    ReasonsOf,
    Strict,
    UsageDaysOf,
)
from metering.console.api.documents import AccountShown, DayUsage, UsageDaysShown
from metering.console.api.fields import PAGE_MAX, PeriodKey
from metering.console.pages.measures import MEASURES, MeasureName, daily
from metering.console.pages.overview import Spend, spend_of
from metering.console.pages.page import Answer, Look
from metering.console.pages.periods import Choice, period_name
from metering.console.pages.pools import is_idle
from metering.ledger import day_at, period_at, period_named
from metering.money import format_usd, parse_usd

__all__ = ["HomePage", "home"]

MONTHS = 12
"""Months to choose from, the latest first."""

LOOKED_AT_MAX = 12
"""Accounts that were alerted lately and are looked at again."""

NEAR_MAX = 4
_NEAR = 0.8

_UTC = "UTC"


class HomePage(Strict, frozen=True, kw_only=True):
    """Which month, and what usage is counted in."""

    period: PeriodKey | None = None
    show: MeasureName = "money"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sum:
    """What some rows come to.

    Attributes:
        name: Of what; "" of all.
        calls: How many.
        tokens: Read and written.
        usd: What they cost.
    """

    name: str
    calls: int
    tokens: int
    usd: str


async def home(look: Look, query: HomePage) -> Answer:
    """Show today and the month, usage by day and model, and what needs a look."""
    services, viewer = look.services, look.viewer
    month = await reading.usage_days(services, viewer, UsageDaysOf())
    shown = month
    if query.period not in {None, month.period}:
        asked = UsageDaysOf(period=query.period)
        shown = await reading.usage_days(services, viewer, asked)
    today = day_at(look.now_ns, _UTC)
    platform = await operating.platform(services, Nothing())
    refused = await history.refusal_reasons(services, ReasonsOf())
    by_day = daily(shown, MEASURES[query.show], by_model=True)
    return {
        "today": _sum("", [row for row in month.days if row.day == today]),
        "month": _sum("", month.days),
        "refused": refused.reasons,
        "refused_calls": sum(row.calls for row in refused.reasons),
        "days": by_day,
        "models": _by_model(shown, by_day.names),
        "all": _sum("", shown.days),
        "measures": list(MEASURES.values()),
        "measure": MEASURES[query.show],
        "periods": _months(look.now_ns),
        "period": Choice(shown.period, period_name(period_named(shown.period), _UTC)),
        "near": await _near(look),
        "pools": [pool for pool in platform.pools if not is_idle(pool)],
        "idle_pools": sum(map(is_idle, platform.pools)),
        "process": await services.look(),
    }


def _sum(name: str, rows: Sequence[DayUsage]) -> Sum:
    return Sum(
        name=name,
        calls=sum(row.calls for row in rows),
        tokens=sum(row.usage.input_total + row.usage.output_total for row in rows),
        usd=format_usd(sum(parse_usd(row.charge_usd) for row in rows)),
    )


def _by_model(shown: UsageDaysShown, ranked: Sequence[str]) -> list[tuple[Sum, int]]:
    """Return what each model comes to, and its colour in the chart."""
    rank = {name: number for number, name in enumerate(ranked, start=1)}
    names = sorted(
        {row.model for row in shown.days},
        key=lambda name: (rank.get(name, len(rank) + 1), name),
    )
    return [
        (
            _sum(name, [row for row in shown.days if row.model == name]),
            rank.get(name, len(rank)),
        )
        for name in names
    ]


def _months(now_ns: int) -> list[Choice]:
    found: list[Choice] = []
    period = period_at(now_ns)
    while len(found) < MONTHS and period.start_ns > 0:
        found.append(Choice(period.key, period_name(period, _UTC)))
        period = period_at(period.start_ns - 1)
    return found


async def _near(look: Look) -> list[tuple[AccountShown, Spend]]:
    """Return accounts that have used most of their limit, of those alerted of late."""
    services, viewer = look.services, look.viewer
    latest = await lists.alerts(services, viewer, OwnedPage(limit=PAGE_MAX))
    alerted = dict.fromkeys(
        row.account
        for row in latest.alerts
        if row.subject == "usage_limit" and row.threshold >= 100 * _NEAR
    )
    found = []
    for account_id in list(alerted)[:LOOKED_AT_MAX]:
        query = OwnedQuery(account=account_id)
        shown = await reading.account(services, viewer, query)
        spend = spend_of(shown.period, look.now_ns)
        if spend.part >= _NEAR:
            found.append((shown, spend))
    found.sort(key=lambda each: -each[1].part)
    return found[:NEAR_MAX]
