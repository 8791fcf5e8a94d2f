"""What the pages on moving here tell a reader to write does what they say."""

import ast
import csv
import hashlib
import re
import textwrap
from pathlib import Path
from types import FunctionType

import httpx
import pytest
from fastapi import FastAPI

from metering import Metering
from metering.money import PICO
from metering.testing import FakeModel

pytestmark = pytest.mark.anyio

PAGES = Path(__file__).parents[2] / "docs" / "how-to"


def blocks(page, language):
    """Return the blocks of a language on a page."""
    text = (PAGES / page).read_text(encoding="utf-8")
    found = re.findall(
        rf"^( *)```{language}\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE
    )
    return [textwrap.dedent(block) for _, block in found]


async def run(source, **names):
    """Run Python that may await at its top level; return its names."""
    code = compile(source, "page", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    ran = FunctionType(code, names)()
    if ran is not None:
        await ran
    return names


@pytest.fixture
def plan(tmp_path, monkeypatch):
    """Return a function that writes the plan of a page where it is looked for."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("METERING_DATA", str(tmp_path))
    monkeypatch.setenv("METERING_CONFIG", "metering.toml")

    def write(page):
        Path("metering.toml").write_text("".join(blocks(page, "toml")))

    return write


async def ask(app, model, key=None, **body):
    """Call a model; return the answer."""
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    body |= {"model": model, "messages": [{"role": "user", "content": "a b c"}]}
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://t") as client:
        return await client.post("/v1/chat/completions", json=body, headers=headers)


async def test_slowapi_s_limits_in_a_plan(plan):
    """Five calls of an address are served, the sixth is told which limit it met."""
    plan("move-from-slowapi.md")
    app = FastAPI()
    app.mount("/", FakeModel())
    (source,) = blocks("move-from-slowapi.md", "python")
    meter = (await run(source, app=app))["meter"]
    await meter.accounts.create("everybody")
    answers = [await ask(app, "my-model", max_tokens=100) for _ in range(6)]
    await meter.stop()

    assert [200] * 5 + [429] == [answer.status_code for answer in answers]
    assert "per-address" == answers[-1].json()["error"]["quota"]


KEYS = [
    "token",
    "key_name",
    "team_id",
    "user_id",
    "spend",
    "max_budget",
    "budget_duration",
    "blocked",
]
TEAMS = ["team_id", "spend", "max_budget", "budget_duration"]


def write(name, columns, *rows):
    """Write rows as psql does."""
    with Path(name).open("w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])


def hashed(secret):
    """What LiteLLM stores of a key."""
    return hashlib.sha256(secret.encode()).hexdigest()


async def test_litellm_s_keys_and_money(plan):
    """Old keys are served; a team has its limit, a prepaid key what is left of it."""
    plan("move-from-litellm-budgets.md")
    write("teams.csv", TEAMS, ["red", "37.5", "250", "30d"], ["blue", "1", "", ""])
    write(
        "keys.csv",
        KEYS,
        [hashed("sk-red"), "sk-...-red", "red", "", "1.25", "20", "30d", ""],
        [hashed("sk-ann"), "sk-...-ann", "", "ann", "0.1000000000004", "5", "", "f"],
        [hashed("sk-bad"), "sk-...-bad", "", "ann", "0", "", "", "t"],
        [hashed("sk-blue"), "sk-...blue", "blue", "ann", "0", "", "", "f"],
    )
    (source,) = blocks("move-from-litellm-budgets.md", "python")
    names = await run(source)
    await names["main"]()
    await names["main"]()
    meter = Metering.from_env()
    app = meter.wrap(FakeModel())
    statuses = [
        (await ask(app, "my-model", key)).status_code
        for key in ("sk-red", "sk-ann", "sk-bad", "sk-blue")
    ]
    red = await meter.accounts.get("red")
    ann = await meter.billing.credit("ann")
    key = meter.ledger.find_key(hashed("sk-red"), now_ns=0).key
    await meter.stop()

    assert [200, 200, 401, 402] == statuses
    assert ("Monthly", 250 * PICO) == (
        meter.accounts.tier_of(red).name,
        red.overrides.usage_limit_p,
    )
    assert (20 * PICO, "-red") == (key.usage_limit_p, key.hint)
    assert 4_900_000_000_000 == ann.ceiling_p
