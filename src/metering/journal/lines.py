"""The form of a journal line: `<crc32 of the rest, 8 hex> <kind> <json>` and a newline.

The JSON is a whole `UsageEvent` whatever the kind, and holds no newline, so the next
newline is always the end of a line.
"""

import zlib
from typing import NamedTuple

import msgspec

from metering.errors import StorageError
from metering.usage import UsageEvent

__all__ = [
    "CHECKPOINT",
    "CLOSED",
    "OPEN",
    "SPOILED",
    "Line",
    "encode_line",
    "parse_line",
]

OPEN = b"o"
"""The call was admitted; its event should nothing more be heard of it."""

CHECKPOINT = b"k"
"""The same with the counts so far."""

CLOSED = b"c"
"""The call has ended; its final event."""

SPOILED = b"~\n"
"""Ends a line that was cut short, so that it can never be taken for a whole one."""


class _Named(msgspec.Struct, gc=False):
    id: str


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(UsageEvent).decode
_decode_id = msgspec.json.Decoder(_Named).decode


class Line(NamedTuple):
    """A whole line: its kind and its JSON. Reading the JSON is left to who needs it."""

    kind: bytes
    json: bytes

    def id(self) -> str:
        """Return the id of the call, without the cost of reading the rest.

        Raises:
            StorageError: See `event`.
        """
        try:
            return _decode_id(self.json).id
        except msgspec.MsgspecError as error:
            raise _unknown(error) from error

    def event(self) -> UsageEvent:
        """Return the event.

        Raises:
            StorageError: The line is as it was written, but no event to this version.
        """
        try:
            return _decode(self.json)
        except msgspec.MsgspecError as error:
            raise _unknown(error) from error


def _unknown(error: msgspec.MsgspecError) -> StorageError:
    return StorageError(
        f"A whole journal line is not a usage event of this version: {error}. "
        "Start the version that wrote it, so that it posts what it left."
    )


def encode_line(kind: bytes, event: UsageEvent) -> bytes:
    """Return the line of an event, newline included."""
    rest = kind + b" " + _encode(event)
    return b"%08x %b\n" % (zlib.crc32(rest), rest)


def parse_line(text: bytes) -> Line | None:
    """Return a line given without its newline; None if it is torn or altered."""
    rest = text[9:]
    if text[:9] != b"%08x " % zlib.crc32(rest) or rest[1:2] != b" ":
        return None
    return Line(rest[:1], rest[2:])
