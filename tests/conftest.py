"""Fixtures and settings that all tests share."""

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes says more about the machine than about the code, and in
# a fresh clone the first one also pays for Hypothesis's tables of characters.
settings.register_profile(
    "metering", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("metering")


@pytest.fixture
def anyio_backend() -> str:
    """Run asynchronous tests on asyncio; trio has tests of its own."""
    return "asyncio"
