"""The gate: may a call of this class go upstream now, without making others wait?"""

from typing import Literal

from metering.adaptive.pace import Pace
from metering.adaptive.plain import PlainAnswers
from metering.adaptive.settings import AdaptiveSettings
from metering.adaptive.signals import Awaited, Capacity, Gauge, Unloaded
from metering.clock import NS_PER_S

__all__ = ["Gate", "Signal"]

Signal = Literal["first_bytes", "queue_gauge", "answer_times", "upstream_refusals"]
"""What the gate goes by: how many await their first byte; the queue's length as the
platform tells it; answer times, where nobody streams; the upstream's own refusals."""

_AWAITED_MIN = 1.0
_CALM = 0.5
_LATE_S = 0.5
_PAID_PLAIN_S = 1.0
_PAID_PLAIN = 1.2


class Gate:
    """All signals of one platform, and what they say to each class.

    Class 0 is stopped when the time to the first byte is *predicted* to be above its
    target, from how many await theirs and how many the platform makes per second. The
    other classes are stopped only where what is *observed* agrees.
    """

    def __init__(self, settings: AdaptiveSettings) -> None:
        tuning = settings.tuning
        self._tuning = tuning
        self._delays_s = [klass.delay_ns / NS_PER_S for klass in settings.classes]
        self._target_ns = settings.first_byte_target_ns
        self._probing_until_ns = 0
        self._probed_ns = 0
        self.running = 0
        self.awaited = Awaited()
        self.capacity = Capacity(tuning)
        self.unloaded = Unloaded(tuning)
        self.gauge = Gauge()
        self.pace = Pace(tuning)
        self.plain = PlainAnswers(tuning)

    def target_s(self, klass: int) -> float:
        """Time to the first byte at which a class is stopped."""
        if klass == 0 and self._target_ns is not None:
            return self._target_ns / NS_PER_S
        return self._tuning.stretch * self.unloaded.base_s + self._delays_s[klass]

    def signal(self, now_ns: int) -> Signal:
        """Return the signal that decides at present."""
        if self.pace.per_s is not None:
            return "upstream_refusals"
        if not self.awaited.streaming:
            return "answer_times"
        return "first_bytes" if self.gauge.queue(now_ns) is None else "queue_gauge"

    @property
    def calm(self) -> bool:
        """Whether so few calls wait that a sample now is an unloaded one."""
        few = _CALM * self.capacity.per_s * self.unloaded.base_s
        return self.awaited.estimate <= few

    def opens(self, klass: int, now_ns: int) -> bool:
        """Say whether a call of a class may go upstream now.

        A class may whenever one before it may.
        """
        spare = self._spare(now_ns)
        if klass == 0:
            return spare and self.pace.allows(now_ns)
        return spare or self._bearable(klass, now_ns)

    def _bearable(self, klass: int, now_ns: int) -> bool:
        """Say whether the queue is one that a paid class puts up with."""
        if not self.awaited.streaming:
            delay_s = self._delays_s[klass] + _PAID_PLAIN_S
            some = _PAID_PLAIN * self.plain.running_max
            return self.plain.delay_s < delay_s or self.running < some
        target_s = self.target_s(klass)
        if self.awaited.age_s(now_ns) < target_s:
            return True
        return self.awaited.estimate < self.capacity.per_s * target_s

    def _spare(self, now_ns: int) -> bool:
        """Say whether there is room that nobody would miss."""
        if not self.awaited.streaming:
            return self.running < self.plain.running_max
        if now_ns < self._probing_until_ns:
            if not self.calm:
                return False
            self._probing_until_ns = 0
        queue = self.gauge.queue(now_ns)
        if queue is not None:
            return queue < max(_AWAITED_MIN, self.capacity.per_s * self._delays_s[0])
        some = self.capacity.per_s * self.target_s(0)
        return self.awaited.estimate < max(_AWAITED_MIN, some)

    def sent(self, input_tokens: int, now_ns: int, *, streams: bool) -> None:
        """Count a call that goes upstream."""
        self.running += 1
        self.awaited.sent(now_ns, streams=streams)
        self.unloaded.sent(input_tokens)
        self.gauge.sent()
        self.pace.sent()

    def second(
        self, *, made: float, sent: float, refused: float, binding: bool, now_ns: int
    ) -> None:
        """Take in a second.

        Args:
            made: First bytes per second, or answers where nobody streams.
            sent: Calls per second that went upstream.
            refused: Calls per second that the upstream refused.
            binding: Whether this gate kept a call of class 0 waiting.
            now_ns: The end of the second.
        """
        streaming = self.awaited.streaming
        self.unloaded.second()
        late = streaming and self.awaited.age_s(now_ns) > self.target_s(0) + _LATE_S
        self.capacity.second(made, binding=binding or late)
        if not streaming:
            self.plain.second(
                capacity_per_s=self.capacity.per_s,
                running=self.running,
                binding=binding,
                queue=self.gauge.queue(now_ns),
            )
        self.pace.second(sent, refused, now_ns)
        if streaming and binding:
            self._probe(now_ns)

    def scale(self, factor: float) -> None:
        """Have *factor* times as much of the platform from now on."""
        self.capacity.scale(factor)
        self.plain.scale(factor)

    def _probe(self, now_ns: int) -> None:
        """Let the queue drain once, if no sample was unloaded for long."""
        if self._target_ns is not None or self.unloaded.learning:
            return
        last_ns = max(self.unloaded.sampled_ns, self._probed_ns)
        if now_ns - last_ns > self._tuning.probe_after_s * NS_PER_S:
            self._probed_ns = now_ns
            self._probing_until_ns = now_ns + round(self._tuning.probe_s * NS_PER_S)
