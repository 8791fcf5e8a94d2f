"""Averages that forget, and a line through points that forgets."""

import math

__all__ = ["Line", "weight"]


def weight(tau_s: float) -> float:
    """Return what the newest second weighs in an average with a memory of *tau_s*."""
    return 1.0 - math.exp(-1.0 / tau_s)


class Line:
    """A least-squares line `y = intercept + slope * x`, the slope never below 0.

    Each new point of weight 1 takes 2 % off the weight of all before it.
    """

    __slots__ = ("_sum", "_x", "_xx", "_xy", "_y", "points")

    FORGETS = 0.02
    _SPREAD_MIN = 1e-9

    def __init__(self) -> None:
        self.points = 0
        self._sum = self._x = self._y = self._xx = self._xy = 0.0

    def add(self, x: float, y: float, share: float = 1.0) -> None:
        """Take in a point that counts as *share* (0 to 1) of a point."""
        kept = 1.0 - share * self.FORGETS
        self.points += 1
        self._sum = kept * self._sum + share
        self._x = kept * self._x + share * x
        self._y = kept * self._y + share * y
        self._xx = kept * self._xx + share * x * x
        self._xy = kept * self._xy + share * x * y

    def fit(self) -> tuple[float, float]:
        """Return intercept and slope; there must have been a point."""
        mean_x, mean_y = self._x / self._sum, self._y / self._sum
        spread = self._xx / self._sum - mean_x * mean_x
        if spread <= self._SPREAD_MIN:
            return mean_y, 0.0
        slope = max(0.0, (self._xy / self._sum - mean_x * mean_y) / spread)
        return mean_y - slope * mean_x, slope

    def at(self, x: float) -> float:
        """Return the height of the line at *x*."""
        intercept, slope = self.fit()
        return intercept + slope * x
