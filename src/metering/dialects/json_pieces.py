"""A long JSON value, decoded piece by piece.

Decoding is one step of the interpreter: nothing else runs meanwhile, in no thread. Of
pieces none holds it for longer than a millisecond, and none outlives its turn.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import msgspec

__all__ = ["PIECE_BYTES_MAX", "LongList", "items_of", "opened"]

PIECE_BYTES_MAX: Final = 64 * 1024
"""Longest list or object that is decoded at once, if it is not nested too deeply."""

_RUN_BYTES_MAX = 8 * 1024
"""Longest run of elements that is decoded at once: some hundred objects. Of more at a
time the garbage collector would take some for old, and in the end look at all there
are."""

_DEPTH_MAX = 8  # each level is looked through once more: the time stays linear

_decode = msgspec.json.Decoder().decode
_elements = msgspec.json.Decoder(list[msgspec.Raw]).decode
_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class LongList:
    """A list that is too long to be decoded at once; its elements are, as they come.

    Args:
        raw: Its JSON.
        depth: How many long values it lies in.
    """

    __slots__ = ("_depth", "_raw")

    def __init__(self, raw: msgspec.Raw, depth: int) -> None:
        self._raw = raw
        self._depth = depth

    def __iter__(self) -> Iterator[Any]:
        """Yield the elements.

        Raises:
            MsgspecError: One cannot be read; or whatever else `UNREADABLE` names.
        """
        return self.where(bool)

    def where(self, wanted: Callable[[bytes], bool]) -> Iterator[Any]:
        """Yield the elements that are *wanted*, and others that lie beside them.

        Args:
            wanted: Whether the text of some elements is worth being decoded.

        Raises:
            MsgspecError: As above.
        """
        for run in _runs(_elements(self._raw)):
            if len(run) > 1:
                text = b"[%b]" % b",".join(map(bytes, run))
                if wanted(text):
                    yield from _decode(text)
            elif wanted(bytes(run[0])):
                yield opened(run[0], self._depth + 1)


def opened(raw: msgspec.Raw, depth: int = 0) -> Any:
    """Return what *raw* says; each long list in it is a `LongList`.

    Args:
        raw: Any JSON value.
        depth: How many long values it lies in.

    Raises:
        MsgspecError: It cannot be read; or whatever else `UNREADABLE` names.
    """
    if len(raw) > PIECE_BYTES_MAX and depth < _DEPTH_MAX:
        first = bytes(memoryview(raw)[:1])
        if first == b"[":
            return LongList(raw, depth)
        if first == b"{":
            members = _members(raw)
            return {name: opened(value, depth + 1) for name, value in members.items()}
    return _decode(raw)


def items_of(value: object) -> Iterator[Any]:
    """Yield the elements of a list, long or not; of anything else there are none."""
    if isinstance(value, list | LongList):
        yield from value


def _runs(elements: Iterable[msgspec.Raw]) -> Iterator[list[msgspec.Raw]]:
    """Yield runs of elements that are a piece together, or one alone if it is long."""
    run: list[msgspec.Raw] = []
    size = 0
    for element in elements:
        size += len(element)
        if run and size > _RUN_BYTES_MAX:
            yield run
            run, size = [], len(element)
        run.append(element)
    if run:
        yield run
