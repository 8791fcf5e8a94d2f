"""The page of the HTTP API names what is served, and nothing else."""

import re
from pathlib import Path

from metering.console.api.app import BODY_BYTES_MAX
from metering.console.api.books import CALLS_MAX
from metering.console.api.endpoints import ENDPOINTS
from metering.console.api.fields import PAGE_MAX
from metering.console.api.keys import OWN_KEYS_MAX
from metering.console.problems import STATUS_BY_PROBLEM
from metering.console.services import TOKEN_LENGTH_MIN

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "http-api.md"


def rows():
    """Return the cells of all rows of the page."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    found = [line for line in lines if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in found]


def test_each_endpoint_is_told_with_its_members_and_what_it_does():
    told = [row for row in rows() if "/v1/" in row[0]]

    assert [
        [
            f"`{each.method} {each.path}`",
            ", ".join(f"`{n}`" for n in (each.body or each.query).__struct_fields__),
            each.summary,
        ]
        for each in sorted(ENDPOINTS, key=lambda each: each.operator)
    ] == told


def test_each_code_of_a_problem_has_its_status():
    told = {row[0].strip("`"): int(row[1]) for row in rows() if row[1].isdigit()}

    assert told == STATUS_BY_PROBLEM


def test_limits_that_the_page_names_are_those_of_the_code():
    text = PAGE.read_text(encoding="utf-8")
    assert [str(TOKEN_LENGTH_MIN)] == re.findall(r"(\d+) to 1,024 ASCII", text)
    assert [str(PAGE_MAX)] == re.findall(r"1 to (\d+) rows", text)
    assert f"{BODY_BYTES_MAX:,} bytes" in text
    assert f"at most {CALLS_MAX:,}: for more" in text
    assert f"With {OWN_KEYS_MAX} keys in use" in text
