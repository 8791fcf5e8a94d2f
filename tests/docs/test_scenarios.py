"""The table of scenarios names a test for each of the forty, and tests that exist."""

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "explanation" / "scenarios.md"
ROW = re.compile(r"^\| (\d+) \|.*\| (`.+`) \|$", re.MULTILINE)


def test_each_scenario_is_a_test():
    rows = ROW.findall(PAGE.read_text(encoding="utf-8"))
    missing = []
    for _, cell in rows:
        for name in re.findall(r"`([^`]+)`", cell):
            file, _, start = name.partition("::")
            if f"def {start}" not in (TESTS / file).read_text(encoding="utf-8"):
                missing.append(name)

    assert [str(number) for number in range(1, 41)] == [number for number, _ in rows]
    assert [] == missing
