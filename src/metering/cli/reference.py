"""The reference of all commands, as the page in the documentation has it.

`python -m metering.cli.reference PAGE` writes it into the page, below its marker.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main

from metering.cli.app import app
from metering.cli.command import PANEL

__all__ = ["MARKER", "reference", "with_reference"]

MARKER = "<!-- What follows is written by: python -m metering.cli.reference PAGE -->\n"


def reference() -> str:
    """Return every command with its arguments and options, as Markdown."""
    return "\n".join(_sections(typer.main.get_command(app), "metering"))


def with_reference(page: str) -> str:
    """Return a page with the reference below its marker."""
    return page.partition(MARKER)[0] + MARKER + "\n" + reference()


def _sections(command: Any, path: str) -> Iterator[str]:
    groups = getattr(command, "commands", None)
    if groups is None:
        yield f"## `{path}`\n"
        yield _text(command.help) + "\n"
        yield from _table(command)
        return
    for name, inner in groups.items():
        yield from _sections(inner, f"{path} {name}")


def _table(command: Any) -> Iterator[str]:
    rows = [_row(param) for param in command.params if _is_own(param)]
    if rows:
        yield "| | |"
        yield "|---|---|"
        yield from rows
        yield ""


def _is_own(param: Any) -> bool:
    return not (param.name == "help" or param.rich_help_panel == PANEL)


def _row(param: Any) -> str:
    if param.param_type_name == "argument":
        name = (param.metavar or param.name.upper()).strip("[]")
        note = "" if param.required else " Optional."
        return f"| `{name}` | {_text(param.help)}{note} |"
    name = "`, `".join([*param.opts, *param.secondary_opts])
    note = " Required." if param.required else _default(param)
    return f"| `{name}` | {_text(param.help)}{note} |"


def _default(param: Any) -> str:
    if param.is_flag or param.default in {None, ""} or callable(param.default):
        return ""
    return f" Default: `{param.default}`."


def _text(text: str | None) -> str:
    paragraphs = (text or "").strip().split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


if __name__ == "__main__":
    page = Path(sys.argv[1])
    page.write_text(with_reference(page.read_text("utf-8")), encoding="utf-8")
