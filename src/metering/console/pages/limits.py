"""The page of what is left of an account's limits just now."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from metering.console.api.asked import OwnedQuery
from metering.console.api.limits import PoolRow, limits
from metering.console.pages.page import Answer, Look

__all__ = ["Alike", "alike", "limits_left"]


@dataclass(frozen=True, slots=True)
class Alike:
    """Adaptive limits of which the same is to be said.

    Attributes:
        names: Of their pools.
        row: What is to be said of each.
    """

    names: tuple[str, ...]
    row: PoolRow


async def limits_left(look: Look, query: OwnedQuery) -> Answer:
    """Show what is used and left of each limit; the overview has it, too."""
    del query
    asked = look.asked(OwnedQuery)
    shown = await limits(look.services, look.viewer, asked)
    return {"limits": shown, "pools": alike(shown.adaptive)}


def alike(rows: Sequence[PoolRow]) -> list[Alike]:
    """Return limits, those in use first, and those that are not as one. Pure."""
    by_state: dict[tuple[object, ...], list[PoolRow]] = defaultdict(list)
    for row in rows:
        name = row.pool if row.used else ""
        state = row.state, row.cause, row.limit_rpm, row.previous_rpm, row.remaining
        by_state[name, *state].append(row)
    found = [Alike(tuple(row.pool for row in of), of[0]) for of in by_state.values()]
    return sorted(found, key=lambda each: (not each.row.used, each.names))
