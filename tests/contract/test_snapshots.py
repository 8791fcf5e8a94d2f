"""Shared snapshots: what comes back, and that a sick cache costs only a miss."""

import anyio
import pytest
import structlog.testing
import trio
from aiocache import SimpleMemoryCache
from aiocache.serializers import JsonSerializer, PickleSerializer, StringSerializer

from metering.accounts import Account, ApiKey, Overrides, TokenPrices
from metering.backends.cached import AiocacheSnapshots
from metering.clock import NS_PER_S
from metering.errors import ConfigurationError
from metering.ledger import CreditState
from metering.stores import KeyRecord

pytestmark = pytest.mark.anyio

RECORD = KeyRecord(
    key=ApiKey(id="k1", account_id="acme", hash="ab" * 32, hint="wxyz", created_ns=1),
    account=Account(
        id="acme",
        created_ns=1,
        pin=5,
        overrides=Overrides(prices={"model": TokenPrices(input_p=2**60, output_p=3)}),
    ),
    credit=CreditState(5 * 10**12, 2**53 + 1, 7),
)
TTL_NS = 30 * NS_PER_S


class SickCache(SimpleMemoryCache):
    """A cache whose server is away while `away` is set, and slow while `slow` is."""

    away = slow = False

    async def _reach(self):
        if self.away:
            raise ConnectionError("server away")
        if self.slow:
            await anyio.sleep_forever()

    async def _get(self, *args, **kwargs):
        await self._reach()
        return await super()._get(*args, **kwargs)

    async def _set(self, *args, **kwargs):
        await self._reach()
        return await super()._set(*args, **kwargs)

    async def _delete(self, *args, **kwargs):
        await self._reach()
        return await super()._delete(*args, **kwargs)


@pytest.mark.parametrize(
    "serializer", [None, StringSerializer, JsonSerializer, PickleSerializer]
)
async def test_a_record_comes_back_whatever_the_serializer(serializer):
    """Exactly as it was put, large amounts included."""
    cache = SimpleMemoryCache(serializer=serializer and serializer())
    snapshots = AiocacheSnapshots(cache)
    assert await snapshots.get("hash") is None
    await snapshots.put("hash", RECORD, ttl_ns=TTL_NS)
    assert await snapshots.get("hash") == RECORD


async def test_a_dropped_record_is_gone():
    """And dropping one that is not there does nothing."""
    snapshots = AiocacheSnapshots(SimpleMemoryCache())
    await snapshots.put("hash", RECORD, ttl_ns=TTL_NS)
    for _ in range(2):
        await snapshots.drop("hash")
        assert await snapshots.get("hash") is None


@pytest.mark.parametrize(
    ("ttl_ns", "seconds"), [(TTL_NS, 30), (1, 1), (TTL_NS - 1, 29)]
)
async def test_a_record_is_kept_for_whole_seconds(ttl_ns, seconds):
    """Never for ever, which is what 0 would mean to aiocache."""
    kept = {}

    class Cache(SimpleMemoryCache):
        async def _set(self, key, value, ttl=None, **kwargs):
            kept[key] = ttl
            return await super()._set(key, value, ttl=ttl, **kwargs)

    await AiocacheSnapshots(Cache()).put("hash", RECORD, ttl_ns=ttl_ns)
    assert list(kept.values()) == [seconds]


@pytest.mark.parametrize(
    ("fault", "error"), [("away", "ConnectionError"), ("slow", "TimeoutError")]
)
async def test_a_fault_is_a_miss_and_is_told_once(fault, error):
    """One warning when faults begin, one line when they end, no key in either."""
    cache = SickCache()
    snapshots = AiocacheSnapshots(cache)
    await snapshots.put("hash", RECORD, ttl_ns=TTL_NS)
    with structlog.testing.capture_logs() as lines:
        setattr(cache, fault, True)
        assert await snapshots.get("hash") is None
        await snapshots.put("hash", RECORD, ttl_ns=TTL_NS)
        await snapshots.drop("hash")
        setattr(cache, fault, False)
        assert await snapshots.get("hash") == RECORD
        assert await snapshots.get("hash") == RECORD
    assert lines == [
        {
            "event": "snapshot_cache_failed",
            "log_level": "warning",
            "operation": "get",
            "error": error,
        },
        {"event": "snapshot_cache_recovered", "log_level": "info", "operation": "get"},
    ]


async def test_what_cannot_be_read_is_a_miss():
    """Such as what another version of this library wrote."""
    cache = SimpleMemoryCache()
    snapshots = AiocacheSnapshots(cache)
    await snapshots.put("hash", RECORD, ttl_ns=TTL_NS)
    for key in cache._cache:
        cache._cache[key] = '{"of": "another version"}'
    assert await snapshots.get("hash") is None


async def test_a_cancelled_call_is_cancelled():
    """Cancellation is not a fault of the cache."""
    cache = SickCache()
    cache.slow = True
    with (
        structlog.testing.capture_logs() as lines,
        anyio.CancelScope() as scope,
    ):
        scope.cancel()
        await AiocacheSnapshots(cache).get("hash")
        pytest.fail("the call went on")
    assert scope.cancelled_caught
    assert lines == []


def test_trio_is_refused_with_the_way_out():
    """The package needs asyncio; a miss on each call would hide that."""
    snapshots = AiocacheSnapshots(SimpleMemoryCache())
    with pytest.raises(ConfigurationError, match="asyncio alone"):
        trio.run(snapshots.get, "hash")
