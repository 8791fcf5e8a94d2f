"""The content blocks of a request: texts, calls and media, however deep they lie.

Anthropic's messages and the items of OpenAI's Responses are made of them: objects with
a `type`, whose parts lie in a few members.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec

from metering.dialects.figures import TEXT_BYTES_PER_TOKEN, UNREADABLE
from metering.dialects.openai_input import MEDIA_TOKENS

__all__ = ["Block", "any_block", "estimated_tokens", "kind_of", "read_value"]

Block = dict[str, Any]

_PARTS = ("content", "output", "source", "summary")
_TEXTS = frozenset({"text", "thinking", "refusal", "arguments", "content", "output"})
# A tuple: what is compared with it may be of any type.
_MEDIA = (
    "image",
    "input_image",
    "document",
    "input_file",
    "input_audio",
    "computer_screenshot",
    "container_upload",
)
_WRITTEN = frozenset({"content", "text"})  # sources of documents that are no media

_ESCAPED_LETTER = b"\\u00"

_decode = msgspec.json.Decoder().decode
_elements = msgspec.json.Decoder(list[msgspec.Raw])


def read_value(raw: msgspec.Raw) -> Any:
    """Return what a member says; None where it cannot be read: the app refuses it."""
    try:
        return _decode(raw)
    except UNREADABLE:
        return None


def kind_of(block: Block) -> str:
    """Return a block's `type`, or "" if it has none."""
    kind = block.get("type")
    return kind if isinstance(kind, str) else ""


def any_block(
    raw: msgspec.Raw, marks: Iterable[bytes], holds: Callable[[Block], bool]
) -> bool:
    """Whether any block in a list of messages or items *holds*; unreadable ones do.

    Only elements of the list whose bytes have one of *marks* are decoded, or a letter
    that is written as an escape, for it may be one of a mark's.
    """
    marks = (*marks, _ESCAPED_LETTER)
    text = bytes(raw)
    if text[:1] != b"[" or not _has_any(text, marks):
        return False
    try:
        marked = [e for e in _elements.decode(raw) if _has_any(bytes(e), marks)]
        return any(any(map(holds, _blocks_in(_decode(each)))) for each in marked)
    except UNREADABLE:
        return True


def _has_any(text: bytes, marks: Iterable[bytes]) -> bool:
    # `rfind` because it is the fastest way to learn that something is not there.
    return max(map(text.rfind, marks)) >= 0


def _blocks_in(value: object) -> Iterator[Block]:
    """Yield every block in a list of messages or items, and those within blocks.

    Arguments of tools are no blocks, whatever they look like.
    """
    waiting = [value]
    while waiting:
        here = waiting.pop()
        if isinstance(here, list):
            waiting += here
        elif isinstance(here, dict):
            yield here
            for name in _PARTS:
                if name in here:
                    waiting.append(here[name])


def estimated_tokens(value: object) -> int:
    """Return about how many tokens a text or a list of blocks is.

    Text counts four bytes a token, media by a fixed figure.
    """
    text_bytes = _size(value)
    media = 0
    for block in _blocks_in(value):
        kind = block.get("type")
        if kind in _MEDIA and not _is_written(block):
            media += 1
        for name, part in block.items():
            if name in _TEXTS or (name == "data" and kind == "text"):
                text_bytes += _size(part)
            elif name == "input":
                text_bytes += _json_size(part)
    return media * MEDIA_TOKENS - (-text_bytes // TEXT_BYTES_PER_TOKEN)


def _is_written(block: Block) -> bool:
    source = block.get("source")
    return isinstance(source, dict) and kind_of(source) in _WRITTEN


def _json_size(value: object) -> int:
    try:
        return len(msgspec.json.encode(value))
    except UNREADABLE:
        return 0  # a number that JSON here cannot hold; the app will refuse it


def _size(text: object) -> int:
    if not isinstance(text, str):
        return 0
    return len(text) if text.isascii() else len(text.encode(errors="replace"))
