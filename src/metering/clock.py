"""Time, as an argument.

Rules and stores are told the time; only services are given a clock to read.
"""

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

__all__ = ["NS_PER_MS", "NS_PER_S", "NS_PER_US", "Clock", "iso_utc", "system_clock"]

NS_PER_US = 1_000
NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Clock(Protocol):
    """Anything that, when called, returns nanoseconds since the Unix epoch (UTC)."""

    def __call__(self) -> int:
        """Return the present instant in nanoseconds."""
        ...


system_clock: Clock = time.time_ns


def iso_utc(instant_ns: int) -> str:
    """Return an instant as people read it, such as 2026-02-12T00:00:00Z.

    A part of a second is shown to the microsecond; what no calendar has, in ns.
    """
    try:
        at = _EPOCH + timedelta(microseconds=instant_ns // NS_PER_US)
    except OverflowError:
        return f"{instant_ns} ns"
    return at.isoformat().replace("+00:00", "Z")
