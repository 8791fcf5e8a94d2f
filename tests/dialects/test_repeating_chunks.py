"""What is known of a chunk by one that it repeats is what reading it would tell."""

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from metering.dialects.anthropic_messages import ANTHROPIC_MESSAGES
from metering.dialects.openai_chat import OPENAI_CHAT

BEFORE = '{"id":"c","choices":[{"index":0,"delta":{"content":"'
SHAPES = {
    "chat": (OPENAI_CHAT, f"data: {BEFORE}", '"}}]}\n\n'),
    "usage null": (OPENAI_CHAT, f"data: {BEFORE}", '"}}],"usage":null}\n\n'),
    "null before": (
        OPENAI_CHAT,
        'data: {"usage":null,' + BEFORE[1:],
        '"}}]}\n\n',
    ),
    "anthropic": (
        ANTHROPIC_MESSAGES,
        'event: content_block_delta\ndata: {"delta":{"type":"text_delta","text":"',
        '"}}\n\n',
    ),
}
ODD = [
    "",
    "x",
    "世界",
    '\\"',
    "\\n\\u00e9",
    '"}}]}\n\ndata: [DONE]\n\ndata: {"a":"',
    "x\n\ndata: [DONE]\n\n: ",
    'a"}}],"usage":{"prompt_tokens":1,"completion_tokens":2},"b":[{"c":{"d":"',
    '"}}]}\n\ndata: {"error":{"message":"',
    "y" * 20_000,
    "z" * 70_000,
]
shapes = pytest.mark.parametrize("shape", SHAPES)
both = pytest.mark.parametrize("take_out", [False, True], ids=["watched", "taken out"])
texts = st.lists(st.sampled_from(ODD) | st.text(max_size=4), min_size=1, max_size=8)


def _read(dialect, chunks, *, take_out):
    reader = dialect.read_stream(take_out_usage=take_out)
    seen = b"".join(map(reader.feed, chunks)) + reader.finish()
    return seen, reader.ended, reader.report()


@shapes
@both
@settings(max_examples=40)
@given(texts)
@example(["a", "b", ODD[6], "c", ODD[7], "d"])
def test_it_is_as_if_nothing_had_been_learned(shape, take_out, odd):
    """A chunk cut in two is never known by another one."""
    dialect, before, after = SHAPES[shape]
    chunks = [f"{before}{text}{after}".encode() for text in ["learn", *odd]]
    halves = [half for chunk in chunks for half in (chunk[:9], chunk[9:])]

    known = _read(dialect, chunks, take_out=take_out)

    assert _read(dialect, halves, take_out=take_out) == known


@both
def test_chunks_of_several_shapes_are_all_counted(take_out):
    """Two choices in turn, more often than a shape is learned anew."""
    said = [
        {"choices": [{"index": n % 2, "delta": {"content": "word"}}]} for n in range(80)
    ]
    chunks = [b"data: %b\n\n" % json.dumps(each).encode() for each in said]

    seen, _, report = _read(OPENAI_CHAT, chunks, take_out=take_out)

    assert b"".join(chunks) == seen
    assert 80 == report.counted_tokens


def test_a_chunk_that_repeats_is_passed_as_it_is():
    """Where nothing is to be taken out of it, not even as a copy."""
    _, before, after = SHAPES["chat"]
    reader = OPENAI_CHAT.read_stream(take_out_usage=True)
    chunks = [f"{before}{n}{after}".encode() for n in range(5)]

    assert all(reader.feed(chunk) is chunk for chunk in chunks)
