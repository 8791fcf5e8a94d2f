"""A clock that stands still until it is told to move."""

from metering.clock import NS_PER_S
from metering.errors import ConfigurationError

__all__ = ["ManualClock"]

_JANUARY_15_2026_NS = 1_768_435_200 * NS_PER_S


class ManualClock:
    """A `Clock` for tests: calling it returns the instant that it was set to.

    Args:
        start_ns: The first instant, in nanoseconds since the epoch; by default
            2026-01-15T00:00:00Z.
    """

    __slots__ = ("_now_ns",)

    def __init__(self, start_ns: int = _JANUARY_15_2026_NS) -> None:
        self._now_ns = start_ns

    def __call__(self) -> int:
        """Return the present instant in nanoseconds."""
        return self._now_ns

    def advance(self, *, ns: int = 0, seconds: float = 0) -> int:
        """Move on by *ns* plus *seconds*, and return the new instant.

        Raises:
            ConfigurationError: That would be back in time.
        """
        step_ns = ns + round(seconds * NS_PER_S)
        if step_ns < 0:
            raise ConfigurationError(
                f"A clock cannot advance by {step_ns} ns. To go back, say so: move_to."
            )
        self._now_ns += step_ns
        return self._now_ns

    def move_to(self, instant_ns: int) -> None:
        """Move to an instant, later or earlier."""
        self._now_ns = instant_ns
