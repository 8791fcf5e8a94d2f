"""What the how-to on invoices tells a reader to type does what it says."""

import ast
import re
import shlex
from pathlib import Path
from types import FunctionType

import pytest
import typer.main

from metering import Metering
from metering.cli.app import app
from metering.ledger import period_at
from metering.testing import ManualClock
from metering.usage import Usage, UsageEvent

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "invoice-a-month.md"
MODEL = "zai-org/GLM-4.7"


def blocks(language):
    text = PAGE.read_text(encoding="utf-8")
    found = re.findall(
        rf"^( *)```{language}\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE
    )
    return [
        re.sub(f"^{indent}", "", block, flags=re.MULTILINE) for indent, block in found
    ]


@pytest.mark.anyio
async def test_its_python_closes_writes_and_settles(tmp_path, monkeypatch):
    """One call of $0.9365666 in January is an invoice of $0.94, which is then paid."""
    monkeypatch.setenv("METERING_DATA", str(tmp_path))
    clock = ManualClock()
    meter = Metering.from_preset("friendli", clock=clock)
    await meter.start()
    await meter.accounts.create("acme")
    usage = Usage(input_tokens=1_234_567, output_tokens=89_012)
    price = meter.plan.prices.model(MODEL).at(clock())
    event = UsageEvent(
        id="019bbf0a-0000-7000-8000-000000000001",
        account_id="acme",
        tier=1,
        model=MODEL,
        dialect="openai.chat",
        price_version=price.id,
        period=period_at(clock()).key,
        admitted_ns=clock() - 1,  # before the sign-up credit
        ended_ns=clock(),
        ending="completed",
        usage=usage,
        usage_source="upstream",
        charge_p=price.charge_p(usage),
    )
    meter.ledger.post([event])
    clock.advance(seconds=20 * 24 * 3600)
    names = {"meter": meter}
    for block in blocks("python"):
        code = compile(block, PAGE.name, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        ran = FunctionType(code, names)()
        if ran is not None:
            await ran
    invoice = await meter.billing.invoice("acme-2026-01")
    await meter.stop()

    assert ["acme-2026-01"] == list(names["pages"])
    assert "Example Ltd" in names["pages"]["acme-2026-01"]
    assert "pi_1" == invoice.paid_by


def test_its_commands_are_commands():
    """Each is there, with the arguments and options that it is given."""
    lines = [line for block in blocks("console") for line in block.splitlines()]
    for line in lines:
        prompt, program, *arguments = shlex.split(line)
        assert ("$", "metering") == (prompt, program)
        command = typer.main.get_command(app)
        while hasattr(command, "commands"):
            command = command.commands[arguments.pop(0)]
        command.make_context(command.name, arguments)

    assert len(lines) >= 6
