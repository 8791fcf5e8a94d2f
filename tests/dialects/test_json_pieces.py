"""A long value opened piece by piece says what it says decoded at once."""

import json

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from metering.dialects.blocks import any_block, estimated_tokens
from metering.dialects.json_pieces import PIECE_BYTES_MAX, LongList, items_of, opened

TINY = {"type": "text", "text": "a"}
LONG = "x" * (PIECE_BYTES_MAX // 3)

texts = st.text(max_size=3) | st.just(LONG)
values = st.recursive(
    texts | st.integers(-9, 9) | st.none(),
    lambda inner: (
        st.lists(inner, max_size=6)
        | st.dictionaries(st.text(max_size=3), inner, max_size=4)
    ),
    max_leaves=24,
)


def raw(value):
    """Return the value's JSON."""
    return msgspec.Raw(json.dumps(value).encode())


def whole(value):
    """Return what was opened, with all its pieces."""
    if isinstance(value, list | LongList):
        return [whole(each) for each in value]
    if isinstance(value, dict):
        return {name: whole(each) for name, each in value.items()}
    return value


@settings(max_examples=60)
@given(values)
@example([LONG] * 7)
@example([{"content": [TINY] * 4000}] * 3)
@example({"a": [[LONG] * 5], "b": [1, [2]], "c": []})
def test_nothing_is_lost_or_moved(value):
    """However long, and wherever it is cut."""
    assert value == whole(opened(raw(value)))


def test_no_list_longer_than_a_piece_is_decoded_at_once():
    """Within an object neither, nor within an element of another list."""
    long = [TINY] * 3000

    assert LongList is type(opened(raw(long)))
    assert LongList is type(opened(raw({"content": long}))["content"])
    (message,) = opened(raw([{"content": long}]))
    assert LongList is type(message["content"])
    assert list is type(opened(raw([TINY] * 100)))


def test_beyond_eight_levels_the_rest_is_decoded_at_once():
    """Each level is looked through once: without an end, that would be a square."""
    value = [LONG] * 4
    for _ in range(20):
        value = [value]
    opening = opened(raw(value))
    levels = 0
    while isinstance(opening, LongList):
        levels += 1
        (opening,) = opening

    assert 8 == levels
    assert list is type(opening)


def test_a_piece_that_is_not_wanted_is_not_decoded():
    """What lies beside one that is wanted is decoded with it."""
    dull, wanted = [TINY] * 5000, {"type": "image"}
    lists = opened(raw([*dull, wanted]))

    seen = list(lists.where(lambda text: b"image" in text))

    assert wanted == seen[-1]
    assert len(seen) < len(dull) / 2


def test_what_is_no_list_has_no_items():
    """Whatever else a client wrote where a list belongs."""
    assert [] == [item for odd in (None, "ab", {"a": 1}, 3) for item in items_of(odd)]


def test_the_block_that_is_looked_for_is_found_among_many():
    """In a message of its own, deep within one, or beyond the first pieces."""
    image = {"type": "image", "source": {"type": "url"}}

    def found(messages):
        return any_block(raw(messages), (b'"source"',), lambda block: block == image)

    many = [TINY] * 5000
    assert found([{"role": "user", "content": [*many, image]}])
    assert found([{"role": "user", "content": many}, {"content": [image]}])
    assert found([{"content": [{"type": "tool_result", "content": [*many, image]}]}])
    assert not found([{"role": "user", "content": [*many, {"source": {}}]}])


def test_a_long_request_is_estimated_as_a_short_one_is():
    """A hundred times as many blocks are a hundred times as many tokens."""

    def tokens(blocks):
        return estimated_tokens(opened(raw([{"content": blocks}])))

    block = {"type": "text", "text": "abcd"}
    assert (100, 10_000) == (tokens([block] * 100), tokens([block] * 10_000))


@pytest.mark.parametrize("bad", [b'"\\ud800"', b"1e999999999999999999999"])
def test_what_cannot_be_read_late_counts_nothing_and_holds_anything(bad):
    """It is looked over before, and fails only when its piece is decoded."""
    blocks = b",".join([json.dumps(TINY).encode()] * 5000 + [bad])
    messages = msgspec.Raw(b'[{"source":1,"content":[%b]}]' % blocks)

    assert 0 == estimated_tokens(opened(messages))
    assert any_block(messages, (b"ud800", b"1e9"), lambda _: False)
