"""Reading a `multipart/form-data` body as strictly as the strictest of servers.

Servers differ in what they make of an odd form, and a model that is read here as
another one than there would be paid for by the wrong price. So whatever two of them may
read differently is not read at all.
"""

import re
from typing import NamedTuple, Protocol, runtime_checkable

from metering.dialects.dialect import Members
from metering.dialects.wav import wav_ms

__all__ = ["Form", "FormFile", "ReadsForms", "UnreadableFormError", "read_form"]

PARTS_MAX = 128
"""Most fields and files of one form."""

_HEAD_BYTES_MAX = 8 * 1024
# Quoted without escapes, or of the letters that need no quotes.
_PARAMETER = re.compile(
    rb'[ \t]*;[ \t]*([a-z0-9_-]+\*?)=(?:"([^"\\]*)"|([!#-:<-\[\]-~]+))', re.IGNORECASE
)
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_HEADER = re.compile(rb"[a-z0-9_-]+")
_CHARSET = re.compile(rb'charset\s*=\s*"?([^\s";]*)')
_UTF_8 = frozenset({b"utf-8", b"utf8", b"us-ascii"})
_PLAIN_CODINGS = frozenset({b"7bit", b"8bit", b"binary"})


class UnreadableFormError(Exception):
    """The form is none, or one that servers may read differently; says why."""


class FormFile(NamedTuple):
    """A file of a form, without its bytes.

    Attributes:
        size_bytes: How many it has.
        wav_ms: Its length as a WAV file; None if it is no such file.
    """

    size_bytes: int
    wav_ms: int | None


class Form(NamedTuple):
    """What a form says.

    Attributes:
        fields: Texts by name; no name is given twice, but for those that end in `[]`,
            of which the last stands.
        files: Files by name, in their order.
    """

    fields: dict[str, str]
    files: dict[str, tuple[FormFile, ...]]


@runtime_checkable
class ReadsForms(Protocol):
    """A dialect whose requests may be forms: its `read_request` knows their members."""

    def members_of(self, form: Form) -> Members:
        """Return what a form says as the members of a request."""
        ...


def read_form(content_type: bytes, body: bytes) -> Form:
    """Return what a form says; its files are looked at and not copied.

    Args:
        content_type: The request's header, with the boundary.
        body: The whole body.

    Raises:
        UnreadableFormError: Says what is wrong with it.
    """
    mark = b"\r\n--" + _boundary(content_type)
    form = Form({}, {})
    if not body.startswith(mark[2:]):
        raise UnreadableFormError("it does not begin with its boundary")
    at = len(mark) - 2
    for _ in range(PARTS_MAX):
        if body[at : at + 2] == b"--":
            if body[at + 2 :].strip():
                raise UnreadableFormError("something follows its end")
            return form
        end = body.find(mark, at)
        if body[at : at + 2] != b"\r\n" or end < 0:
            raise UnreadableFormError("a part of it has no boundary after it")
        if any(body.find(line + mark[2:], at, end) >= 0 for line in (b"\n", b"\r")):
            # To Werkzeug, and so to Quart, a part ends there all the same.
            raise UnreadableFormError("a boundary in it follows half an end of line")
        _take_part(form, body, at + 2, end)
        at = end + len(mark)
    raise UnreadableFormError(f"it has more than {PARTS_MAX} parts")


def _boundary(content_type: bytes) -> bytes:
    parameters = _parameters(content_type, b"multipart/form-data")
    if parameters.get(b"charset", b"utf-8").lower() not in _UTF_8:
        raise UnreadableFormError("it is not in UTF-8")
    boundary = parameters.get(b"boundary", b"")
    if not 1 <= len(boundary) <= 70:  # noqa: PLR2004 - RFC 2046's own bound
        raise UnreadableFormError("its boundary is not told")
    return boundary


def _parameters(value: bytes, kind: bytes) -> dict[bytes, bytes]:
    """Return the parameters of a header that must be of a kind."""
    text = value.rstrip(b" \t").removesuffix(b";")
    at = len(kind)
    if text[:at].lower() != kind or _CONTROL.search(text):
        raise UnreadableFormError(f"a header of it does not tell {kind.decode()} alone")
    found: dict[bytes, bytes] = {}
    while at < len(text):
        one = _PARAMETER.match(text, at)
        if one is None or one[1].lower() in found:
            raise UnreadableFormError(
                "a header of it has an odd parameter, or one twice"
            )
        found[one[1].lower()] = one[2] or one[3] or b""
        at = one.end()
    return found


def _take_part(form: Form, body: bytes, start: int, end: int) -> None:
    """Add the part of *body* from its headers on to what the form says."""
    blank = body.find(b"\r\n\r\n", start, min(end, start + _HEAD_BYTES_MAX))
    if blank < 0:
        raise UnreadableFormError("a part of it has no headers, or endless ones")
    name, is_file = _name_of(body[start:blank])
    content = memoryview(body)[blank + 4 : end]
    if is_file:
        if name in form.fields:
            raise UnreadableFormError(f"{name[:40]!r} is a file and a text")
        file = FormFile(len(content), wav_ms(content))
        form.files[name] = (*form.files.get(name, ()), file)
        return
    if name in form.files or (name in form.fields and not name.endswith("[]")):
        raise UnreadableFormError(f"{name[:40]!r} is given twice")
    try:
        form.fields[name] = str(content, "utf-8")
    except UnicodeDecodeError:
        raise UnreadableFormError(f"{name[:40]!r} is not in UTF-8") from None


def _name_of(head: bytes) -> tuple[str, bool]:
    """Return the name of a part, and whether it is a file."""
    headers: dict[bytes, bytes] = {}
    for line in head.split(b"\r\n"):
        name, colon, value = line.partition(b":")
        name = name.lower()
        if not colon or not _HEADER.fullmatch(name) or name in headers:
            raise UnreadableFormError("a part of it has an odd header, or one twice")
        headers[name] = value.strip(b" \t")
    coding = headers.get(b"content-transfer-encoding", b"binary").lower()
    charsets = _CHARSET.findall(headers.get(b"content-type", b"").lower())
    if coding not in _PLAIN_CODINGS or not _UTF_8.issuperset(charsets):
        raise UnreadableFormError("a part of it is encoded once more")
    disposition = headers.get(b"content-disposition", b"")
    parameters = _parameters(disposition, b"form-data")
    if not parameters.get(b"name") or b"name*" in parameters:
        raise UnreadableFormError("a part of it has no plain name")
    try:
        name_text = parameters[b"name"].decode()
    except UnicodeDecodeError:
        raise UnreadableFormError("a name in it is not in UTF-8") from None
    return name_text, b"filename" in parameters or b"filename*" in parameters
