"""What the benchmarks of the stack drive: bare apps, requests, a metered service."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from metering import Metering
from metering.accounts import Overrides, RateOverride
from metering.backends.sql import SqlLedger
from metering.clock import NS_PER_S
from metering.config import plan_from_preset

__all__ = [
    "ANSWER",
    "MODEL",
    "QUESTION",
    "JsonApp",
    "PassingOn",
    "Replayed",
    "StreamApp",
    "metered",
    "request",
]

MODEL = "meta-llama/Llama-3.1-8B-Instruct"
HUGE = RateOverride(1_000_000_000, 60 * NS_PER_S)
LIMIT_P = 8_000_000 * 10**12

_encode = msgspec.json.Encoder().encode

QUESTION = "Why is the sky blue, and the sunset red? " * 40

_ASK = {
    "model": MODEL,
    "messages": [
        {"role": "system", "content": "You answer in one short paragraph. " * 4},
        {"role": "user", "content": QUESTION},
    ],
    "temperature": 0.7,
    "top_p": 0.9,
    "max_tokens": 100_000,  # above the cap, so that the body is written anew
}

ANSWER = _encode(
    {
        "id": "chatcmpl-0001",
        "object": "chat.completion",
        "created": 1_768_435_200,
        "model": MODEL,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Light scatters. " * 48},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 412, "completion_tokens": 96, "total_tokens": 508},
    }
)


class Replayed:
    """Reads the request and answers what was made beforehand.

    Args:
        kind: Content type of the answer.
        parts: Its body, one message each.
    """

    def __init__(self, kind: bytes, parts: Sequence[bytes]) -> None:
        headers = [(b"content-type", kind)]
        if len(parts) == 1:
            headers.append((b"content-length", b"%d" % len(parts[0])))
        self._start: Message = {
            "type": "http.response.start",
            "status": 200,
            "headers": headers,
        }
        self._bodies: list[Message] = [
            {
                "type": "http.response.body",
                "body": part,
                "more_body": at < len(parts),
            }
            for at, part in enumerate(parts, 1)
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - one answer for all
        """Answer."""
        await receive()
        await send(self._start)
        for body in self._bodies:
            await send(body)


class JsonApp(Replayed):
    """Answers about 1 kB of JSON."""

    def __init__(self) -> None:
        super().__init__(b"application/json", [ANSWER])


class StreamApp(Replayed):
    """Streams events, then usage where it was asked for, then [DONE].

    Args:
        chunks: Events with a word each, one a message.
        usage: Whether to tell usage, as a server does that was asked to.
    """

    def __init__(self, chunks: int, *, usage: bool) -> None:
        word: dict[str, Any] = {
            "id": "chatcmpl-0001",
            "object": "chat.completion.chunk",
            "created": 1_768_435_200,
            "model": MODEL,
            "choices": [{"index": 0, "delta": {"content": " word"}}],
        }
        last: dict[str, Any] = {"choices": []}
        if usage:
            word["usage"] = None
            last["usage"] = {"prompt_tokens": 412, "completion_tokens": chunks}
        events = [_encode(word)] * chunks + [_encode(last)] * usage + [b"[DONE]"]
        parts = [b"data: %b\n\n" % event for event in events]
        super().__init__(b"text/event-stream", [*parts, b""])


class PassingOn:
    """A layer that does nothing but pass on: the floor of any that reads along."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on."""

        async def pass_on(message: Message) -> None:
            await send(message)

        await self._app(scope, receive, pass_on)


async def drop(_message: Message) -> None:
    """Let an answer go."""


def request(
    app: ASGIApp,
    secret: str,
    *,
    path: str = "/v1/chat/completions",
    send: Send = drop,
    **members: Any,
) -> Callable[[], Awaitable[None]]:
    """Return what sends one request of 2 kB to *app*, and the answer to *send*.

    Args:
        app: What to ask.
        secret: The API key.
        path: Where.
        send: Takes the messages of the answer.
        members: What to ask beside or in place of the usual chat; None: leave that out.
    """
    asks = {name: of for name, of in (_ASK | members).items() if of is not None}
    body = _encode(asks)
    asked: Message = {"type": "http.request", "body": body, "more_body": False}
    scope: Scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [
            (b"host", b"localhost:8000"),
            (b"accept", b"application/json"),
            (b"accept-encoding", b"gzip, deflate"),
            (b"connection", b"keep-alive"),
            (b"user-agent", b"OpenAI/Python 2.8.0"),
            (b"content-type", b"application/json"),
            (b"authorization", b"Bearer " + secret.encode()),
            (b"content-length", b"%d" % len(body)),
        ],
        "client": ("127.0.0.1", 50_000),
        "server": ("127.0.0.1", 8000),
    }

    async def receive() -> Message:
        return asked

    async def ask() -> None:
        await app({**scope, "state": {}}, receive, send)

    return ask


@asynccontextmanager
async def metered(
    home: Path, *, requests: RateOverride = HUGE, adaptive: bool = True
) -> AsyncIterator[tuple[Metering, str]]:
    """Run a service of preset friendli, with one account of tier 3 and its key.

    Its limits are in memory and so is its ledger; its journal is on disk.

    Args:
        home: Where the journal is.
        requests: The account's request limit.
        adaptive: Whether the adaptive limits of tier 0 are there as well.
    """
    plan = replace(plan_from_preset("friendli"), data=str(home))
    if not adaptive:
        plan = replace(plan, adaptive=None)
    meter = Metering(plan, ledger=SqlLedger("sqlite://", tiers=plan.tiers))
    await meter.start()
    try:
        await meter.accounts.create("acme")
        await meter.accounts.pin_tier("acme", 3)
        agreed = Overrides(usage_limit_p=LIMIT_P, requests={"paid": requests})
        await meter.accounts.override("acme", agreed)
        yield meter, await meter.accounts.issue_key("acme")
    finally:
        await meter.stop()
