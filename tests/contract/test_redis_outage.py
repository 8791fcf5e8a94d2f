"""A Redis that is away, slow or wrong costs a bounded time, and nothing is lost."""

import asyncio
from uuid import uuid4

import pytest

from metering.backends.redis import RedisLimitStore
from metering.clock import NS_PER_S
from metering.errors import StorageError
from metering.quota import BudgetQuota, Demand, RateQuota

pytestmark = pytest.mark.anyio

LEASE_NS = 30 * NS_PER_S
BOUND_S = 4.0
"""Far above the deadline of 200 ms, below any timeout of a client or a system."""


class Health:
    """What a store said of its health, and a way to wait for it."""

    def __init__(self):
        self.said = []
        self._changed = asyncio.Event()

    def __call__(self, healthy):
        self.said.append(healthy)
        self._changed.set()

    async def until(self, healthy):
        async with asyncio.timeout(10):
            while not self.said or self.said[-1] is not healthy:
                self._changed.clear()
                await self._changed.wait()


@pytest.fixture
async def health():
    return Health()


@pytest.fixture
async def opened():
    """Return a function that makes stores, which are closed at the end."""
    endings = []

    def make(url, health=None, deadline_ms=200):
        store = RedisLimitStore(url, deadline_ms=deadline_ms, on_health=health)
        endings.append(store.aclose)
        return store

    yield make
    for end in endings:
        await end()


def slots(count):
    return Demand(f"{{{uuid4().hex}}}:slots", BudgetQuota(count))


async def take(store, demand, hold_id=None):
    return await store.acquire(
        (demand,), hold_id=hold_id or uuid4().hex, lease_ns=LEASE_NS, now_ns=0
    )


async def room(store, demand):
    nothing = Demand(demand.key, demand.quota, 0)
    return (await store.peek((nothing,), now_ns=0))[0].remaining


async def refused_for(store, reason, calls=200):
    """Ask often; every call must fail for that reason, and all in a bounded time."""
    async with asyncio.timeout(BOUND_S):
        for _ in range(calls):
            with pytest.raises(StorageError, match=reason):
                await take(store, slots(1))


async def test_a_server_that_never_answers_costs_one_deadline(opened, stranger, health):
    """Two hundred calls one after another: the first waits, the others need not."""
    store = opened(await stranger.start(stranger.never), health)
    await refused_for(store, "within 200 ms")
    assert health.said == [False]
    assert not store.healthy


async def test_a_server_that_does_not_even_greet_costs_one_deadline(
    opened, stranger, health
):
    """It accepts the connection and no more."""
    store = opened(await stranger.start(stranger.never, greets=False), health)
    await refused_for(store, "within 200 ms")
    assert health.said == [False]


async def test_calls_at_once_wait_for_one_deadline_together(opened, stranger, health):
    """Five hundred, of which no one waits for another."""
    store = opened(await stranger.start(stranger.never), health)
    async with asyncio.timeout(BOUND_S):
        answers = await asyncio.gather(
            *(take(store, slots(1)) for _ in range(500)), return_exceptions=True
        )
    assert {StorageError} == {type(answer) for answer in answers}


async def test_a_server_that_refuses_connections_fails_at_once(opened, line, health):
    """And is asked again when it is back."""
    await line.stop()
    store = opened(line.url, health)
    await refused_for(store, "did not answer")
    await line.start(line.port)
    await health.until(healthy=True)
    assert (await take(store, slots(1))).status == "admitted"
    assert health.said == [False, True]


async def test_a_server_that_answers_errors_opens_the_circuit(opened, stranger, health):
    """Each call is told which error it was."""
    asked = 0

    async def error(words):
        nonlocal asked
        asked += words.count(b"EVALSHA")
        return b"-MISCONF cannot persist\r\n" * words.count(b"EVAL")

    store = opened(await stranger.start(error), health)
    await refused_for(store, "MISCONF", calls=100)
    assert health.said == [False]
    assert 3 <= asked < 50


async def test_a_server_that_answers_nonsense_is_no_answer(opened, stranger, health):
    """Whatever it is, it is no decision."""

    async def nonsense(words):
        return b":1\r\n" * words.count(b"EVAL")

    await refused_for(
        opened(await stranger.start(nonsense), health), "no answer", calls=20
    )
    assert health.said == [False]


async def test_a_reply_that_breaks_off_is_asked_for_again(opened, line, health):
    """The server had decided already, and decides once."""
    store, demand = opened(line.url, health, deadline_ms=2000), slots(3)
    await store.connect()
    line.cut_after = 3
    outcome = await take(store, demand)
    assert (outcome.status, await room(store, demand)) == ("admitted", 2)
    assert health.said == []


async def test_what_cannot_be_asked_twice_is_not(opened, line):
    """A rate without a hold may have been taken: that is told, not tried again."""
    store = opened(line.url, deadline_ms=2000)
    demand = Demand(f"{{{uuid4().hex}}}:rpm", RateQuota(10, 3600 * NS_PER_S))
    await store.connect()
    line.cut_after = 3
    with pytest.raises(StorageError, match="did not answer"):
        await store.acquire((demand,), hold_id="", lease_ns=1, now_ns=0)
    (verdict,) = await store.peek((demand,), now_ns=0)
    assert verdict.remaining == 8


async def test_a_line_cut_while_idle_is_not_noticed(opened, line, health):
    """A restart between two calls fails neither."""
    store, demand = opened(line.url, health, deadline_ms=2000), slots(3)
    await take(store, demand)
    line.cut()
    await take(store, demand)
    assert await room(store, demand) == 1
    assert health.said == []


async def test_an_answer_that_comes_too_late_holds_nothing(opened, line, health):
    """The caller was told StorageError; when the server is back all is given back."""
    store, demand = opened(line.url, health), slots(3)
    rate = Demand(demand.key.replace("slots", "rpm"), RateQuota(10, 3600 * NS_PER_S))
    await store.connect()
    line.block()
    with pytest.raises(StorageError, match="within 200 ms"):
        await store.acquire((demand, rate), hold_id="late", lease_ns=LEASE_NS, now_ns=0)
    line.mend()
    await health.until(healthy=True)
    assert await room(store, demand) == 3
    assert (await store.peek((rate,), now_ns=0))[0].remaining == 9


async def test_a_call_repeated_after_a_timeout_is_charged_once(opened, line, health):
    """Under the same hold, whatever became of the first."""
    store, demand, hold_id = opened(line.url, health), slots(3), uuid4().hex
    await store.connect()
    line.delay_s = 0.6
    with pytest.raises(StorageError):
        await take(store, demand, hold_id)
    line.mend()
    await health.until(healthy=True)
    assert (await take(store, demand, hold_id)).status == "admitted"
    assert await room(store, demand) == 2


async def test_a_settlement_arrives_when_the_server_is_back(opened, line, health):
    """Sent into the void, or not sent at all: what was used is charged, once each."""
    store, demand = opened(line.url, health), slots(100)
    holds = [uuid4().hex for _ in range(3)]
    for hold_id in holds:
        await take(store, demand, hold_id)
    line.block()
    for hold_id in holds:
        with pytest.raises(StorageError):
            await store.settle(hold_id, (demand,), (5,), now_ns=0)
    line.mend()
    await health.until(healthy=True)
    assert await room(store, demand) == 85
    for hold_id in holds:
        again = await store.settle(hold_id, (demand,), (5,), now_ns=0)
        assert again == "repeated"


async def test_a_slow_server_is_away_until_it_is_fast(opened, line, health):
    """Answers after the deadline do not count, and the probes wait for better ones."""
    store = opened(line.url, health)
    await store.connect()
    line.delay_s = 0.4
    await refused_for(store, "within 200 ms", calls=20)
    line.mend()
    await health.until(healthy=True)
    assert (await take(store, slots(1))).status == "admitted"


async def test_closing_answers_all_who_wait_and_leaves_no_task(opened, line):
    """Nobody waits for ever, and the loop has nothing left of the store."""
    tasks = asyncio.all_tasks()
    store = opened(line.url, deadline_ms=60_000)
    await store.connect()
    line.block()
    waiting = [asyncio.create_task(take(store, slots(1))) for _ in range(10)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await store.aclose()
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert {StorageError} == {type(answer) for answer in answers}
    left = asyncio.all_tasks() - tasks
    # The line's, and the loop's that accepts a connection for it.
    not_ours = ("Line", "_accept_connection2")
    assert [] == [t for t in left if not any(name in repr(t) for name in not_ours)]


@pytest.mark.parametrize("turns", [1, 2])
async def test_a_busy_loop_is_not_an_outage(opened, redis_url, health, turns):
    """If the app computes for longer than the deadline, the server is not to blame."""
    store = opened(redis_url, health)
    await store.connect()
    asked = asyncio.create_task(take(store, slots(1)))
    for _ in range(turns):  # after one it is not sent yet, after two it is
        await asyncio.sleep(0)
    loop = asyncio.get_running_loop()
    until_s = loop.time() + 0.5
    while loop.time() < until_s:
        pass
    assert (await asked).status == "admitted"
    assert health.said == []
