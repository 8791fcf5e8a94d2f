"""Usage of Responses: the last event tells it, however long that event is."""

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metering.dialects.dialect import Report, StreamReader
from metering.dialects.openai_responses import OPENAI_RESPONSES
from metering.dialects.responses_stream import ResponseWatcher
from metering.dialects.sse import EVENT_BYTES_MAX
from metering.testing.model import FakeModel
from metering.usage import Usage

pytestmark = pytest.mark.anyio

LINE_ENDS = ["\n", "\r\n", "\r"]
TALLY = {"input_tokens": 7, "output_tokens": 3, "total_tokens": 10}
USED = Usage(7, output_tokens=3)
TRICKY = [
    "hello",
    'say "usage": {"output_tokens": 9} and "error": {}',
    "[DONE]",
    'data: {"type": "response.completed"}\n\n',
    "世界 é",
    '"delta":"',
]


def response(status: str, usage: object = None, **more: object) -> dict[str, Any]:
    whole = {"object": "response", "status": status, "error": None, **more}
    return {**whole, "usage": usage}


def event(kind: str, usage: object = None, **more: object) -> dict[str, Any]:
    return {"type": f"response.{kind}", "response": response(kind, usage, **more)}


def says(text: str) -> dict[str, Any]:
    return {"type": "response.output_text.delta", "delta": text, "logprobs": []}


CREATED = event("created")
COMPLETED = event("completed", TALLY)
ERROR = {"type": "error", "code": "server_error", "message": "no", "param": None}


def told(usage: object, **more: object) -> Report:
    body = response("completed", usage, **more)
    return OPENAI_RESPONSES.read_response(json.dumps(body).encode())


def written(
    events: list[dict[str, Any]],
    line_end: str = "\n",
    space: str = " ",
    *,
    compact: bool = True,
) -> bytes:
    """Return *events* as a stream."""
    lines: list[str] = []
    separators = (",", ":") if compact else (", ", ": ")
    for each in events:
        text = json.dumps(each, ensure_ascii=False, separators=separators)
        lines += [f"event:{space}{each['type']}", f"data:{space}{text}", ""]
    return "".join(line + line_end for line in lines).encode()


def fed(reading: StreamReader, parts: list[bytes]) -> bytes:
    out = b"".join(map(reading.feed, parts))
    return out + reading.finish()


def pieces(stream: bytes, cuts: set[int]) -> list[bytes]:
    edges = [0, *sorted(cut for cut in cuts if cut < len(stream)), len(stream)]
    return [stream[a:b] for a, b in pairwise(edges)]


def reader() -> StreamReader:
    return OPENAI_RESPONSES.read_stream(take_out_usage=False)


@pytest.mark.parametrize(
    ("sent", "usage"),
    [
        pytest.param(TALLY, USED, id="plain"),
        pytest.param(
            {"input_tokens": 0, "output_tokens": 0}, Usage(), id="explicit zeros"
        ),
        pytest.param(
            {
                "input_tokens": 1000,
                "input_tokens_details": {"cached_tokens": 600, "cache_write_tokens": 3},
                "output_tokens": 500,
                "output_tokens_details": {"reasoning_tokens": 300},
            },
            Usage(397, 600, 3, 200, 300),
            id="parts lie inside their totals",
        ),
        pytest.param(
            {
                "input_tokens": 10,
                "input_tokens_details": {"cached_tokens": 99, "cache_write_tokens": 9},
                "output_tokens": 5,
                "output_tokens_details": {"reasoning_tokens": 99},
            },
            Usage(0, 10, 0, 0, 5),
            id="a part above its total is cut to it",
        ),
        pytest.param(
            {**TALLY, "input_tokens_details": None, "output_tokens_details": []},
            USED,
            id="no details",
        ),
        pytest.param(None, None, id="null is absent"),
        pytest.param({}, None, id="an empty one is absent"),
        pytest.param({"input_tokens": 10}, None, id="half of one is absent"),
    ],
)
def test_usage(sent: object, usage: Usage | None) -> None:
    """The same in a body and in a stream."""
    reading = reader()
    fed(reading, [written([CREATED, event("completed", sent)])])

    assert told(sent) == reading.report() == Report(usage)


@pytest.mark.parametrize("bad", [-1, True, "ten", 1.5, 2**53 + 1, []])
@pytest.mark.parametrize(
    ("details", "name"),
    [
        (None, "input_tokens"),
        (None, "output_tokens"),
        ("input_tokens_details", "cached_tokens"),
        ("output_tokens_details", "reasoning_tokens"),
    ],
)
def test_a_count_that_cannot_be_sets_the_usage_aside(
    bad: object, details: str | None, name: str
) -> None:
    """It is neither zero nor absent, in a body and in a stream."""
    wrong = {name: bad}
    usage = {**TALLY, **({details: wrong} if details else wrong)}
    refused = Report(refused=f"{name} is no whole number from 0 to 2**53")
    reading = reader()
    fed(reading, [written([event("completed", usage)])])

    assert told(usage) == reading.report() == refused


def test_a_usage_that_is_no_object_is_set_aside() -> None:
    """A list or a number where figures belong tells nothing."""
    assert told([1]).refused == told(7).refused == "usage is not an object"


@pytest.mark.parametrize(
    ("body", "report"),
    [
        (b'{"error":{"message":"no"}}', Report(failed=True)),
        (b'{"object":"response","status":"failed","error":null}', Report(failed=True)),
        (b'{"object":"response","status":"queued","usage":null}', Report()),
        (b"null", Report()),
        (b"{", Report()),
        (b"\xff", Report()),
    ],
)
def test_errors_and_what_is_no_answer(body: bytes, report: Report) -> None:
    """An error costs nothing; what cannot be read tells nothing."""
    assert OPENAI_RESPONSES.read_response(body) == report


def test_without_a_usage_the_text_is_counted() -> None:
    """Four bytes a token, reasoning and the arguments of tools too."""
    output = [
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "1234"}]},
        {"type": "message", "content": [{"type": "output_text", "text": "12345678"}]},
        {"type": "function_call", "arguments": "1234"},
    ]

    assert told(None, output=output) == Report(counted_tokens=4)


@pytest.mark.parametrize("space", ["", " "], ids=["no space", "space"])
@pytest.mark.parametrize("line_end", LINE_ENDS, ids=["LF", "CRLF", "CR"])
def test_every_cut_reads_the_same(line_end: str, space: str) -> None:
    """Cut in two at each byte, and into single bytes: one result, the same bytes."""
    events = [CREATED, says("hé"), says("b"), COMPLETED]
    stream = written(events, line_end, space)

    for cut in [{at} for at in range(len(stream))] + [set(range(len(stream)))]:
        reading = reader()
        assert fed(reading, pieces(stream, cut)) == stream
        assert reading.report() == Report(USED, 2)
        assert reading.ended


@settings(max_examples=150)
@given(
    texts=st.lists(st.sampled_from(TRICKY), max_size=6),
    line_end=st.sampled_from(LINE_ENDS),
    space=st.sampled_from(["", " "]),
    compact=st.booleans(),
    data=st.data(),
)
def test_whatever_the_model_writes_and_however_it_is_cut(
    texts: list[str],
    line_end: str,
    space: str,
    *,
    compact: bool,
    data: st.DataObject,
) -> None:
    """No text of the model's is taken for usage, an error or the end."""
    stream = written([CREATED, *map(says, texts)], line_end, space, compact=compact)
    output = [{"content": [{"text": "".join(texts)}]}]
    ended = event("completed", TALLY, output=output)
    end = written([ended], line_end, space, compact=compact)
    cuts = data.draw(st.sets(st.integers(0, len(stream)), max_size=30))
    reading = reader()

    seen = b"".join(map(reading.feed, pieces(stream, cuts)))

    assert (seen, reading.ended) == (stream, False)
    assert reading.report().usage is None
    assert (reading.report().counted_tokens > 0) is bool(texts)
    assert fed(reading, [end]) == end
    assert reading.report().usage == USED
    assert reading.ended


@settings(max_examples=50)
@given(
    words=st.integers(1, 6),
    cached=st.none() | st.integers(0, 3),
    reasoning=st.none() | st.integers(0, 6),
    line_end=st.sampled_from([b"\n", b"\r\n"]),
    cuts=st.sets(st.integers(0, 5000), max_size=20),
)
async def test_a_stream_tells_what_the_whole_answer_tells(
    ask,
    *,
    words: int,
    cached: int | None,
    reasoning: int | None,
    line_end: bytes,
    cuts: set[int],
) -> None:
    """The same request, streamed and not: the same usage."""
    app = FakeModel(
        output_tokens=words, cached_tokens=cached, reasoning_tokens=reasoning
    )
    body = {"model": "m", "max_output_tokens": 4, "input": "a b c"}
    whole = await ask(app, "/v1/responses", body)
    streamed = await ask(app, "/v1/responses", {**body, "stream": True})
    stream = streamed.body.replace(b"\n", line_end)
    reading = reader()

    assert fed(reading, pieces(stream, cuts)) == stream
    usage = OPENAI_RESPONSES.read_response(whole.body).usage
    assert usage is not None
    assert reading.report().usage == usage
    assert (usage.input_total, usage.output_total) == (3, min(words, 4))
    assert (usage.cache_read_tokens, reading.ended) == (cached or 0, True)


@pytest.mark.parametrize(
    ("events", "report", "ended"),
    [
        pytest.param(
            [CREATED, says("a"), says("b" * 400)],
            Report(None, 101),
            False,
            id="cut before the end: counted by its text",
        ),
        pytest.param(
            [event("incomplete", TALLY)], Report(USED), True, id="cut by its bound"
        ),
        pytest.param(
            [says("a"), event("failed", TALLY, error={"code": "x"})],
            Report(USED, 1, failed=True),
            True,
            id="failed, with a usage",
        ),
        pytest.param(
            [event("failed")], Report(failed=True), True, id="failed without a word"
        ),
        pytest.param(
            [says("a"), ERROR], Report(None, 1, failed=True), True, id="an error"
        ),
        pytest.param(
            [{"type": "x", "error": {"message": "no"}}],
            Report(failed=True),
            True,
            id="an error in Chat's words",
        ),
        pytest.param(
            [event("completed")], Report(), True, id="completed without a usage"
        ),
        pytest.param(
            [event("in_progress", {**TALLY, "output_tokens": 1}), COMPLETED],
            Report(USED),
            True,
            id="the last usage, not the sum",
        ),
        pytest.param(
            [{"type": "response.completed", "response": [TALLY]}],
            Report(),
            True,
            id="a response that is none",
        ),
        pytest.param(
            [{"type": "response.x", "usage": TALLY, "item": {"response": TALLY}}],
            Report(),
            False,
            id="members of other objects are not the response's",
        ),
    ],
)
def test_what_a_stream_tells(
    events: list[dict[str, Any]],
    report: Report,
    ended: bool,  # noqa: FBT001 - a column of the table
) -> None:
    """Usage, its absence, and errors, however the stream is cut."""
    for parts in ([written(events)], [bytes([byte]) for byte in written(events)]):
        reading = reader()
        fed(reading, parts)
        assert reading.report() == report
        assert reading.ended is ended


def test_a_done_ends_it_too() -> None:
    """Some servers send one, as in Chat."""
    reading = reader()
    reading.feed(b"data: [DONE]\n\n")
    assert reading.ended


def test_watching_returns_the_very_chunk() -> None:
    """Nothing is copied and nothing waits, whatever a chunk holds."""
    watching = reader()
    for chunk in (b"", b"data: {", b"}\n\ndata", b': {"type":"x"}\r\n\r\n', b"\xff\0"):
        assert watching.feed(chunk) is chunk
    assert watching.finish() == b""


def long_end(kind: str, **more: object) -> dict[str, Any]:
    """Return a last event that repeats a long answer, and tries to mislead."""
    schema = {"properties": {"usage": {"input_tokens": 0, "output_tokens": 0}}}
    text = 'a "usage": {"input_tokens": 0} \\ é' * 4000
    output = [{"content": [{"text": text, "usage": None}], "status": "failed"}]
    tools = [{"type": "function", "parameters": schema}]
    whole = {"output": output, "tools": tools, **more, "text": schema}
    return {"response": response(kind, **whole), "type": f"response.{kind}"}


@pytest.mark.parametrize("line_end", LINE_ENDS, ids=["LF", "CRLF", "CR"])
@pytest.mark.parametrize("chunk_bytes", [61, 4096, 10**7])
def test_the_usage_is_found_in_an_event_too_long_to_hold(
    chunk_bytes: int, line_end: str
) -> None:
    """At most 64 kB are held, and a tool that has a `usage` misleads nobody."""
    stream = written([CREATED, says("a"), long_end("completed", usage=TALLY)], line_end)
    reading = ResponseWatcher()

    for at in range(0, len(stream), chunk_bytes):
        assert not reading.ended
        reading.feed(stream[at : at + chunk_bytes])
        assert len(reading._cutter.held) <= EVENT_BYTES_MAX

    assert reading.report() == Report(USED, 1)
    assert reading.ended


def test_a_failure_is_found_in_an_event_too_long_to_hold() -> None:
    """As is one that follows it, and a usage that cannot be."""
    for last, report in (
        (long_end("failed", usage=TALLY), Report(USED, failed=True)),
        (long_end("incomplete", usage=TALLY), Report(USED)),
        (
            long_end("completed", usage=TALLY, error={"code": "x"}),
            Report(USED, failed=True),
        ),
        (long_end("completed", usage=[]), Report(refused="usage is not an object")),
        (long_end("completed", usage={"input_tokens": "x" * 20_000}), Report()),
    ):
        reading = reader()
        stream = written([last, last])
        fed(reading, [stream[at : at + 5000] for at in range(0, len(stream), 5000)])
        assert reading.report() == report
        assert reading.ended


def test_one_that_is_cut_off_is_read_as_far_as_it_goes() -> None:
    """Without its blank line too."""
    stream = written([long_end("completed", usage=TALLY)])
    reading = reader()
    fed(reading, [stream[:-1]])
    assert (reading.report().usage, reading.ended) == (USED, True)
    reading = reader()
    fed(reading, [stream[:80_000]])
    assert (reading.report(), reading.ended) == (Report(), False)


def test_refusals_are_openais() -> None:
    """The same as those of Chat."""
    body = OPENAI_RESPONSES.error_body(
        status=429,
        code="rate_limit_exceeded",
        message="wait",
        unit="output_tokens",
        details={"limit": 7},
    )

    assert json.loads(body)["error"] == {
        "message": "wait",
        "type": "tokens",
        "code": "rate_limit_exceeded",
        "param": None,
        "limit": 7,
    }
    assert OPENAI_RESPONSES.read_response(body).failed
