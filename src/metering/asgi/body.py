"""Reading a request body once, within a bound, and handing it on."""

from collections.abc import Iterable

import msgspec
from anyio import to_thread
from starlette.types import Message, Receive, Scope

from metering.asgi.codings import (
    CODINGS_BUILT_IN,
    TooLongError,
    UndecodableError,
    coding_named,
    decoded_within,
    open_decoder,
)
from metering.asgi.context import Call
from metering.asgi.refusal import NAME_SHOWN_MAX, Refusal
from metering.dialects.dialect import Members
from metering.dialects.form import ReadsForms, UnreadableFormError, read_form

__all__ = ["CODING_HEADERS", "ClientLeftError", "Replay", "read_call", "rewritten"]

_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])
CODING_HEADERS = frozenset({b"content-encoding", b"x-body-compressed"})
"""Where a request tells that its body is compressed: HTTP's header, and SGLang's."""

READ_INLINE_MAX = 32 * 1024
"""Bytes of a body that is read within the event loop: three milliseconds at most."""

_LENGTH_DIGITS_MAX = 18


class ClientLeftError(Exception):
    """The client hung up before its request was whole."""


async def read_call(
    call: Call, scope: Scope, receive: Receive, body_bytes_max: int
) -> Refusal | None:
    """Read body and facts into *call*, unless an outer piece has done so.

    Returns:
        A refusal, or None. A body that names no model leaves the call without facts;
        one that is no JSON object, nor a form where forms are sent, without members:
        no model server takes that.

    Raises:
        ClientLeftError: There is nobody to answer any more.
    """
    if call.body is not None:
        return None
    length, coding = _declared(scope.get("headers", ()))
    if coding and open_decoder(coding, len) is None:
        return _not_decoded(coding)
    fits = length <= body_bytes_max
    body = await _read(receive, body_bytes_max) if fits else None
    if body is not None and coding:
        try:
            body = await _decoded(coding, body, body_bytes_max)
        except UndecodableError:
            return _not_of_its_coding(coding)
        call.decoded = True
    if body is None:
        return _too_large(body_bytes_max)
    call.body = body
    if len(body) <= READ_INLINE_MAX:
        return _read_facts(call, scope, body)
    return await to_thread.run_sync(_read_large, call, scope, body)


def _declared(headers: Iterable[tuple[bytes, bytes]]) -> tuple[int, bytes]:
    """Return the length and the coding of the body; 0 and b"" where none is told."""
    length, coding = 0, b""
    codings: list[bytes] | None = None
    for key, value in headers:
        name = key.lower()
        if name == b"content-length" and value.isdigit():
            # Only compared: its first digits are enough, and more than int() takes.
            length = int(value[:_LENGTH_DIGITS_MAX])
        elif name in CODING_HEADERS:
            codings = [*(codings or ()), value]
    if codings:
        coding = coding_named(codings)
    return length, coding


async def _decoded(coding: bytes, body: bytes, bytes_max: int) -> bytes | None:
    """Return a body decoded, or None if it is too long then."""
    try:
        # In a thread, for a few bytes may become many.
        return await to_thread.run_sync(decoded_within, coding, body, bytes_max)
    except TooLongError:
        return None


def _not_decoded(coding: bytes) -> Refusal:
    shown = coding[:NAME_SHOWN_MAX].decode("latin-1")
    return Refusal(
        "unsupported_content_encoding",
        f"A body encoded as {shown!r} is not read here. Send it as it is, or in one of:"
        " gzip, deflate; br and zstd where the operator has installed"
        " asgi-metering[compression].",
        headers=((b"accept-encoding", CODINGS_BUILT_IN),),
    )


def _not_of_its_coding(coding: bytes) -> Refusal:
    return Refusal(
        "invalid_content_encoding",
        f"The body is not {coding.decode('latin-1')}, as its content-encoding says."
        " Mend one of them.",
    )


def _read_facts(call: Call, scope: Scope, body: bytes) -> Refusal | None:
    if not body:
        return None
    # The content type is not asked: apps decode JSON whatever it says.
    members: Members
    try:
        members = _MEMBERS.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        if not isinstance(call.dialect, ReadsForms):
            return _unreadable(body)
        kinds = [v for k, v in scope.get("headers", ()) if k.lower() == b"content-type"]
        try:
            form = read_form(kinds[0] if len(kinds) == 1 else b"", body)
        except UnreadableFormError as error:
            return _not_a_form(error)
        members = call.dialect.members_of(form)
    call.members = members
    call.facts = call.dialect.read_request(members)
    return None


def _read_large(call: Call, scope: Scope, body: bytes) -> Refusal | None:
    refusal = _read_facts(call, scope, body)
    # Whoever wants the estimate later wants it in the event loop.
    call.estimate_input_tokens()
    return refusal


def _unreadable(body: bytes) -> Refusal | None:
    # Some servers read more than JSON: NaN, a byte-order mark, UTF-16. Whatever could
    # be an object to one of them must not pass the clamp and the meter unread.
    start = body.lstrip(b" \t\r\n\xef\xbb\xbf\xff\xfe\x00")[:1]
    if start != b"{":
        return None
    return Refusal(
        "invalid_json", "The body is not valid JSON (RFC 8259) in UTF-8. Mend it."
    )


def _not_a_form(error: UnreadableFormError) -> Refusal:
    return Refusal(
        "invalid_form",
        "The body is no JSON object, nor a form that every server reads alike:"
        f" {error}. Mend it.",
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
        f"The body is larger than {body_bytes_max} bytes, as it was sent or as it"
        " was decoded. Send less, or let the operator raise calls.body_bytes_max.",
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
