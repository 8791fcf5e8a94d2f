"""What each dialect adds to a request and to a chunk, beside the bare app.

In processor time of the loop's thread. Answers are made beforehand, as real servers
send them: one event a message.
"""

import asyncio
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from benchmarks.service import (
    MODEL,
    QUESTION,
    PassingOn,
    Replayed,
    metered,
    request,
)
from benchmarks.timing import Timing, in_turns
from starlette.types import ASGIApp, Message, Receive, Scope, Send

pytestmark = pytest.mark.timeout(120)

SHORT, LONG = 1, 51
"""Chunks of two streams: what they differ in is the price of 50 chunks."""

WORD = " word"
TEXT = "Light scatters. " * 48
READ_AND_WROTE = {"input_tokens": 412, "output_tokens": 96}


def _event(event: dict[str, Any], *, named: bool = True) -> bytes:
    data = b"data: %b\n\n" % msgspec.json.encode(event)
    return b"event: %b\n%b" % (event["type"].encode(), data) if named else data


@dataclass(frozen=True, kw_only=True)
class Spoken:
    """A dialect as it is spoken: what is asked, and what is answered."""

    path: str
    asks: dict[str, Any]
    answer: dict[str, Any]
    word: bytes = b""
    last: list[bytes] = field(default_factory=list)


def _openai(path: str, kind: str, choice: dict[str, Any], delta: Any) -> Spoken:
    told = {"prompt_tokens": 412, "completion_tokens": 96, "total_tokens": 508}
    whole = {"id": "c-1", "object": kind, "created": 1_768_435_200, "model": MODEL}
    return Spoken(
        path=path,
        asks={"stream_options": {"include_usage": True}},
        answer={**whole, "choices": [{"index": 0, **choice}], "usage": told},
        word=_event(
            {**whole, "choices": [{"index": 0, **delta}], "usage": None}, named=False
        ),
        last=[
            _event({**whole, "choices": [], "usage": told}, named=False),
            b"data: [DONE]\n\n",
        ],
    )


CHAT = _openai(
    "/v1/chat/completions",
    "chat.completion",
    {"message": {"role": "assistant", "content": TEXT}, "finish_reason": "stop"},
    {"delta": {"content": WORD}, "finish_reason": None},
)
COMPLETIONS = _openai(
    "/v1/completions",
    "text_completion",
    {"text": TEXT, "finish_reason": "stop"},
    {"text": WORD, "finish_reason": None},
)
COMPLETIONS.asks.update(messages=None, prompt=QUESTION)
RESPONSES = Spoken(
    path="/v1/responses",
    asks={"messages": None, "max_tokens": None, "input": QUESTION},
    answer={
        "id": "resp_1",
        "object": "response",
        "status": "completed",
        "output": [
            {
                "type": "message",
                "role": "assistant",
                "content": [{"type": "output_text", "text": TEXT}],
            }
        ],
        "usage": {**READ_AND_WROTE, "total_tokens": 508},
    },
    word=_event(
        {
            "type": "response.output_text.delta",
            "sequence_number": 7,
            "item_id": "msg_1",
            "output_index": 0,
            "content_index": 0,
            "delta": WORD,
        }
    ),
    last=[
        _event(
            {
                "type": "response.completed",
                "response": {"status": "completed", "usage": READ_AND_WROTE},
            }
        )
    ],
)
MESSAGES = Spoken(
    path="/v1/messages",
    asks={},
    answer={
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "content": [{"type": "text", "text": TEXT}],
        "usage": READ_AND_WROTE,
    },
    word=_event(
        {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "text_delta", "text": WORD},
        }
    ),
    last=[
        _event({"type": "message_delta", "delta": {}, "usage": READ_AND_WROTE}),
        _event({"type": "message_stop"}),
    ],
)
EMBEDDINGS = Spoken(
    path="/v1/embeddings",
    asks={"messages": None, "max_tokens": None, "input": QUESTION},
    answer={
        "object": "list",
        "data": [{"object": "embedding", "index": 0, "embedding": [0.0123] * 128}],
        "usage": {"prompt_tokens": 412, "total_tokens": 412},
    },
)
DIALECTS = {
    "openai.chat": CHAT,
    "openai.completions": COMPLETIONS,
    "openai.responses": RESPONSES,
    "anthropic.messages": MESSAGES,
    "openai.embeddings": EMBEDDINGS,
}
STREAMED = {name: spoken for name, spoken in DIALECTS.items() if spoken.word}
STREAMED["openai.chat, usage taken out"] = replace(CHAT, asks={})


async def _see_that_it_is_metered(
    app: ASGIApp, key: str, path: str, asks: dict[str, Any]
) -> None:
    """Fail where a refusal would be timed, or an answer whose usage is not found."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    scope: Scope = {}

    async def noting(its: Scope, receive: Receive, send: Send) -> None:
        scope.update(its)
        await app(its, receive, send)

    await request(noting, key, path=path, send=send, **asks)()
    assert sent[0]["status"] == 200
    assert scope["state"]["metering"].event.usage_source == "upstream"


@pytest.mark.parametrize("name", DIALECTS)
def test_request(tmp_path: Path, tell: Any, name: str) -> None:
    """A plain answer of about 1 kB to a request of 2 kB."""
    spoken = DIALECTS[name]
    asks = {**spoken.asks, "stream_options": None}
    app = Replayed(b"application/json", [msgspec.json.encode(spoken.answer)])

    async def run() -> dict[str, Timing]:
        async with metered(tmp_path) as (meter, key):
            stack = meter.wrap(app)
            await _see_that_it_is_metered(stack, key, spoken.path, asks)
            candidates = {
                "bare": request(app, key, path=spoken.path, **asks),
                "stack": request(stack, key, path=spoken.path, **asks),
            }
            return await in_turns(candidates, rounds=50, calls=100)

    times = asyncio.run(run())
    tell(f"{name}: a request: added", times["stack"].busy_us - times["bare"].busy_us)


@pytest.mark.parametrize("name", STREAMED)
def test_chunk(tmp_path: Path, tell: Any, name: str) -> None:
    """A chunk with a word, beside what a layer adds that only passes on."""
    spoken = STREAMED[name]

    async def run() -> dict[str, Timing]:
        async with metered(tmp_path) as (meter, key):
            streamed = {**spoken.asks, "stream": True}
            asks = {}
            for chunks in (SHORT, LONG):
                parts = [spoken.word] * chunks + spoken.last
                app = Replayed(b"text/event-stream", [*parts, b""])
                around = {
                    "bare": app,
                    "passed on": PassingOn(app),
                    "stack": meter.wrap(app),
                }
                await _see_that_it_is_metered(
                    around["stack"], key, spoken.path, streamed
                )
                for who, each in around.items():
                    asks[f"{who} {chunks}"] = request(
                        each, key, path=spoken.path, **streamed
                    )
            return await in_turns(asks, rounds=50, calls=30)

    times = asyncio.run(run())

    def chunk_us(who: str) -> float:
        both = times[f"{who} {LONG}"].busy_us - times[f"{who} {SHORT}"].busy_us
        return both / (LONG - SHORT)

    tell(
        f"{name}: a chunk: added",
        chunk_us("stack") - chunk_us("bare"),
        floor=chunk_us("passed on") - chunk_us("bare"),
        value_max=1.5,
    )
    rest_us = times[f"stack {SHORT}"].busy_us - times[f"bare {SHORT}"].busy_us
    tell(f"{name}: a stream of one chunk: added", rest_us)
