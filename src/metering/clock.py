"""Time, as an argument.

Rules and stores are told the time; only services are given a clock to read.
"""

import time
from typing import Protocol

__all__ = ["NS_PER_MS", "NS_PER_S", "NS_PER_US", "Clock", "system_clock"]

NS_PER_US = 1_000
NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000


class Clock(Protocol):
    """Anything that, when called, returns nanoseconds since the Unix epoch (UTC)."""

    def __call__(self) -> int:
        """Return the present instant in nanoseconds."""
        ...


system_clock: Clock = time.time_ns
