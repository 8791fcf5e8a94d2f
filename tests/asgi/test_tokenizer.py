"""An operator's own tokenizer counts what nobody told, off the event loop."""

import json
import threading
import zlib

import pytest
from structlog.testing import capture_logs

from metering.asgi.context import Call
from metering.asgi.tokenizer import RUNNING_MAX, STUCK_MAX, Tokenizer
from metering.dialects.dialect import Report
from metering.dialects.openai_chat import OPENAI_CHAT
from metering.dialects.texts import TEXT_BYTES_MAX, Text
from metering.ids import uuid7
from metering.testing.model import FakeModel

pytestmark = pytest.mark.anyio

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
both = pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
paths = pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "a b c"}]}),
        ("/v1/completions", {"prompt": "a b c"}),
        ("/v1/messages", {"messages": [{"role": "user", "content": "a b c"}]}),
        ("/v1/responses", {"input": "a b c"}),
    ],
)


def words(_model, text):
    """Count words: what a fake model writes has one a token."""
    return len(text.split())


class Noting:
    """Counts words, and notes what it was asked and where."""

    def __init__(self):
        self.asked = []
        self.threads = set()

    def __call__(self, model, text):
        self.asked.append((model, text))
        self.threads.add(threading.current_thread())
        return words(model, text)


async def _served(service, key, path, asked, *, stream):
    headers = {"authorization": f"Bearer {key}"}
    body = {"model": LLAMA, "max_tokens": 7, "stream": stream, **asked}
    answer = await service.client.post(path, json=body, headers=headers)
    assert 200 == answer.status_code
    (event,) = await service.events("acme")
    return event


def _streaming(*parts, header=b"text/event-stream", coding=None):
    """Return an app that sends these parts of a body."""

    async def app(_scope, receive, send):
        while (await receive()).get("more_body"):
            pass
        headers = [(b"content-type", header)]
        if coding:
            headers.append((b"content-encoding", coding))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for part in parts:
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    return app


def _said(text):
    event = {"choices": [{"index": 0, "delta": {"content": text}}]}
    return b"data: " + json.dumps(event).encode() + b"\n\n"


@both
@paths
async def test_it_counts_what_was_read_and_written(open_service, path, asked, stream):
    """In every dialect, in a thread; the charge follows, and is still an estimate."""
    counting = Noting()
    model = FakeModel(usage=False)
    async with open_service(model, count_tokens=counting) as service:
        key = await service.account("acme", tier=1)
        event = await _served(service, key, path, asked, stream=stream)

        usage = event.usage
        assert (3, usage.output_total) == (
            usage.input_tokens,
            words("", _last(counting)),
        )
        assert 0 < usage.output_total == usage.output_tokens
        assert ("estimated",) == event.flags
        assert LLAMA == counting.asked[0][0]
        assert threading.current_thread() not in counting.threads


def _last(counting):
    (_, read), (_, wrote) = counting.asked
    assert read == "a b c"
    return wrote


async def test_it_is_not_asked_where_usage_is_told(open_service):
    """Nor is the text of a stream read then."""
    counting = Noting()
    async with open_service(count_tokens=counting) as service:
        key = await service.account("acme", tier=1)
        await service.chat(key)
        await service.chat(key, stream=True)

        assert [] == counting.asked
        assert {"upstream"} == {e.usage_source for e in await service.events("acme")}


async def test_a_text_cut_anywhere_and_escaped_is_whole_again(open_service):
    """As JSON's escapes, as bytes of UTF-8 in two chunks, as many events in one."""
    counting = Noting()
    spoken = ["世界 ", 'say "hi"\n', "\\ ", "é"]
    stream = b"".join(map(_said, spoken)) + b"data: [DONE]\n\n"
    raw = json.dumps({"choices": [{"delta": {"content": "世 "}}]}, ensure_ascii=False)
    stream = f"data: {raw}\n\n".encode() + stream
    cut = [stream[at : at + 7] for at in range(0, len(stream), 7)]
    async with open_service(_streaming(*cut), count_tokens=counting) as service:
        await service.chat(await service.account("acme", tier=1), stream=True)

    assert "世 " + "".join(spoken) == counting.asked[-1][1]


async def test_a_compressed_answer_is_counted_as_well(open_service):
    """It is read in a decoded copy."""
    counting = Noting()
    packed = zlib.compress(_said("one two three") + b"data: [DONE]\n\n")
    app = _streaming(packed, coding=b"deflate")
    async with open_service(app, count_tokens=counting) as service:
        key = await service.account("acme", tier=1)
        await service.chat(key, stream=True, stream_options={"include_usage": True})

    assert "one two three" == counting.asked[-1][1]


@both
async def test_text_beyond_the_bound_is_estimated(open_service, stream):
    """256 kB are kept; four bytes of the rest are a token."""
    counting = Noting()
    part = "word " * 10_000
    parts = 8
    body = [*map(_said, [part] * parts), b"data: [DONE]\n\n"]
    header = b"text/event-stream"
    if not stream:
        message = {"role": "assistant", "content": part * parts}
        body = [json.dumps({"choices": [{"message": message}]}).encode()]
        header = b"application/json"
    async with open_service(
        _streaming(*body, header=header), count_tokens=counting
    ) as service:
        key = await service.account("acme", tier=5)
        await service.chat(key, stream=stream)
        (event,) = await service.events("acme")

    kept = counting.asked[-1][1]
    rest = len(part) * parts - len(kept)
    assert TEXT_BYTES_MAX - len(part) < len(kept) <= TEXT_BYTES_MAX
    assert len(kept.split()) + -(-rest // 4) == event.usage.output_tokens


@pytest.mark.parametrize("told", [-1, True, 2.0, None, 2**53 + 1])
async def test_a_tokenizer_that_talks_nonsense_is_not_believed(open_service, told):
    """The estimate stands, and the operator hears of it once, without the text."""

    def nonsense(_model, _text):
        return told

    model = FakeModel(usage=False)
    async with open_service(model, count_tokens=nonsense) as service:
        key = await service.account("acme", tier=1)
        with capture_logs() as logs:
            await service.chat(key, stream=True, max_tokens=7)
            await service.chat(key, stream=True, max_tokens=7)
        events = await service.events("acme")

    assert [(2, 7), (2, 7)] == [
        (e.usage.input_tokens, e.usage.output_tokens) for e in events
    ]
    failed = [log for log in logs if log["event"] == "tokenizer_failed"]
    assert [
        {"event": "tokenizer_failed", "error": "UsageError", "log_level": "error"}
    ] == (failed)


async def test_one_that_raises_is_done_without_until_it_works_again(open_service):
    """What it raised may quote the text, so only its kind is logged."""
    works = iter([False, True, True])

    def shaky(_model, text):
        if not next(works):
            raise ValueError(text)
        return 100

    async with open_service(FakeModel(usage=False), count_tokens=shaky) as service:
        key = await service.account("acme", tier=1)
        with capture_logs() as logs:
            await service.chat(key, stream=True, max_tokens=7)
            await service.chat(key, stream=True, max_tokens=7)
        used = [event.usage for event in await service.events("acme")]

    assert {(2, 7), (100, 100)} == {(u.input_tokens, u.output_tokens) for u in used}
    told = [log for log in logs if log["event"].startswith("tokenizer")]
    assert ["tokenizer_failed", "tokenizer_recovered"] == [t["event"] for t in told]
    assert "a b c" not in repr(logs)


async def test_whole_events_do_not_wait_for_it(open_service, hand_written):
    """Only what ends the call waits, as it does for the line in the journal."""
    sent_when_counting = []

    def counting(_model, _text):
        sent_when_counting.append(len(written.bodies))
        return 1

    parts = [_said("a"), _said("b"), b"data: [DONE]\n\n"]
    async with open_service(_streaming(*parts), count_tokens=counting) as service:
        key = await service.account("acme", tier=1)
        written = hand_written(key, {"model": LLAMA, "messages": [], "stream": True})
        await written.call(service.meter.wrap(service.model))

    assert [2] == sent_when_counting[-1:]


async def test_one_that_never_returns_costs_four_threads_and_no_call():
    """Who ends after the deadline takes the estimate; then it is not tried again."""
    go_on, begun = threading.Event(), []

    def hanging(_model, _text):
        begun.append(1)
        go_on.wait(10)
        return 1

    tokenizer = Tokenizer(hanging, deadline_s=0.02)
    told = Report(counted_tokens=5)
    with capture_logs() as logs:
        reports = [
            await tokenizer.recount(
                Call(uuid7(0), OPENAI_CHAT, 0), told, lambda: Text("a", 0)
            )
            for _ in range(RUNNING_MAX + STUCK_MAX + 3)
        ]
    go_on.set()

    assert [told] * len(reports) == reports
    assert RUNNING_MAX + STUCK_MAX == len(begun)
    assert ["TimeoutError"] == [log["error"] for log in logs]
