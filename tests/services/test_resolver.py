"""Resolving keys: remembered, bounded, read once however many ask, never stale."""

import threading

import anyio
import pytest
from anyio import to_thread

from metering.accounts import Account, ApiKey, hash_key
from metering.backends.sql import SqlLedger
from metering.clock import NS_PER_MS
from metering.config import plan_from_preset
from metering.errors import StorageError
from metering.stores import AccountChange
from metering.testing import ManualClock
from metering.tiers import TierResolver

SECRET = b"mk-secret"
TIERS = plan_from_preset("friendli").tiers


class CountingLedger(SqlLedger):
    """A ledger that counts its reads, can be down, and can be held in one."""

    def __init__(self):
        super().__init__("sqlite://", tiers=TIERS)
        self.reads = 0
        self.down = False
        self.gate = threading.Event()
        self.gate.set()
        self.looks = 0
        self.look_gate = threading.Event()
        self.look_gate.set()
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
        record = super().find_key(key_hash, now_ns=now_ns)
        assert self.gate.wait(10)
        if self.down:
            raise StorageError("The ledger is down.")
        return record

    def changes(self):
        self.looks += 1
        assert self.look_gate.wait(10)
        if self.down:
            raise StorageError("The ledger is down.")
        return super().changes()


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
        ledger.change("acme", AccountChange(payment_method=True), now_ns=0)
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


async def _until_it_reads(ledger, reads=1):
    while ledger.reads < reads:
        await to_thread.run_sync(lambda: None)


async def test_who_waits_shares_the_error(ledger, resolver):
    """A ledger that fails is asked once for all who ask at once, not for each."""
    ledger.down = True
    ledger.gate.clear()
    errors = []

    async def ask():
        try:
            await resolver.by_key(SECRET)
        except StorageError as error:
            errors.append(str(error))

    async with anyio.create_task_group() as tasks:
        for _ in range(10):
            tasks.start_soon(ask)
        await _until_it_reads(ledger)
        await anyio.wait_all_tasks_blocked()
        ledger.gate.set()

    assert ["The ledger is down."] * 10 == errors
    assert 1 == ledger.reads


async def test_who_waits_shares_that_a_key_is_unknown(ledger, resolver):
    """Ten at once with one wrong key are one read, and so are those of a second."""
    ledger.gate.clear()
    found = []

    async def ask():
        found.append(await resolver.by_key(b"mk-wrong"))

    async with anyio.create_task_group() as tasks:
        for _ in range(10):
            tasks.start_soon(ask)
        await _until_it_reads(ledger)
        await anyio.wait_all_tasks_blocked()
        ledger.gate.set()
    for _ in range(490):
        await ask()

    assert [None] * 500 == found
    assert 1 == ledger.reads


async def test_an_unknown_key_is_asked_for_again_a_second_later(
    ledger, resolver, clock
):
    for passed_ms in (0, 999, 1):
        clock.advance(ns=passed_ms * NS_PER_MS)
        await resolver.by_key(b"mk-wrong")

    assert 2 == ledger.reads


async def test_unknown_keys_are_bounded(resolver, monkeypatch):
    monkeypatch.setattr("metering.tiers.UNKNOWN_MAX", 2)
    for secret in (b"a", b"b", b"c"):
        await resolver.by_key(secret)

    assert 2 == len(resolver._unknown_until_ns)


async def test_a_key_that_is_issued_is_seen_at_once(ledger, resolver):
    """Also if it was asked for just before."""
    late = b"mk-late"
    assert None is await resolver.by_key(late)
    ledger.add_key(
        ApiKey(
            id="k2", account_id="acme", hash=hash_key(late), hint="late", created_ns=0
        )
    )
    await resolver.forget_key(hash_key(late))

    assert "k2" == (await resolver.by_key(late)).key_id


class StuckOnce:
    """Snapshots that never answer the first who asks, and know nothing."""

    def __init__(self):
        self.asked = 0

    async def get(self, _name):
        self.asked += 1
        if self.asked == 1:
            await anyio.sleep_forever()

    async def put(self, name, record, *, ttl_ns):
        pass


class SharedDict:
    """Snapshots in a dict."""

    def __init__(self):
        self.records = {}

    async def get(self, name):
        return self.records.get(name)

    async def put(self, name, record, **_ttl):
        self.records[name] = record


async def test_the_next_leads_where_the_leader_was_cancelled(ledger, clock):
    """One who waits reads then, and the others wait for that one."""
    snapshots = StuckOnce()
    resolver = TierResolver(ledger, TIERS, clock=clock, snapshots=snapshots)
    found = []

    async def lead(*, task_status):
        with anyio.CancelScope() as scope:
            task_status.started(scope)
            await resolver.by_key(SECRET)

    async def ask():
        found.append(await resolver.by_key(SECRET))

    async with anyio.create_task_group() as tasks:
        leader = await tasks.start(lead)
        while not snapshots.asked:
            await to_thread.run_sync(lambda: None)
        for _ in range(5):
            tasks.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        leader.cancel()

    assert ["acme"] * 5 == [caller.account.id for caller in found]
    assert (1, 2) == (ledger.reads, snapshots.asked)


class TestOtherProcesses:
    """What another process changes in the ledger is seen a second later."""

    async def test_a_change_is_seen_a_second_later(self, ledger, resolver, clock):
        """And not before: so often is the ledger asked, whoever calls."""
        levels = []
        for passed_ms in (0, 999, 1):
            clock.advance(ns=passed_ms * NS_PER_MS)
            levels.append((await resolver.by_key(SECRET)).tier.level)
            ledger.change("acme", AccountChange(payment_method=True), now_ns=0)

        assert [0, 0, 1] == levels
        assert 2 == ledger.looks

    async def test_nothing_is_read_again_where_nothing_changed(
        self, ledger, resolver, clock
    ):
        """A look costs one small read a second; the key is read once in 30 s."""
        for _ in range(20):
            await resolver.by_key(SECRET)
            clock.advance(seconds=1)

        assert (1, 20) == (ledger.reads, ledger.looks)

    async def test_a_ledger_that_hangs_holds_up_one_call_a_quarter_second(
        self, ledger, resolver, clock
    ):
        """The others go on with what is known, and no second thread waits for it."""
        await resolver.by_key(SECRET)
        clock.advance(seconds=1)
        ledger.look_gate.clear()
        try:
            for _ in range(3):
                with anyio.fail_after(5):
                    assert "acme" == (await resolver.by_key(SECRET)).account.id
                clock.advance(seconds=1)
        finally:
            ledger.look_gate.set()

        assert 2 == ledger.looks

    async def test_a_shared_snapshot_of_before_the_change_is_not_taken(
        self, ledger, clock
    ):
        """Another process put it there, and whoever knows of the change passes it."""
        shared = SharedDict()
        resolvers = [
            TierResolver(ledger, TIERS, clock=clock, snapshots=shared) for _ in range(2)
        ]
        before = [await each.by_key(SECRET) for each in resolvers]
        reads_before = ledger.reads
        ledger.revoke_key("k1", now_ns=clock())
        clock.advance(seconds=1)
        after = [await each.by_key(SECRET) for each in resolvers]

        assert [False, False, True, True] == [c.revoked for c in before + after]
        assert (1, 2) == (reads_before, ledger.reads)

    async def test_while_the_ledger_is_down_the_last_known_still_serves(
        self, ledger, resolver, clock
    ):
        """A change that cannot be read yet takes nothing away."""
        known = await resolver.by_key(SECRET)
        ledger.change("acme", AccountChange(payment_method=True), now_ns=0)
        clock.advance(seconds=1)
        ledger.find_key = _failing

        assert known == await resolver.by_key(SECRET)


def _failing(_key_hash, *, now_ns):
    raise StorageError(f"The ledger is down at {now_ns}.")
