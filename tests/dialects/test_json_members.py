"""Members of a JSON object are found as it passes, and none is taken for another."""

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metering.dialects.json_members import MEMBER_BYTES_MAX, MemberFinder

WANTED = [(b"a",), (b"b", b"c")]

names = st.sampled_from(["a", "b", "c", "x", '"', "\\", "é"])
texts = st.sampled_from(["", "a", '"a":', "\\", '\\"', "{", "]},", "世"])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | texts,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4)
    ),
    max_leaves=20,
)


def found(parts: list[bytes]) -> dict[tuple[bytes, ...], Any]:
    finder = MemberFinder(WANTED)
    for part in parts:
        finder.feed(part)
    return {path: json.loads(text) for path, text in finder.found.items()}


def expected(value: dict[str, Any]) -> dict[tuple[bytes, ...], Any]:
    told = {(b"a",): value["a"]} if "a" in value else {}
    inner = value.get("b")
    if isinstance(inner, dict) and "c" in inner:
        told[b"b", b"c"] = inner["c"]
    return told


@settings(max_examples=300)
@given(
    value=st.dictionaries(names, values, max_size=5),
    compact=st.booleans(),
    ascii_only=st.booleans(),
    data=st.data(),
)
def test_it_finds_what_a_parser_finds(
    value: dict[str, Any], *, compact: bool, ascii_only: bool, data: st.DataObject
) -> None:
    """Any object, spelled any way, after any lines, cut anywhere."""
    text = json.dumps(
        value,
        ensure_ascii=ascii_only,
        separators=(",", ":") if compact else None,
        indent=None if compact else 1,
    )
    stream = b"event: x.y\ndata: " + text.encode()
    cuts = data.draw(st.sets(st.integers(0, len(stream)), max_size=20))
    edges = [0, *sorted(cuts), len(stream)]
    parts = [stream[a:b] for a, b in pairwise(edges)]

    assert found(parts) == expected(value)


def test_cut_at_every_byte() -> None:
    """One object, each cut, and single bytes."""
    value = {"x": '\\"a":1', "b": {"a": 2, "c": [1, {"c": "\\"}]}, "a": "é"}
    text = json.dumps(value, ensure_ascii=False).encode()

    assert expected(value) == found([bytes([byte]) for byte in text])
    for at in range(len(text)):
        assert expected(value) == found([text[:at], text[at:]])


def test_of_equal_names_the_last_counts() -> None:
    """As in every parser."""
    assert found([b'{"a":1,"a":2}']) == {(b"a",): 2}


@pytest.mark.parametrize("size", [MEMBER_BYTES_MAX - 2, MEMBER_BYTES_MAX - 1])
def test_a_member_that_is_too_long_is_not_kept(size: int) -> None:
    """Nothing grows with what is sent."""
    text = b'{"a":"%b","b":{"c":1}}' % (b"x" * size)
    kept = size + 2 <= MEMBER_BYTES_MAX

    told = found([text[at : at + 100] for at in range(0, len(text), 100)])

    assert ((b"a",) in told) is kept
    assert told[b"b", b"c"] == 1


@pytest.mark.parametrize("text", [b"", b"]}],:", b'"', b"{{{", b'{"a":', b'{"a":[1}'])
def test_nonsense_is_passed_over(text: bytes) -> None:
    """It is nobody's usage, and raises nothing."""
    finder = MemberFinder(WANTED)
    finder.feed(text)
    finder.feed(text)
