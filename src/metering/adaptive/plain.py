"""How many calls may run where nobody streams, so that no first byte is ever seen."""

from metering.adaptive.averages import Line
from metering.adaptive.settings import Tuning

__all__ = ["PlainAnswers"]

_RUNNING_MIN = 2.0
_FALL = 0.1
_POINTS_MIN = 10


class PlainAnswers:
    """A bound on running calls, steered by the delay that answers show.

    Answer time grows with the output. What is left of it for no output at all is the
    time before the first token; what that is above its unloaded value is the queue.
    """

    def __init__(self, tuning: Tuning) -> None:
        self._target_s = tuning.plain_delay_s
        self._gain = tuning.plain_gain
        self._growth = tuning.plain_growth
        self._line = Line()
        self._unloaded_s: float | None = None
        self._untried = True
        self.running_max = 8.0
        self.delay_s = 0.0

    def answered(self, output_tokens: int, took_s: float) -> None:
        """Take in an answer."""
        self._line.add(output_tokens, took_s)

    def second(
        self,
        *,
        capacity_per_s: float,
        running: int,
        binding: bool,
        queue: float | None,
    ) -> None:
        """Move the bound by what the last second showed.

        Args:
            capacity_per_s: Answers per second of the platform.
            running: Calls that run.
            binding: Whether the bound stopped a call.
            queue: The queue's length where the platform tells it.
        """
        if self._line.points <= _POINTS_MIN:
            return
        ahead_s = self._line.fit()[0]
        if self._unloaded_s is None:
            self._unloaded_s = ahead_s
        elif running < 0.5 * self.running_max:
            self._unloaded_s += 0.1 * (ahead_s - self._unloaded_s)
        if queue is None:
            self.delay_s = ahead_s - max(0.0, self._unloaded_s)
        else:
            self.delay_s = queue / max(0.2, capacity_per_s)
        if self.delay_s > self._target_s:
            self._untried = False
        elif not binding:
            return
        growth = self._growth * self.running_max
        if not self._untried:
            error_s = self._target_s - self.delay_s
            growth = min(growth, self._gain * capacity_per_s * error_s)
        self.running_max += max(-_FALL * self.running_max, growth)
        self.running_max = max(_RUNNING_MIN, self.running_max)

    def scale(self, factor: float) -> None:
        """Have *factor* times as much of the platform from now on."""
        self.running_max = max(_RUNNING_MIN, factor * self.running_max)
