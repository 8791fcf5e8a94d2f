"""Two thousand clients that leave whenever they like: nothing stays held."""

import asyncio
import json
import random
from urllib.parse import urlsplit

import anyio
import pytest

from metering.accounts import Overrides, RateOverride
from metering.billing import usage_limit_demand
from metering.config import OutageSettings
from metering.limit_rules import LimitRule
from metering.money import PICO
from metering.quota import BudgetQuota, Demand
from metering.testing.model import FakeModel

CLIENTS, AT_ONCE = 2_000, 100
LIMIT_P = 1_000_000 * PICO
RUNNING = LimitRule(name="running", quotas=(BudgetQuota(1_000),), unit="running")
MANY = Overrides(
    usage_limit_p=LIMIT_P, requests={"paid": RateOverride(10**9, 60 * 10**9)}
)


@pytest.fixture(params=["memory", "sqlite", "redis"])
def limits_store(request, tmp_path):
    """Return the URL of an empty store of limits."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'limits.db'}"
    if request.param == "redis":
        return request.getfixturevalue("redis_url")
    return "memory://"


def asked(key, number):
    body = {
        "model": "meta-llama/Llama-3.1-8B-Instruct",
        "messages": [{"role": "user", "content": "a b c"}],
        "stream": number % 2 == 0,
    }
    text = json.dumps(body).encode()
    return (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: test\r\nconnection: close\r\n"
        b"authorization: Bearer %b\r\ncontent-length: %d\r\n\r\n%b"
        % (key.encode(), len(text), text)
    )


async def leave(url, key, number, chance):
    """Send a request, or a part of it; read some of the answer, or none; hang up."""
    there = urlsplit(url)
    reader, writer = await asyncio.open_connection(there.hostname, there.port)
    text = asked(key, number)
    sent = len(text) if chance.random() < 0.9 else chance.randrange(len(text))
    writer.write(text[:sent])
    wanted = chance.choice([0, 1, 200, 1_000, 3_000])
    if sent == len(text) and wanted:
        with anyio.move_on_after(2):
            await reader.read(1)
            while wanted > 0 and (some := await reader.read(wanted)):
                wanted -= len(some)
    writer.transport.abort()


async def leave_all(url, key):
    chance = random.Random(7)  # noqa: S311 - the same clients in each run
    turns = asyncio.Semaphore(AT_ONCE)

    async def one(number):
        async with turns:
            await leave(url, key, number, chance)

    await asyncio.gather(*(one(number) for number in range(CLIENTS)))


async def in_use(meter):
    """Return what is held or spent of the limit, and how many calls hold a slot."""
    now_ns = meter._clock()
    spend = usage_limit_demand("acme", "2026-01", LIMIT_P, 0)
    slots = Demand("{acme}:limit:running:", BudgetQuota(1_000), 0, unit="running")
    money, free = await meter.limit_store.peek([spend, slots], now_ns=now_ns)
    return LIMIT_P - money.remaining, 1_000 - free.remaining


def test_nothing_stays_held(run_service, limits_store):
    """Held is 0, no slot is taken, and what is spent is what was charged."""

    async def pause(chunk):
        await asyncio.sleep(0.001 * (chunk % 3))

    service = run_service(
        FakeModel(output_tokens=20, pause=pause),
        limits=(RUNNING,),
        limits_store=limits_store,
        outage=OutageSettings(deadline_ms=5_000),  # this machine may be busy
    )
    key = service.account("acme", tier=4)
    service.override("acme", MANY)
    asyncio.run(leave_all(service.url, key))
    deadline = 400
    while deadline and (service.portal.call(in_use, service.meter)[1]):
        service.portal.call(asyncio.sleep, 0.02)
        deadline -= 1
    spent_p, running = service.portal.call(in_use, service.meter)
    service.portal.call(service.meter.stop)
    period = service.portal.call(service.meter.billing.period, "acme")
    (total,) = service.portal.call(service.meter.billing.usage, "acme")

    assert (0, period.spent_p) == (running, spent_p)
    assert total.charge_p == period.spent_p > 0
    assert total.calls > CLIENTS // 2
