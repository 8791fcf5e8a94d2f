"""What is seen of a platform from outside: who awaits a first byte, who got one.

Time to the first byte and answer times say little by themselves: long prompts, long
answers and full batches stretch them on a healthy platform. The number of streams that
await their first byte is the queue itself, seen without delay.
"""

from dataclasses import dataclass

from metering.adaptive.averages import Line, weight
from metering.adaptive.settings import Tuning
from metering.clock import NS_PER_S

__all__ = ["Awaited", "Capacity", "Gauge", "Unloaded"]

_SHARE_LEARNS = 0.02
_SHARE_MIN = 0.2
_GAUGE_STALE_NS = 5 * NS_PER_S


@dataclass(slots=True)
class Awaited:
    """The calls that await their first byte.

    Only streams are counted, since others show no first byte before their last. The
    share of streams makes an estimate for all calls of that.
    """

    count: int = 0
    share: float = 1.0
    _since_ns: int = 0
    _known: bool = False

    def sent(self, now_ns: int, *, streams: bool) -> None:
        """Count a call that goes upstream."""
        if self._known:
            self.share += _SHARE_LEARNS * (streams - self.share)
        else:
            self.share, self._known = float(streams), True
        if streams:
            self.count += 1
            self._since_ns += now_ns

    def answered(self, sent_ns: int) -> None:
        """Count a stream out: its first byte came, or it ended without one."""
        self.count -= 1
        self._since_ns -= sent_ns

    @property
    def streaming(self) -> bool:
        """Whether enough calls stream for this to be a signal."""
        return self.share >= _SHARE_MIN

    @property
    def each(self) -> float:
        """Return how many calls one stream stands for."""
        return 1.0 / max(_SHARE_MIN, self.share)

    @property
    def estimate(self) -> float:
        """Return how many calls await their first byte, streams or not."""
        return self.count * self.each

    def age_s(self, now_ns: int) -> float:
        """Return about how long the oldest waits: twice the mean of a steady queue."""
        if self.count <= 0:
            return 0.0
        return 2.0 * (now_ns - self._since_ns / self.count) / NS_PER_S


class Capacity:
    """First bytes per second that the platform can make.

    Measured while the gate binds, for then it makes as many as it can. At other times
    what it makes is only a lower bound.
    """

    def __init__(self, tuning: Tuning) -> None:
        self._weight = weight(tuning.capacity_tau_s)
        self.per_s = 0.0
        self._made_per_s = 0.0

    def second(self, made_per_s: float, *, binding: bool) -> None:
        """Take in what the last second made."""
        self._made_per_s += self._weight * (made_per_s - self._made_per_s)
        if binding:
            self.per_s += self._weight * (made_per_s - self.per_s)
        else:
            self.per_s = max(self.per_s, self._made_per_s)

    def scale(self, factor: float) -> None:
        """Have *factor* times as much of the platform from now on."""
        self.per_s *= factor
        self._made_per_s *= factor


class Unloaded:
    """Time to the first byte that the platform needs when next to nobody waits.

    It depends on the size of the prompt. Samples count while few calls wait. One that
    is late even then may have met a full batch, so it weighs little.
    """

    FIRST = 20
    """So many samples are taken in whatever the load, to begin with."""

    def __init__(self, tuning: Tuning) -> None:
        self._late = tuning.late
        self._late_weight = tuning.late_weight
        self._line = Line()
        self._input_tokens = 0.0
        self.sampled_ns = 0
        self.base_s = 0.0

    @property
    def learning(self) -> bool:
        """Whether there are too few samples to be choosy."""
        return self._line.points < self.FIRST

    def sent(self, input_tokens: int) -> None:
        """Follow the mean size of the prompts."""
        if self._input_tokens:
            self._input_tokens += 0.02 * (input_tokens - self._input_tokens)
        else:
            self._input_tokens = float(input_tokens)

    def sample(self, input_tokens: int, took_s: float, now_ns: int) -> None:
        """Take in how long a call took that met no queue."""
        late = not self.learning and took_s > self._late * self._line.at(input_tokens)
        self._line.add(input_tokens, took_s, self._late_weight if late else 1.0)
        self.sampled_ns = now_ns

    def second(self) -> None:
        """Find the time for the prompts of now."""
        if self._line.points:
            self.base_s = max(0.01, self._line.at(self._input_tokens))


@dataclass(slots=True)
class Gauge:
    """The queue's length as the platform itself told it, and what was sent since."""

    _told: float = 0.0
    _told_ns: int | None = None
    _since: int = 0

    def push(self, queue_length: float, now_ns: int) -> None:
        """Take in a length that was just read."""
        self._told, self._told_ns, self._since = queue_length, now_ns, 0

    def sent(self) -> None:
        """Count a call that goes upstream."""
        self._since += 1

    def answered(self) -> None:
        """Count a call that leaves the queue."""
        self._since -= 1

    def queue(self, now_ns: int) -> float | None:
        """Return the queue's length; None where nobody told it in the last 5 s."""
        if self._told_ns is None or now_ns - self._told_ns > _GAUGE_STALE_NS:
            return None
        return max(0.0, self._told + self._since)
