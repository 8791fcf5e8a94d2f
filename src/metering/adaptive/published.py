"""The limit as it is told and enforced: two digits, and it does not flutter."""

import math

__all__ = ["PublishedLimit", "two_digits"]

_HYSTERESIS = 0.1


def two_digits(rpm: float) -> float:
    """Return *rpm* (above 0) rounded down to two significant digits."""
    exponent = math.floor(math.log10(rpm)) - 1
    scaled = math.floor(rpm / 10.0**exponent + 1e-9)
    return scaled * 10.0**exponent if exponent >= 0 else scaled / 10.0**-exponent


class PublishedLimit:
    """A limit that changes only when it is 10 % off, or at one of its ends.

    Args:
        floor_rpm: Its lower end.
        ceiling_rpm: Its upper end, where it begins.
    """

    def __init__(self, floor_rpm: float, ceiling_rpm: float) -> None:
        self._floor_rpm = floor_rpm
        self._ceiling_rpm = ceiling_rpm
        self.rpm = self.previous_rpm = ceiling_rpm

    def follow(self, rpm: float) -> None:
        """Take over what the law says."""
        if rpm in {self._floor_rpm, self._ceiling_rpm}:
            told_rpm = rpm
        elif abs(rpm - self.rpm) < _HYSTERESIS * self.rpm:
            return
        else:
            told_rpm = max(self._floor_rpm, two_digits(rpm))
        if told_rpm != self.rpm:
            self.previous_rpm, self.rpm = self.rpm, told_rpm
