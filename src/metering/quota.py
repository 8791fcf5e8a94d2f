"""Quotas of two kinds, and the pure rules that decide over them.

A rate quota refills with time and is decided by the generic cell rate algorithm (GCRA;
ITU-T I.371, 1996): all it keeps is the instant at which the quota is whole again. A
budget quota never refills: all it keeps is what was spent and what is held.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from metering.clock import NS_PER_US
from metering.errors import ConfigurationError

__all__ = [
    "COUNT_MAX",
    "NEVER_NS",
    "UNKNOWN",
    "BudgetQuota",
    "Demand",
    "Quota",
    "RateQuota",
    "Reason",
    "Unit",
    "Verdict",
    "Window",
    "binding",
    "charged",
    "decide_budget",
    "decide_rate",
    "require_costs",
    "saturated",
]

Reason = Literal["", "rate", "spent", "held", "impossible"]
"""Why a demand was refused; empty where it was granted.

`rate`: too soon. `held`: there would be room but for running calls. `spent`: there is
none until the budget changes. `impossible`: this call alone is above the quota.
"""

Unit = Literal[
    "requests", "tokens", "input_tokens", "output_tokens", "running", "pico_usd"
]
"""What a demand counts; `running` is calls at once."""

Window = Literal["fixed", "moving", "sliding"]
"""How requests are counted where a rate does not refill: in windows that begin with a
request and end, in the period just past, or in the last two periods, weighted."""

UNKNOWN = -1
"""A `remaining` that says: nobody could be asked, so the quota is not enforced now."""

NEVER_NS = -1
"""A `retry_after_ns` that says: waiting does not help."""

COUNT_MAX = 2**63 - 1
"""The largest number of units that a demand may cost, and a budget can have spent."""

_AMOUNT_MAX = 2**53
_PER_US_MAX = 400 * 24 * 3600 * 1_000_000


@dataclass(frozen=True, slots=True)
class RateQuota:
    """So many units per time, refilled continuously.

    With `burst` equal to `amount` (the default) any stretch of one period admits at
    most `2 * amount - 1` units one by one: the burst, then what refills meanwhile.

    Args:
        amount: Units per period, from 1 to 2**53.
        per_ns: The period, in whole microseconds, at most 400 days.
        burst: Units that may pass at once; None means `amount`.

    Raises:
        ConfigurationError: A value is out of range.
    """

    amount: int
    per_ns: int
    burst: int | None = None
    per_us: int = field(init=False, repr=False, compare=False)
    burst_us: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _require_count("amount", self.amount)
        burst = self.amount if self.burst is None else self.burst
        _require_count("burst", burst)
        per_us, rest = divmod(self.per_ns, NS_PER_US)
        if rest or not 0 < per_us <= _PER_US_MAX:
            raise ConfigurationError(
                f"per_ns {self.per_ns} is not a whole number of microseconds"
                " from 1 us to 400 days."
            )
        object.__setattr__(self, "burst", burst)
        object.__setattr__(self, "per_us", per_us)
        # Units that come one by one are each rounded up to whole microseconds. The
        # burst is given the room that this takes, but never as much as one unit more.
        whole_us = self.span_us(burst)
        rounding_us = burst * self.span_us(1) - whole_us
        unit_us = self.span_us(burst + 1) - whole_us
        slack_us = max(0, min(rounding_us, unit_us - 1))
        object.__setattr__(self, "burst_us", whole_us + slack_us)

    def span_us(self, units: int) -> int:
        """Microseconds in which *units* refill, rounded up."""
        return -(-units * self.per_us // self.amount)


@dataclass(frozen=True, slots=True)
class BudgetQuota:
    """So many units, until the key changes; the period is part of the key.

    Args:
        amount: Units, from 0 to `COUNT_MAX`. Nothing fits into 0.
        ledgered: Whether what was spent is known to a ledger, so that an absent key
            means "unknown: seed it" and not "nothing spent yet".
    """

    amount: int
    ledgered: bool = False

    def __post_init__(self) -> None:
        if type(self.amount) is not int or not 0 <= self.amount <= COUNT_MAX:
            raise ConfigurationError(
                f"A budget of {self.amount!r} is not an int from 0 to 2**63 - 1."
            )


Quota = RateQuota | BudgetQuota


def _require_count(name: str, count: int) -> None:
    if type(count) is not int or not 0 < count <= _AMOUNT_MAX:
        raise ConfigurationError(
            f"{name} {count!r} is not an int from 1 to 2**53. A quota that admits"
            " nothing is a suspended account, not a quota of 0."
        )


class Demand(msgspec.Struct, frozen=True, gc=False):
    """A claim of one call on one quota.

    Attributes:
        key: Where the quota's state is kept. It never contains the amount, so that a
            changed amount keeps what was used.
        quota: The allowance.
        cost: Units wanted, from 0 to `COUNT_MAX`.
        cost_min: The fewest units worth having, from 0 to `cost`, budgets only; None
            means `cost`. The store grants as much as fits in between.
        name: What clients and logs call the quota, such as "requests".
        unit: What it counts.
        shadow: Whether the quota is only tried out: its verdict is told, it takes what
            it would grant, and it never refuses the call.
        window: How a window store counts it; None: a limit store decides, by the rules
            below.
    """

    key: str
    quota: Quota
    cost: int = 1
    cost_min: int | None = None
    name: str = ""
    unit: Unit = "requests"
    shadow: bool = False
    window: Window | None = None


class Verdict(msgspec.Struct, frozen=True, gc=False):
    """What one quota answers to one demand.

    Attributes:
        granted: Units granted; 0 when refused.
        remaining: Whole units left after this decision, or `UNKNOWN`.
        retry_after_ns: How long to wait until the same demand fits, if nobody else
            asks; 0 when granted, `NEVER_NS` when waiting does not help.
        reset_after_ns: How long until a rate quota is whole again; 0 for budgets.
        reason: Why it was refused, or "".
    """

    granted: int
    remaining: int
    retry_after_ns: int = 0
    reset_after_ns: int = 0
    reason: Reason = ""


def require_costs(demands: Iterable[Demand], *, granted: bool = False) -> None:
    """Refuse demands that no store may decide over: a cost below 0 would give.

    Args:
        demands: What is asked.
        granted: Whether `cost` is what was granted, so that `cost_min` is history.

    Raises:
        ConfigurationError: Names the first demand whose cost cannot be.
    """
    for demand in demands:
        cost, least = demand.cost, demand.cost_min
        if type(cost) is not int or not 0 <= cost <= COUNT_MAX:
            raise ConfigurationError(
                f"Demand {demand.name or demand.key!r} costs {cost!r}, which is not an"
                " int from 0 to 2**63 - 1. What is to be given back is settled."
            )
        if least is None or granted or isinstance(demand.quota, RateQuota):
            continue
        if type(least) is not int or not 0 <= least <= cost:
            raise ConfigurationError(
                f"Demand {demand.name or demand.key!r} costs {cost!r} and at least"
                f" {least!r}, which is not an int from 0 to the cost."
            )


def saturated(units: int) -> int:
    """Return *units*, or the number next to them that a store can count."""
    return max(-COUNT_MAX, min(units, COUNT_MAX))


def charged(spent: int, cost: int) -> int:
    """Return what a budget has spent after a charge: it ends at `COUNT_MAX`.

    Nothing fits into such a budget, whatever its amount; to count on would only let
    stores differ.
    """
    return saturated(spent + saturated(cost))


def decide_rate(
    quota: RateQuota, due_us: int, cost: int, now_us: int
) -> tuple[Verdict, int]:
    """Decide over one demand on a rate quota.

    Args:
        quota: The allowance.
        due_us: The instant at which the quota is whole again; any past instant (0 for
            a key never seen) means that it is whole now.
        cost: Units wanted; 0 asks for the state alone.
        now_us: The present instant.

    Returns:
        The verdict, and the new `due_us`: the old one if refused, so that a refusal
        changes nothing.
    """
    # Written out, without helpers: this is the hot path of every limit store.
    backlog_us = due_us - now_us if due_us > now_us else 0
    span_us = -(-cost * quota.per_us // quota.amount)
    after_us = backlog_us + span_us
    over_us = after_us - quota.burst_us
    if over_us <= 0:
        left = -over_us * quota.amount // quota.per_us
        burst = quota.burst or quota.amount
        left = left if left < burst else burst  # noqa: FURB136 - min() is slow here
        return Verdict(cost, left, 0, after_us * NS_PER_US), now_us + after_us
    left = units_left(quota, backlog_us)
    reset_after_ns = backlog_us * NS_PER_US
    if span_us > quota.burst_us:
        return Verdict(0, left, NEVER_NS, reset_after_ns, "impossible"), due_us
    return Verdict(0, left, over_us * NS_PER_US, reset_after_ns, "rate"), due_us


def units_left(quota: RateQuota, backlog_us: int) -> int:
    """Whole units that a rate quota with this backlog would still grant at once."""
    left = (quota.burst_us - backlog_us) * quota.amount // quota.per_us
    if left <= 0:
        return 0
    burst = quota.burst or quota.amount
    return left if left < burst else burst  # noqa: FURB136 - min() is slow here


def decide_budget(
    quota: BudgetQuota, spent: int, held: int, cost: int, cost_min: int | None = None
) -> Verdict:
    """Decide over one demand on a budget quota: `spent + held + cost <= amount`.

    Args:
        quota: The allowance.
        spent: Units used up by ended calls; may exceed the amount (debt).
        held: Units set aside for running calls.
        cost: Units wanted.
        cost_min: The fewest units worth having; None means `cost`.

    Returns:
        The verdict. `held` refusals say `retry_after_ns=NEVER_NS`; a store that knows
        its leases puts the time until the oldest one ends in its place.
    """
    room = quota.amount - spent - held
    if cost <= room:
        return Verdict(cost, room - cost)
    least = cost if cost_min is None else cost_min
    if least <= room:
        return Verdict(room, 0)
    left = max(0, room)
    if least > quota.amount:
        return Verdict(0, left, NEVER_NS, 0, "impossible")
    if spent + least > quota.amount:
        return Verdict(0, left, NEVER_NS, 0, "spent")
    return Verdict(0, left, NEVER_NS, 0, "held")


_WEIGHT: dict[Reason, int] = {"": 0, "rate": 1, "held": 2, "spent": 3, "impossible": 4}


def binding(demands: Sequence[Demand], verdicts: Sequence[Verdict]) -> int:
    """Index of the verdict to tell the caller of: the hardest, then the longest.

    Returns:
        The index, or -1 if no verdict refuses the call.
    """
    worst, worst_at = (0, 0), -1
    for at, (demand, verdict) in enumerate(zip(demands, verdicts, strict=True)):
        rank = (_WEIGHT[verdict.reason], verdict.retry_after_ns)
        if verdict.reason and not demand.shadow and rank > worst:
            worst, worst_at = rank, at
    return worst_at
