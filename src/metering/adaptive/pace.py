"""How fast an upstream may be called that answers "too many" instead of queueing."""

from metering.adaptive.settings import Tuning
from metering.clock import NS_PER_S

__all__ = ["Pace"]

_BACK_AFTER_S = 20
"""A metered upstream refuses more often than that. One that does not was away: what it
took of late says nothing of what it can take."""

_LEVEL_MIN = 2.0
_BURST_S = 0.2
_DEBT_S = 1.0


class Pace:
    """A bucket that fills at a little less than what the upstream took.

    Calls that must not wait take from it all the same, as far below 0 as one second
    fills: those who can wait make room for them.
    """

    def __init__(self, tuning: Tuning) -> None:
        self._kept = 1.0 - tuning.pace_below
        self._growth = tuning.pace_growth
        self._taken_per_s = 0.0
        self._level = 0.0
        self._filled_ns = 0
        self._calm_s = 0
        self.per_s: float | None = None

    def allows(self, now_ns: int) -> bool:
        """Say whether a call that can wait may go now."""
        if self.per_s is None:
            return True
        self._fill(self.per_s, now_ns)
        return self._level >= 1.0

    def sent(self) -> None:
        """Count a call that goes upstream."""
        if self.per_s is not None:
            least = -max(_LEVEL_MIN, _DEBT_S * self.per_s)
            self._level = max(least, self._level - 1.0)

    def second(self, sent_per_s: float, refused_per_s: float, now_ns: int) -> None:
        """Follow what the upstream took and refused in the last second."""
        taken_per_s = sent_per_s - refused_per_s
        if not self._taken_per_s:
            self._taken_per_s = taken_per_s
        self._taken_per_s += 0.2 * (taken_per_s - self._taken_per_s)
        if refused_per_s:
            if self.per_s is None:
                self._level, self._filled_ns = 0.0, now_ns
            self.per_s = max(0.2, self._kept * self._taken_per_s)
            self._calm_s = 0
        elif self.per_s is not None:
            self.per_s = self._grown(self.per_s)
            if self.per_s > 2.0 * self._taken_per_s + 10.0:
                self.per_s = None

    def _grown(self, per_s: float) -> float:
        """Grow slowly where the upstream is metered, fast where it was only away."""
        self._calm_s += 1
        back_s = max(0, self._calm_s - _BACK_AFTER_S)
        if back_s:
            per_s = max(per_s, self._taken_per_s)
        return per_s * (1.0 + self._growth * (1 + back_s))

    def _fill(self, per_s: float, now_ns: int) -> None:
        elapsed_s = (now_ns - self._filled_ns) / NS_PER_S
        self._filled_ns = now_ns
        full = max(_LEVEL_MIN, _BURST_S * per_s)
        self._level = min(full, self._level + elapsed_s * per_s)
