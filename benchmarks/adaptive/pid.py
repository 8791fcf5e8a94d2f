"""A controller on the signal of our own law: what awaits its first byte.

It turns the queue's excess over a set point into a share of arrivals to refuse, the
lowest tier first, as Uber's Cinnamon does.
"""

import random
from collections import Counter, deque

from benchmarks.adaptive.laws import Law, Verdict
from benchmarks.adaptive.traffic import Request

__all__ = ["Pid"]

_EVERY_S = 0.5
_SET_POINT_S = 0.25
_ERROR_MIN_S, _ERROR_MAX_S = -1.0, 3.0
_REFUSED_MAX = 0.98
_LATELY = 1000
_FORGET = 0.98
_UNLOADED_SAMPLES = 20
_FIRST_GUESS_S = 0.3


class _Unloaded:
    """Time to the first byte of an idle pool, as a line over the prompt's length."""

    def __init__(self) -> None:
        self.samples = 0
        self._sums = [0.0] * 5

    def add(self, steps: float, took_s: float) -> None:
        new = (1.0, steps, took_s, steps * steps, steps * took_s)
        old = self._sums
        self._sums = [_FORGET * a + b for a, b in zip(old, new, strict=True)]
        self.samples += 1

    def at(self, steps: float) -> float:
        if not self.samples:
            return _FIRST_GUESS_S
        weight, x, y, xx, xy = self._sums
        x, y = x / weight, y / weight
        spread = xx / weight - x * x
        slope = max(0.0, (xy / weight - x * y) / spread) if spread > 1e-9 else 0.0
        return max(0.01, y + slope * (steps - x))


class Pid(Law):
    """Refuses a share of arrivals, moved by proportion and integral.

    Args:
        proportional: Share per second of excess queue.
        integral: The same per second and second.
    """

    def __init__(self, proportional: float = 0.3, integral: float = 0.15) -> None:
        self._proportional, self._integral = proportional, integral
        self._chance = random.Random(11)  # noqa: S311 - to be repeated, not secret
        self._unloaded = _Unloaded()
        self._waiting: dict[Request, bool] = {}  # and whether it was sent in calm
        self._per_s, self._firsts, self._prompt = 1.0, 0, 0.0
        self._sum = 0.0
        self._refused = [0.0, 0.0, 0.0]
        self._lately: deque[int] = deque(maxlen=_LATELY)
        self._next_s = _EVERY_S

    def arrive(self, request: Request, now_s: float) -> Verdict:  # noqa: ARG002 - part of the protocol
        """Refuse by chance, and never a tier before all of those below it."""
        self._lately.append(request.tier)
        if self._chance.random() < self._refused[request.tier]:
            return Verdict.BUSY
        if request.streams:
            calm = len(self._waiting) <= 0.5 * self._per_s * self._base_s()
            self._waiting[request] = calm
        new = request.prompt_steps
        self._prompt += (new - self._prompt) * (0.02 if self._prompt else 1.0)
        return Verdict.ADMIT

    def first_byte(self, request: Request, now_s: float) -> None:
        """Count it; one that was sent in calm tells how fast an idle pool is."""
        calm = self._waiting.pop(request)
        self._firsts += 1
        if (calm or self._unloaded.samples < _UNLOADED_SAMPLES) and request.sent_s:
            self._unloaded.add(request.prompt_steps, now_s - request.sent_s)

    def finish(self, request: Request, status: int, now_s: float) -> None:  # noqa: ARG002 - part of the protocol
        """Forget a request that ended without a first byte."""
        self._waiting.pop(request, None)

    def tick(self, now_s: float) -> None:
        """Move the share that is refused."""
        if now_s < self._next_s:
            return
        self._next_s = now_s + _EVERY_S
        self._per_s += 0.1 * (self._firsts / _EVERY_S - self._per_s)
        self._firsts = 0
        excess = len(self._waiting) - self._per_s * self._base_s()
        error_s = excess / max(1.0, self._per_s) - _SET_POINT_S
        error_s = max(_ERROR_MIN_S, min(_ERROR_MAX_S, error_s))
        grown = self._sum + self._integral * error_s * _EVERY_S
        self._sum = max(0.0, min(_REFUSED_MAX, grown))
        wanted = self._proportional * error_s + self._sum
        self._spread(max(0.0, min(_REFUSED_MAX, wanted)))

    def _base_s(self) -> float:
        return self._unloaded.at(self._prompt)

    def _spread(self, share: float) -> None:
        lately = Counter(self._lately)
        left = share * len(self._lately)
        for tier in range(3):
            self._refused[tier] = left / max(1, lately[tier])
            left = max(0.0, left - lately[tier])
