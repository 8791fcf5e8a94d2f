"""A hundred thousand calls that are cut at some await: nothing stays held."""

import asyncio
import json
import random
from dataclasses import replace

import pytest
import structlog

from metering.accounts import Overrides, RateOverride
from metering.asgi.billing import BillingMiddleware
from metering.asgi.clamp import ClampMiddleware
from metering.asgi.limiter import LimiterMiddleware
from metering.asgi.meter import MeterMiddleware
from metering.asgi.tier import TierMiddleware
from metering.limit_rules import LimitRule
from metering.money import PICO
from metering.quota import BudgetQuota, Demand

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _quiet():
    """Thousands of refusals are not for a log."""
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    yield
    structlog.reset_defaults()


CALLS = 25_000
LIMIT_P = 1_000_000 * PICO
SLOTS = 3
RUNNING = LimitRule(name="running", quotas=(BudgetQuota(SLOTS),), unit="running")
MANY = Overrides(
    usage_limit_p=LIMIT_P, requests={"paid": RateOverride(10**12, 60 * 10**9)}
)
USAGE = b'"usage":{"prompt_tokens":5,"completion_tokens":4,"total_tokens":9}'
PLAIN = (b"application/json", [b'{"choices":[{"message":{}}],%b}' % USAGE])
STREAM = (
    b"text/event-stream",
    [
        *[b'data: {"choices":[{"delta":{"content":"w"}}],"usage":null}\n\n'] * 4,
        b'data: {"choices":[],%b}\n\n' % USAGE,
        b"data: [DONE]\n\n",
        b"",
    ],
)


class Turn:
    """An await that suspends once, without an event loop."""

    def __await__(self):
        """Suspend."""
        yield


def app_of(kind, chunks):
    """Return an app that suspends around everything it does."""

    async def app(_scope, receive, send):
        await Turn()
        await receive()
        await Turn()
        headers = [(b"content-type", kind)]
        if len(chunks) == 1:
            headers.append((b"content-length", b"%d" % len(chunks[0])))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for at, chunk in enumerate(chunks):
            await Turn()
            more = at + 1 < len(chunks)
            await send({"type": "http.response.body", "body": chunk, "more_body": more})

    return app


def call(app, key, *, stream):
    """Return the coroutine of one call; the server's side suspends as well."""
    body = {"model": "meta-llama/Llama-3.1-8B-Instruct", "messages": []}
    text = json.dumps(body | ({"stream": True} if stream else {})).encode()

    async def receive():
        await Turn()
        return {"type": "http.request", "body": text, "more_body": False}

    async def send(_message):
        await Turn()

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/chat/completions",
        "headers": [(b"authorization", b"Bearer " + key.encode())],
        "state": {},
    }
    return app(scope, receive, send)


def cut(coroutine, turns, error):
    """Take so many turns, then cut the call off. Return whether it had ended before."""
    try:
        for _ in range(turns):
            coroutine.send(None)
        if error is GeneratorExit:
            coroutine.close()
        else:
            coroutine.throw(error)
    except StopIteration:
        return True
    except asyncio.CancelledError:
        pass
    return False


@pytest.mark.parametrize("error", [asyncio.CancelledError, GeneratorExit])
@pytest.mark.parametrize("kind", ["plain", "stream"])
async def test_nothing_stays_held(open_service, kind, error):
    """Three slots serve 25,000 calls, each cut at a random await or not at all."""
    chance = random.Random(5)  # noqa: S311 - the same cuts in each run
    app = app_of(*(STREAM if kind == "stream" else PLAIN))
    async with open_service(app, limits=(RUNNING,)) as service:
        key = await service.account("acme", tier=4)
        await service.meter.accounts.override("acme", MANY)
        await service.chat(key)  # from here on, account and budget are known
        parts = replace(service.meter._parts, journal=None)
        stack = LimiterMiddleware(MeterMiddleware(app, parts), parts)
        stack = BillingMiddleware(stack, parts)
        stack = TierMiddleware(ClampMiddleware(stack, parts), parts)
        ended = 0
        for _ in range(CALLS):
            one = call(stack, key, stream=kind == "stream")
            ended += cut(one, chance.randrange(22), error)
        slots = Demand("{acme}:limit:running:", BudgetQuota(SLOTS), 0, unit="running")
        (free,) = await service.meter.limit_store.peek([slots], now_ns=service.clock())
        holds = len(service.meter.limit_store._holds)

        assert (SLOTS, 0) == (free.remaining, holds)
        assert 0 < ended < CALLS
