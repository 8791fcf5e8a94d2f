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
from metering.dialects.unbounded import Unbounded

__all__ = ["estimate_input", "unbounded_in"]

_STORED_MEMBERS: Final = ("previous_response_id", "conversation", "prompt")
_CONTENT = ("file_id", "file_url", "file_data", "image_url", "input_audio")
_MARKS = (
    b'image_url"',
    b'"file',
    b'"input_audio"',
    b'"image_generation_call"',
    b'"additional_tools"',
)
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


def unbounded_in(members: Members) -> Unbounded:
    """Return what the model reads that the request's bytes do not bound.

    That is media and files, sent or named, what the server keeps, and whatever tools
    that run beside the model will find.
    """
    unbounded = Unbounded()
    if any(members.get(name, NULL) != NULL for name in _STORED_MEMBERS):
        unbounded.add()
    if not _are_the_clients(read_value(members.get("tools", NULL))):
        unbounded.add()
    items = members.get("input", NULL)

    def take(block: Block) -> bool:
        _add_content(block, unbounded)
        return False  # there may be more of it

    if _names_items(bytes(items)) or any_block(items, _MARKS, take):
        unbounded.add()
    return unbounded


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


def _add_content(block: Block, unbounded: Unbounded) -> None:
    kind = kind_of(block)
    for name in _CONTENT:
        if block.get(name) is not None:
            unbounded.add(block[name])
    if kind == "image_generation_call":
        unbounded.add(block.get("result"))
    elif kind == "additional_tools" and not _are_the_clients(block.get("tools")):
        unbounded.add()


def _are_the_clients(tools: object) -> bool:
    """Whether all *tools* are the client's own: what they find comes in a request."""
    try:
        return all(
            isinstance(tool, dict) and kind_of(tool) in _CLIENT_TOOLS
            for tool in items_of(tools)
        )
    except UNREADABLE:
        return True  # as where they cannot be read at all
