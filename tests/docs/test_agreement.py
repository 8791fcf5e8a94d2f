"""What the how-to on agreements tells a reader to type does what it says."""

import ast
import re
from pathlib import Path
from types import FunctionType

import pytest

from metering import Metering
from metering.backends.sql import SqlLedger
from metering.config import plan_from_preset
from metering.money import PICO

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "agree-with-one-account.md"


@pytest.mark.anyio
async def test_its_blocks_run_as_they_stand():
    """The account is then in tier 5, with its own limit, cap, rate and price."""
    ledger = SqlLedger("sqlite://", tiers=plan_from_preset("friendli").tiers)
    meter = Metering.from_preset("friendli", ledger=ledger)
    await meter.accounts.create("acme")
    page = PAGE.read_text(encoding="utf-8")
    for block in re.findall(r"   ```python\n(.*?)```", page, re.DOTALL):
        source = "\n".join(line.removeprefix("   ") for line in block.splitlines())
        code = compile(source, PAGE.name, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        await FunctionType(code, {"meter": meter})()
    account = await meter.accounts.get("acme")
    await meter.stop()

    agreed = account.overrides
    assert 5 == meter.accounts.tier_of(account).level
    assert (500 * PICO, 32_768) == (agreed.usage_limit_p, agreed.output_tokens_max)
    assert 65_536 == agreed.reasoning_output_tokens_max
    assert (["paid"], ["zai-org/GLM-4.7"]) == (
        list(agreed.requests),
        list(agreed.prices),
    )
