"""Reading the typed events of OpenAI's Responses: every chunk passes as it is, at once.

The last event repeats the whole answer before it tells the usage, so it may be far too
long to be held: of such a one only the few members that matter are kept.
"""

from typing import Final

import msgspec

from metering.dialects.dialect import Report
from metering.dialects.figures import NULL, UNREADABLE
from metering.dialects.json_members import MemberFinder
from metering.dialects.openai_text import TextCounter
from metering.dialects.responses_usage import Response, read_response, report_of
from metering.dialects.sse import EventCutter, data_of, split_events

__all__ = ["ResponseWatcher"]

_TEXTS = ("delta",)
_DONE = b"[DONE]"
_ENDS: Final = frozenset(
    {b'"response.completed"', b'"response.failed"', b'"response.incomplete"'}
)
_FAILURES = frozenset({b'"error"', b'"response.failed"'})

_TYPE, _ERROR = (b"type",), (b"error",)
_INNER = {name: (b"response", name.encode()) for name in ("usage", "error", "status")}


class _Event(msgspec.Struct, frozen=True, gc=False):
    type: msgspec.Raw = NULL
    error: msgspec.Raw = NULL
    response: msgspec.Raw = NULL


_events = msgspec.json.Decoder(_Event)


class ResponseWatcher:
    """Follows a stream of response events.

    Attributes:
        ended: Whether the response was completed, cut or failed.
        written: What the model wrote.
    """

    __slots__ = ("_cutter", "_failed", "_finder", "_told", "ended", "written")

    def __init__(self) -> None:
        self.ended = False
        self._cutter = EventCutter()
        self._finder: MemberFinder | None = None  # while an overlong event passes
        self.written = TextCounter(_TEXTS)
        self._failed = False
        self._told = Report()

    def feed(self, chunk: bytes) -> bytes:
        """Take the next body chunk and return it."""
        cutter = self._cutter
        if not cutter.held and chunk[-2:] == b"\n\n":
            self._read(chunk)
            return chunk
        unread, block = cutter.cut(chunk)
        if unread and self._finder is not None:
            self._finder.feed(unread)
        if block or not cutter.overlong:
            self._end_overlong()
        if block and cutter.overlong:
            *whole, start = split_events(block)
            self._read(b"".join(whole))
            self._finder = MemberFinder((_TYPE, _ERROR, *_INNER.values()))
            self._finder.feed(start)
            self.written.add(start)
        elif block:
            self._read(block)
        return chunk

    def finish(self) -> bytes:
        """Read the event that lacks its blank line, if any; nothing was held back."""
        self._read(self._cutter.rest())
        self._end_overlong()
        return b""

    def report(self) -> Report:
        """Return what the stream told so far."""
        counted = self.written.tokens
        return self._told._replace(counted_tokens=counted, failed=self._failed)

    def _read(self, block: bytes) -> None:
        # No event without one of these tells anything but text. `rfind` because it is
        # the fastest way to learn that something is not there.
        if (
            block.rfind(b'"response"') >= 0
            or block.rfind(b'"error"') >= 0
            or block.rfind(_DONE) >= 0
        ):
            for event in split_events(block):
                self._read_event(event)
        else:
            self.written.add(block)

    def _read_event(self, event: bytes) -> None:
        self.written.add(event)
        data = data_of(event)
        if data.startswith(_DONE):
            self.ended = True
            return
        try:
            told = _events.decode(data)
        except UNREADABLE:
            return
        response = None if told.response == NULL else read_response(told.response)
        self._take(bytes(told.type), told.error, response or Response())

    def _end_overlong(self) -> None:
        """Take what was found in an event that was too long to be held."""
        finder, self._finder = self._finder, None
        if finder is None:
            return
        found = {path: msgspec.Raw(text) for path, text in finder.found.items()}
        kind = finder.found.get(_TYPE, b"")
        response = Response(**{n: found.get(path, NULL) for n, path in _INNER.items()})
        self._take(kind, found.get(_ERROR, NULL), response)

    def _take(self, kind: bytes, error: msgspec.Raw, response: Response) -> None:
        report = report_of(response)
        if report.usage is not None or report.refused:
            self._told = report
        if kind in _FAILURES or error != NULL or report.failed:
            self._failed = True
        if self._failed or kind in _ENDS:
            self.ended = True
