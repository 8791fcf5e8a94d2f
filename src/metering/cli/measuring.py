"""A bare app, the same app with the stack around it, and how long a call takes."""

import os
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from metering.accounts import Overrides, RateOverride
from metering.backends.memory import MemoryLimitStore
from metering.clock import NS_PER_S
from metering.config import plan_from_preset
from metering.quota import Demand, RateQuota

__all__ = [
    "CHUNKS",
    "App",
    "Call",
    "bare_app",
    "call_of",
    "count_one",
    "decide_one",
    "median_ns",
    "metered_app",
    "sync_ns",
]

CHUNKS = 200
"""How many chunks a stream has."""

Call = Callable[[], Awaitable[object]]
App = Callable[[Any, Any, Any], Awaitable[None]]

_ROUNDS = 15
_SYNCS = 20
_MODEL = "meta-llama/Llama-3.1-8B-Instruct"
_HUGE = RateOverride(1_000_000_000, 60 * NS_PER_S)
_encode = msgspec.json.Encoder().encode
_USAGE = {"prompt_tokens": 400, "completion_tokens": 200, "total_tokens": 600}
_ANSWER = _encode(
    {
        "object": "chat.completion",
        "model": _MODEL,
        "choices": [{"index": 0, "message": {"content": "Because. " * 80}}],
        "usage": _USAGE,
    }
)
_CHUNK = b'data: {"model":"m","choices":[{"index":0,"delta":{"content":"a "}}]}\n\n'
_LAST = b'data: {"choices":[],"usage":%b}\n\ndata: [DONE]\n\n' % _encode(_USAGE)
_BODY = {
    "model": _MODEL,
    "messages": [{"role": "user", "content": "Why is that so? " * 100}],
    "max_tokens": 1000,
}


async def bare_app(scope: Any, receive: Any, send: Any) -> None:
    """Answer with JSON made beforehand, or as a stream where the path says so."""
    del scope
    streams = b'"stream":true' in (await receive())["body"]
    kind = b"text/event-stream" if streams else b"application/json"
    headers = [(b"content-type", kind)]
    if not streams:
        headers.append((b"content-length", b"%d" % len(_ANSWER)))
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    if streams:
        for _ in range(CHUNKS):
            await send(
                {"type": "http.response.body", "body": _CHUNK, "more_body": True}
            )
    await send({"type": "http.response.body", "body": _LAST if streams else _ANSWER})


@asynccontextmanager
async def metered_app(folder: Path) -> AsyncIterator[tuple[App, str]]:
    """Yield the app with all pieces around it, and a key that no limit stops.

    Args:
        folder: For the journal; limits and ledger are in memory.
    """
    # Help and completion have no use for SQLAlchemy, which takes a while to import.
    from metering.backends.sql import SqlLedger  # noqa: PLC0415
    from metering.metering import Metering  # noqa: PLC0415

    plan = replace(plan_from_preset("friendli"), data=str(folder))
    meter = Metering(plan, ledger=SqlLedger("sqlite://", tiers=plan.tiers))
    await meter.accounts.create("bench")
    await meter.accounts.pin_tier("bench", 4)
    agreed = Overrides(usage_limit_p=8_000_000 * 10**12, requests={"paid": _HUGE})
    await meter.accounts.override("bench", agreed)
    key = await meter.accounts.issue_key("bench")
    await meter.start()
    try:
        yield meter.wrap(bare_app), key
    finally:
        await meter.stop()


def call_of(app: App, key: str, *, streams: bool = False) -> Call:
    """Return one call of an app, as a server would make it."""
    body = _encode(_BODY | ({"stream": True} if streams else {}))
    headers = [
        (b"authorization", b"Bearer " + key.encode()),
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
    ]
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/chat/completions",
        "raw_path": b"/v1/chat/completions",
        "query_string": b"",
        "headers": headers,
    }
    message = {"type": "http.request", "body": body, "more_body": False}

    async def receive() -> dict[str, Any]:
        return message

    async def call() -> None:
        status = 0

        async def send(sent: dict[str, Any]) -> None:
            nonlocal status
            status = sent.get("status", status)

        await app({**scope, "state": {}}, receive, send)
        assert status == 200, status  # noqa: PLR2004, S101 - what is refused is not a cost

    return call


def count_one() -> Call:
    """Return the least that a limiter does: `dict[key] += 1`, which decides nothing."""
    counts = {"key": 0}

    async def call() -> None:
        counts["key"] += 1

    return call


def decide_one() -> Call:
    """Return one decision of the store in memory over a rate."""
    store = MemoryLimitStore()
    demands = [Demand("{bench}:rpm", RateQuota(1_000_000_000, 60 * NS_PER_S))]

    async def call() -> None:
        await store.acquire(
            demands, hold_id="", lease_ns=NS_PER_S, now_ns=time.time_ns()
        )

    return call


async def median_ns(call: Call, seconds: float) -> float:
    """Return the median of some rounds, in ns a call; the rounds take *seconds*."""
    round_ns = round(seconds * NS_PER_S / _ROUNDS)
    each: list[float] = []
    for _ in range(_ROUNDS):
        calls, began_ns = 0, time.perf_counter_ns()
        while (taken_ns := time.perf_counter_ns() - began_ns) < round_ns or not calls:
            await call()
            calls += 1
        each.append(taken_ns / calls)
    return statistics.median(each)


def sync_ns(folder: Path) -> float:
    """Return the median time in which the disk takes one line, in ns. Blocks."""
    each: list[int] = []
    with (folder / "synced").open("wb", buffering=0) as file:
        for _ in range(_SYNCS):
            began_ns = time.perf_counter_ns()
            file.write(b"x" * 500)
            os.fsync(file.fileno())
            each.append(time.perf_counter_ns() - began_ns)
    return statistics.median(each)
