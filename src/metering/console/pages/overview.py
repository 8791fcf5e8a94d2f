"""The first page of an account: what it has spent, may spend, and may ask for."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from metering.clock import NS_PER_S
from metering.console.api import reading
from metering.console.api.asked import OwnedPage, OwnedQuery, UsageDaysOf
from metering.console.api.documents import PeriodShown
from metering.console.api.history import refusals
from metering.console.pages.limits import limits_left
from metering.console.pages.measures import MEASURES, daily
from metering.console.pages.page import Answer, Look
from metering.console.pages.periods import chosen
from metering.console.pages.words import next_tier_takes
from metering.money import PICO, format_usd, parse_usd

__all__ = ["overview"]

_PROJECTED_FROM = 0.2
"""Which part of a period must be over before its pace says anything."""

_NEAR = 0.8
"""Which part of its limit a period has used that comes near its end."""

_REFUSALS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Spend:
    """What was spent in the present period, against its limit.

    Attributes:
        room_usd: What may still be spent, early payments included; None: any amount.
        part: What is spent of the limit, 0 to 1.
        kind: How near the end that is: "", "warn" or "bad".
        days_left: Whole days until the period ends.
        pace_usd: What the period will come to if the rest is as the time so far, in
            whole dollars; None: it is too early to tell, or less than one.
    """

    room_usd: str | None
    part: float
    kind: str
    days_left: int
    pace_usd: str | None


async def overview(look: Look, query: OwnedQuery) -> Answer:
    """Show spend, credit, tier, spend by day, limits, what was refused."""
    del query
    services, viewer = look.services, look.viewer
    account = await reading.account(services, viewer, look.asked(OwnedQuery))
    days = await reading.usage_days(services, viewer, look.asked(UsageDaysOf))
    latest = look.asked(OwnedPage, limit=_REFUSALS)
    return {
        "account": account,
        "spend": spend_of(account.period, look.now_ns),
        "next_tier": account.next_tier and next_tier_takes(account.next_tier),
        "period": chosen(look.owner, None, look.now_ns),
        "days": daily(days, MEASURES["money"], by_model=False),
        **await limits_left(look, look.asked(OwnedQuery)),
        "refusals": await refusals(services, viewer, latest),
    }


def spend_of(period: PeriodShown, now_ns: int) -> Spend:
    """Return how far a period has come. Pure."""
    spent_p = parse_usd(period.spent_usd)
    start, end = map(datetime.fromisoformat, (period.start, period.end))
    start_s, end_s = start.timestamp(), end.timestamp()
    over = (now_ns / NS_PER_S - start_s) / (end_s - start_s)
    left = timedelta(seconds=end_s - now_ns / NS_PER_S)
    pace_usd = None
    if _PROJECTED_FROM <= over < 1 and spent_p >= over * PICO:
        pace_usd = str(round(spent_p / over / PICO))
    room_usd, part, kind = None, 0.0, ""
    if period.limit_usd is not None:
        counted_p = spent_p - parse_usd(period.early_paid_usd)
        limit_p = parse_usd(period.limit_usd)
        room_usd = format_usd(max(0, limit_p - counted_p))
        part = min(1.0, counted_p / limit_p) if limit_p else 1.0
        kind = "bad" if part >= 1 else "warn" if part >= _NEAR else ""
    return Spend(
        room_usd=room_usd,
        part=part,
        kind=kind,
        days_left=max(0, left.days),
        pace_usd=pace_usd,
    )
