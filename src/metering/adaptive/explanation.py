"""What a pool is doing and why, in words."""

from dataclasses import dataclass
from typing import Literal

from metering.adaptive.gate import Signal
from metering.adaptive.law import Cause

__all__ = ["Explanation", "PlatformState"]

PlatformState = Literal["normal", "limiting", "busy", "shedding_paid"]
"""`normal`: all get what they ask. `limiting`: class 0 has less than its ceiling.
`busy`: calls of class 0 wait at the gate now. `shedding_paid`: calls of a paid class
do, for paid calls alone are more than the platform can take."""

_STATES: dict[PlatformState, str] = {
    "normal": "Everybody gets what they ask for",
    "limiting": "Class 0 gets what is spare",
    "busy": "Class 0 gets what is spare, and some of its calls wait",
    "shedding_paid": "Paid calls alone are more than the platform can take",
}

_SIGNALS: dict[Signal, str] = {
    "first_bytes": "how many calls await their first byte",
    "queue_gauge": "the queue that the platform tells of",
    "answer_times": "answer times, for nobody streams",
    "upstream_refusals": "what the upstream refuses",
}

_CAUSES: dict[Cause, str] = {
    "ceiling": "it is the ceiling, for nothing is short",
    "budget": "it was moved by what went upstream while calls had to wait",
    "probe": "it is being raised, for nobody waits and the limit is used up",
    "split": "it was raised to an equal split of the budget",
    "floor": "it is the floor, which the law never goes below",
}


@dataclass(frozen=True, slots=True)
class Explanation:
    """One look at a pool.

    Attributes:
        state: What the platform is doing.
        signal: What the gate goes by, and so what moves the limit.
        cause: What set the limit of class 0.
        limit_rpm: Requests a minute of each account of class 0, as published.
        previous_rpm: The limit published before.
        accounts: Accounts of class 0 that asked of late.
        budget_per_s: Calls per second that class 0 may have together; None: as many
            as it likes.
        capacity_per_s: First bytes per second that the platform can make, or answers
            where nobody streams.
        awaiting: Calls that await their first byte.
        waiting: Calls in the waiting rooms.
        unloaded_s: Time to the first byte on an unloaded platform.
        pace_per_s: Calls per second that the upstream takes; None: it refuses none.
    """

    state: PlatformState
    signal: Signal
    cause: Cause
    limit_rpm: float
    previous_rpm: float
    accounts: int
    budget_per_s: float | None
    capacity_per_s: float
    awaiting: float
    waiting: int
    unloaded_s: float
    pace_per_s: float | None

    def __str__(self) -> str:
        """Return it as sentences."""
        parts = [
            f"{_STATES[self.state]}.",
            f"Each account of class 0 may make {self.limit_rpm:g} requests a minute,",
            f"before that {self.previous_rpm:g}: {_CAUSES[self.cause]}.",
            f"The signal is {_SIGNALS[self.signal]}.",
            f"The platform makes {self.capacity_per_s:.1f} first bytes a second;",
            f"{self.awaiting:.0f} calls await theirs, which takes",
            f"{self.unloaded_s:.2f} s without load; {self.waiting} wait at the gate.",
        ]
        if self.budget_per_s is not None:
            equal_rpm = 60 * self.budget_per_s / max(1, self.accounts)
            parts.append(
                f"{self.accounts} accounts share {self.budget_per_s:.1f} calls"
                f" a second, {equal_rpm:.2g} a minute each if all ask alike."
            )
        if self.pace_per_s is not None:
            parts.append(f"The upstream takes {self.pace_per_s:.1f} calls a second.")
        return " ".join(parts)
