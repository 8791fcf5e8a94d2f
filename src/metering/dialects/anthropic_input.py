"""What an Anthropic request gives its model to read, and what of that is elsewhere."""

from typing import Final

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

__all__ = ["TEMPLATE_TOKENS", "estimate_input", "template_tokens", "unbounded_in"]

TEMPLATE_TOKENS: Final = 1024
"""Most that a server adds to say how tools are called, and again for each tool that it
defines itself, such as `bash_20250124`."""

_CLIENT_TOOLS = ("bash_", "computer_2", "memory_", "text_editor_")
_MARKS = (b'"source"', b'"file_id"')
_WRITTEN = frozenset({"content", "text"})  # sources that are no media
_READ = ("system", "messages")
_STORED_MEMBERS = ("container", "mcp_servers")


def estimate_input(members: Members) -> int:
    """Return about how many tokens the model reads."""
    tools = len(members["tools"]) if "tools" in members else 0
    read = (read_value(members.get(name, NULL)) for name in _READ)
    return sum(map(estimated_tokens, read)) - (-tools // TEXT_BYTES_PER_TOKEN)


def template_tokens(members: Members) -> int:
    """Return the most that is added to the text of a request."""
    defined = sum(_is_defined_by_server(tool) for tool in _tools(members))
    return TEMPLATE_TOKENS * (1 + defined)


def unbounded_in(members: Members) -> Unbounded:
    """Return what the model reads that the request's bytes do not bound.

    That is media and files, sent or named, and whatever tools that run beside the model
    will find.
    """
    unbounded = Unbounded()
    if any(members.get(name, NULL) != NULL for name in _STORED_MEMBERS):
        unbounded.add()
    if any(_runs_beside_model(tool) for tool in _tools(members)):
        unbounded.add()

    def take(block: Block) -> bool:
        _add_content(block, unbounded)
        return False  # there may be more of it

    for name in _READ:
        if any_block(members.get(name, NULL), _MARKS, take):
            unbounded.add()
    return unbounded


def _add_content(block: Block, unbounded: Unbounded) -> None:
    source = block.get("source")
    if isinstance(source, dict) and kind_of(source) not in _WRITTEN:
        unbounded.add(source.get("data"))
    if block.get("file_id") is not None:
        unbounded.add()


def _tools(members: Members) -> list[Block]:
    raw = members.get("tools", NULL)
    tools = None if raw == NULL else read_value(raw)
    try:
        return [tool for tool in items_of(tools) if isinstance(tool, dict)]
    except UNREADABLE:
        return []


def _is_defined_by_server(tool: Block) -> bool:
    return kind_of(tool) not in {"", "custom"}


def _runs_beside_model(tool: Block) -> bool:
    return _is_defined_by_server(tool) and not kind_of(tool).startswith(_CLIENT_TOOLS)
