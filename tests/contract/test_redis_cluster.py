"""Limits on a real cluster of three servers."""

import asyncio
from uuid import uuid4

import pytest
import redis.asyncio as redis_py

from metering.backends.redis import RedisLimitStore
from metering.backends.redis.nodes import slot_of
from metering.clock import NS_PER_S
from metering.errors import StorageError
from metering.quota import BudgetQuota, Demand, RateQuota
from metering.testing import LimitStoreContract

pytestmark = [pytest.mark.anyio, pytest.mark.slow_start]

LEASE_NS = 30 * NS_PER_S
HOUR = RateQuota(100, 3600 * NS_PER_S)


def store_of(url, **members):
    url = url.replace("redis://", "redis+cluster://")
    return RedisLimitStore(url, deadline_ms=5000, **members)


class TestRedisClusterStore(LimitStoreContract):
    @pytest.fixture
    async def store(self, redis_cluster):
        store = store_of(redis_cluster[0], clock="caller")
        yield store
        await store.aclose()


@pytest.fixture
async def store(redis_cluster):
    store = store_of(redis_cluster[1], prefix=uuid4().hex)
    yield store
    await store.aclose()


def slots_of_account(account, count=1, cost=1):
    return Demand(f"{{{account}}}:slots", BudgetQuota(count), cost)


async def take(store, *demands, hold_id=None, account=None):
    hold_id = uuid4().hex if hold_id is None else hold_id
    return await store.acquire(
        demands, hold_id=hold_id, lease_ns=LEASE_NS, now_ns=0, account=account
    )


async def room(store, demand):
    nothing = Demand(demand.key, demand.quota, 0)
    return (await store.peek((nothing,), now_ns=0))[0].remaining


async def test_accounts_lie_on_all_servers_and_no_call_crosses_slots(
    store, redis_cluster
):
    """A hundred accounts at once, each with rates, budgets and a version."""

    async def one(account):
        demands = (
            Demand(f"{{{account}}}:rpm:paid", HOUR),
            slots_of_account(account, 5),
            Demand(f"{{{account}}}:spend:2026-01", BudgetQuota(10**15), 10**12),
        )
        hold_id = uuid4().hex
        outcome = await take(store, *demands, hold_id=hold_id, account=(account, 1))
        await store.renew(hold_id, demands, lease_ns=LEASE_NS, now_ns=0)
        ended = await store.settle(hold_id, demands, (1, 0, 10**11), now_ns=0)
        return outcome.status, ended

    answers = await asyncio.gather(*(one(uuid4().hex) for _ in range(100)))
    assert {("admitted", "settled")} == set(answers)
    prefix = store._calls.keys.due.partition(":")[0]
    for url in redis_cluster:
        async with redis_py.Redis.from_url(url) as node:
            assert [key async for key in node.scan_iter(f"{prefix}:*")]


def pair(count_mine, count_shared):
    """Demands in two slots: on an account, and on something all accounts share."""
    account, shared = uuid4().hex, uuid4().hex
    while slot_of(account) == slot_of(shared):
        shared = uuid4().hex
    return (
        account,
        slots_of_account(account, count_mine),
        slots_of_account(shared, count_shared),
    )


@pytest.mark.parametrize("shared_first", [True, False])
async def test_what_others_share_is_given_back_if_the_account_refuses(
    store, shared_first
):
    """And the other way round; each verdict stands where its demand stood."""
    account, mine, shared = pair(1, 2)
    demands = (shared, mine) if shared_first else (mine, shared)
    statuses = [
        (await take(store, *demands, account=(account, 1))).status for _ in range(3)
    ]
    assert ["admitted", "refused", "refused"] == statuses
    assert (0, 1) == (await room(store, mine), await room(store, shared))

    account, mine, shared = pair(2, 1)
    demands = (shared, mine) if shared_first else (mine, shared)
    await take(store, *demands, account=(account, 1))
    refused = await take(store, *demands, account=(account, 1))
    assert demands[refused.binding] is shared
    assert (1, 0) == (await room(store, mine), await room(store, shared))


async def test_a_hold_in_two_slots_is_answered_and_ended_as_one(store):
    """Repeated, renewed and settled under one id."""
    account, mine, shared = pair(3, 3)
    first = await take(store, shared, mine, hold_id="h", account=(account, 1))
    again = await take(store, shared, mine, hold_id="h", account=(account, 1))
    assert first == again
    assert await store.renew("h", (shared, mine), lease_ns=LEASE_NS, now_ns=0)
    assert (2, 2) == (await room(store, mine), await room(store, shared))
    ends = [await store.settle("h", (shared, mine), (0, 2), now_ns=0) for _ in range(2)]
    assert ["settled", "repeated"] == ends
    assert (1, 3) == (await room(store, mine), await room(store, shared))


async def test_rates_in_two_slots_are_given_back_without_a_hold_too(store):
    """A refusal takes nothing, though no hold was named."""
    account, shared = uuid4().hex, uuid4().hex
    mine = Demand(f"{{{account}}}:rpm", RateQuota(1, 3600 * NS_PER_S))
    everyones = Demand(f"{{{shared}}}:rpm", HOUR)
    for _ in range(5):
        await take(store, mine, everyones, hold_id="", account=(account, 1))
    (left,) = await store.peek((Demand(everyones.key, HOUR, 0),), now_ns=0)
    assert 99 == left.remaining


async def test_unseeded_keys_of_all_slots_are_named_at_once(store):
    """The caller seeds them and asks once more."""
    account, mine, shared = pair(1, 1)
    mine, shared = (
        Demand(demand.key, BudgetQuota(5, ledgered=True)) for demand in (mine, shared)
    )
    unseeded = await take(store, mine, shared, account=(account, 1))
    assert (mine.key, shared.key) == unseeded.unseeded
    for key in unseeded.unseeded:
        await store.seed(key, 1, now_ns=0)
    admitted = await take(store, mine, shared, account=(account, 1))
    assert [3, 3] == [verdict.remaining for verdict in admitted.verdicts]


async def test_a_stale_account_is_told_wherever_its_demands_are(store):
    """Its version lies in its own slot."""
    account, _, shared = pair(1, 3)
    await store.announce(account, 2)
    stale = await take(store, shared, account=(account, 1))
    fresh = await take(store, shared, account=(account, 2))
    assert ("stale", "admitted") == (stale.status, fresh.status)
    assert 2 == await room(store, shared)


async def test_a_slot_that_has_moved_is_followed(store, redis_cluster):
    """The server that had it says where it is now."""
    account = uuid4().hex
    await take(store, slots_of_account(account, 9))
    nodes = [redis_py.Redis.from_url(url) for url in redis_cluster]
    taken = {key for node in nodes async for key in node.scan_iter("*")}
    used = {slot_of(key.decode().partition("{")[2].partition("}")[0]) for key in taken}
    while slot_of(account) in used:
        account = uuid4().hex
    slot = slot_of(account)
    owner = owner_of(account)
    target = nodes[(owner + 1) % 3]
    target_id = await target.execute_command("CLUSTER", "MYID")
    for node in (target, nodes[owner]):
        await node.execute_command("CLUSTER", "SETSLOT", slot, "NODE", target_id)
    for left in (8, 7):
        outcome = await take(store, slots_of_account(account, 9))
        assert left == outcome.verdicts[0].remaining
    for node in nodes:
        await node.aclose()


async def test_a_server_that_does_not_answer_stops_only_its_own_accounts(redis_cluster):
    """The others go on, and it is asked again when it answers."""
    said, changed = [], asyncio.Event()

    def on_health(healthy):
        said.append(healthy)
        changed.set()

    url = redis_cluster[0].replace("redis://", "redis+cluster://")
    store = RedisLimitStore(url, deadline_ms=200, on_health=on_health)
    await store.connect()
    mine, other = uuid4().hex, uuid4().hex
    while owner_of(mine) == owner_of(other):
        other = uuid4().hex
    async with redis_py.Redis.from_url(redis_cluster[owner_of(mine)]) as node:
        await node.execute_command("CLIENT", "PAUSE", 700, "ALL")
    with pytest.raises(StorageError, match="within 200 ms"):
        await take(store, slots_of_account(mine, 5))
    assert not store.healthy
    assert "admitted" == (await take(store, slots_of_account(other, 5))).status
    async with asyncio.timeout(10):
        while not store.healthy:
            changed.clear()
            await changed.wait()
    assert 4 == (await take(store, slots_of_account(mine, 5))).verdicts[0].remaining
    assert [False, True] == said
    await store.aclose()


def owner_of(account):
    return slot_of(account) * 3 // 16_384
