"""The content blocks of a request: texts, calls and media, however deep they lie.

Anthropic's messages and the items of OpenAI's Responses are made of them: objects with
a `type`, whose parts lie in a few members.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec

from metering.dialects.figures import TEXT_BYTES_PER_TOKEN, UNREADABLE
from metering.dialects.json_pieces import LongList, opened
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


def read_value(raw: msgspec.Raw) -> Any:
    """Return what a member says; None where it cannot be read: the app refuses it.

    A long list in it is a `LongList`, which may still turn out to be unreadable.
    """
    try:
        return opened(raw)
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

    Only what has one of *marks* in its bytes is decoded, or a letter that is written as
    an escape, for it may be one of a mark's.
    """
    marks = (*marks, _ESCAPED_LETTER)

    def has_mark(text: bytes) -> bool:
        # `rfind` because it is the fastest way to learn that something is not there.
        return max(map(text.rfind, marks)) >= 0

    text = bytes(raw)
    if text[:1] != b"[" or not has_mark(text):
        return False
    try:
        return any(map(holds, _blocks_in(opened(raw), has_mark)))
    except UNREADABLE:
        return True


def _blocks_in(
    value: object, wanted: Callable[[bytes], bool] = bool
) -> Iterator[Block]:
    """Yield the blocks in a list of messages or items, and those within blocks.

    Arguments of tools are no blocks, whatever they look like.

    Args:
        value: The list.
        wanted: Whether some text of a long list is worth being decoded.
    """
    waiting = [value]
    while waiting:
        here = waiting.pop()
        if isinstance(here, list):
            waiting += here
        elif isinstance(here, LongList):
            for each in here.where(wanted):
                yield from _blocks_in(each, wanted)
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
    try:
        for block in _blocks_in(value):
            media += block.get("type") in _MEDIA and not _is_written(block)
            text_bytes += _text_bytes(block)
    except UNREADABLE:
        return 0  # as where it cannot be read at all: the app refuses it
    return media * MEDIA_TOKENS - (-text_bytes // TEXT_BYTES_PER_TOKEN)


def _text_bytes(block: Block) -> int:
    """Return the bytes of the texts that lie in a block itself, not in its parts."""
    text_bytes = 0
    for name, part in block.items():
        if name in _TEXTS or (name == "data" and block.get("type") == "text"):
            text_bytes += _size(part)
        elif name == "input":
            text_bytes += _json_size(part)
    return text_bytes


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
