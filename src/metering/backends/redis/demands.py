"""Demands as the script needs them, and what it tells of them as verdicts.

The script only decides whether demands fit. What a caller is told is made here, from
the state that it saw, by the pure rules: so it cannot differ from other stores.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from metering.backends.redis.keys import Keys, tagged
from metering.clock import NS_PER_US
from metering.quota import (
    BudgetQuota,
    Demand,
    RateQuota,
    Verdict,
    decide_budget,
    decide_rate,
    saturated,
)

__all__ = ["Part", "offer_of", "parts_of", "recalled", "units"]

EXACT_MAX = 2**53
"""Spans are cut here, at 285 years: Lua's numbers are exact up to here."""

Told = Any
"""What the script tells of a quota: an instant, or `[spent or False, held, first]`."""

_Offered = tuple[int, int, int, int, int, int | None]
_read_offer = msgspec.json.Decoder(list[_Offered]).decode


class Part:
    """The demands of one call that have one hash tag.

    Attributes:
        tag: The tag.
        demands: The demands.
        places: Where each is in the call.
        names: The key in Redis of what is kept of each.
        version: The version of the account, if it is told in this part; else 0.
    """

    __slots__ = ("demands", "names", "places", "tag", "version")

    def __init__(self, tag: str, version: int = 0) -> None:
        self.tag = tag
        self.demands: list[Demand] = []
        self.places: list[int] = []
        self.names: list[str] = []
        self.version = version

    def offers(self) -> list[Any]:
        """Return the demands as `acquire` and `peek` are told them."""
        offers: list[Any] = []
        for demand in self.demands:
            quota, cost = demand.quota, demand.cost
            if isinstance(quota, RateQuota):
                span_us = quota.span_us(cost)
                slack_us = max(-1, min(quota.burst_us - span_us, EXACT_MAX))
                offers.append((slack_us, min(span_us, EXACT_MAX), demand.shadow))
            else:
                least = cost if demand.cost_min is None else demand.cost_min
                offers.append(
                    (
                        str(quota.amount),
                        units(cost),
                        units(least),
                        quota.ledgered,
                        demand.shadow,
                    )
                )
        return offers

    def changes(self, costs: Sequence[int] | dict[int, int]) -> list[Any]:
        """Return what `settle` is told: how far rates move, what budgets are charged.

        Args:
            costs: What was used, by place in the call.
        """
        changes: list[Any] = []
        for place, demand in zip(self.places, self.demands, strict=True):
            quota, cost = demand.quota, costs[place]
            if isinstance(quota, RateQuota):
                moved_us = quota.span_us(cost) - quota.span_us(demand.cost)
                changes.append((max(-EXACT_MAX, min(moved_us, EXACT_MAX)),))
            else:
                changes.append((units(cost), quota.ledgered))
        return changes

    def decided(self, told: Sequence[Told], now_us: int) -> tuple[Verdict, ...]:
        """Return the verdict on each demand, in order."""
        pairs = zip(self.demands, told, strict=True)
        return tuple([_verdict(demand, state, now_us) for demand, state in pairs])

    def verdicts(
        self, told: Sequence[Told], now_us: int
    ) -> Iterable[tuple[int, Verdict]]:
        """Return the verdict on each demand, with its place in the call."""
        return zip(self.places, self.decided(told, now_us), strict=True)

    def unseeded(self, told: Sequence[Told]) -> list[tuple[int, str]]:
        """Return the keys whose spending is not known, with their places."""
        return [
            (place, demand.key)
            for place, demand, state in zip(
                self.places, self.demands, told, strict=True
            )
            if isinstance(demand.quota, BudgetQuota)
            and demand.quota.ledgered
            and state[0] is False
        ]


def parts_of(
    demands: Sequence[Demand], keys: Keys, account: tuple[str, int] | None = None
) -> list[Part]:
    """Return the parts of a call, that of the account (or else the first) last."""
    parts: dict[str, Part] = {}
    for place, demand in enumerate(demands):
        tag, key = tagged(demand.key)
        part = parts.get(tag)
        if part is None:
            part = parts[tag] = Part(tag)
        part.places.append(place)
        part.demands.append(demand)
        is_rate = isinstance(demand.quota, RateQuota)
        part.names.append((keys.due if is_rate else keys.spent) + key)
    if len(parts) > 1:
        home = next(iter(parts))
        if account is not None and account[0] in parts:
            home = account[0]
        parts[home] = parts.pop(home)
    if account is not None:
        mine = parts.get(account[0])
        if mine is None:
            return [Part(*account), *parts.values()]
        mine.version = account[1]
    return list(parts.values())


def offer_of(parts: Iterable[Part]) -> str:
    """Return what a hold must know of its demands to be answered as at first."""
    offered: list[_Offered] = []
    for part in parts:
        for place, demand in zip(part.places, part.demands, strict=True):
            quota, per_ns, burst = demand.quota, 0, 0
            if isinstance(quota, RateQuota):
                per_ns, burst = quota.per_ns, quota.burst or quota.amount
            offered.append(
                (place, quota.amount, per_ns, burst, demand.cost, demand.cost_min)
            )
    return msgspec.json.encode(offered).decode()


def recalled(
    offer: str, now_us: int, told: Sequence[Told] | None
) -> Iterable[tuple[int, Verdict]]:
    """Return the verdicts that an open hold was granted with, with their places.

    A hold that was brought back does not know what it was told; it says what it holds.
    """
    for at, offered in enumerate(_read_offer(offer)):
        place, amount, per_ns, burst, cost, cost_min = offered
        if not told:
            yield place, Verdict(cost, 0)
            continue
        quota = RateQuota(amount, per_ns, burst) if per_ns else BudgetQuota(amount)
        demand = Demand("", quota, cost, cost_min)
        yield place, _verdict(demand, told[at], now_us)


def units(count: int) -> str:
    """Return a number of units as text, at most what a budget can have spent."""
    return str(saturated(count))


def _verdict(demand: Demand, told: Told, now_us: int) -> Verdict:
    quota = demand.quota
    if isinstance(quota, RateQuota):
        return decide_rate(quota, told, demand.cost, now_us)[0]
    spent, held, first_us = int(told[0] or 0), int(told[1]), told[2]
    verdict = decide_budget(quota, spent, held, demand.cost, demand.cost_min)
    if verdict.reason == "held":
        wait_ns = (first_us - now_us) * NS_PER_US
        return Verdict(0, verdict.remaining, wait_ns, 0, "held")
    return verdict
