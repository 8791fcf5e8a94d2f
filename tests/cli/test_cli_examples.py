"""What README and tutorial tell a reader to type at a terminal can be typed."""

import re
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def commands(page, heading):
    """Return the arguments of each `metering` in the section of that heading."""
    text = (ROOT / page).read_text(encoding="utf-8")
    block = re.search(rf"## {heading}.*?```console\n(.*?)```", text, re.DOTALL)[1]
    lines = re.findall(r"^\$ (?:\.venv/bin/)?metering (.+)$", block, re.MULTILINE)
    return [shlex.split(line) for line in lines]


def test_the_readme_s_in_their_order(run, home, monkeypatch):
    """From an empty folder, with the plan that the first one writes."""
    codes = []
    for arguments in commands("README.md", "From a terminal"):
        codes.append(run(*arguments).code)
        if (home / "metering.toml").exists():
            monkeypatch.setenv("METERING_CONFIG", "metering.toml")

    assert [0] * 6 == codes


@pytest.mark.usefixtures("acme")
def test_the_tutorial_s(run):
    """Of an account that is there."""
    page = "docs/tutorial/first-metered-app.md"
    codes = [run(*each).code for each in commands(page, "7. From a terminal")]

    assert [0] * 4 == codes
