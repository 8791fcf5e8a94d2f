"""Blocks of pages that no other test runs: plans load, commands parse, apps answer."""

import re
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import FunctionType, ModuleType

import httpx
import pytest
import typer.main
from standardwebhooks import Webhook

import metering
from metering.cli.app import app as command_line
from metering.config import load_plan
from metering.testing import FakeModel

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = {str(path.relative_to(DOCS)): path for path in sorted(DOCS.rglob("*.md"))}
PRESET = Path(metering.__file__).parent / "presets" / "friendli.toml"
CHAT = {"model": "zai-org/GLM-4.7", "messages": [{"role": "user", "content": "a b"}]}
# One line, which shows where the app is mounted: tests/console does so all the time.
NOT_RUN = {"reference/http-api.md"}


def blocks(page, *languages):
    """Return the fenced blocks of a page, without their indentation."""
    found = re.findall(
        rf"^( *)```(?:{'|'.join(languages)})\n(.*?)^ *```",
        PAGES[page].read_text(encoding="utf-8"),
        re.DOTALL | re.MULTILINE,
    )
    return [
        re.sub(f"^{indent}", "", text, flags=re.MULTILINE) for indent, text in found
    ]


def run(source, **names):
    """Run a block; return the names that it has made."""
    FunctionType(compile(source, "page", "exec"), names)()
    return names


def client(app):
    transport = httpx.ASGITransport(app)
    return httpx.AsyncClient(transport=transport, base_url="http://t")


@pytest.mark.parametrize("language", ["python", "toml"])
def test_each_page_with_examples_is_named_by_a_test(language):
    tests = [*ROOT.glob("tests/docs/*.py"), ROOT / "tests/config/test_reference.py"]
    named = "".join(path.read_text(encoding="utf-8") for path in tests)
    pages = {page for page in PAGES if blocks(page, language)}

    assert [] == [page for page in pages if Path(page).stem not in named]
    assert NOT_RUN <= {page for page in PAGES if blocks(page, "python")}


TIER_0 = re.compile(r"\[\[tiers\]\]\nlevel = 0\n.*?\n\n", re.DOTALL)
ADDING = ("give-away-what-is-spare", "receive-webhooks", "run-several-workers")


@pytest.mark.parametrize("page", [*ADDING, "use-redis"])
def test_a_plan_with_what_the_page_adds_loads(page, monkeypatch):
    """Its tier stands in for that of the preset."""
    monkeypatch.setenv("SHOP_HOOK", "whsec_" + "A" * 44)
    plan = PRESET.read_text(encoding="utf-8")
    for block in blocks(f"how-to/{page}.md", "toml"):
        if block.startswith("[[tiers]]"):
            plan = TIER_0.sub(f"{block}\n", plan)
        else:
            plan += f"\n{block}"
        assert block in plan

    assert "friendli" == load_plan(plan, source=page).name


COMMAND = re.compile(r"^(?:\$ )?(?:\.venv/bin/)?metering (.*)$", re.MULTILINE)
TYPED = [
    (page, arguments)
    for page in PAGES
    for block in blocks(page, "bash", "console")
    for arguments in COMMAND.findall(block)
]


@pytest.mark.parametrize(("page", "typed"), TYPED)
def test_each_command_is_one_with_its_arguments(page, typed):
    arguments = shlex.split(typed, comments=True)
    command = typer.main.get_command(command_line)
    while hasattr(command, "commands"):
        command = command.commands[arguments.pop(0)]

    assert command.make_context(command.name, arguments), page


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Keep what a page writes in a folder of its own."""
    monkeypatch.setenv("METERING_DATA", str(tmp_path))
    return tmp_path


async def served(meter, app, **body):
    """Return the answer to a call of a new account, and its event."""
    await meter.accounts.create("acme")
    key = await meter.accounts.issue_key("acme")
    async with client(meter.wrap(app)) as caller:
        answer = await caller.post(
            "/v1/chat/completions",
            json=CHAT | body,
            headers={"authorization": f"Bearer {key}"},
        )
    await meter.stop()
    (charge,) = await meter.billing.charges("acme")
    return answer, charge.event


@pytest.mark.usefixtures("home")
async def test_a_model_is_warmed_up():
    (source,) = blocks("how-to/warm-models-up.md", "python")
    answer, event = await served(run(source)["meter"], FakeModel())

    assert 200 == answer.status_code
    assert "completed" == event.ending
    assert int(answer.headers["x-cold-start-ms"]) >= 0


@pytest.mark.usefixtures("home")
async def test_an_app_reports_and_knows_whose_request_it_is():
    reports, _, knows = blocks("how-to/report-usage.md", "python")
    page = run(knows)
    app, meter = page["app"], page["meter"]
    app.post("/v1/chat/completions")(run(reports)["chat"])
    answer, event = await served(meter, app)

    assert 200 == answer.status_code
    assert (7, 64, 1234) == (
        event.usage.input_tokens,
        event.usage.output_tokens,
        event.usage.compute_ms,
    )


@pytest.mark.usefixtures("home")
async def test_who_asks_is_told_who_they_are():
    page = run(blocks("how-to/report-usage.md", "python")[2])
    meter = page["meter"]
    await meter.accounts.create("acme")
    key = await meter.accounts.issue_key("acme")
    async with client(page["app"]) as caller:
        headers = {"authorization": f"Bearer {key}"}
        told = await caller.get("/me", headers=headers)
    await meter.stop()

    assert {"account": "acme", "tier": "Tier 0"} == told.json()


@pytest.mark.usefixtures("home")
async def test_a_tokenizer_counts(monkeypatch):
    """With one that counts words: tiktoken itself fetches its tables when asked."""

    class Words:
        def encode(self, text, *, disallowed_special):
            assert () == disallowed_special
            return text.split()

    tiktoken = ModuleType("tiktoken")
    tiktoken.encoding_for_model = lambda _name: Words()
    monkeypatch.setitem(sys.modules, "tiktoken", tiktoken)
    source = blocks("how-to/report-usage.md", "python")[1]
    _, event = await served(run(source)["meter"], FakeModel(usage=False))

    assert 64 == event.usage.output_tokens
    assert "estimated" in event.flags


async def test_a_receiver_verifies_what_it_is_told(monkeypatch):
    secret = "whsec_" + "A" * 44
    monkeypatch.setenv("SHOP_HOOK", secret)
    told = []
    (source,) = blocks("how-to/receive-webhooks.md", "python")
    app = run(source, remember_once=lambda *message: told.append(message))["app"]
    body = '{"type":"usage_limit.near"}'
    now = datetime.now(UTC)
    headers = {
        "webhook-id": "m1",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign("m1", now, body),
    }
    async with client(app) as caller:
        answer = await caller.post("/hooks/metering", content=body, headers=headers)

    assert 204 == answer.status_code
    assert [("m1", {"type": "usage_limit.near"})] == told


@pytest.mark.timeout(60)
def test_a_store_of_one_s_own_is_held_to_the_contract(tmp_path):
    """The page's class runs the contract; its store is ours under another name."""
    test, typed = blocks("how-to/add-a-backend.md", "python")
    (tmp_path / "my_store.py").write_text(
        "from metering import MemoryLimitStore as MyLimitStore"
    )
    (tmp_path / "test_my_store.py").write_text(test)
    command = (sys.executable, "-m", "pytest", "-q", "-k", "seeders or stale")
    ran = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    run("from metering import MemoryLimitStore as MyLimitStore\n" + typed)

    assert 0 == ran.returncode, ran.stdout
    assert re.search(r"[1-9] passed", ran.stdout)
