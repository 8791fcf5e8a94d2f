"""Laws that bound how many requests run at once: AIMD and Gradient2 on first bytes.

Both follow Netflix's concurrency-limits in shape: windows of at least a second and ten
samples, and a share of the bound for each class that it may use even when all is full.
"""

from statistics import fmean, quantiles

from benchmarks.adaptive.laws import Law, Verdict
from benchmarks.adaptive.traffic import Request

__all__ = ["Aimd", "Gradient2"]

_WINDOW_S, _SAMPLES_MIN = 1.0, 10
_PAID_SHARE = 0.6
_BOUND_FIRST, _BOUND_MIN, _BOUND_MAX = 20.0, 4.0, 1000.0
_OVERLOADED = frozenset({429, 499, 503})


class _InFlight(Law):
    """Counts what runs, gathers times to the first byte, and asks a law each window."""

    def __init__(self) -> None:
        self._bound = _BOUND_FIRST
        self._running = [0, 0]
        self._most = 0
        self._samples_s: list[float] = []
        self._dropped = False
        self._next_s = _WINDOW_S

    def arrive(self, request: Request, now_s: float) -> Verdict:  # noqa: ARG002 - part of the protocol
        """Admit while there is room, or while the class is below its share."""
        paid = int(request.tier > 0)
        share = _PAID_SHARE if paid else 1 - _PAID_SHARE
        full = sum(self._running) >= self._bound
        if full and self._running[paid] >= share * self._bound:
            return Verdict.BUSY
        self._running[paid] += 1
        self._most = max(self._most, sum(self._running))
        return Verdict.ADMIT

    def finish(self, request: Request, status: int, now_s: float) -> None:
        """Take a sample, and at the end of a window move the bound."""
        self._running[int(request.tier > 0)] -= 1
        if status == 200 and request.sent_s is not None and request.first_s is not None:
            self._samples_s.append(request.first_s - request.sent_s)
        self._dropped |= status in _OVERLOADED
        enough = len(self._samples_s) >= _SAMPLES_MIN or self._dropped
        if now_s < self._next_s or not enough:
            return
        self._next_s = now_s + _WINDOW_S
        self._bound = min(_BOUND_MAX, max(_BOUND_MIN, self._moved()))
        self._samples_s, self._dropped, self._most = [], False, sum(self._running)

    def _moved(self) -> float:
        raise NotImplementedError


class Aimd(_InFlight):
    """One more where nine of ten first bytes came in time, else a tenth fewer.

    Args:
        late_s: What is not in time.
        cut: Factor of the bound then.
    """

    def __init__(self, late_s: float = 1.0, cut: float = 0.9) -> None:
        super().__init__()
        self._late_s, self._cut = late_s, cut

    def _moved(self) -> float:
        seen = self._samples_s
        ninth = quantiles(seen, n=10)[-1] if len(seen) > 1 else sum(seen)
        if self._dropped or ninth > self._late_s:
            return self._bound * self._cut
        return self._bound + (self._most * 2 >= self._bound)


class Gradient2(_InFlight):
    """Follows the ratio of a long mean to the last window's.

    Args:
        tolerance: How far the short mean may be above the long one.
        spare: What is added in each window.
        smoothing: Weight of what is new.
        long_windows: Windows over which the long mean is taken.
    """

    _WARM_UP = 10

    def __init__(
        self,
        tolerance: float = 3.0,
        spare: float = 4.0,
        smoothing: float = 0.2,
        long_windows: int = 600,
    ) -> None:
        super().__init__()
        self._tolerance, self._spare = tolerance, spare
        self._smoothing, self._long_windows = smoothing, long_windows
        self._long_s, self._windows = 0.0, 0

    def _moved(self) -> float:
        if not self._samples_s:
            return self._bound
        short_s = fmean(self._samples_s)
        self._windows += 1
        early = self._windows <= self._WARM_UP
        weight = 1 / self._windows if early else 2 / (self._long_windows + 1)
        self._long_s += (short_s - self._long_s) * weight
        if self._long_s > 2 * short_s:
            self._long_s *= 0.95
        if self._most * 2 < self._bound:
            return self._bound
        gradient = max(0.5, min(1.0, self._tolerance * self._long_s / short_s))
        wanted = self._bound * gradient + self._spare
        return self._bound + (wanted - self._bound) * self._smoothing
