"""Reading Anthropic's event streams: every chunk passes as it is, at once."""

from metering.dialects.anthropic_usage import Tally, has_failed, read_answer
from metering.dialects.dialect import Report
from metering.dialects.figures import NULL
from metering.dialects.openai_text import TextCounter
from metering.dialects.sse import EVENT_BYTES_MAX, EventCutter, data_of, split_events

__all__ = ["MessageWatcher"]

_TEXTS = ("text", "thinking", "partial_json")
_END = b'"message_stop"'


class MessageWatcher:
    """Follows a stream of message events.

    Input is told by the first event, output by one near the end. Of a stream that is
    cut between the two the output is counted by its text.

    Attributes:
        ended: Whether `message_stop` has been seen, or an error in its place.
        written: What the model wrote.
    """

    __slots__ = (
        "_cutter",
        "_failed",
        "_tally",
        "_told",
        "_told_at",
        "ended",
        "written",
    )

    def __init__(self) -> None:
        self.ended = False
        self._cutter = EventCutter()
        self._tally = Tally()
        self.written = TextCounter(_TEXTS)
        self._told = 0  # output tokens, by the last event that told them
        self._told_at = 0  # tokens that were counted when it did
        self._failed = False

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
        """Return what the stream told so far: of each count the last, never a sum."""
        since = self.written.tokens - self._told_at
        counted = self._told + since
        report = self._tally.report(counted, partial=since > 0)
        return report._replace(counted_tokens=counted, failed=self._failed)

    def _read(self, block: bytes) -> None:
        # `rfind` because it is the fastest way to learn that something is not there.
        if (
            block.rfind(b'"usage"') >= 0
            or block.rfind(_END) >= 0
            or block.rfind(b'"error"') >= 0
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
        answer = read_answer(data_of(event))
        if answer is None:
            return
        if has_failed(answer):
            self._failed = self.ended = True
        elif bytes(answer.type) == _END:
            self.ended = True
        usage = answer.told_usage()
        if usage != NULL:
            written = self._tally.add(usage)
            # What the first event tells is but the beginning, and is counted as well.
            if written is not None and answer.message == NULL:
                self._told, self._told_at = written, self.written.tokens
