"""The law: one slowly moving limit for every account of class 0, once a second.

The class has a *budget*: what went upstream while somebody had to wait. The limit is
moved until what it lets through meets the budget.
"""

import math
from dataclasses import dataclass
from typing import Literal

from metering.adaptive.averages import weight
from metering.adaptive.settings import AdaptiveSettings

__all__ = ["Cause", "Law", "Second"]

Cause = Literal["ceiling", "budget", "probe", "split", "floor"]
"""What set the limit: nothing is short; the budget; a budget that is felt upwards since
nobody waits; the equal split that the limit is never below; the floor."""

_SENT_MIN = 0.2
_BUDGET_MIN = 0.05
_PASSED_MIN = 0.02
_CALM_S = 2
_GROW_MAX = 0.3
_TRIM_DOWN = 0.4
_TRIM_UP = 0.12
_RISE_MAX = 0.4
_FALL_MAX = 1.2
_FORGETS_AFTER_S = 600


@dataclass(slots=True)
class Second:
    """What class 0 did in one second.

    Attributes:
        passed: Calls that their account's limit let through.
        limited: Calls that it refused.
        sent: Calls that went upstream.
        over: Calls that were refused although inside the limit.
        looks: Times that the room was looked at.
        busy: Looks that found somebody waiting.
        waiting: Calls found waiting, all looks together.
    """

    passed: int = 0
    limited: int = 0
    sent: int = 0
    over: int = 0
    looks: int = 0
    busy: int = 0
    waiting: int = 0

    def look(self, waiting: int) -> None:
        """Look at the room."""
        self.looks += 1
        self.busy += waiting > 0
        self.waiting += waiting

    @property
    def short(self) -> float:
        """Share of the second in which the class got less than it asked (0 to 1)."""
        share = self.busy / max(1, self.looks)
        if self.over:
            share = max(share, min(1.0, self.over / max(1, self.passed)))
        return share


class Law:
    """The limit of each account of class 0.

    Args:
        settings: Floor, ceiling and constants.
    """

    def __init__(self, settings: AdaptiveSettings) -> None:
        self._floor_rpm = settings.floor_rpm
        self._ceiling_rpm = settings.ceiling_rpm
        self._tuning = settings.tuning
        self._fast: float | None = None
        self._slow = 0.0
        self._calm_s = 0
        self.limit_rpm = settings.ceiling_rpm
        self.cause: Cause = "ceiling"
        self.passed_per_s = 0.0

    @property
    def budget_per_s(self) -> float | None:
        """Calls per second that the class may have; None: it was never short."""
        if self._fast is None:
            return None
        return max(_BUDGET_MIN, min(self._slow, self._tuning.margin * self._fast))

    def step(self, second: Second, sent_per_s: float, accounts: int) -> None:
        """Move the limit by what happened in a second.

        Args:
            second: The second.
            sent_per_s: Calls per second that went upstream of late.
            accounts: Accounts that asked of late.
        """
        tuning = self._tuning
        passed_weight = weight(tuning.passed_tau_s)
        self.passed_per_s += passed_weight * (second.passed - self.passed_per_s)
        growing = self._learn_budget(second, sent_per_s)
        budget = self.budget_per_s
        if budget is None:
            self.limit_rpm, self.cause = self._ceiling_rpm, "ceiling"
            return
        self.cause = "probe" if growing else "budget"
        self._approach(budget * (1.0 + self._trim(second, sent_per_s)))
        equal_rpm = 60.0 * budget / max(1, accounts)
        least_rpm = (1.0 - tuning.below_split) * equal_rpm
        if self.limit_rpm < least_rpm:
            self.limit_rpm, self.cause = least_rpm, "split"
        if self.limit_rpm >= self._ceiling_rpm:
            self.limit_rpm, self.cause = self._ceiling_rpm, "ceiling"
        elif self.limit_rpm <= self._floor_rpm:
            self.limit_rpm, self.cause = self._floor_rpm, "floor"

    def scale(self, factor: float) -> None:
        """Have *factor* times as much of the platform from now on."""
        if self._fast is not None:
            self._fast *= factor
            self._slow *= factor

    def _learn_budget(self, second: Second, sent_per_s: float) -> bool:
        """Follow the budget; say whether it is being felt upwards."""
        tuning = self._tuning
        short = second.short
        if short > 0:
            if self._fast is None:
                self._fast = self._slow = max(float(second.sent), _SENT_MIN)
            fast, slow = weight(tuning.fast_tau_s), weight(tuning.slow_tau_s)
            self._fast += short * fast * (second.sent - self._fast)
            self._slow += short * slow * (second.sent - self._slow)
            self._calm_s = 0
            return False
        if self._fast is None:
            return False
        self._calm_s += 1
        if self._calm_s >= _FORGETS_AFTER_S:
            self._fast = None
            return False
        self._slow = max(self._slow, sent_per_s)
        in_use = second.limited and self.passed_per_s > tuning.used * self._slow
        growing = bool(in_use) and self._calm_s > _CALM_S
        if growing:
            growth = min(_GROW_MAX, tuning.grow * (self._calm_s - _CALM_S))
            self._slow *= 1.0 + growth
        self._fast = max(self._fast, self._slow / tuning.margin)
        return growing

    def _trim(self, second: Second, sent_per_s: float) -> float:
        """Share by which to miss the budget, so that the room's wait is on target."""
        waiting = second.waiting / max(1, second.looks)
        wait_s = waiting / max(0.5, sent_per_s)
        off = 1.0 - wait_s / self._tuning.room_target_s
        return max(-_TRIM_DOWN, min(_TRIM_UP, self._tuning.trim * off))

    def _approach(self, budget_per_s: float) -> None:
        """Move the limit towards where it lets through what the budget is."""
        error = math.log(budget_per_s / max(_PASSED_MIN, self.passed_per_s))
        far = abs(error) > self._tuning.far
        gain = self._tuning.gain_far if far else self._tuning.gain
        step = max(-_FALL_MAX, min(_RISE_MAX, gain * error))
        self.limit_rpm *= math.exp(step)
