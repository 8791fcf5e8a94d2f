"""The reference of codes, headers and log events is complete, and nothing else."""

import ast
import re
from pathlib import Path

import metering
from metering.asgi.refusal import STATUS_BY_CODE
from metering.recorder import _SHIPPING_TOLD

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "docs" / "reference"
SOURCES = ROOT / "src" / "metering"
OF_HEADERS = re.compile(r"[a-z]+(?:-[a-z]+)+|authorization|ratelimit")


def rows(page):
    """Return the cells of all tables of a page."""
    text = (PAGES / page).read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def names(cell):
    """Return what stands between backticks."""
    return re.findall(r"`([^`]+)`", cell)


def test_each_code_has_its_status():
    told = {names(row[0])[0]: row[1] for row in rows("errors.md") if row[1].isdigit()}

    assert {code: str(status) for code, status in STATUS_BY_CODE.items()} == told


def test_each_exception_is_told_with_what_it_is():
    told = {names(row[0])[0]: row for row in rows("errors.md")}
    raised = [name for name in metering.__all__ if name.endswith("Error")]

    assert raised == sorted(name for name in told if name.endswith("Error"))
    for name in raised:
        kinds = [kind.__name__ for kind in getattr(metering, name).__mro__[1:-1]]
        assert set(names(told[name][1])) <= set(kinds), name


def _texts():
    """Yield each literal of bytes in the sources of the pieces, as text."""
    for path in (SOURCES / "asgi").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, bytes):
                yield node.value.decode("latin-1")


def test_each_header_that_the_pieces_name_is_told():
    """Each literal of bytes in their sources that can be the name of a header."""
    told = {name for row in rows("headers.md") for name in names(row[0])}
    page = set(names((PAGES / "headers.md").read_text(encoding="utf-8")))
    written = {text for text in _texts() if OF_HEADERS.fullmatch(text)}

    assert written <= page
    made = {name for name in told if name.startswith("x-ratelimit-")}
    assert told - made <= written
    assert {
        f"x-ratelimit-{what}-{kind}"
        for what in ("limit", "remaining", "reset")
        for kind in ("requests", "tokens")
    } == made


def _logged():
    """Yield name and level of each event that is logged by its name."""
    for path in SOURCES.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and isinstance(node.func.value, ast.Name)
                and node.func.value.id == "_log"
                and isinstance(node.args[0], ast.Constant)
            ):
                yield node.args[0].value, node.func.attr


def test_each_log_event_is_told_with_its_level():
    told = {}
    for row in rows("logs.md"):
        events, levels = names(row[0]), row[1].split(", ")
        levels *= len(events) if len(levels) == 1 else 1
        told |= dict(zip(events, levels, strict=True))
    by_name = dict(_logged())
    shipping = set(_SHIPPING_TOLD.values())

    assert set(by_name) | shipping == set(told)
    assert by_name == {name: told[name] for name in by_name}
