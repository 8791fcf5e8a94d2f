"""What adaptive pools went through on busy days, as their history keeps it."""

from collections.abc import Mapping
from math import exp, sqrt
from typing import NamedTuple

from metering.adaptive import PlatformState
from metering.adaptive.law import Cause
from metering.stores import PoolMinute
from metering.stores.history import MINUTE_NS

__all__ = ["pool_minutes"]

_NODES = ("node-a", "node-b")
_CEILING_RPM, _FLOOR_RPM = 60.0, 4.0
_UNLOADED_S = 0.35
_BUSY_AT = 14.25
_MINUTES_A_DAY = 24 * 60
_WEEK_END = (5, 6)
_LIMITED_FROM, _BUSY_FROM = 0.8, 1.05
"""Parts of what a pool can make, from which on its state is another."""


class _Load(NamedTuple):
    """What a pool is asked in a minute, as a part of what it can make."""

    asked: float

    @property
    def state(self) -> PlatformState:
        if self.asked < _LIMITED_FROM:
            return "normal"
        return "limiting" if self.asked < _BUSY_FROM else "busy"

    @property
    def cause(self) -> Cause:
        return "ceiling" if self.asked < _LIMITED_FROM else "budget"

    @property
    def limit_rpm(self) -> float:
        spare = max(0.0, min(1.0, (1.3 - self.asked) / 0.5))
        return _FLOOR_RPM + (_CEILING_RPM - _FLOOR_RPM) * spare * sqrt(spare)


def pool_minutes(
    until_ns: int, capacities: Mapping[str, float], *, days: int
) -> list[PoolMinute]:
    """Return minutes of pools: calm nights, working days, and one busy hour of each.

    Args:
        until_ns: The last minute is the one before this instant.
        capacities: First bytes per second that each node can have of each pool.
        days: How many days there are.
    """
    last = until_ns // MINUTE_NS
    return [
        _minute(node, pool, capacity, minute, place)
        for minute in range(last - days * _MINUTES_A_DAY, last)
        for place, (pool, capacity) in enumerate(capacities.items())
        for node in _NODES
    ]


def _minute(
    node: str, pool: str, capacity: float, minute: int, place: int
) -> PoolMinute:
    load = _Load(_asked(minute, place))
    over = max(0.0, load.asked - 0.95)
    lowest = 1.0 if load.state == "normal" else 0.9
    return PoolMinute(
        node=node,
        pool=pool,
        minute_ns=minute * MINUTE_NS,
        state=load.state,
        cause=load.cause,
        limit_rpm=load.limit_rpm,
        limit_rpm_min=max(_FLOOR_RPM, load.limit_rpm * lowest),
        awaiting=capacity * _UNLOADED_S * min(load.asked, 1.35),
        waiting=capacity * over * 4,
        budget_per_s=None if load.state == "normal" else capacity * load.limit_rpm / 70,
        capacity_per_s=capacity * (1 - 0.06 * _ripple(minute, 37)),
        unloaded_s=_UNLOADED_S,
    )


def _asked(minute: int, place: int) -> float:
    """Return which part of its capacity a pool is asked: most after lunch."""
    hour = minute % _MINUTES_A_DAY / 60
    weekday = (minute // _MINUTES_A_DAY + 3) % 7
    rests = weekday in _WEEK_END
    work = 0.45 * exp(-(((hour - 12.5) / 4.5) ** 2)) * (0.4 if rests else 1)
    peak = 0.1 if rests else 0.75
    at = _BUSY_AT - 3 * place
    busy = peak * exp(-(((hour - at) / 0.55) ** 2)) * (1 - 0.3 * place)
    return 0.12 + work + busy + 0.09 * _ripple(minute, 11 + place)


def _ripple(minute: int, seed: int) -> float:
    """Return a number between 0 and 1 that seems to be drawn, the same each time."""
    return (minute * 2_654_435_761 * seed % 4_294_967_291) / 4_294_967_291
