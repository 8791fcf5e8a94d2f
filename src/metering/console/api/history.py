"""What is looked back at: refusals with their reason, and adaptive pools over time."""

from functools import partial
from itertools import groupby
from operator import attrgetter

from anyio import to_thread

from metering.clock import NS_PER_S, iso_utc
from metering.console.api.asked import OwnedPage, PoolsOf, ReasonsOf
from metering.console.api.documents import (
    PlatformHistoryShown,
    PoolHistory,
    PoolPoint,
    ReasonRow,
    ReasonsShown,
    RefusalRow,
    RefusalsShown,
)
from metering.console.api.places import RefusalPlaced
from metering.console.services import Services, Viewer
from metering.stores import PoolSpan, RefusalMinute, RefusalPlace
from metering.stores.history import MINUTE_NS

__all__ = ["platform_history", "refusal_reasons", "refusals"]

POINTS_MAX = 360
"""A chart shows no more, and an answer of a week stays small."""

_HOUR_NS = 60 * MINUTE_NS
_STEPS_NS = tuple(minutes * MINUTE_NS for minutes in (1, 5, 10, 30))


async def refusals(
    services: Services, viewer: Viewer, query: OwnedPage
) -> RefusalsShown:
    """Refused calls by minute and reason, the latest first; an operator's of all."""
    account_id, place = viewer.sees_of_all(query.account), None
    if account_id is not None:
        await services.accounts.get(account_id)
    if query.cursor is not None:
        at = RefusalPlaced.of(query.cursor)
        place = RefusalPlace(
            at.minute_ns, at.account_id, at.model, at.code, at.quota, at.tier
        )
    found = await to_thread.run_sync(
        partial(
            services.ledger.history.refusals,
            account_id,
            before=place,
            limit=query.limit + 1,
        )
    )
    page = found[: query.limit]
    more = None
    if len(found) > len(page):
        more = RefusalPlaced(*page[-1].place).cursor()
    return RefusalsShown(refusals=[_refusal_row(each) for each in page], next=more)


async def refusal_reasons(services: Services, query: ReasonsOf) -> ReasonsShown:
    """Refused calls of all accounts by reason, the most frequent first."""
    now_ns = services.clock()
    since_ns = (now_ns - query.hours * _HOUR_NS) // MINUTE_NS * MINUTE_NS
    read = partial(services.ledger.history.reasons, since_ns=since_ns)
    return ReasonsShown(
        since=iso_utc(since_ns),
        reasons=[
            ReasonRow(
                code=each.code,
                quota=each.quota or None,
                calls=each.calls,
                accounts=each.accounts,
                last=iso_utc(each.last_ns),
            )
            for each in await to_thread.run_sync(read)
        ],
    )


async def platform_history(services: Services, query: PoolsOf) -> PlatformHistoryShown:
    """What adaptive pools did in the last hours, all processes together."""
    now_ns = services.clock()
    step_ns = next(
        step_ns
        for step_ns in _STEPS_NS
        if query.hours * _HOUR_NS <= POINTS_MAX * step_ns
    )
    since_ns = (now_ns - query.hours * _HOUR_NS) // step_ns * step_ns
    found = await to_thread.run_sync(
        partial(
            services.ledger.history.pools,
            query.pool,
            since_ns=since_ns,
            until_ns=now_ns + 1,
            step_ns=step_ns,
        )
    )
    return PlatformHistoryShown(
        since=iso_utc(since_ns),
        until=iso_utc(now_ns),
        step_s=step_ns // NS_PER_S,
        pools=[
            PoolHistory(pool=pool, points=[_point(span) for span in spans])
            for pool, spans in groupby(found, attrgetter("pool"))
        ],
    )


def _refusal_row(refusal: RefusalMinute) -> RefusalRow:
    place = refusal.place
    return RefusalRow(
        account=place.account_id or None,
        minute=iso_utc(place.minute_ns),
        code=place.code,
        status=refusal.status,
        quota=place.quota or None,
        model=place.model or None,
        tier=None if place.tier < 0 else place.tier,
        calls=refusal.calls,
        first=iso_utc(refusal.first_ns),
        last=iso_utc(refusal.last_ns),
    )


def _point(span: PoolSpan) -> PoolPoint:
    return PoolPoint(
        at=iso_utc(span.start_ns),
        nodes=span.nodes,
        state=span.state,
        causes=list(span.causes),
        limit_rpm=span.limit_rpm,
        limit_rpm_min=span.limit_rpm_min,
        awaiting=span.awaiting,
        waiting=span.waiting,
        budget_per_s=span.budget_per_s,
        capacity_per_s=span.capacity_per_s,
        unloaded_s=span.unloaded_s,
    )
