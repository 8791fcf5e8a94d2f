"""Server-sent events: a stream of bytes, cut anywhere, back into whole events."""

import re
from collections.abc import Iterator

__all__ = ["EVENT_BYTES_MAX", "EventCutter", "data_of", "split_events"]

EVENT_BYTES_MAX = 64 * 1024
"""Longest event that is held and read; a longer one passes unread."""

# Lines end in LF, CRLF or CR, and CRLF is one end: `+` forbids to take it for two.
_BLANK_LINE = re.compile(rb"(?:\r\n?+|\n)(?:\r\n?|\n)")
_CR = 13


class EventCutter:
    """Cuts a stream into blocks of whole events and holds the unfinished one.

    What it holds is at most `EVENT_BYTES_MAX`, and each byte is looked at once, however
    small the chunks are.

    Attributes:
        held: The bytes of the unfinished event. While it is empty, a chunk that ends
            in a blank line is a block as it stands, and `cut` need not be called.
        overlong: Whether an event is passing that is too long to be held.
    """

    __slots__ = ("held", "overlong")

    def __init__(self) -> None:
        self.held = bytearray()
        self.overlong = False  # held is then but the last byte of what passed

    def cut(self, chunk: bytes) -> tuple[bytes, bytes]:
        """Take the next chunk.

        Returns:
            What passes unread, as the rest of an overlong event, and after it the
            events that are now whole. An event that turns out overlong is the last of
            them, as far as it goes.
        """
        if self.overlong:
            return self._pass_overlong(chunk)
        held = self.held
        end = self._last_end(chunk)
        if not end:
            held += chunk
            return b"", self._overlong_start()
        block = bytes(held) + chunk[:end] if held else chunk[:end]
        held[:] = chunk[end:]
        return b"", block + self._overlong_start()

    def rest(self) -> bytes:
        """Return the unfinished event, once the stream has ended."""
        return b"" if self.overlong else bytes(self.held)

    def _last_end(self, chunk: bytes) -> int:
        """Return where in *chunk* its last blank line ends, or 0."""
        if chunk.endswith((b"\n\n", b"\r\n\r\n")):
            return len(chunk)
        held = self.held
        if _CR not in chunk:
            end = chunk.rfind(b"\n\n") + 2
            if end > 1:
                return end
            return int(held[-1:] == b"\n" and chunk[:1] == b"\n")
        edge = held[-1:]  # all that an earlier chunk may hold of a blank line's start
        end = 0
        for blank in _BLANK_LINE.finditer(edge + chunk):
            end = blank.end() - len(edge)
        return end

    def _overlong_start(self) -> bytes:
        held = self.held
        if len(held) <= EVENT_BYTES_MAX:
            return b""
        start = bytes(held)
        held[:] = start[-1:]
        self.overlong = True
        return start

    def _pass_overlong(self, chunk: bytes) -> tuple[bytes, bytes]:
        window = bytes(self.held) + chunk
        blank = _BLANK_LINE.search(window)
        if blank is None:
            self.held[:] = window[-1:]
            return chunk, b""
        end = blank.end() - len(self.held)
        self.held.clear()
        self.overlong = False
        _, block = self.cut(chunk[end:])
        return chunk[:end], block


def split_events(block: bytes) -> Iterator[bytes]:
    """Yield the events of *block*, each with its blank line; joined they are *block*.

    The last one may lack the blank line.
    """
    start = 0
    for blank in _BLANK_LINE.finditer(block):
        yield block[start : blank.end()]
        start = blank.end()
    if start < len(block):
        yield block[start:]


def data_of(event: bytes) -> bytes:
    """Return what the `data` lines of one event say; empty if it has none."""
    lines = event.removeprefix(b"\xef\xbb\xbf").splitlines()
    return b"\n".join(
        line[5:].removeprefix(b" ") for line in lines if line.startswith(b"data:")
    )
