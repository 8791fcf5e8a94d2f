"""Finding a few members of a JSON object that is too long to be held, as it passes."""

import re
from collections.abc import Collection

__all__ = ["MEMBER_BYTES_MAX", "MemberFinder"]

MEMBER_BYTES_MAX = 16 * 1024
"""Longest member that is kept; a longer one is not found."""

Path = tuple[bytes, ...]

_NAME_BYTES_MAX = 64
_MARK = re.compile(rb'["{}\[\]:,]')
# Where no name matters, only the depth: over whole strings to the next mark.
_DEEP = re.compile(rb'(?:[^"{}\[\]]++|"(?:[^"\\]++|\\.)*+")*+', re.DOTALL)
_STRING = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
_BACKSLASH = ord("\\")


class MemberFinder:
    """Reads one JSON object, cut anywhere, and keeps the members that are asked for.

    The time is linear, and nothing but those members is held. What comes before the
    object, such as the name of an event, is passed over. Names that are written with
    escapes are not found.

    Args:
        wanted: Paths from the outermost object, such as `(b"response", b"usage")`.

    Attributes:
        found: The text of each member that was found, by path; of equals the last.
    """

    __slots__ = (
        "_depth",
        "_depth_max",
        "_escaped",
        "_in_string",
        "_kept",
        "_name",
        "_named_next",
        "_objects",
        "_path",
        "_wanted",
        "found",
    )

    def __init__(self, wanted: Collection[Path]) -> None:
        self.found: dict[Path, bytes] = {}
        self._wanted = frozenset(wanted)
        self._depth_max = max(map(len, wanted))
        self._depth = 0
        self._objects: list[bool] = []  # whether each open level is an object
        self._path: list[bytes] = []  # the name that was read last on each level
        self._name: bytearray | None = None  # the string being read, if it is a name
        self._named_next = False
        self._in_string = False
        self._escaped = False
        self._kept: bytearray | None = None

    def feed(self, data: bytes) -> None:
        """Read the next bytes of the object."""
        at = 0
        while at < len(data):
            start = at
            if self._in_string:
                at = self._string(data, at)
                self._keep(data[start:at])
                continue
            at = self._next_mark(data, at)
            self._keep(data[start:at])
            if at < len(data):
                self._read_mark(data[at : at + 1])
                at += 1

    def _next_mark(self, data: bytes, at: int) -> int:
        if self._depth > self._depth_max:
            skipped = _DEEP.match(data, at)
            return at if skipped is None else skipped.end()
        mark = _MARK.search(data, at)
        return len(data) if mark is None else mark.start()

    def _string(self, data: bytes, at: int) -> int:
        """Pass over a string's text and return where it ends, or the data does."""
        start = at
        if self._escaped:
            self._escaped = False
            at += 1
        text = _STRING.match(data, at)
        end = at if text is None else text.end()
        if self._name is not None and len(self._name) <= _NAME_BYTES_MAX:
            self._name += data[start:end][: _NAME_BYTES_MAX + 1]
        if end == len(data):
            return end
        if data[end] == _BACKSLASH:  # the last byte: what it escapes is yet to come
            self._escaped = True
        else:
            self._in_string = False
        return end + 1

    def _read_mark(self, mark: bytes) -> None:
        depth = self._depth
        if mark == b'"':
            self._in_string = True
            shallow = 0 < depth <= self._depth_max
            self._name = bytearray() if self._named_next and shallow else None
        elif mark in b"{[":
            self._depth += 1
            if self._depth <= self._depth_max:
                self._named_next = mark == b"{"
                self._objects.append(self._named_next)
                self._path.append(b"")
        elif mark in b"}]":
            if 0 < depth <= self._depth_max:
                self._end_member()
                self._objects.pop()
                self._path.pop()
            self._depth = max(0, depth - 1)
        elif 0 < depth <= self._depth_max:
            if mark == b",":
                self._end_member()
                self._named_next = self._objects[-1]
            elif self._named_next:
                self._keep(mark)
                self._begin_member()
                return
        self._keep(mark)

    def _begin_member(self) -> None:
        self._named_next = False
        self._path[-1] = bytes(self._name or b"")
        if tuple(self._path) in self._wanted:
            self._kept = bytearray()

    def _end_member(self) -> None:
        path = tuple(self._path)
        if self._kept is not None and path in self._wanted:
            self.found[path] = bytes(self._kept.strip())
            self._kept = None

    def _keep(self, data: bytes) -> None:
        if self._kept is not None:
            self._kept += data
            if len(self._kept) > MEMBER_BYTES_MAX:
                self._kept = None
