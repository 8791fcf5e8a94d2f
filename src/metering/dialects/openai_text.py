"""How much a stream has written, for when it never tells its usage.

Decoding each event would cost more than all the rest of metering it. So one byte string
is looked for: how this stream spells the member before its text, such as `"content":"`.
Inside a JSON string a quote is always escaped: no text can look like it.
"""

import re
from functools import cache

from metering.dialects.figures import TEXT_BYTES_PER_TOKEN

__all__ = ["TextCounter"]

_NAMES = ("content", "text", "reasoning_content", "reasoning", "arguments", "refusal")
_PLAIN_TEXT = re.compile(rb'[^"\\\x00-\x1f]{1,16384}')
_ESCAPED_TEXT = re.compile(rb'[^"\\]*(?:\\.[^"\\]*)*+', re.DOTALL)


_LEARNED_BYTES_MAX = 16 * 1024
_LESSONS_MAX = 16
"""Some streams number their events, or pad them: there is nothing to be learned."""


@cache
def _spellings(names: tuple[str, ...]) -> tuple[tuple[bytes, ...], re.Pattern[bytes]]:
    """Return how members before a text are usually written, and all other ways."""
    marks = (f'"{name}":{space}"'.encode() for space in ("", " ") for name in names)
    any_mark = rb'"(?:%s)"\s*:\s*"(?!")' % "|".join(names).encode()
    return tuple(marks), re.compile(any_mark)


class TextCounter:
    """Counts events that write something, and the bytes of what they write.

    Args:
        names: Names of the members that hold text, the most frequent first.

    Attributes:
        after: What is after the text in a chunk that was learned.
        kept: The text itself as JSON writes it, once it is to be kept.
        unkept_bytes: How much of it did not fit then.
    """

    __slots__ = (
        "_any_mark",
        "_before",
        "_events",
        "_lessons",
        "_mark",
        "_marks",
        "_room",
        "_text_bytes",
        "after",
        "kept",
        "unkept_bytes",
    )

    def __init__(self, names: tuple[str, ...] = _NAMES) -> None:
        self._events = 0
        self._text_bytes = 0
        self._room: int | None = None
        self._lessons = _LESSONS_MAX
        self._before = self.after = b"\0"  # which no event has
        self.kept = bytearray()
        self.unkept_bytes = 0
        self._marks, self._any_mark = _spellings(names)
        self._mark = self._marks[0]

    @property
    def tokens(self) -> int:
        """About how many tokens were written: one an event, more where it is long."""
        return max(self._events, -(-self._text_bytes // TEXT_BYTES_PER_TOKEN))

    def keep(self, bytes_max: int) -> None:
        """Keep the text from now on, up to so many bytes."""
        self._room = bytes_max

    def repeats(self, chunk: bytes) -> int:
        """Take a chunk if it is like the one that was learned, but for its text.

        Returns:
            Where its text ends; 0 if it is another one, and nothing was counted.
        """
        before, after = self._before, self.after
        if not (chunk.startswith(before) and chunk.endswith(after)):
            return 0
        start, end = len(before), len(chunk) - len(after)
        if _PLAIN_TEXT.fullmatch(chunk, start, end) is None:
            return 0
        self._events += 1
        self._text_bytes += end - start
        if self._room is not None:
            self._keep(chunk[start:end], end - start)
        return end

    def learn(self, block: bytes) -> None:
        """Take the next whole events, which tell nothing but text, and learn from them.

        Most chunks of a stream differ in their text alone: what was found out of one
        need not be found out again of those that are like it.
        """
        events = self._events
        self.add(block)
        if self._events != events + 1 or not self._lessons:
            return
        mark = self._mark
        start = block.rfind(mark) + len(mark)
        end = block.find(b'"', start)
        is_short = len(block) <= _LEARNED_BYTES_MAX and block[-2:] == b"\n\n"
        if is_short and _PLAIN_TEXT.fullmatch(block, start, end) is not None:
            self._lessons -= 1
            self._before, self.after = block[:start], block[end:]

    def add(self, block: bytes) -> None:
        """Take the next whole events. Those without text, such as the role's, are 0."""
        # Written out for the usual chunk, one event with one text: it is the hot path.
        # `rfind` is faster than `find`, above all where there is nothing to be found.
        mark = self._mark
        at = block.rfind(mark)
        if at >= 0 and block.rfind(mark, 0, at) < 0:
            start = at + len(mark)
            if block.rfind(b"\\") < 0:
                end = block.find(b'"', start)
                size = end - start
            else:
                end, size = _escaped(block, start)
            if size > 0:
                self._events += 1
                self._text_bytes += size
                if self._room is not None:
                    self._keep(block[start:end], size)
                return
        self._add_other(block)

    def _add_other(self, block: bytes) -> None:
        """Take many events at once, or the first that are spelled otherwise."""
        marks = [mark for mark in self._marks if self._count(block, mark)]
        if not marks and (b'" :' in block or b":  " in block):
            found = self._any_mark.search(block)
            if found and self._count(block, found[0]):
                marks = [found[0]]
        if marks:
            self._mark = marks[-1]

    def _count(self, block: bytes, mark: bytes) -> bool:
        """Count the texts after *mark*, and return whether there was any."""
        at = block.find(mark)
        if at < 0:
            return False
        found = False
        escapes = block.rfind(b"\\") >= 0
        while at >= 0:
            start = at + len(mark)
            end = block.find(b'"', start)
            if end < 0:
                end = len(block)  # the start of an event that is too long to be held
            size = end - start
            if escapes:
                end, size = _escaped(block, start)
            if size > 0:
                found = True
                self._events += 1
                self._text_bytes += size
                if self._room is not None:
                    self._keep(block[start:end], size)
            at = block.find(mark, end)
        return found

    def _keep(self, text: bytes, size: int) -> None:
        if self._room is not None and len(text) <= self._room:
            self._room -= len(text)
            self.kept += text
        else:
            self.unkept_bytes += size


def _escaped(block: bytes, start: int) -> tuple[int, int]:
    """Return where the text from *start* ends, and about its bytes without escapes."""
    match = _ESCAPED_TEXT.match(block, start)
    end = start if match is None else match.end()
    # `\n` is one byte of two; what is written as `\u6f22` is mostly three of six.
    spared = block.count(b"\\", start, end) + 2 * block.count(b"\\u", start, end)
    return end, max(1, end - start - spared) if end > start else 0
