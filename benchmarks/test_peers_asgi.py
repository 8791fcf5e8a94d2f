"""What a limiter adds to a request as middleware: ours beside slowapi's.

Run from the root of the repository:

    pytest benchmarks/test_peers_asgi.py -p benchmark

The app is Starlette's with one route, which reads the body and answers made bytes.
ASGI is driven directly, without a server. Each figure is what is added to the bare app,
in processor time of the thread that runs the loop.
"""

import asyncio
from pathlib import Path
from typing import Any

import pytest
import slowapi
from benchmarks.service import ANSWER, metered
from benchmarks.service import request as ask_of
from benchmarks.timing import in_turns
from slowapi.middleware import SlowAPIASGIMiddleware, SlowAPIMiddleware
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from metering.asgi.headers import find_header
from metering.asgi.limiter import LimiterMiddleware
from metering.asgi.parts import Parts
from metering.backends.memory import MemoryLimitStore
from metering.clock import NS_PER_S, system_clock
from metering.limit_rules import LimitRule
from metering.limiter import Limiter
from metering.quota import RateQuota

pytestmark = pytest.mark.timeout(120)

RATE = RateQuota(10**6, 24 * 3600 * NS_PER_S)


async def chat(asked: Request) -> Response:
    await asked.body()
    return Response(ANSWER, media_type="application/json")


def one_route(*middleware: Middleware) -> Starlette:
    route = Route("/v1/chat/completions", chat, methods=["POST"])
    return Starlette(routes=[route], middleware=middleware)


def passing(app: ASGIApp) -> ASGIApp:
    """Wrap an app and do nothing: what any middleware adds."""

    async def pass_on(scope: Scope, receive: Receive, send: Send) -> None:
        await app(scope, receive, send)

    return pass_on


def ours_for_all(app: ASGIApp) -> ASGIApp:
    """One quota for all callers together, so no body is read."""
    limiter = Limiter(MemoryLimitStore(), clock=system_clock)
    return LimiterMiddleware(app, Parts(limiter=limiter), requests=RATE)


def ours_by_client(app: ASGIApp) -> ASGIApp:
    """A quota for each value of a header, as slowapi is asked for below."""
    parts = Parts(
        limiter=Limiter(MemoryLimitStore(), clock=system_clock),
        limits=(LimitRule(name="requests", quotas=(RATE,), per=("client",)),),
        subjects={
            "client": lambda scope: find_header(
                scope["headers"], b"authorization"
            ).decode()
        },
    )
    return LimiterMiddleware(app, parts)


def by_slowapi(middleware: Any, *, headers: bool) -> ASGIApp:
    app = one_route(Middleware(middleware))
    app.state.limiter = slowapi.Limiter(
        key_func=lambda request: request.headers.get("authorization", ""),
        default_limits=["1000000/day"],
        headers_enabled=headers,
    )
    return app


def test_as_middleware(tmp_path: Path, tell: Any) -> None:
    async def run() -> None:
        async with metered(tmp_path) as (meter, key):
            apps = {
                "bare": one_route(),
                "no-op": passing(one_route()),
                "ours, limiter alone, for all": ours_for_all(one_route()),
                "ours, limiter alone, by client": ours_by_client(one_route()),
                "ours, whole stack": meter.wrap(one_route()),
                "slowapi, ASGI": by_slowapi(SlowAPIASGIMiddleware, headers=False),
                "slowapi, ASGI, headers": by_slowapi(
                    SlowAPIASGIMiddleware, headers=True
                ),
                "slowapi, BaseHTTP": by_slowapi(SlowAPIMiddleware, headers=False),
                "slowapi, BaseHTTP, headers": by_slowapi(
                    SlowAPIMiddleware, headers=True
                ),
            }
            asks = {name: ask_of(app, key) for name, app in apps.items()}
            times = await in_turns(asks, rounds=50, calls=100)
        bare_us = times.pop("bare").busy_us
        added_us = {name: seen.busy_us - bare_us for name, seen in times.items()}
        alone_us = added_us["ours, limiter alone, by client"]
        tell("middleware: the bare app", bare_us)
        for name, us in added_us.items():
            if name.startswith("slowapi"):
                tell(f"middleware, added: {name}, beside ours", us, floor=alone_us)
            else:
                tell(f"middleware, added: {name}", us)

    asyncio.run(run())


def test_each_tells_its_limit() -> None:
    """Those with headers do limit: what is left goes down from call to call."""

    async def left(app: ASGIApp) -> list[int]:
        seen: list[int] = []

        async def send(message: Any) -> None:
            for name, value in message.get("headers", ()):
                if name.lower() in {
                    b"x-ratelimit-remaining-requests",
                    b"x-ratelimit-remaining",
                }:
                    seen.append(int(value))

        ask = ask_of(app, "a", send=send)
        for _ in range(2):
            await ask()
        return seen

    async def run() -> None:
        for app in (
            ours_for_all(one_route()),
            ours_by_client(one_route()),
            by_slowapi(SlowAPIASGIMiddleware, headers=True),
            by_slowapi(SlowAPIMiddleware, headers=True),
        ):
            assert await left(app) == [10**6 - 1, 10**6 - 2]

    asyncio.run(run())
