"""Nodes that share a store know how many they are, within seconds, whatever happens."""

from contextlib import AsyncExitStack
from uuid import uuid4

import pytest

from metering.backends.limit_stores import limit_store
from metering.backends.redis import RedisLimitStore
from metering.clock import NS_PER_S
from metering.errors import StorageError
from metering.roster import Roster
from metering.testing.clock import ManualClock

pytestmark = pytest.mark.anyio

LEASE_NS = 3 * NS_PER_S


class Node:
    """A node with a connection of its own, and what it was told."""

    def __init__(self, store, clock):
        self.store = store
        self.told = []
        self.roster = Roster(store, clock=clock, tell=[self.told.append])
        self.roster._place_id = f"node:{uuid4()}"


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture(params=["redis", "sqlite"])
async def open_node(request, clock, tmp_path):
    """Open nodes that share a store."""
    prefix = uuid4().hex
    async with AsyncExitStack() as stack:

        def opened():
            if request.param == "redis":
                url = request.getfixturevalue("redis_url")
                store = RedisLimitStore(
                    url, prefix=prefix, clock="caller", deadline_ms=5000
                )
            else:
                url = f"sqlite:///{tmp_path / 'limits.db'}"
                store = limit_store(url, deadline_ms=5000)
            stack.push_async_callback(store.aclose)
            return Node(store, clock)

        yield opened


async def beat(*nodes):
    for node in nodes:
        await node.roster.beat()
    return [node.roster.nodes for node in nodes]


async def test_a_node_that_joins_is_counted_by_all_with_their_next_beat(open_node):
    first, second, third = (open_node() for _ in range(3))

    assert [1] == await beat(first)
    assert [1 + 1, 3] == await beat(second, third)
    assert [3, 3, 3] == await beat(first, second, third)
    assert ([3], [2, 3]) == (first.told, second.told)


async def test_a_node_that_stops_is_gone_at_once(open_node):
    first, second = open_node(), open_node()
    await beat(first, second)
    await second.roster.stop()

    assert [1] == await beat(first)


async def test_a_node_that_dies_is_gone_after_three_seconds(open_node, clock):
    """Not a moment before its lease is over: a slow beat is no death."""
    first, second = open_node(), open_node()
    await beat(first, second)
    counted = []
    for step_ns in (NS_PER_S, LEASE_NS - NS_PER_S - 1000, 1000):
        clock.advance(ns=step_ns)
        counted += await beat(first)

    assert [2, 2, 1] == counted


async def test_a_node_that_was_cut_off_is_back_with_its_first_beat(open_node, clock):
    first, second = open_node(), open_node()
    await beat(first, second)
    clock.advance(ns=LEASE_NS)
    alone = await beat(first)

    assert [1] == alone
    assert [2, 2] == await beat(second, first)


async def test_while_the_store_is_away_the_last_count_stands(open_node, monkeypatch):
    first, second = open_node(), open_node()
    await beat(second, first)

    async def away(*_args, **_options):
        raise StorageError("The store is away.")

    monkeypatch.setattr(first.store, "renew", away)

    assert [2] == await beat(first)
    await first.roster.stop()
