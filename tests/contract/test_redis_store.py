"""Limits on a real Valkey keep the contract; what is peculiar to that store."""

import pytest

from metering.backends.redis import RedisLimitStore
from metering.testing import LimitStoreContract

pytestmark = pytest.mark.anyio


class TestRedisLimitStore(LimitStoreContract):
    @pytest.fixture
    async def store(self, redis_url):
        store = RedisLimitStore(redis_url, clock="caller", deadline_ms=5000)
        yield store
        await store.aclose()
