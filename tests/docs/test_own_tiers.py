"""What the how-to on tiers tells a reader to write and to type, in its order."""

import json
import re
import shlex
import textwrap
from pathlib import Path

import pytest
from typer.testing import CliRunner

from metering.cli.app import app
from metering.config import load_plan

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "write-your-own-tiers.md"


def blocks(language):
    """Return the page's blocks of a language, without their indent."""
    text = PAGE.read_text(encoding="utf-8")
    found = re.findall(
        rf"^   ```{language}\n(.*?)^   ```", text, re.DOTALL | re.MULTILINE
    )
    return [textwrap.dedent(block) for block in found]


def invoke(*arguments):
    """Run one command; return its exit code and what it answers."""
    ran = CliRunner().invoke(app, arguments)
    return ran.exit_code, ran.stdout


@pytest.fixture
def plan(tmp_path, monkeypatch):
    """A folder in which the plan of the page is the one in force."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("METERING_CONFIG", "metering.toml")
    monkeypatch.setenv("METERING_DATA", str(tmp_path))
    Path("metering.toml").write_text("".join(blocks("toml")), encoding="utf-8")


@pytest.mark.usefixtures("plan")
def test_its_commands_in_their_order():
    """The plan is right, and acme rises with each step as the page says."""
    first, check, promote = blocks("console")
    tiers = []
    for line in (check + promote).replace("$ metering ", "").splitlines():
        code, said = invoke(*shlex.split(line))
        assert 0 == code, said
        if "acme" in line:
            _, said = invoke("accounts", "show", "acme", "--json")
            tiers.append(json.loads(said)["tier"]["name"])
    Path("metering.toml").unlink()
    codes = [invoke(*shlex.split(line[11:]))[0] for line in first.splitlines()[:2]]

    assert ["Trial", "Card", "Regular", "Regular", "Partner"] == tiers
    assert [0, 0] == codes


def test_what_its_tiers_mean():
    """Caps, spending and requests are those of the page."""
    plan = load_plan("".join(blocks("toml")), source=PAGE.name)
    tiers = plan.tiers.tiers

    assert [2048, 8192, 16384, 65536] == [tier.output_tokens_max for tier in tiers]
    assert {"paid", "free"} == tiers[0].adaptive
    assert [None, 20, 1000, 50_000] == [
        tier.usage_limit_p and tier.usage_limit_p // 10**12 for tier in tiers
    ]
    assert ["tokens-per-minute", "running"] == [limit.name for limit in plan.limits]
