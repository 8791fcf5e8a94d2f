"""Reading streams of transcripts, speech and images: every chunk passes as it is.

An event may hold a whole image and tell the usage after it, so it may be far too long
to be held: of such a one only the few members that matter are kept.
"""

from typing import Final

import msgspec

from metering.dialects.dialect import Report
from metering.dialects.figures import NULL
from metering.dialects.json_members import MemberFinder
from metering.dialects.media_usage import (
    MediaAnswer,
    has_failed,
    read_answer,
    report_of,
)
from metering.dialects.openai_text import TextCounter
from metering.dialects.sse import EventCutter, data_of, split_events
from metering.usage import Usage

__all__ = ["MediaWatcher"]

_TEXTS: Final = ("delta", "content")
_DONE: Final = b"[DONE]"
_MARKS: Final = (b'"usage"', b'"error"', b".done", b".completed", _DONE)
"""No event without one tells anything."""

_ENDS: Final = frozenset({b'"transcript.text.done"', b'"speech.audio.done"'})
_IMAGES: Final = frozenset({b'"image_generation.completed"', b'"image_edit.completed"'})
_KEPT: Final = ("type", "usage", "error", "object")


class MediaWatcher:
    """Follows a stream of typed events, or of vLLM's chunks of a transcript.

    Args:
        listens: Whether the model listens to audio.

    Attributes:
        ended: Whether the last event was seen. A stream of images has none that says
            so, for it may have several images.
    """

    __slots__ = (
        "_cutter",
        "_failed",
        "_finder",
        "_images",
        "_listens",
        "_told",
        "_written",
        "ended",
    )

    def __init__(self, *, listens: bool = False) -> None:
        self.ended = False
        self._listens = listens
        self._cutter = EventCutter()
        self._finder: MemberFinder | None = None  # while an overlong event passes
        self._written = TextCounter(_TEXTS)
        self._failed = False
        self._images = 0
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
            self._finder = MemberFinder([(name.encode(),) for name in _KEPT])
            self._finder.feed(start)
        elif block:
            self._read(block)
        return chunk

    def finish(self) -> bytes:
        """Read the event that lacks its blank line, if any; nothing was held back."""
        self._read(self._cutter.rest())
        self._end_overlong()
        return b""

    def report(self) -> Report:
        """Return what the stream told so far: the last usage, and each image."""
        told = self._told._replace(
            counted_tokens=self._written.tokens, failed=self._failed
        )
        if not self._images or told.refused:
            return told
        if told.usage is None:
            return told._replace(usage=Usage(images=self._images), untold="tokens")
        usage = msgspec.structs.replace(told.usage, images=self._images)
        return told._replace(usage=usage, untold="")

    def _read(self, block: bytes) -> None:
        # `rfind` because it is the fastest way to learn that something is not there.
        if max(map(block.rfind, _MARKS)) < 0:
            self._written.add(block)
            return
        for event in split_events(block):
            self._written.add(event)
            data = data_of(event)
            if data.startswith(_DONE):
                self.ended = True
            else:
                answer = read_answer(data)
                if answer is not None:
                    self._take(answer)

    def _end_overlong(self) -> None:
        """Take what was found in an event that was too long to be held."""
        finder, self._finder = self._finder, None
        if finder is not None:
            found = {
                name: msgspec.Raw(finder.found[name.encode(),])
                for name in _KEPT
                if (name.encode(),) in finder.found
            }
            self._take(MediaAnswer(**found))

    def _take(self, answer: MediaAnswer) -> None:
        kind = bytes(answer.type)
        if has_failed(answer):
            self._failed = self.ended = True
        if kind in _ENDS:
            self.ended = True
        if kind in _IMAGES:
            self._images += 1
        if answer.usage != NULL:
            self._told = report_of(answer, listens=self._listens)
