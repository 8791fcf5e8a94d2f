"""The limiter over a store that nodes share: leases, settlements, and its outages."""

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from metering.backends.memory import MemoryLimitStore
from metering.clock import NS_PER_S
from metering.errors import ConfigurationError, StorageError
from metering.limiter import Limiter
from metering.local_share import LocalShare
from metering.quota import BudgetQuota, Demand, RateQuota
from metering.testing import ManualClock

pytestmark = pytest.mark.anyio

LEASE_NS = 30 * NS_PER_S
HOUR = RateQuota(40, 3600 * NS_PER_S)


class SharedStore(MemoryLimitStore):
    """A store elsewhere: it may be away, and every method suspends."""

    waits = True

    def __init__(self):
        super().__init__()
        self.away = False

    async def _travel(self):
        await anyio.lowlevel.checkpoint()
        if self.away:
            raise StorageError("The store is away.")

    async def acquire(self, *args, **kwargs):
        await self._travel()
        return await super().acquire(*args, **kwargs)

    async def settle(self, *args, **kwargs):
        await self._travel()
        return await super().settle(*args, **kwargs)

    async def renew(self, *args, **kwargs):
        await self._travel()
        return await super().renew(*args, **kwargs)


def spend(cost, amount=100):
    quota = BudgetQuota(amount, ledgered=True)
    return Demand("{acme}:spend:2026-01", quota, cost, None, "spend", "pico_usd")


def request(quota=HOUR):
    return Demand("{acme}:rpm:paid", quota, 1, None, "requests")


def slot(amount=8):
    return Demand("{acme}:limit:running:", BudgetQuota(amount), 1, unit="running")


class Node:
    """One node on the shared store."""

    def __init__(self, store, clock, *, spent=0, **share):
        self.store, self.clock = store, clock
        self.limiter = Limiter(
            store,
            clock=clock,
            lease_ns=LEASE_NS,
            spent_of=lambda *_: spent,
            share=LocalShare(MemoryLimitStore(), **share) if share else None,
            steady=clock,
        )
        self.keeper = self.limiter.keeper

    async def admitted(self, calls, *demands, hold="h"):
        """Return how many of so many calls were admitted."""
        done = [
            await self.limiter.admit(demands, hold_id=hold and f"{hold}{n}")
            for n in range(calls)
        ]
        return sum(outcome.status == "admitted" for outcome in done)

    async def left(self, demand):
        nothing = replace(demand, cost=0)
        (verdict,) = await self.store.peek([nothing], now_ns=self.clock())
        return verdict.remaining


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def store():
    return SharedStore()


async def test_a_running_call_keeps_its_hold_as_long_as_it_runs(store, clock):
    """Ten minutes, with a lease of 30 s; nobody else calls meanwhile."""
    node = Node(store, clock)
    await node.limiter.admit([spend(95)], hold_id="long")
    for _ in range(60):
        clock.advance(seconds=10)
        await node.keeper.renew_due()
    other = await node.limiter.admit([spend(10)], hold_id="short")
    await node.limiter.settle("long", [spend(95)], [50])
    await node.keeper.settle_owed()

    assert ("refused", "held") == (other.status, other.verdicts[0].reason)
    assert 50 == await node.left(spend(0))


async def test_what_a_dead_node_held_is_free_when_its_lease_ends(store, clock):
    """The others sweep it, once."""
    dead, alive = Node(store, clock), Node(store, clock)
    await dead.limiter.admit([spend(100)], hold_id="h1")
    early = await alive.limiter.admit([spend(1)], hold_id="h2")
    clock.advance(seconds=30)
    late = await alive.limiter.admit([spend(1)], hold_id="h3")

    assert ("refused", "admitted") == (early.status, late.status)


async def test_a_settlement_is_sent_behind_the_answer(store, clock):
    """Once, and soon, by a task of its own."""
    node = Node(store, clock)
    await node.limiter.admit([spend(10)], hold_id="h1")
    await node.limiter.settle("h1", [spend(10)], [7])
    owed = node.keeper.owed
    await anyio.wait_all_tasks_blocked()

    assert (1, 0) == (owed, node.keeper.owed)
    assert 93 == await node.left(spend(0))


async def test_without_a_share_an_outage_refuses(store, clock):
    node = Node(store, clock)
    store.away = True
    with pytest.raises(StorageError):
        await node.limiter.admit([request()], hold_id="")


async def test_each_node_grants_its_share_of_rates_and_no_money(store, clock):
    """Four nodes: 10 of 40 requests each, 2 of 8 slots each; money is refused."""
    nodes = [Node(store, clock, nodes=4) for _ in range(4)]
    store.away = True
    granted = [await node.admitted(50, request(), hold="") for node in nodes]
    slots = [
        await node.admitted(9, slot(), hold=f"{n}") for n, node in enumerate(nodes)
    ]
    with pytest.raises(StorageError):
        await nodes[0].limiter.admit([request(), spend(1)], hold_id="h")

    assert [10] * 4 == granted
    assert [2] * 4 == slots


async def test_a_share_of_money_is_a_share_of_what_was_left(store, clock):
    """Of 100 are 20 spent: each of four nodes may spend 20 more, and no node more."""
    nodes = [
        Node(store, clock, spent=20, nodes=4, money="local_share") for _ in range(4)
    ]
    store.away = True
    granted = [
        await node.admitted(30, spend(5), hold=f"{n}-") for n, node in enumerate(nodes)
    ]

    assert [4] * 4 == granted


async def test_what_was_granted_alone_is_told_when_the_store_is_back(store, clock):
    """Ended and running calls, requests and money: once each."""
    node = Node(store, clock, nodes=1, money="local_share")
    await node.limiter.admit([request(), spend(10)], hold_id="before")
    store.away = True
    await node.limiter.settle("before", [request(), spend(10)], [1, 6])
    assert 3 == await node.admitted(3, request(), hold="")
    await node.admitted(2, request(), spend(10))
    await node.limiter.settle("h0", [request(), spend(10)], [1, 4])
    store.away = False
    assert await node.keeper.settle_owed()
    clock.advance(seconds=10)
    await node.keeper.renew_due()

    assert (100 - 6 - 4 - 10, 0) == (await node.left(spend(0)), node.keeper.owed)
    # Six requests; that of the call which still runs is told with its settlement.
    assert 40 - 5 == await node.left(request())
    await node.limiter.settle("h1", [request(), spend(10)], [1, 10])
    for _ in range(2):
        await node.keeper.settle_owed()
    assert 100 - 6 - 4 - 10 == await node.left(spend(0))
    assert 40 - 6 == await node.left(request())


async def test_a_share_is_not_made_whole_by_another_outage(store, clock):
    """A store that comes and goes grants no more than one that stays away."""
    node = Node(store, clock, nodes=4)
    shares = []
    for seconds in (0, 0, 3600):
        clock.advance(seconds=seconds)
        store.away = True
        shares.append(await node.admitted(50, request(), hold=""))
        store.away = False
        await node.admitted(1, request(), hold="")

    assert [10, 0, 10] == shares


async def test_a_call_above_a_share_is_told_to_come_back(store, clock):
    """It fits into the quota, so it is not impossible: the store is away."""
    node = Node(store, clock, nodes=4)
    store.away = True
    quota = RateQuota(80, 60 * NS_PER_S)
    tokens = Demand("{acme}:limit:tpm:", quota, 40, None, "tpm", "tokens")
    never = replace(tokens, cost=81)
    with pytest.raises(StorageError, match="40 of quota 'tpm' are more than this node"):
        await node.limiter.admit([tokens], hold_id="h1")
    outcome = await node.limiter.admit([never], hold_id="h2")

    assert "impossible" == outcome.verdicts[0].reason


async def test_a_yearly_quota_is_shared_as_well(store, clock):
    """Its period times four is longer than any: its amount is shared instead."""
    node = Node(store, clock, nodes=4)
    year = RateQuota(1000, 360 * 86_400 * NS_PER_S)
    share = node.limiter._share._share(request(year))

    assert RateQuota(250, year.per_ns, 250) == share


async def test_what_runs_is_held_again_before_a_lost_budget_is_seeded(store, clock):
    """Ten calls of $10 of $100 run, and the store loses all: no eleventh."""
    node = Node(store, clock)
    assert 10 == await node.admitted(10, spend(10))
    store.__init__()
    lost = await node.admitted(12, spend(10), hold="after")
    await node.limiter.settle("h0", [spend(10)], [10])
    await node.keeper.settle_owed()

    assert 0 == lost
    assert 0 == await node.left(spend(0))


async def test_leases_are_renewed_though_settlements_never_end(store, clock):
    """However many wait: after each batch it is asked whether a lease is due."""
    node = Node(store, clock)
    await node.limiter.admit([slot(1)], hold_id="long")
    for number in range(1000):
        node.keeper.ended(f"e{number}", [request()], [1])
    settle, renewed = store.settle, []

    async def slow(*args, **kwargs):
        clock.advance(ns=NS_PER_S // 10)
        return await settle(*args, **kwargs)

    async def renew(hold_id, *args, **kwargs):
        renewed.append((hold_id, node.keeper.owed))
        return await SharedStore.renew(store, hold_id, *args, **kwargs)

    store.settle, store.renew = slow, renew
    assert await node.keeper.settle_owed()

    assert "long" == renewed[0][0]
    assert renewed[0][1] > 0
    assert "refused" == (await node.limiter.admit([slot(1)], hold_id="h")).status


async def test_a_clock_that_steps_back_renews_all_the_same(store):
    """When to renew is told by a clock that never does."""
    wall, steady = ManualClock(), ManualClock()
    limiter = Limiter(store, clock=wall, steady=steady, lease_ns=LEASE_NS)
    renewed = []

    async def renew(hold_id, *_args, **_kwargs):
        renewed.append(hold_id)
        return True

    store.renew = renew
    await limiter.admit([slot()], hold_id="h1")
    wall._now_ns -= 3600 * NS_PER_S
    steady.advance(seconds=6)
    await limiter.keeper.renew_due()

    assert ["h1"] == renewed


async def test_an_early_payment_reaches_the_store_after_an_outage(store, clock):
    node = Node(store, clock, spent=100)
    assert 0 == await node.admitted(1, spend(1))
    store.away = True
    await node.limiter.relieve(spend(0), 60, reference="pi_1")
    await node.limiter.relieve(spend(0), 60, reference="pi_1")
    assert not await node.keeper.settle_owed()
    store.away = False
    assert await node.keeper.settle_owed()

    assert 60 == await node.left(spend(0))


async def test_closing_brings_what_is_owed_or_gives_up_in_time(store, clock):
    node = Node(store, clock)
    await node.limiter.admit([spend(10)], hold_id="h1")
    await node.limiter.settle("h1", [spend(10)], [7])
    store.away = True
    await node.limiter.close(0.01)
    owed = node.keeper.owed
    store.away = False
    await node.limiter.close(5.0)

    assert (1, 0) == (owed, node.keeper.owed)


def test_no_nodes_share_nothing():
    with pytest.raises(ConfigurationError, match="0 nodes"):
        LocalShare(MemoryLimitStore(), nodes=0)


@given(
    steps=st.lists(
        st.sampled_from(["admit", "settle", "cancel", "away", "back", "renew", "send"]),
        max_size=60,
    )
)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
async def test_in_the_end_nothing_is_held_and_all_is_charged(steps):
    """Whatever is admitted, ended, cut off or tried again, and whenever it is away."""
    clock = ManualClock()
    store = SharedStore()
    node = Node(store, clock, nodes=1, money="local_share")
    await node.limiter.admit([spend(0, 10_000)], hold_id="first")
    await node.limiter.settle("first", [spend(0, 10_000)], [0])
    demands = (request(RateQuota(10_000, 86_400 * NS_PER_S)), spend(3, 10_000), slot())
    running, charged = [], 0
    for number, step in enumerate(steps):
        if step == "admit":
            outcome = await node.limiter.admit(demands, hold_id=f"h{number}")
            if outcome.status == "admitted":
                running.append(f"h{number}")
        elif step == "settle" and running:
            await node.limiter.settle(running.pop(0), demands, [1, 2, 0])
            charged += 2
        elif step == "cancel" and running:
            await node.limiter.settle(running.pop(), demands, [0, 0, 0])
        elif step in {"away", "back"}:
            store.away = step == "away"
        elif step == "renew":
            clock.advance(seconds=10)
            await node.keeper.renew_due()
        elif step == "send":
            await node.keeper.settle_owed()
    for hold_id in running:
        await node.limiter.settle(hold_id, demands, [1, 3, 0])
        charged += 3
    store.away = False
    await node.limiter.close(5.0)

    assert 10_000 - charged == await node.left(spend(0, 10_000))
    assert 8 == await node.left(slot())


async def test_a_store_that_lost_all_is_told_by_all_before_it_is_seeded(
    store, clock, monkeypatch
):
    """Two nodes have five calls of $10 of $100 each, and one of them a late post."""
    monkeypatch.setattr("metering.loss.GRACE_MS", 50)
    store.forgets = True
    first, second = Node(store, clock), Node(store, clock)
    spent = [0]
    first.limiter._spent_of = second.limiter._spent_of = lambda *_: spent[0]
    await first.admitted(5, spend(10), hold="first")
    await second.admitted(5, spend(10), hold="second")
    SharedStore.__init__(store)
    found = []

    async def more(node, name):
        found.append(await node.admitted(2, spend(10), hold=name))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(more, first, "more1-")
        tasks.start_soon(more, second, "more2-")
        spent[0] = 10  # posted in time: a call that had ended before the loss

    assert [0, 0] == found
    assert 0 == await first.left(spend(0))


async def test_a_store_that_is_known_is_not_waited_for(store, clock, monkeypatch):
    """Its mark is old: another account's first call is decided at once."""
    monkeypatch.setattr("metering.loss.GRACE_MS", 50)
    store.forgets = True
    node = Node(store, clock)
    await node.admitted(1, spend(10))
    clock.advance(seconds=1)
    monkeypatch.setattr("anyio.sleep", None)
    other = replace(spend(10), key="{other}:spend:2026-01")

    assert 1 == await node.admitted(1, other, hold="o")
