"""What is looked back at: refusals with their reason, and adaptive pools over time."""

from functools import partial
from itertools import groupby
from operator import attrgetter
from typing import Annotated

import msgspec

from metering.adaptive import PlatformState
from metering.adaptive.law import Cause
from metering.clock import NS_PER_S, iso_utc
from metering.console.api.asked import OwnedPage, PoolsOf, ReasonsOf
from metering.console.api.documents import Cursor
from metering.console.api.fields import Instant
from metering.console.api.places import RefusalPlaced
from metering.console.lane import in_thread
from metering.console.services import Services, Viewer
from metering.stores import PoolSpan, RefusalMinute, RefusalPlace
from metering.stores.history import MINUTE_NS

__all__ = [
    "PlatformHistoryShown",
    "PoolHistory",
    "PoolPoint",
    "ReasonRow",
    "ReasonsShown",
    "RefusalRow",
    "RefusalsShown",
    "platform_history",
    "refusal_reasons",
    "refusals",
]

POINTS_MAX = 360
"""A chart shows no more, and an answer of a week stays small."""

_HOUR_NS = 60 * MINUTE_NS
_STEPS_NS = tuple(minutes * MINUTE_NS for minutes in (1, 5, 10, 30))


class RefusalRow(msgspec.Struct, frozen=True, kw_only=True):
    """Calls of one account that were refused in one minute, for one reason."""

    account: Annotated[
        str | None, msgspec.Meta(description="Null: callers that nobody knows.")
    ]
    minute: Instant
    code: Annotated[str, msgspec.Meta(description="Why, as clients were told.")]
    status: int
    quota: Annotated[
        str | None, msgspec.Meta(description="Which refused; null: none did.")
    ]
    model: Annotated[
        str | None, msgspec.Meta(description="Null: none of the price book.")
    ]
    tier: int | None
    calls: int
    first: Instant
    last: Instant


class RefusalsShown(msgspec.Struct, frozen=True, kw_only=True):
    """A page of refusals."""

    refusals: list[RefusalRow]
    next: Cursor | None


class ReasonRow(msgspec.Struct, frozen=True, kw_only=True):
    """Calls of all accounts that were refused for one reason."""

    code: Annotated[str, msgspec.Meta(description="Why, as clients were told.")]
    quota: Annotated[
        str | None, msgspec.Meta(description="Which refused; null: none did.")
    ]
    calls: int
    accounts: Annotated[
        int, msgspec.Meta(description="Of how many; all that nobody knows are one.")
    ]
    last: Instant


class ReasonsShown(msgspec.Struct, frozen=True, kw_only=True):
    """Refusals by reason, the most frequent first."""

    since: Instant
    reasons: list[ReasonRow]


class PoolPoint(msgspec.Struct, frozen=True, kw_only=True):
    """What an adaptive pool did in one step of time, all nodes together."""

    at: Annotated[Instant, msgspec.Meta(description="When the step began.")]
    nodes: Annotated[int, msgspec.Meta(description="How many told of it.")]
    state: Annotated[PlatformState, msgspec.Meta(description="The worst of any.")]
    causes: Annotated[
        list[Cause], msgspec.Meta(description="What set the limit at any time.")
    ]
    limit_rpm: Annotated[
        float, msgspec.Meta(description="Of each account; on the average.")
    ]
    limit_rpm_min: Annotated[float, msgspec.Meta(description="The lowest of any.")]
    awaiting: Annotated[
        float, msgspec.Meta(description="Calls that await their first byte; the sum.")
    ]
    waiting: Annotated[
        float, msgspec.Meta(description="Calls that wait at the gate; the sum.")
    ]
    budget_per_s: Annotated[
        float | None, msgspec.Meta(description="Calls of class 0; null: any number.")
    ]
    capacity_per_s: Annotated[
        float, msgspec.Meta(description="First bytes it can make; the sum.")
    ]
    unloaded_s: Annotated[
        float, msgspec.Meta(description="Time to the first byte without load.")
    ]


class PoolHistory(msgspec.Struct, frozen=True, kw_only=True):
    """A pool over time; steps in which nobody asked for it are left out."""

    pool: str
    points: list[PoolPoint]


class PlatformHistoryShown(msgspec.Struct, frozen=True, kw_only=True):
    """Adaptive pools over time, by name."""

    since: Instant
    until: Instant
    step_s: int
    pools: list[PoolHistory]


async def refusals(
    services: Services, viewer: Viewer, query: OwnedPage
) -> RefusalsShown:
    """Refused calls by minute and reason, the latest first; an operator's of all."""
    account_id, place = viewer.sees_of_all(query.account), None
    if account_id is not None:
        await in_thread(services.ledger.get, account_id)
    if query.cursor is not None:
        at = RefusalPlaced.of(query.cursor)
        place = RefusalPlace(
            at.minute_ns, at.account_id, at.model, at.code, at.quota, at.tier
        )
    found = await in_thread(
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
    # Of one minute the ledger does not order them by time.
    page.sort(key=attrgetter("last_ns"), reverse=True)
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
            for each in await in_thread(read)
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
    found = await in_thread(
        partial(services.pools.read, query.pool, since_ns=since_ns, step_ns=step_ns)
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
