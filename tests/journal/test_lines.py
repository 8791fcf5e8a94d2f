"""A line is whole or it is nothing."""

from pathlib import Path

import pytest

from metering.errors import StorageError
from metering.journal.lines import CLOSED, OPEN, Line, encode_line, parse_line
from metering.journal.segments import SegmentReader


def test_a_line_comes_back_as_the_event_it_was(make_event):
    """Kind, id and every field survive."""
    event = make_event(7, model="naïve\nmodel\u2028", clamped_from=9, flags=("late",))

    line = parse_line(encode_line(CLOSED, event).removesuffix(b"\n"))

    assert line is not None
    assert (CLOSED, event.id, event) == (line.kind, line.id(), line.event())


def test_a_line_holds_one_newline_and_that_at_its_end(make_event):
    """Whatever the event holds, the next newline is the line's end."""
    text = encode_line(OPEN, make_event(1, model="a\nb\r\nc"))

    assert text.index(b"\n") == len(text) - 1


def test_no_prefix_of_a_line_is_a_line(make_event):
    """Wherever a write was cut, what is there does not pass for a line."""
    text = encode_line(OPEN, make_event(1)).removesuffix(b"\n")

    assert [n for n in range(len(text)) if parse_line(text[:n])] == []


def test_no_altered_byte_goes_unseen(make_event):
    """Each byte of a line is covered by its checksum, or is the checksum."""
    text = bytearray(encode_line(OPEN, make_event(1)).removesuffix(b"\n"))
    unseen = []
    for place in range(len(text)):
        for flip in (0x01, 0x20, 0x80):
            text[place] ^= flip
            if parse_line(bytes(text)):
                unseen.append((place, flip))
            text[place] ^= flip

    assert unseen == []


def test_a_whole_line_of_another_version_is_an_error_and_never_dropped():
    """What cannot be understood is not passed over as if it were damaged."""
    line = Line(CLOSED, b'{"identity":1}')

    with pytest.raises(StorageError, match="Start the version that wrote it"):
        line.event()
    with pytest.raises(StorageError, match="Start the version that wrote it"):
        line.id()


def test_a_line_longer_than_a_slice_is_read_whole(make_event, tmp_path: Path):
    """The reader's slice bounds what it reads at once, not what a line may hold."""
    events = [
        make_event(n, model="m" * length) for n, length in enumerate((9, 200_000, 9))
    ]
    path = tmp_path / "00000001.log"
    path.write_bytes(b"".join(encode_line(OPEN, event) for event in events))

    reader = SegmentReader(path)
    read = []
    while lines := reader.read(reader.size):
        read += [line.event() for line in lines]

    assert events == read


def test_a_reader_leaves_a_line_that_is_being_written(make_event, tmp_path: Path):
    """Half a line is not read until the rest is there."""
    whole, half = encode_line(OPEN, make_event(1)), encode_line(OPEN, make_event(2))
    path = tmp_path / "00000001.log"
    path.write_bytes(whole + half[:50])
    reader = SegmentReader(path)

    first = reader.read(reader.size)
    nothing = reader.read(reader.size)
    with path.open("ab") as file:
        file.write(half[50:])
    second = reader.read(reader.size)

    assert [make_event(1)] == [line.event() for line in first or ()]
    assert nothing is None
    assert [make_event(2)] == [line.event() for line in second or ()]
    assert reader.damaged == 0
