"""What a request of OpenAI's Responses gives to read, and what of that is elsewhere."""

from typing import Final

import msgspec

from metering.dialects.blocks import (
    Block,
    any_block,
    estimated_tokens,
    kind_of,
    read_value,
)
from metering.dialects.dialect import Members
from metering.dialects.figures import NULL, TEXT_BYTES_PER_TOKEN, UNREADABLE
from metering.dialects.json_pieces import items_of

__all__ = ["estimate_input", "reads_stored_input"]

_STORED_MEMBERS: Final = ("previous_response_id", "conversation", "prompt")
_STORED_PARTS = ("file_id", "file_url", "file_data")
_MARKS = (b'image_url"', b'"file', b'"additional_tools"')
_CLIENT_TOOLS = frozenset({"custom", "function"})


class _Item(msgspec.Struct, frozen=True, gc=False):
    type: msgspec.Raw = NULL
    role: msgspec.Raw = NULL


_items = msgspec.json.Decoder(list[_Item])


def estimate_input(members: Members) -> int:
    """Return about how many tokens the model reads."""
    tools = len(members["tools"]) if "tools" in members else 0
    read = (read_value(members.get(n, NULL)) for n in ("instructions", "input"))
    return sum(map(estimated_tokens, read)) - (-tools // TEXT_BYTES_PER_TOKEN)


def reads_stored_input(members: Members) -> bool:
    """Whether the model reads what the request's bytes do not bound.

    That is what the server keeps, content by URL or file id, a file, whose text is
    compressed, and whatever tools that run beside the model will find.
    """
    if any(members.get(name, NULL) != NULL for name in _STORED_MEMBERS):
        return True
    if not _are_the_clients(read_value(members.get("tools", NULL))):
        return True
    items = members.get("input", NULL)
    return _names_items(bytes(items)) or any_block(items, _MARKS, _is_stored)


def _names_items(text: bytes) -> bool:
    """Whether an item is but the id of one that the server keeps."""
    if text[:1] != b"[":
        return False
    try:
        items = _items.decode(text)
    except UNREADABLE:
        return True
    return any(
        item.role == NULL and bytes(item.type) in {b"null", b'"item_reference"'}
        for item in items
    )


def _is_stored(block: Block) -> bool:
    if any(block.get(name) is not None for name in _STORED_PARTS):
        return True
    if kind_of(block) == "additional_tools":
        return not _are_the_clients(block.get("tools"))
    image = block.get("image_url")
    if isinstance(image, dict):
        image = image.get("url")
    return image is not None and not str(image).startswith("data:")


def _are_the_clients(tools: object) -> bool:
    """Whether all *tools* are the client's own: what they find comes in a request."""
    try:
        return all(
            isinstance(tool, dict) and kind_of(tool) in _CLIENT_TOOLS
            for tool in items_of(tools)
        )
    except UNREADABLE:
        return True  # as where they cannot be read at all
