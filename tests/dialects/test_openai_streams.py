"""Streams are read as they pass: cut anywhere, at once, and without a trace."""

import json
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metering.dialects.dialect import Report, StreamReader
from metering.dialects.openai_chat import OPENAI_CHAT
from metering.dialects.openai_stream import UsageWatcher
from metering.dialects.sse import EVENT_BYTES_MAX
from metering.testing.model import FakeModel
from metering.usage import Usage

pytestmark = pytest.mark.anyio

TALLY = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
USED = Usage(7, output_tokens=3)
DONE = "[DONE]"
LINE_ENDS = ["\n", "\r\n", "\r"]

TRICKY = [
    "hello",
    'say "usage": {"prompt_tokens": 9} and "error": {}',
    "[DONE]",
    "data: [DONE]\n\ndata: x",
    "世界 é",
    '"choices":[{"',
]


def said(content: str, **more: object) -> dict:
    choice = {"index": 0, "delta": {"content": content}, "finish_reason": None}
    return {"id": "c", "choices": [choice], **more}


def written(
    events: list, line_end: str = "\n", space: str = " ", *, compact: bool = True
) -> bytes:
    """Return *events* as a stream: an object, a comment that is ":…", or DONE."""
    lines: list[str] = []
    separators = (",", ":") if compact else (", ", ": ")
    for event in events:
        text = event
        if isinstance(event, dict):
            text = json.dumps(event, ensure_ascii=False, separators=separators)
        lines += [text if text.startswith(":") else f"data:{space}{text}", ""]
    return "".join(line + line_end for line in lines).encode()


def counted(texts: list[str]) -> int:
    """Return one token a text, or one for each four bytes where they are more."""
    text_bytes = sum(len(text.encode()) for text in texts)
    return max(sum(map(bool, texts)), -(-text_bytes // 4))


def asked_and_unasked(texts: list[str]) -> tuple[list, list]:
    """Return the events of one stream with usage and without it."""
    asked = [said(text, usage=None) for text in texts]
    unasked: list = [said(text) for text in texts]
    usage = {"id": "c", "choices": [], "usage": TALLY}
    return [": ping", *asked, usage, DONE], [": ping", *unasked, DONE]


def reader(*, take_out: bool) -> StreamReader:
    return OPENAI_CHAT.read_stream(take_out_usage=take_out)


def fed(reading: StreamReader, parts: list[bytes]) -> bytes:
    out = b"".join(map(reading.feed, parts))
    return out + reading.finish()


def pieces(stream: bytes, cuts: set[int]) -> list[bytes]:
    edges = [0, *sorted(cut for cut in cuts if cut < len(stream)), len(stream)]
    return [stream[a:b] for a, b in pairwise(edges)]


@pytest.mark.parametrize("take_out", [False, True], ids=["watch", "take out"])
@pytest.mark.parametrize("space", ["", " "], ids=["no space", "space"])
@pytest.mark.parametrize("line_end", LINE_ENDS, ids=["LF", "CRLF", "CR"])
def test_every_cut_reads_and_forwards_the_same(
    line_end: str, space: str, *, take_out: bool
) -> None:
    """Cut in two at each byte, and into single bytes: one result."""
    asked, unasked = asked_and_unasked(["hé", 'a "usage": b'])
    stream = written(asked, line_end, space)
    client_sees = written(unasked, line_end, space) if take_out else stream
    told = Report(USED, counted_tokens=4)  # of 3 + 12 bytes

    cuts = [{at} for at in range(len(stream))] + [set(range(len(stream)))]
    for cut in cuts:
        reading = reader(take_out=take_out)
        assert fed(reading, pieces(stream, cut)) == client_sees
        assert reading.report() == told
        assert reading.ended


@settings(max_examples=200)
@given(
    texts=st.lists(st.sampled_from(TRICKY), max_size=6),
    line_end=st.sampled_from(LINE_ENDS),
    space=st.sampled_from(["", " "]),
    compact=st.booleans(),
    take_out=st.booleans(),
    data=st.data(),
)
def test_whatever_the_model_writes_and_however_it_is_cut(
    texts: list[str],
    line_end: str,
    space: str,
    *,
    compact: bool,
    take_out: bool,
    data: st.DataObject,
) -> None:
    """No text of the model's is taken for usage, an error or the end."""
    asked, unasked = asked_and_unasked(texts)
    stream = written(asked, line_end, space, compact=compact)
    client_sees = (
        written(unasked, line_end, space, compact=compact) if take_out else stream
    )
    cuts = data.draw(st.sets(st.integers(0, len(stream)), max_size=30))

    reading = reader(take_out=take_out)

    assert fed(reading, pieces(stream, cuts)) == client_sees
    assert reading.report()._replace(counted_tokens=0) == Report(USED)
    assert reading.report().counted_tokens == counted(texts)
    assert reading.ended


@settings(max_examples=50)
@given(
    words=st.integers(0, 6),
    n=st.integers(1, 2),
    line_end=st.sampled_from([b"\n", b"\r\n"]),
    cuts=st.sets(st.integers(0, 3000), max_size=20),
)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
async def test_the_client_sees_what_it_would_have_seen_without_us(
    ask, path: str, *, words: int, n: int, line_end: bytes, cuts: set[int]
) -> None:
    """Usage asked for and taken out again: byte for byte the stream without it."""
    app = FakeModel(output_tokens=words, compute_ms=12)
    wanted = {"messages": [{"content": "a b c"}], "prompt": "a b c", "n": n}
    body = {"model": "m", "stream": True, "max_tokens": 9, **wanted}
    unasked = await ask(app, path, body)
    asked = await ask(app, path, {**body, "stream_options": {"include_usage": True}})
    stream = asked.body.replace(b"\n", line_end)

    reading = reader(take_out=True)

    assert fed(reading, pieces(stream, cuts)) == unasked.body.replace(b"\n", line_end)
    usage = reading.report().usage
    assert usage is not None
    assert (usage.input_total, usage.output_total) == (3, n * words)
    assert usage.compute_ms == (12 if n == 1 else 0)


def test_watching_returns_the_very_chunk() -> None:
    """Nothing is copied and nothing waits, whatever a chunk holds."""
    watching = reader(take_out=False)
    for chunk in (b"", b"data: {", b"}\n\ndata", b": [DONE]\r\n\r\n", b"\xff\x00"):
        assert watching.feed(chunk) is chunk
    assert watching.finish() == b""


@pytest.mark.parametrize("line_end", LINE_ENDS, ids=["LF", "CRLF", "CR"])
def test_an_event_is_forwarded_with_its_last_byte(line_end: str) -> None:
    """Taking out holds back the unfinished event alone, never a whole one."""
    asked, unasked = asked_and_unasked(["a", "b"])
    taking = reader(take_out=True)
    events = [written([event], line_end) for event in asked]
    client_events = [written([event], line_end) for event in unasked]
    client_events.insert(-1, b"")  # in the place of the usage

    for event, client_event in zip(events, client_events, strict=True):
        out = b"".join(taking.feed(bytes([byte])) for byte in event)
        assert out == client_event


@pytest.mark.parametrize(
    ("events", "report"),
    [
        pytest.param([said("a"), DONE], Report(None, 1), id="no usage: counted"),
        pytest.param(
            [said("a"), {"choices": [], "usage": {**TALLY, "completion_tokens": 0}}],
            Report(Usage(7), 1),
            id="an explicit zero is zero",
        ),
        pytest.param(
            [
                said("a", usage={"prompt_tokens": 7, "completion_tokens": 1}),
                said("b", usage={"prompt_tokens": 7, "completion_tokens": 2}),
                {"choices": [], "usage": TALLY},
            ],
            Report(USED, 2),
            id="the last usage, not the sum",
        ),
        pytest.param(
            [said("a", usage=TALLY), said("b", usage=None)],
            Report(USED, 2),
            id="a null does not undo it",
        ),
        pytest.param(
            [
                said("a", usage=TALLY),
                {"choices": [], "usage": {**TALLY, "prompt_tokens": -7}},
            ],
            Report(None, 1, refused="prompt_tokens is no whole number from 0 to 2**53"),
            id="nonsense sets it aside",
        ),
        pytest.param(
            [said("a"), {"error": {"message": "no"}}, DONE],
            Report(None, 1, failed=True),
            id="an error in mid-stream",
        ),
        pytest.param(
            [said("a"), {"error": {"message": "no"}}, said("b", usage=TALLY)],
            Report(USED, 2, failed=True),
            id="what comes after an error does not undo it",
        ),
        pytest.param(
            [said("a", usage=TALLY), {"error": {"message": "no"}}],
            Report(USED, 1, failed=True),
            id="nor does the error undo the usage",
        ),
        pytest.param(
            [said("a", error=None, object="chat.completion.chunk")],
            Report(None, 1),
            id="a null error is none",
        ),
        pytest.param(
            [said("error"), said("usage"), {"object": "error", "message": "x"}],
            Report(None, 3, failed=True),
            id="the words alone mean nothing",
        ),
        pytest.param(
            [said("a", x={"usage": TALLY, "error": {}})],
            Report(None, 1),
            id="nor do members of other objects",
        ),
        pytest.param(
            ["7", "[]", "{", '"usage"', '"error"', '{"usage":'],
            Report(None),
            id="what is no object tells nothing",
        ),
        pytest.param(
            [
                {
                    "choices": [],
                    "usage": TALLY,
                    "time_info": {"prompt_time": 0.001, "completion_time": 0.0025},
                }
            ],
            Report(Usage(7, output_tokens=3, compute_ms=4), time_source="time_info"),
            id="compute time beside it",
        ),
    ],
)
@pytest.mark.parametrize("take_out", [False, True], ids=["watch", "take out"])
def test_what_a_stream_tells(events: list, report: Report, *, take_out: bool) -> None:
    """Usage, its absence, nonsense and errors, however the stream is cut."""
    for parts in ([written(events)], [bytes([byte]) for byte in written(events)]):
        reading = reader(take_out=take_out)
        fed(reading, parts)
        assert reading.report() == report


@pytest.mark.parametrize(
    ("sent", "seen"),
    [
        pytest.param(
            b'data: {"usage":null,"id":1}\n\n', b'data: {"id":1}\n\n', id="first"
        ),
        pytest.param(b'data: {"usage": null }\n\n', b"data: {}\n\n", id="alone"),
        pytest.param(
            b'data: {"id": 1, "usage" : null, "x": 2}\n\n',
            b'data: {"id": 1, "x": 2}\n\n',
            id="middle",
        ),
        pytest.param(
            b'id: 7\ndata: {"a":[{"b":1,"usage":null}],"usage":null}\n\n',
            b'id: 7\ndata: {"a":[{"b":1,"usage":null}]}\n\n',
            id="only the outermost",
        ),
        pytest.param(
            b'data: {"a":{"b":"}","usage":null}}\n\n', None, id="not a nested one"
        ),
        pytest.param(
            b'data: {"t":"x\\",\\"usage\\":null}","u":1}\n\n', None, id="not in a text"
        ),
        pytest.param(
            b'data: {"choices":[{"i":0}],"usage":{"prompt_tokens":1}}\n\n',
            None,
            id="not one beside a choice: it came unasked",
        ),
        pytest.param(
            b'data: {"choices": [ ], "usage": {"prompt_tokens": 1}}\n\n',
            b"",
            id="the usage event, however it is spaced",
        ),
        pytest.param(
            b'data: {"usage":{"prompt_tokens":1,"completion_tokens":2}}\n\n',
            b"",
            id="one without choices too",
        ),
        pytest.param(
            b'data: {"a":1,\ndata: "usage":null}\n\n',
            None,
            id="spread over lines it stays: it is harmless",
        ),
        pytest.param(b'data: {"a":1,"usage":null}', b'data: {"a":1}', id="unended"),
        pytest.param(b'data: {"a":1,"usage":nu', None, id="cut off"),
    ],
)
def test_what_is_taken_out(sent: bytes, seen: bytes | None) -> None:
    """The member that was added goes with its comma, and everything else stays."""
    for stream in (sent, sent.replace(b"\n", b"\r\n")):
        expected = sent if seen is None else seen
        if stream is not sent:
            expected = expected.replace(b"\n", b"\r\n")
        for parts in ([stream], [bytes([byte]) for byte in stream]):
            assert fed(reader(take_out=True), parts) == expected


def test_the_end_is_the_exact_event_even_without_its_blank_line() -> None:
    """A comment or a text that says [DONE] ends nothing."""
    for chunk, ended in (
        (b": [DONE]\n\n", False),
        (written([said("[DONE]")]), False),
        (b"data: [DONE]\n\n", True),
        (b"\xef\xbb\xbfdata:[DONE]\r\n\r\n", True),
    ):
        watching = reader(take_out=False)
        watching.feed(chunk)
        assert watching.ended is ended
    watching = reader(take_out=False)
    watching.feed(b"data: [DONE]")
    assert not watching.ended
    watching.finish()
    assert watching.ended


@pytest.mark.parametrize("take_out", [False, True], ids=["watch", "take out"])
@pytest.mark.parametrize("chunk_bytes", [61, 4096, 200_000])
def test_an_overlong_event_counts_by_its_start_and_passes(
    chunk_bytes: int, *, take_out: bool
) -> None:
    """It is not read, but neither held nor lost, and what follows is read again."""
    long = said("x" * (EVENT_BYTES_MAX + 100), usage=TALLY | {"prompt_tokens": 99})
    late = {"pad": "x" * 2 * EVENT_BYTES_MAX, **said("its choice comes last")}
    stream = written([said("a"), long, late, said("b"), DONE])
    reading = reader(take_out=take_out)

    parts = [stream[at : at + chunk_bytes] for at in range(0, len(stream), chunk_bytes)]

    assert fed(reading, parts) == stream
    assert reading.report().usage is None
    assert EVENT_BYTES_MAX // 5 < reading.report().counted_tokens < EVENT_BYTES_MAX
    assert reading.ended


ROLE = {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}
LAST = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}


def delta(**members: object) -> dict:
    return {"choices": [{"index": 0, "delta": members}]}


@pytest.mark.parametrize("compact", [True, False], ids=["compact", "spaced"])
@pytest.mark.parametrize("joined", [True, False], ids=["one chunk", "a chunk each"])
@pytest.mark.parametrize(
    ("events", "tokens"),
    [
        ([ROLE, said("a"), said("b"), said("c"), LAST], 3),
        ([ROLE, *[said("one two three four five six seven eight ")] * 10, LAST], 100),
        ([ROLE, *[said("\n")] * 7, LAST], 7),
        ([said('"' * 4)] * 3, 3),
        ([said("世" * 4)] * 3, 9),
        ([delta(content=None, reasoning_content="word")] * 3 + [said("word")] * 2, 5),
        ([delta(content="", reasoning="word")] * 3, 3),
        ([delta(tool_calls=[{"function": {"arguments": '{"choices": 1}'}}])] * 3, 11),
        ([{"choices": [{"index": 0, "text": " word"}]}] * 4, 5),
        (
            [
                {
                    "choices": [
                        choice
                        for e in (said("a"), said("b"))
                        for choice in e["choices"]
                    ]
                }
            ],
            2,
        ),
        ([ROLE, LAST], 0),
    ],
)
def test_what_was_written_is_counted_where_no_usage_tells(
    events: list, tokens: int, *, compact: bool, joined: bool
) -> None:
    """One token an event with text, or one for each four bytes of it."""
    reading = reader(take_out=False)
    parts = [written([event], compact=compact) for event in events]
    fed(reading, [b"".join(parts)] if joined else parts)

    assert reading.report().counted_tokens == tokens


@pytest.mark.parametrize("spelling", ['"content" : "%s"', '"content":   "%s"'])
def test_an_unusual_spelling_is_counted_too(spelling: str) -> None:
    reading = reader(take_out=False)
    event = '{"choices" : [{"index":0,"delta":{' + spelling % "word" + "}}]}"
    fed(reading, [written([event])] * 5)

    assert reading.report().counted_tokens == 5


class CountingWatcher(UsageWatcher):
    """Counts the bytes that are read."""

    read = 0

    def _read(self, block: bytes) -> None:
        self.read += len(block)
        super()._read(block)


def test_each_byte_is_read_once() -> None:
    """100 kB in single bytes cost what they cost in one piece."""
    stream = written([said(f"word {at}") for at in range(1300)])
    watching = CountingWatcher()

    for byte in stream:
        watching.feed(bytes([byte]))

    assert watching.read == len(stream) > 100_000
    assert watching.report().counted_tokens == counted(
        [f"word {at}" for at in range(1300)]
    )
