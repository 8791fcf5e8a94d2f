"""Usage of Messages: the cache lies beside the input, and a stream's counts add up."""

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metering.dialects.anthropic_messages import ANTHROPIC_MESSAGES
from metering.dialects.anthropic_stream import MessageWatcher
from metering.dialects.dialect import Report, StreamReader
from metering.dialects.sse import EVENT_BYTES_MAX
from metering.testing.model import FakeModel
from metering.usage import Usage

pytestmark = pytest.mark.anyio

LINE_ENDS = ["\n", "\r\n", "\r"]
TRICKY = [
    "hello",
    'say "usage": {"output_tokens": 9} and "error": {}',
    "message_stop",
    'event: message_stop\ndata: {"type": "message_stop"}\n\n',
    "世界 é",
    '"text":"',
]
WRONG = [-1, True, "ten", "1" * 30, 1.5, 2**53 + 1, 2**70, []]


def told(usage: object, **members: object) -> Report:
    body = {"type": "message", "content": [], "usage": usage, **members}
    return ANTHROPIC_MESSAGES.read_response(json.dumps(body).encode())


def start(**usage: object) -> dict[str, object]:
    message = {"type": "message", "content": [], "usage": usage or None}
    return {"type": "message_start", "message": message}


def says(text: str) -> dict[str, object]:
    delta = {"type": "text_delta", "text": text}
    return {"type": "content_block_delta", "index": 0, "delta": delta}


def delta(**usage: object) -> dict[str, object]:
    stop = {"stop_reason": "end_turn"}
    return {"type": "message_delta", "delta": stop, "usage": usage or None}


STOP = {"type": "message_stop"}
ERROR = {"type": "error", "error": {"type": "overloaded_error", "message": "Busy"}}
PING = {"type": "ping"}


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
    for event in events:
        text = json.dumps(event, ensure_ascii=False, separators=separators)
        lines += [f"event:{space}{event['type']}", f"data:{space}{text}", ""]
    return "".join(line + line_end for line in lines).encode()


def fed(reading: StreamReader, parts: list[bytes]) -> bytes:
    out = b"".join(map(reading.feed, parts))
    return out + reading.finish()


def pieces(stream: bytes, cuts: set[int]) -> list[bytes]:
    edges = [0, *sorted(cut for cut in cuts if cut < len(stream)), len(stream)]
    return [stream[a:b] for a, b in pairwise(edges)]


def reader() -> StreamReader:
    return ANTHROPIC_MESSAGES.read_stream(take_out_usage=False)


@pytest.mark.parametrize(
    ("sent", "usage"),
    [
        pytest.param(
            {"input_tokens": 10, "output_tokens": 5},
            Usage(10, output_tokens=5),
            id="plain",
        ),
        pytest.param(
            {"input_tokens": 0, "output_tokens": 0}, Usage(), id="explicit zeros"
        ),
        pytest.param(
            {
                "input_tokens": 200,
                "cache_read_input_tokens": 800,
                "cache_creation_input_tokens": 30,
                "cache_creation": {"ephemeral_5m_input_tokens": 30},
                "output_tokens": 500,
                "output_tokens_details": {"thinking_tokens": 300},
                "server_tool_use": {"web_search_requests": 2},
                "service_tier": "standard",
            },
            Usage(200, 800, 30, 200, 300),
            id="the cache is beside the input, thinking inside the output",
        ),
        pytest.param(
            {
                "input_tokens": 1,
                "output_tokens": 5,
                "cache_read_input_tokens": None,
                "output_tokens_details": {"thinking_tokens": 9},
            },
            Usage(1, reasoning_tokens=5),
            id="a part above its total is cut to it",
        ),
        pytest.param(
            {"input_tokens": "10", "output_tokens": 5.0},
            Usage(10, output_tokens=5),
            id="integral strings and floats count",
        ),
        pytest.param(None, None, id="null is absent"),
        pytest.param({}, None, id="an empty one is absent"),
        pytest.param({"input_tokens": 10}, None, id="half of one is absent"),
    ],
)
def test_usage(sent: object, usage: Usage | None) -> None:
    """Leaves that lie beside each other on the wire stay so, the others are split."""
    assert told(sent) == Report(usage)


def iteration(kind: object, *counts: int, **more: object) -> dict[str, object]:
    names = (
        "input_tokens",
        "output_tokens",
        "cache_read_input_tokens",
        "cache_creation_input_tokens",
    )
    return {"type": kind, **dict(zip(names, counts, strict=False)), **more}


@pytest.mark.parametrize(
    ("iterations", "usage"),
    [
        pytest.param(None, Usage(10, output_tokens=5), id="none"),
        pytest.param([], Usage(10, output_tokens=5), id="empty"),
        pytest.param(
            [iteration("message", 4, 2), iteration("message", 6, 3)],
            Usage(10, output_tokens=5),
            id="the turns of a tool that ran beside the model are the totals",
        ),
        pytest.param(
            [iteration("message", 4, 2), iteration("fallback_message", 6, 3)],
            Usage(10, output_tokens=5),
            id="so are the models that were tried",
        ),
        pytest.param(
            [iteration("compaction", 180, 35, 20, 7), iteration("message", 10, 5)],
            Usage(190, 20, 7, 40),
            id="a compaction is beside them",
        ),
        pytest.param(
            [
                iteration("message", 5, 2),
                iteration("advisor_message", 100, 30, 0, 0, model="larger"),
                iteration("message", 5, 3),
            ],
            Usage(110, output_tokens=35),
            id="and so is what an adviser read and wrote",
        ),
        pytest.param(
            [iteration("a new kind", 7, 7), iteration(["compaction"], 7), None, 7],
            Usage(10, output_tokens=5),
            id="what is not known is not counted twice",
        ),
    ],
)
def test_iterations(iterations: object, usage: Usage) -> None:
    """In a body, and in a stream that tells them more than once."""
    figures = {"input_tokens": 10, "output_tokens": 5, "iterations": iterations}
    figures |= {"server_tool_use": {"web_search_requests": 2, "web_fetch_requests": 1}}
    events = [start(**figures), says("a"), delta(**figures), delta(**figures), STOP]
    reading = reader()
    fed(reading, [written(events)])

    assert told(figures) == Report(usage)
    assert reading.report().usage == usage


def test_an_iteration_that_cannot_be_sets_the_usage_aside() -> None:
    """Its tokens are neither nothing nor known."""
    bad = [iteration("compaction", 180, -35)]
    figures = {"input_tokens": 10, "output_tokens": 5, "iterations": bad}

    assert told(figures).usage is None
    assert "In iterations, output_tokens is no whole number" in told(figures).refused


@pytest.mark.parametrize("bad", WRONG)
@pytest.mark.parametrize(
    "name",
    [
        "input_tokens",
        "output_tokens",
        "cache_read_input_tokens",
        "cache_creation_input_tokens",
    ],
)
def test_a_count_that_cannot_be_sets_the_usage_aside(bad: object, name: str) -> None:
    """It is neither zero nor absent, in a body and in a stream."""
    usage = {"input_tokens": 1, "output_tokens": 1, name: bad}
    reason = f"{name} is no whole number from 0 to 2**53"
    reading = reader()
    fed(reading, [written([start(**usage), STOP])])

    assert told(usage) == Report(refused=reason)
    assert reading.report() == Report(refused=reason)


def test_a_usage_that_is_no_object_is_set_aside() -> None:
    """A list where figures belong tells nothing, until figures come."""
    assert told([1]).refused == "usage is not an object"
    reading = reader()
    reading.feed(written([{"type": "message_delta", "usage": 7}]))
    assert reading.report().refused == "usage is not an object"
    reading.feed(written([delta(input_tokens=1, output_tokens=2)]))
    assert reading.report().usage == Usage(1, output_tokens=2)


@pytest.mark.parametrize(
    ("body", "report"),
    [
        (b'{"type":"error","error":{"type":"api_error"}}', Report(failed=True)),
        (b'{"type":"error"}', Report(failed=True)),
        (b'{"error":"no"}', Report(failed=True)),
        (b'{"type":"message","error":null}', Report()),
        (b"null", Report()),
        (b"[]", Report()),
        (b"{", Report()),
        (b"\xff", Report()),
        (b'{"input_tokens":7}', Report()),
    ],
)
def test_errors_and_what_is_no_answer(body: bytes, report: Report) -> None:
    """An error costs nothing; what cannot be read tells nothing."""
    assert ANTHROPIC_MESSAGES.read_response(body) == report


def test_without_a_usage_the_text_is_counted() -> None:
    """Four bytes a token, thinking and the arguments of tools too."""
    content = [
        {"type": "thinking", "thinking": "12345678"},
        {"type": "text", "text": "12345678"},
        {"type": "tool_use", "input": {"a": 1}},
    ]

    assert told(None, content=content) == Report(counted_tokens=6)


@pytest.mark.parametrize("space", ["", " "], ids=["no space", "space"])
@pytest.mark.parametrize("line_end", LINE_ENDS, ids=["LF", "CRLF", "CR"])
def test_every_cut_reads_the_same(line_end: str, space: str) -> None:
    """Cut in two at each byte, and into single bytes: one result, the same bytes."""
    begun = start(input_tokens=7, cache_read_input_tokens=3, output_tokens=1)
    events = [begun, PING, says("hé"), says("b"), delta(output_tokens=2), STOP]
    stream = written(events, line_end, space)

    for cut in [{at} for at in range(len(stream))] + [set(range(len(stream)))]:
        reading = reader()
        assert fed(reading, pieces(stream, cut)) == stream
        assert reading.report() == Report(Usage(7, 3, output_tokens=2), 2)
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
    begun = start(input_tokens=7, output_tokens=1)
    events = [begun, *map(says, texts), PING]
    stream = written(events, line_end, space, compact=compact)
    end = written([delta(output_tokens=9), STOP], line_end, space, compact=compact)
    cuts = data.draw(st.sets(st.integers(0, len(stream)), max_size=30))
    reading = reader()

    seen = b"".join(map(reading.feed, pieces(stream, cuts)))

    assert (seen, reading.ended) == (stream, False)
    assert reading.report().partial is bool(texts)
    assert fed(reading, [end]) == end
    assert reading.report() == Report(Usage(7, output_tokens=9), 9)
    assert reading.ended


@settings(max_examples=50)
@given(
    words=st.integers(0, 6),
    cached=st.integers(0, 3),
    thought=st.none() | st.integers(0, 6),
    line_end=st.sampled_from([b"\n", b"\r\n"]),
    cuts=st.sets(st.integers(0, 3000), max_size=20),
)
async def test_a_stream_tells_what_the_whole_answer_tells(
    ask,
    *,
    words: int,
    cached: int,
    thought: int | None,
    line_end: bytes,
    cuts: set[int],
) -> None:
    """The same request, streamed and not: the same usage."""
    app = FakeModel(output_tokens=words, cached_tokens=cached, reasoning_tokens=thought)
    body = {"model": "m", "max_tokens": 9, "messages": [{"content": "a b c"}]}
    whole = await ask(app, "/v1/messages", body)
    streamed = await ask(app, "/v1/messages", {**body, "stream": True})
    stream = streamed.body.replace(b"\n", line_end)
    reading = reader()

    assert fed(reading, pieces(stream, cuts)) == stream
    usage = ANTHROPIC_MESSAGES.read_response(whole.body).usage
    assert usage is not None
    assert reading.report().usage == usage
    assert (usage.input_total, usage.output_total) == (3, words)
    assert (usage.cache_read_tokens, reading.ended) == (cached, True)


@pytest.mark.parametrize(
    ("events", "report", "ended"),
    [
        pytest.param(
            [start(input_tokens=7, output_tokens=1), says("a"), says("b"), says("c")],
            Report(Usage(7, output_tokens=3), 3, partial=True),
            False,
            id="cut before the end: the output is counted",
        ),
        pytest.param(
            [start(input_tokens=7, output_tokens=1), says("a" * 400)],
            Report(Usage(7, output_tokens=100), 100, partial=True),
            False,
            id="by its text",
        ),
        pytest.param(
            [start(input_tokens=7, output_tokens=4)],
            Report(Usage(7, output_tokens=4)),
            False,
            id="cut before any text",
        ),
        pytest.param(
            [
                start(input_tokens=7, output_tokens=1),
                says("a"),
                delta(output_tokens=5),
                says("b"),
            ],
            Report(Usage(7, output_tokens=6), 6, partial=True),
            False,
            id="cut after a running usage: counted on from there",
        ),
        pytest.param(
            [
                start(input_tokens=7, output_tokens=1),
                says("a"),
                delta(output_tokens=5),
                delta(output_tokens=8),
                STOP,
            ],
            Report(Usage(7, output_tokens=8), 8),
            True,
            id="the last total, not the sum",
        ),
        pytest.param(
            [
                start(input_tokens=0, output_tokens=0),
                delta(input_tokens=7, cache_read_input_tokens=2, output_tokens=0),
                STOP,
            ],
            Report(Usage(7, 2)),
            True,
            id="all told at the end, and zero is zero",
        ),
        pytest.param(
            [
                start(input_tokens=7, cache_read_input_tokens=2, output_tokens=1),
                delta(input_tokens=None, output_tokens=3),
                STOP,
            ],
            Report(Usage(7, 2, output_tokens=3), 3),
            True,
            id="null does not undo it",
        ),
        pytest.param(
            [
                start(input_tokens=-7, output_tokens=1),
                delta(input_tokens=7, output_tokens=3),
            ],
            Report(Usage(7, output_tokens=3), 3),
            False,
            id="nonsense is undone by what can be",
        ),
        pytest.param(
            [start(), says("a"), STOP], Report(None, 1), True, id="none told: counted"
        ),
        pytest.param(
            [start(input_tokens=7, output_tokens=1), says("a"), ERROR],
            Report(Usage(7, output_tokens=1), 1, failed=True, partial=True),
            True,
            id="an error ends it",
        ),
        pytest.param([PING, PING], Report(), False, id="pings tell nothing"),
        pytest.param(
            [
                {
                    "type": "content_block_start",
                    "content_block": {
                        "usage": {"input_tokens": 9, "output_tokens": 9},
                        "error": {"a": 1},
                    },
                }
            ],
            Report(),
            False,
            id="members of other objects are not the event's",
        ),
        pytest.param(
            [{"type": "message_start", "message": ["usage"]}],
            Report(),
            False,
            id="a message that is none",
        ),
    ],
)
def test_what_a_stream_tells(
    events: list[dict[str, Any]],
    report: Report,
    ended: bool,  # noqa: FBT001 - a column of the table
) -> None:
    """Usage as a whole or in parts, its absence, and errors, however it is cut."""
    for parts in ([written(events)], [bytes([byte]) for byte in written(events)]):
        reading = reader()
        fed(reading, parts)
        assert reading.report() == report
        assert reading.ended is ended


def test_thinking_and_arguments_count_as_output() -> None:
    """Whatever a model writes is paid for, shown or not."""
    deltas = [
        {"type": "thinking_delta", "thinking": "a" * 40},
        {"type": "input_json_delta", "partial_json": '{"a": "' + "b" * 33},
    ]
    events = [{"type": "content_block_delta", "delta": d} for d in deltas]
    reading = reader()
    fed(reading, [written([start(input_tokens=1, output_tokens=1), *events])])

    assert reading.report().usage == Usage(1, output_tokens=20)


def test_watching_returns_the_very_chunk() -> None:
    """Nothing is copied and nothing waits, whatever a chunk holds."""
    watching = reader()
    for chunk in (b"", b"data: {", b"}\n\ndata", b': {"type":"x"}\r\n\r\n', b"\xff\0"):
        assert watching.feed(chunk) is chunk
    assert watching.finish() == b""


@pytest.mark.parametrize("chunk_bytes", [61, 4096, 200_000])
def test_an_overlong_event_passes_and_what_follows_is_read(chunk_bytes: int) -> None:
    """At most 64 kB are held of 10 MB, and the usage after them is found."""
    long = says("x" * (EVENT_BYTES_MAX + 100))
    begun = start(input_tokens=7, output_tokens=1)
    stream = written([begun, long, says("b"), delta(output_tokens=3), STOP])
    reading = MessageWatcher()

    for at in range(0, len(stream), chunk_bytes):
        reading.feed(stream[at : at + chunk_bytes])
        assert len(reading._cutter.held) <= EVENT_BYTES_MAX

    assert reading.report() == Report(Usage(7, output_tokens=3), 3)
    assert reading.ended


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "request_exceeds_limit", "invalid_request_error"),
        (401, "invalid_api_key", "authentication_error"),
        (402, "insufficient_quota", "billing_error"),
        (403, "account_suspended", "permission_error"),
        (404, "model_not_priced", "not_found_error"),
        (413, "body_too_large", "request_too_large"),
        (415, "unsupported_content_encoding", "invalid_request_error"),
        (429, "rate_limit_exceeded", "rate_limit_error"),
        (503, "storage_unavailable", "api_error"),
        (503, "platform_busy", "overloaded_error"),
    ],
)
def test_refusals_have_anthropics_types(status: int, code: str, kind: str) -> None:
    """The type by status, our code among the details."""
    body = ANTHROPIC_MESSAGES.error_body(
        status=status,
        code=code,
        message='say "why"',
        details={"limit": 7},
        call_id="call-1",
    )

    assert json.loads(body) == {
        "type": "error",
        "error": {
            "type": kind,
            "message": 'say "why"',
            "details": {"error_code": code, "limit": 7},
        },
        "request_id": "call-1",
    }
    assert ANTHROPIC_MESSAGES.read_response(body).failed
