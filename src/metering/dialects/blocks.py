"""The content blocks of a request: texts, calls and media, however deep they lie.

Anthropic's messages and the items of OpenAI's Responses are made of them: objects with
a `type`, whose parts lie in a few members.
"""

from collections.abc import Iterator
from typing import Any

import msgspec

from metering.dialects.openai_input import MEDIA_TOKENS
from metering.dialects.openai_usage import TEXT_BYTES_PER_TOKEN, UNREADABLE

__all__ = ["Block", "blocks_in", "estimated_tokens", "kind_of", "read_value"]

Block = dict[str, Any]

_PARTS = ("content", "output", "source", "summary")
_TEXTS = ("text", "thinking", "refusal", "arguments", "content", "output")
_MEDIA = frozenset(
    {
        "computer_screenshot",
        "container_upload",
        "document",
        "image",
        "input_audio",
        "input_file",
        "input_image",
    }
)
_WRITTEN = frozenset({"content", "text"})  # sources of documents that are no media

_decode = msgspec.json.Decoder().decode


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


def blocks_in(value: object) -> Iterator[Block]:
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
            waiting += [here[name] for name in _PARTS if name in here]


def estimated_tokens(value: object) -> int:
    """Return about how many tokens a text or a list of blocks is.

    Text counts four bytes a token, media by a fixed figure.
    """
    text_bytes = _size(value)
    media = 0
    for block in blocks_in(value):
        kind = kind_of(block)
        media += kind in _MEDIA and not _is_written(block)
        text_bytes += sum(_size(block.get(name)) for name in _TEXTS)
        if kind == "text":
            text_bytes += _size(block.get("data"))
        if "input" in block:
            text_bytes += len(msgspec.json.encode(block["input"]))
    return media * MEDIA_TOKENS - (-text_bytes // TEXT_BYTES_PER_TOKEN)


def _is_written(block: Block) -> bool:
    source = block.get("source")
    return isinstance(source, dict) and kind_of(source) in _WRITTEN


def _size(text: object) -> int:
    if not isinstance(text, str):
        return 0
    return len(text) if text.isascii() else len(text.encode(errors="replace"))
