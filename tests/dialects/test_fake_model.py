"""The fake model answers as vLLM would, so that what passes with it means something."""

import json

import anyio
import httpx
import openai
import pytest

from metering.dialects.known import DIALECT_BY_PATH
from metering.testing.model import FakeModel
from metering.usage import Usage

pytestmark = pytest.mark.anyio

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
EMBEDDINGS = "/v1/embeddings"
HELLO = {"model": "m", "messages": [{"role": "user", "content": "hello big world"}]}
STREAM = {**HELLO, "stream": True}
ASKED = {**STREAM, "stream_options": {"include_usage": True}}


def events(body: bytes) -> list:
    texts = [event.removeprefix(b"data: ") for event in body.split(b"\n\n") if event]
    return [text if text == b"[DONE]" else json.loads(text) for text in texts]


@pytest.mark.parametrize(
    ("body", "words", "reason"),
    [
        ({}, 5, "stop"),
        ({"max_tokens": 2}, 2, "length"),
        ({"max_tokens": 5}, 5, "stop"),
        ({"max_tokens": 9, "max_completion_tokens": 3}, 3, "length"),
        ({"max_tokens": "2"}, 2, "length"),
        ({"max_tokens": 2.0}, 2, "length"),
        ({"max_tokens": True}, 1, "length"),
        ({"max_tokens": None}, 5, "stop"),
    ],
)
async def test_a_chat_is_bounded_as_vllm_bounds_it(
    ask, body: dict, words: int, reason: str
) -> None:
    """The newer field wins; strings, floats and booleans are numbers."""
    answered = await ask(FakeModel(output_tokens=5), CHAT, {**HELLO, **body})

    choice = answered.json["choices"][0]
    assert (
        choice["message"]["content"].split() == ["w1", "w2", "w3", "w4", "w5"][:words]
    )
    assert choice["finish_reason"] == reason
    assert answered.json["usage"] == {
        "prompt_tokens": 3,
        "completion_tokens": words,
        "total_tokens": 3 + words,
    }


@pytest.mark.parametrize(
    ("prompt", "more", "usage"),
    [
        ("a b", {}, (2, 16)),
        ("a b", {"max_tokens": 70}, (2, 64)),
        (["a b", "c"], {"max_tokens": 10, "n": 2}, (3, 40)),
        ([1, 2, 3], {"max_tokens": 1}, (3, 1)),
        ([[1, 2], [3]], {"max_tokens": 1}, (3, 2)),
        ("a", {"max_tokens": 0, "echo": True}, (1, 0)),
    ],
)
async def test_a_completion_defaults_to_16_and_multiplies(
    ask, prompt: object, more: dict, usage: tuple[int, int]
) -> None:
    """Each prompt is completed n times; an absent bound is 16."""
    answered = await ask(
        FakeModel(), COMPLETIONS, {"model": "m", "prompt": prompt, **more}
    )

    told = answered.json["usage"]
    assert (told["prompt_tokens"], told["completion_tokens"]) == usage


async def test_embeddings(ask) -> None:
    """One vector a text, and usage without a completion."""
    answered = await ask(FakeModel(), EMBEDDINGS, {"model": "m", "input": ["a b", "c"]})

    assert [item["index"] for item in answered.json["data"]] == [0, 1]
    assert answered.json["usage"] == {"prompt_tokens": 3, "total_tokens": 3}


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        (CHAT, {**HELLO, "max_tokens": 0}, 400),
        (CHAT, {**HELLO, "max_tokens": -1}, 400),
        (CHAT, {**HELLO, "max_tokens": "abc"}, 400),
        (CHAT, {**HELLO, "max_tokens": 1.5}, 400),
        (CHAT, {**HELLO, "max_tokens": [1]}, 400),
        (CHAT, {**HELLO, "min_tokens": 9, "max_tokens": 8}, 400),
        (CHAT, {**HELLO, "n": 0}, 400),
        (CHAT, {**HELLO, "stream_options": {"include_usage": True}}, 400),
        (CHAT, {"model": "m"}, 400),
        (CHAT, {"model": "m", "messages": ["x"]}, 400),
        (CHAT, b"{", 400),
        (CHAT, b"\xff", 400),
        (CHAT, b"[]", 400),
        (COMPLETIONS, {"model": "m", "prompt": "a", "max_tokens": 0}, 400),
        (COMPLETIONS, {"model": "m", "prompt": 7}, 400),
        (EMBEDDINGS, {"model": "m"}, 400),
        (CHAT, {**HELLO, "model": "other"}, 404),
    ],
)
async def test_what_vllm_refuses_is_refused(
    ask, path: str, body: object, status: int
) -> None:
    """With OpenAI's error object, which the dialects take for a failure."""
    answered = await ask(FakeModel(models=["m"]), path, body)

    assert answered.status == status
    assert answered.json["error"]["code"] == status
    assert DIALECT_BY_PATH[path].read_response(answered.body).failed


async def test_a_stream_asked_for_usage_has_nulls_and_one_usage_event(ask) -> None:
    """Exactly as OpenAI sends it; unasked there is no such member at all."""
    app = FakeModel(output_tokens=2)

    asked = events((await ask(app, CHAT, ASKED)).body)
    unasked = events((await ask(app, CHAT, STREAM)).body)

    assert [e.get("usage", "absent") for e in asked[:-2]] == [None] * 4
    assert (asked[-2]["choices"], asked[-2]["usage"]["completion_tokens"]) == ([], 2)
    assert asked[-1] == unasked[-1] == b"[DONE]"
    assert all("usage" not in event for event in unasked[:-1])
    deltas = [event["choices"][0]["delta"] for event in unasked[:-1]]
    assert deltas == [
        {"role": "assistant", "content": ""},
        {"content": "w1"},
        {"content": " w2"},
        {},
    ]


@pytest.mark.parametrize("take_out", [False, True])
async def test_its_streams_are_read_by_the_dialects(ask, *, take_out: bool) -> None:
    """Cached and reasoning tokens and the compute time arrive in their leaves."""
    app = FakeModel(
        output_tokens=9, compute_ms=1700, cached_tokens=2, reasoning_tokens=4
    )
    for path, body in (
        (CHAT, ASKED),
        (COMPLETIONS, {**ASKED, "prompt": "hello big world"}),
    ):
        reading = DIALECT_BY_PATH[path].read_stream(take_out_usage=take_out)
        for chunk in (await ask(app, path, body)).chunks:
            reading.feed(chunk)
        reading.finish()

        assert reading.ended
        report = reading.report()
        assert report.usage == Usage(1, 2, 0, 5, 4, compute_ms=1700)
        assert report.time_source == "metrics"


async def test_its_answers_are_read_by_the_dialects(ask) -> None:
    """Whole bodies tell the same."""
    app = FakeModel(output_tokens=3, compute_ms=50)
    for path, wanted in (
        (CHAT, HELLO),
        (COMPLETIONS, {"model": "m", "prompt": "a b c"}),
    ):
        answered = await ask(app, path, wanted)
        report = DIALECT_BY_PATH[path].read_response(answered.body)

        assert report.usage == Usage(3, output_tokens=3, compute_ms=50)


async def test_without_usage_and_without_an_end_mark(ask) -> None:
    """As llama.cpp, which ignores the question, and transformers, which never ends."""
    app = FakeModel(output_tokens=3, usage=False, done=False)
    reading = DIALECT_BY_PATH[CHAT].read_stream(take_out_usage=False)
    reading.feed((await ask(app, CHAT, ASKED)).body)

    assert reading.report().usage is None
    assert reading.report().counted_tokens == 3
    assert not reading.ended
    assert "usage" not in (await ask(app, CHAT, HELLO)).json


async def test_an_error_in_mid_stream(ask) -> None:
    """The status stays 200; the event tells, and the stream is ended."""
    answered = await ask(FakeModel(error_at=2), CHAT, STREAM)
    reading = DIALECT_BY_PATH[CHAT].read_stream(take_out_usage=False)
    reading.feed(answered.body)

    assert (answered.status, len(answered.chunks)) == (200, 4)
    assert reading.report().failed
    assert reading.ended


async def test_a_failure_is_raised_after_so_many_chunks(ask) -> None:
    """As a plain RuntimeError, with what was sent until then."""
    app = FakeModel(fail_at=2)

    with pytest.raises(RuntimeError, match="after 2 chunks"):
        await ask(app, CHAT, STREAM)
    assert app.calls[-1].chunks == 2
    with pytest.raises(RuntimeError, match="after 0 chunks"):
        await ask(FakeModel(fail_at=0), CHAT, HELLO)


async def test_an_injected_status_answers_every_call(ask) -> None:
    """Whatever the body is."""
    answered = await ask(FakeModel(status=503), CHAT, b"no json")

    assert answered.status == 503
    assert answered.json["error"]["type"] == "InternalServerError"


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_a_left_client_stops_the_stream_where_it_is(ask) -> None:
    """Held at the third chunk, the app hears of the client's leaving and returns."""
    reached, gone, never = anyio.Event(), anyio.Event(), anyio.Event()

    async def hold_at_three(chunk: int) -> None:
        if chunk == 3:
            reached.set()
            await never.wait()

    app = FakeModel(pause=hold_at_three)

    async with anyio.create_task_group() as tasks:

        async def leave() -> None:
            await reached.wait()
            gone.set()

        tasks.start_soon(leave)
        answered = await ask(app, CHAT, STREAM, gone=gone)

    assert len(answered.chunks) == 3
    assert (app.calls[-1].chunks, app.calls[-1].disconnected) == (3, True)


async def test_calls_tell_what_reached_the_app(ask) -> None:
    """Path and body as they came, and that nothing cut the answer short."""
    app = FakeModel(output_tokens=1)
    await ask(app, CHAT, STREAM)

    (call,) = app.calls
    assert (call.path, call.body, call.disconnected) == (CHAT, STREAM, False)
    assert json.loads(call.raw) == STREAM
    assert call.chunks == 4


async def test_other_paths_and_scopes(ask) -> None:
    """A list of models, health, 404, and a lifespan that starts and stops."""
    app = FakeModel(models=["a", "b"])

    listed = (await ask(app, "/v1/models", b"")).json["data"]
    assert [model["id"] for model in listed] == ["a", "b"]
    assert (await ask(app, "/health", b"")).status == 200
    assert (await ask(app, "/other", b"")).status == 404
    assert not app.calls

    told: list[dict] = [{"type": "lifespan.shutdown"}, {"type": "lifespan.startup"}]
    sent: list[str] = []

    async def receive() -> dict:
        return told.pop()

    async def send(message: dict) -> None:
        sent.append(message["type"])

    await app({"type": "lifespan"}, receive, send)
    await app({"type": "websocket"}, receive, send)
    assert sent == [
        "lifespan.startup.complete",
        "lifespan.shutdown.complete",
        "websocket.close",
    ]


async def test_the_openai_client_understands_it() -> None:
    """The real client reads answers, streams with usage, and refusals."""
    transport = httpx.ASGITransport(FakeModel(models=["m"], output_tokens=2))
    async with httpx.AsyncClient(transport=transport) as http:
        client = openai.AsyncOpenAI(
            api_key="k", base_url="http://app/v1", max_retries=0, http_client=http
        )
        messages = [{"role": "user", "content": "a b"}]
        answer = await client.chat.completions.create(model="m", messages=messages)
        stream = await client.chat.completions.create(
            model="m",
            messages=messages,
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = [chunk async for chunk in stream]
        with pytest.raises(openai.NotFoundError):
            await client.chat.completions.create(model="x", messages=messages)

    assert answer.choices[0].message.content == "w1 w2"
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == "w1 w2"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 2
