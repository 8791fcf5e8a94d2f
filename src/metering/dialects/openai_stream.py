"""Readers of OpenAI-like event streams: one watches, one also takes the usage out.

Both look for a few byte strings in each chunk and decode JSON only where one is found.
Inside a JSON string a quote is always escaped: `"usage":` is never what a model wrote.
"""

import re

from metering.dialects.dialect import Report
from metering.dialects.figures import NULL
from metering.dialects.openai_text import TextCounter
from metering.dialects.openai_usage import (
    carries_choice,
    has_failed,
    read_answer,
    report_of,
)
from metering.dialects.sse import EVENT_BYTES_MAX, EventCutter, data_of, split_events

__all__ = ["UsageRemover", "UsageWatcher"]

_END_MARK = b"[DONE]"

# Before the brace that closes an event's outermost object: no other is followed by a
# blank line.
_NULL_AT_END = re.compile(rb',\s*"usage"\s*:\s*null\s*(?=\}(?:\r\n?+|\n)(?:\r\n?|\n))')
_NULL_MEMBER = re.compile(
    rb',\s*"usage"\s*:\s*null(?=\s*[,}])|(?<=\{)\s*"usage"\s*:\s*null\s*(?:,\s*)?'
)
_NESTING = re.compile(rb'"(?:[^"\\]|\\.)*+"|([{\[])|([}\]])')


class UsageWatcher:
    """Follows a stream and forwards every chunk as it is, at once.

    Attributes:
        ended: Whether `data: [DONE]` has been seen.
        written: What the model wrote.
    """

    __slots__ = ("_cutter", "_failed", "_told", "_writes", "ended", "written")

    def __init__(self, *, writes: bool = True) -> None:
        self.ended = False
        self._writes = writes
        self._cutter = EventCutter()
        self.written = TextCounter()
        self._failed = False
        self._told = Report()

    def feed(self, chunk: bytes) -> bytes:
        """Take the next body chunk and return it."""
        cutter = self._cutter
        if not cutter.held:
            if self.written.repeats(chunk):
                return chunk
            if chunk[-2:] == b"\n\n":
                self._read(chunk)
                return chunk
        _, block = cutter.cut(chunk)
        if block:
            self._read(block)
        return chunk

    def finish(self) -> bytes:
        """Read the event that lacks its blank line, if any; nothing was held back."""
        self._read(self._cutter.rest())
        return b""

    def report(self) -> Report:
        """Return what the stream told so far: the last usage, never a sum."""
        counted = self.written.tokens
        return self._told._replace(counted_tokens=counted, failed=self._failed)

    def _read(self, block: bytes) -> None:
        # `rfind` because it is the fastest way to learn that something is not there.
        if (
            (block.rfind(b'"usage"') >= 0 and _tells_usage(block))
            or block.rfind(b'"error"') >= 0
            or block.rfind(_END_MARK) >= 0
            or len(block) > EVENT_BYTES_MAX
        ):
            for event in split_events(block):
                self._read_event(event)
        else:
            self.written.learn(block)

    def _read_event(self, event: bytes) -> None:
        self.written.add(event)
        if len(event) > EVENT_BYTES_MAX:
            return
        data = data_of(event)
        if data.startswith(_END_MARK):
            self.ended = True
        elif _tells_usage(event) or b'"error"' in event:
            answer = read_answer(data)
            if answer is None:
                return
            if has_failed(answer):
                self._failed = True
            if answer.usage != NULL:
                self._told = report_of(answer, writes=self._writes)


class UsageRemover(UsageWatcher):
    """Follows a stream and takes out of it what asking for usage has put in.

    That is the event with a usage and no choice, and every `"usage": null`. A usage
    beside choices stays: servers that send one there do so unasked. At most the one
    unfinished event is held back.
    """

    __slots__ = ("_after", "_after_seen", "_late_lf")

    def __init__(self, *, writes: bool = True) -> None:
        super().__init__(writes=writes)
        # After an event that a CR has ended: what becomes of the LF that may follow.
        self._late_lf: bytes | None = None
        # What is after the text of a chunk that repeats, and what is seen of that.
        self._after = self._after_seen = b""

    def feed(self, chunk: bytes) -> bytes:
        """Take the next body chunk and return what the client is to see of it."""
        cutter = self._cutter
        late_lf = self._late_lf
        if late_lf is not None and chunk:
            self._late_lf = None
            if chunk[:1] == b"\n":
                return late_lf + self.feed(chunk[1:])
        if not cutter.held:
            text_end = self.written.repeats(chunk)
            if text_end:
                return self._repeated(chunk, text_end)
            if chunk[-2:] == b"\n\n":
                return self._seen_by_client(chunk)
        unread, block = cutter.cut(chunk)
        seen = unread + self._seen_by_client(block) if block else unread
        if not cutter.held and (block or unread)[-1:] == b"\r":
            self._late_lf = b"\n" if seen[-1:] == b"\r" else b""
        return seen

    def finish(self) -> bytes:
        """Return what was held back, if the client is to see it."""
        return self._seen_by_client(self._cutter.rest())

    def _repeated(self, chunk: bytes, text_end: int) -> bytes:
        after = self.written.after
        if after is not self._after:
            seen = _without_usage(chunk)
            if seen[:text_end] != chunk[:text_end]:
                return seen
            self._after, self._after_seen = after, seen[text_end:]
        if self._after_seen == after:
            return chunk
        return chunk[:text_end] + self._after_seen

    def _seen_by_client(self, block: bytes) -> bytes:
        self._read(block)
        return _without_usage(block)


def _without_usage(block: bytes) -> bytes:
    named = block.count(b'"usage"')
    if not named:
        return block
    if len(block) <= EVENT_BYTES_MAX:
        cleaned, removed = _NULL_AT_END.subn(b"", block)
        if removed == named:
            return cleaned
    return b"".join(map(_event_seen_by_client, split_events(block)))


def _tells_usage(block: bytes) -> bool:
    """Whether *block* may hold more of a usage than null, in either usual spelling."""
    nulls = block.count(b'"usage":null') or block.count(b'"usage": null')
    return block.count(b'"usage"') != nulls


def _event_seen_by_client(event: bytes) -> bytes:
    if b'"usage"' not in event or len(event) > EVENT_BYTES_MAX:
        return event
    answer = read_answer(data_of(event))
    if answer is None:
        return event
    if answer.usage == NULL:
        return _without_null_usage(event)
    return event if carries_choice(answer) else b""


def _without_null_usage(event: bytes) -> bytes:
    """Return *event* without the `"usage": null` of its outermost object.

    One whose JSON is spread over several `data` lines stays as it is: it is harmless.
    """
    lines = event.splitlines(keepends=True)
    spoken = [at for at, line in enumerate(lines) if line.startswith(b"data:")]
    if len(spoken) == 1:
        lines[spoken[0]] = _without_null_member(lines[spoken[0]])
    return b"".join(lines)


def _without_null_member(line: bytes) -> bytes:
    for member in _NULL_MEMBER.finditer(line):
        depth = 0
        for token in _NESTING.finditer(line, 0, member.start()):
            depth += bool(token[1]) - bool(token[2])
        if depth == 1:
            return line[: member.start()] + line[member.end() :]
    return line
