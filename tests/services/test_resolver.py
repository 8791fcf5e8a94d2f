"""Resolving keys: remembered, bounded, read once however many ask, never stale."""

import threading

import anyio
import pytest
from anyio import to_thread

from metering.accounts import Account, ApiKey, hash_key
from metering.backends.ledger_memory import MemoryLedger
from metering.config import plan_from_preset
from metering.errors import StorageError
from metering.stores import AccountChange
from metering.testing import ManualClock
from metering.tiers import TierResolver

SECRET = b"mk-secret"
TIERS = plan_from_preset("friendli").tiers


class CountingLedger(MemoryLedger):
    """A ledger that counts its reads, can be down, and can be held in one."""

    def __init__(self):
        super().__init__(TIERS)
        self.reads = 0
        self.down = False
        self.gate = threading.Event()
        self.gate.set()
        self.create(Account(id="acme", created_ns=0), None)
        self.add_key(
            ApiKey(
                id="k1",
                account_id="acme",
                hash=hash_key(SECRET),
                hint="cret",
                created_ns=0,
            )
        )

    def find_key(self, key_hash, *, now_ns):
        self.reads += 1
        if self.down:
            raise StorageError("The ledger is down.")
        record = super().find_key(key_hash, now_ns=now_ns)
        assert self.gate.wait(10)
        return record


@pytest.fixture
def ledger():
    return CountingLedger()


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    return request.param


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def resolver(ledger, clock):
    return TierResolver(ledger, TIERS, clock=clock, ttl_ns=30 * 10**9)


pytestmark = pytest.mark.anyio


async def test_a_hundred_at_once_are_one_read(ledger, resolver):
    found = []

    async def ask():
        found.append(await resolver.by_key(SECRET))

    async with anyio.create_task_group() as tasks:
        for _ in range(100):
            tasks.start_soon(ask)

    assert 1 == ledger.reads
    assert {"acme"} == {caller.account.id for caller in found}


async def test_an_answer_is_good_for_its_time(ledger, resolver, clock):
    await resolver.by_key(SECRET)
    clock.advance(seconds=29)
    await resolver.by_key(SECRET)
    assert 1 == ledger.reads
    clock.advance(seconds=1)
    await resolver.by_key(SECRET)
    assert 2 == ledger.reads


async def test_a_change_during_a_read_does_not_stick(ledger, resolver):
    """Read old, changed, forgotten: the old answer serves once and is not kept."""
    ledger.gate.clear()

    async def ask():
        await resolver.by_key(SECRET)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        while not ledger.reads:
            await anyio.lowlevel.checkpoint()
            await to_thread.run_sync(lambda: None)
        ledger.change("acme", AccountChange(payment_method=True))
        resolver.forget("acme")
        ledger.gate.set()
    caller = await resolver.by_key(SECRET)

    assert 1 == caller.tier.level


async def test_a_reader_that_is_cancelled_leaves_the_rest_unharmed(resolver):
    """Who waited for a cancelled read reads by itself."""
    found = []

    async def ask():
        found.append(await resolver.by_key(SECRET))

    with anyio.CancelScope() as first:
        first.cancel()
        await resolver.by_key(SECRET)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        tasks.start_soon(ask)

    assert ["acme"] * 2 == [caller.account.id for caller in found]


async def test_while_the_ledger_is_down_the_last_known_serves_five_minutes(
    ledger, resolver, clock
):
    known = await resolver.by_key(SECRET)
    ledger.down = True
    clock.advance(seconds=330)
    assert known == await resolver.by_key(SECRET)
    clock.advance(ns=1)
    with pytest.raises(StorageError):
        await resolver.by_key(SECRET)


async def test_memory_is_bounded(resolver, monkeypatch):
    monkeypatch.setattr("metering.tiers.SIZE_MAX", 2)
    for name in ("a", "b", "c"):
        resolver._ledger.create(Account(id=name, created_ns=0), None)
        await resolver.by_account(name)

    assert ["account:b", "account:c"] == list(resolver._known)


async def test_a_stranger_is_nobody(resolver):
    assert None is await resolver.by_key(b"mk-stranger")
    assert None is await resolver.by_account("stranger")
