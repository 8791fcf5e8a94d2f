"""A stream cut anywhere is put together to the same events, in bounded memory."""

import tracemalloc
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering.dialects.sse import EVENT_BYTES_MAX, EventCutter, data_of, split_events

LINE_ENDS = ["\n", "\r\n", "\r"]


def pieces(stream: bytes, cuts: set[int]) -> list[bytes]:
    edges = [0, *sorted(cuts), len(stream)]
    return [stream[a:b] for a, b in pairwise(edges)]


@pytest.mark.parametrize(
    ("event", "data"),
    [
        (b"data: x\n\n", b"x"),
        (b"data:x\r\n\r\n", b"x"),
        (b"data:  x\r\r", b" x"),
        (b"data: a\ndata:b\ndata:\n\n", b"a\nb\n"),
        (b": ping\n\n", b""),
        (b": ping\nevent: error\nid: 7\ndata: x\n\n", b"x"),
        (b"\xef\xbb\xbfdata: x\n\n", b"x"),
        (b"database: x\n\n", b""),
        (b"data: x", b"x"),
        (b"", b""),
    ],
)
def test_data_of_an_event(event: bytes, data: bytes) -> None:
    """One space after the colon is dropped, lines are joined, the rest is skipped."""
    assert data_of(event) == data


def test_a_line_end_of_two_bytes_is_not_a_blank_line() -> None:
    """CRLF once ends a line, twice an event; ends of different kinds mix."""
    block = (
        b"data: a\r\ndata: b\r\n\r\ndata: c\n\ndata: d\r\rdata: e\n\r\ndata: f\r\n\n"
    )

    events = [data_of(event) for event in split_events(block)]

    assert events == [b"a\nb", b"c", b"d", b"e", b"f"]


lines = st.sampled_from(["data: x", "data:", ": ping", "data: é世", "event: e", ""])


@given(
    events=st.lists(st.lists(lines, max_size=3), max_size=5),
    line_end=st.sampled_from(LINE_ENDS),
    data=st.data(),
)
def test_any_cut_yields_the_same_events(
    events: list[list[str]], line_end: str, data: st.DataObject
) -> None:
    """Blocks joined are the stream, and their events those of the uncut stream."""
    written = "".join(line_end.join([*event, "", ""]) for event in events)
    stream = written.encode()
    cuts = data.draw(st.sets(st.integers(0, len(stream))))
    cutter = EventCutter()

    blocks: list[bytes] = []
    for piece in pieces(stream, cuts):
        unread, block = cutter.cut(piece)
        assert unread == b""
        blocks.append(block)
    blocks.append(cutter.rest())

    def said(parts: list[bytes]) -> list[bytes]:
        found = [data_of(event) for part in parts for event in split_events(part)]
        return [data for data in found if data]

    assert b"".join(blocks) == stream
    assert said(blocks) == said([stream])


@pytest.mark.parametrize("line_end", LINE_ENDS)
def test_an_event_is_whole_with_its_last_byte(line_end: str) -> None:
    """It is not held until the next one comes: byte by byte, each comes out at once."""
    event = f"data: x{line_end}{line_end}".encode()
    cutter = EventCutter()

    blocks = b"".join(cutter.cut(bytes([byte]))[1] for byte in event)

    assert data_of(blocks) == b"x"
    assert cutter.rest() in {b"", b"\n"}  # the last LF of a CRLF may come late


@given(
    around=st.integers(-3, 3),
    step=st.integers(1, EVENT_BYTES_MAX + 10),
    line_end=st.sampled_from(["\n", "\r"]),
)
def test_an_overlong_event_passes_unread_and_the_next_is_read(
    around: int, step: int, line_end: str
) -> None:
    """At the limit and a few bytes about it, for chunks of any size."""
    end = line_end.encode() * 2
    body = b"data: " + b"x" * (EVENT_BYTES_MAX - 6 - len(end) + around)
    stream = body + end + b"data: next" + end
    step = max(step, 97)  # smaller ones only take longer
    cutter = EventCutter()

    out: list[bytes] = []
    read: list[bytes] = []
    for at in range(0, len(stream), step):
        unread, block = cutter.cut(stream[at : at + step])
        out += [unread, block]
        read += [e for e in split_events(block) if len(e) <= EVENT_BYTES_MAX]
        assert len(cutter.held) <= EVENT_BYTES_MAX

    assert b"".join([*out, cutter.rest()]) == stream
    assert len(read) == (1 if around > 0 else 2)
    assert data_of(read[-1]) == b"next"


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
def test_an_overlong_event_may_be_cut_within_its_end(line_end: bytes) -> None:
    """The blank line is found though most of the event was let go before it."""
    stream = b"x" * EVENT_BYTES_MAX + line_end * 2 + b"data: next" + line_end * 2
    late = b"x" * 9 + stream

    for at in range(EVENT_BYTES_MAX + 1, EVENT_BYTES_MAX + 1 + 2 * len(line_end)):
        for parts in (
            [stream[:at], stream[at:]],
            [late[:at], late[at : at + 9], late[at + 9 :]],
        ):
            cutter = EventCutter()
            out = [part for chunk in parts for part in cutter.cut(chunk)]
            assert b"".join(out) == b"".join(parts)
            assert data_of(out[-1]) == b"next"


@pytest.mark.parametrize("chunk_bytes", [1000, 1_000_000])
def test_a_line_that_never_ends_costs_64_kb(chunk_bytes: int) -> None:
    """10 MB without a line end pass through a memory that does not grow."""
    chunk = b"x" * chunk_bytes
    cutter = EventCutter()
    passed = 0
    tracemalloc.start()
    try:
        for _ in range(10_000_000 // chunk_bytes):
            passed += sum(map(len, cutter.cut(chunk)))
            assert len(cutter.held) <= EVENT_BYTES_MAX
        kept_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert passed == 10_000_000
    assert kept_bytes < 2 * EVENT_BYTES_MAX
    assert cutter.rest() == b""


class SearchedChunk(bytes):
    """Bytes that tell how many of them were searched."""

    searched = 0

    def rfind(self, *args) -> int:
        SearchedChunk.searched += len(self)
        return super().rfind(*args)


def test_each_byte_is_searched_and_handed_on_once() -> None:
    """The work of an event that comes in single bytes is linear in its length."""
    stream = b"data: " + b"x" * 20_000 + b"\n\n"
    SearchedChunk.searched = 0
    cutter = EventCutter()

    handed = 0
    for byte in stream * 3:
        _, block = cutter.cut(SearchedChunk(bytes([byte])))
        handed += len(block)

    assert handed == len(stream) * 3
    assert SearchedChunk.searched == len(stream) * 3
