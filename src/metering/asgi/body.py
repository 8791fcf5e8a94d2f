"""Reading a request body once, within a bound, and handing it on."""

from collections.abc import Iterable

import msgspec
from starlette.types import Message, Receive, Scope

from metering.asgi.context import Call
from metering.asgi.refusal import Refusal
from metering.dialects.dialect import Members

__all__ = ["ClientLeftError", "Replay", "read_call", "rewritten"]

_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_CODINGS = frozenset({b"content-encoding", b"x-body-compressed"})  # HTTP's, SGLang's
_LENGTH_DIGITS_MAX = 18


class ClientLeftError(Exception):
    """The client hung up before its request was whole."""


async def read_call(
    call: Call, scope: Scope, receive: Receive, body_bytes_max: int
) -> Refusal | None:
    """Read body and facts into *call*, unless an outer piece has done so.

    Returns:
        A refusal, or None. A body that names no model leaves the call without facts;
        one that is no JSON object, without members: no model server takes that.

    Raises:
        ClientLeftError: There is nobody to answer any more.
    """
    if call.body is not None:
        return None
    length, coding = _declared(scope.get("headers", ()))
    if coding:
        return Refusal(
            "unsupported_content_encoding",
            f"A body encoded as {coding.decode('latin-1')!r} is not read here."
            " Send the JSON body as it is.",
        )
    if length > body_bytes_max:
        return _too_large(body_bytes_max)
    body = await _read(receive, body_bytes_max)
    if body is None:
        return _too_large(body_bytes_max)
    call.body = body
    # The content type is not asked: apps decode JSON whatever it says.
    return _read_facts(call, body) if body else None


def _declared(headers: Iterable[tuple[bytes, bytes]]) -> tuple[int, bytes]:
    """Return the length and the coding of the body; 0 and b"" where none is told."""
    length, coding = 0, b""
    for key, value in headers:
        name = key.lower()
        if name == b"content-length" and value.isdigit():
            # Only compared: its first digits are enough, and more than int() takes.
            length = int(value[:_LENGTH_DIGITS_MAX])
        elif name in _CODINGS and value.lower() not in {b"", b"identity"}:
            coding = value
    return length, coding


def _read_facts(call: Call, body: bytes) -> Refusal | None:
    try:
        members: Members = _MEMBERS.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _unreadable(body)
    call.members = members
    call.facts = call.dialect.read_request(members)
    return None


def _unreadable(body: bytes) -> Refusal | None:
    # Some servers read more than JSON: NaN, a byte-order mark, UTF-16. Whatever could
    # be an object to one of them must not pass the clamp and the meter unread.
    start = body.lstrip(b" \t\r\n\xef\xbb\xbf\xff\xfe\x00")[:1]
    if start != b"{":
        return None
    return Refusal(
        "invalid_json", "The body is not valid JSON (RFC 8259) in UTF-8. Mend it."
    )


async def _read(receive: Receive, body_bytes_max: int) -> bytes | None:
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientLeftError
        part = message.get("body", b"")
        if not message.get("more_body", False):
            if size + len(part) > body_bytes_max:
                return None
            if not parts:
                return bytes(part)
            parts.append(part)
            return b"".join(parts)
        size += len(part)
        if size > body_bytes_max:
            return None
        parts.append(part)


def _too_large(body_bytes_max: int) -> Refusal:
    return Refusal(
        "body_too_large",
        f"The body is larger than {body_bytes_max} bytes. Send less, or let the"
        " operator raise calls.body_bytes_max.",
    )


class Replay:
    """A `receive` that gives the body once, then is the server's own."""

    __slots__ = ("_body", "_receive")

    def __init__(self, body: bytes, receive: Receive) -> None:
        self._body: bytes | None = body
        self._receive = receive

    async def __call__(self) -> Message:
        """Return the next message."""
        if self._body is None:
            return await self._receive()
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}


def rewritten(call: Call) -> bytes | None:
    """Return the body with the planned changes, or None where there are none."""
    if not call.changes or call.members is None:
        return None
    members = dict(call.members)
    members.update({name: msgspec.Raw(text) for name, text in call.changes.items()})
    return msgspec.json.encode(members)
