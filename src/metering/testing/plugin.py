"""Fixtures for tests of services built on metering; pytest finds them by itself."""

from typing import TYPE_CHECKING

import pytest

# Pytest loads this module at every start, also where metering is only installed.
# So fixtures import what they need when they are used.
if TYPE_CHECKING:
    from metering.testing.clock import ManualClock

__all__ = ["metering_clock"]


@pytest.fixture
def metering_clock() -> "ManualClock":
    """A clock that stands at 2026-01-15T00:00:00Z until the test moves it."""
    from metering.testing.clock import ManualClock  # noqa: PLC0415 - see above

    return ManualClock()
