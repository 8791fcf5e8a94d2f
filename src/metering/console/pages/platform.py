"""The page of adaptive pools, of what is refused, and of how the process fares."""

import msgspec

from metering.console.api import history, operating
from metering.console.api.asked import Nothing, PoolsOf, ReasonsOf
from metering.console.pages.page import Answer, Look
from metering.console.pages.pools import HOURS, Range, pools_seen

__all__ = ["PlatformOver", "platform"]


class PlatformOver(msgspec.Struct, frozen=True):
    """How far to look back."""

    over: Range = "hour"


async def platform(look: Look, query: PlatformOver) -> Answer:
    """Show what each pool does, why, and what it did; refusals; this process."""
    services = look.services
    now = await operating.platform(services, Nothing())
    asked = PoolsOf(hours=HOURS[query.over])
    past = await history.platform_history(services, asked)
    return {
        "pools": pools_seen(now.pools, past),
        "over": query.over,
        "refused": await history.refusal_reasons(services, ReasonsOf()),
        "process": await services.look(),
    }
