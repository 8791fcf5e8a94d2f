"""Assigns each limit store to what it claims to be; mypy checks it, nobody runs it."""

from metering.backends.cached import Aiocache, AiocacheSnapshots
from metering.backends.memory import MemoryLimitStore
from metering.backends.redis import RedisLimitStore
from metering.backends.windows import LimitsWindowStore
from metering.clock import Clock
from metering.stores import AccountVersions, LimitStore, Snapshots, WindowStore
from metering.testing.clock import ManualClock


def memory_limits() -> tuple[LimitStore, AccountVersions]:
    """One process's limits, and where changes are announced to it."""
    store = MemoryLimitStore()
    return store, store


def redis_limits() -> tuple[LimitStore, AccountVersions]:
    """Limits that hosts share, and where changes are announced to all of them."""
    store = RedisLimitStore("redis://localhost")
    return store, store


def windows() -> WindowStore:
    """Windows in a storage of `limits`."""
    return LimitsWindowStore("redis://localhost")


def snapshots(cache: Aiocache) -> Snapshots:
    """Key records in any aiocache cache."""
    return AiocacheSnapshots(cache)


def manual_clock() -> Clock:
    """A clock for tests."""
    return ManualClock()
