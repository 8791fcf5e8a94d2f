"""What the how-to pages tell a reader to type does what they say."""

import json
import re
from pathlib import Path
from types import FunctionType

import httpx
import pytest

import metering
from metering.testing import FakeModel
from metering.usage import Usage

pytestmark = pytest.mark.anyio

PAGES = Path(__file__).parents[2] / "docs" / "how-to"
CHAT = {"model": "m", "messages": [{"role": "user", "content": "a b c"}]}


def python_of(name):
    """Return the Python blocks of a page, one after another."""
    text = (PAGES / name).read_text(encoding="utf-8")
    blocks = re.findall(r"^( *)```python\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE)
    return "".join(
        re.sub(f"^{indent}", "", block, flags=re.MULTILINE) for indent, block in blocks
    )


def run(page, **names):
    """Run the Python of a page; return the names that it has made."""
    FunctionType(compile(python_of(page), page, "exec"), names)()
    return names


@pytest.fixture
def pieces():
    """Run the page on one piece; return its names."""
    return run("use-one-piece.md", app=FakeModel())


async def _ask(app, **body):
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://t") as client:
        return await client.post("/v1/chat/completions", json=CHAT | body)


@pytest.mark.parametrize(("name", "served"), [("limited", 2), ("by_address", 1)])
async def test_a_limiter_alone(pieces, name, served):
    """So many calls are served within a minute, the next one is not."""
    answers = [await _ask(pieces[name]) for _ in range(served + 1)]

    assert [200] * served + [429] == [answer.status_code for answer in answers]
    assert int(answers[-1].headers["retry-after"]) > 0


async def test_a_model_that_is_not_overrun(pieces):
    """One call is served, and the platform is as it was."""
    answer = await _ask(pieces["spared"])

    assert 200 == answer.status_code


async def test_the_console_asks_who_looks(tmp_path, monkeypatch):
    """Mounted as the page says, its root leads to the page to sign in by."""
    monkeypatch.chdir(tmp_path)
    made = run("open-the-console.md")
    transport = httpx.ASGITransport(made["app"])
    async with httpx.AsyncClient(transport=transport, base_url="http://t") as client:
        answer = await client.get("/console/")
    await made["meter"].stop()

    assert "/console/login" == answer.headers["location"]


def test_what_is_spare_is_told_in_words(capsys):
    """A line for each pool of the preset, and one for all other models."""
    meter = run("give-away-what-is-spare.md")["meter"]
    lines = capsys.readouterr().out.splitlines()

    assert len(meter.plan.prices.models) + 1 == len(lines)
    assert lines[-1].startswith("others: 60 requests a minute. Everybody gets what")


async def test_a_clamp_alone(pieces):
    """A thousand tokens asked for, a hundred allowed."""
    answer = await _ask(pieces["capped"], max_tokens=1000)

    assert "100" == answer.headers["x-output-tokens-limit"]


async def test_a_meter_alone(pieces, capsys):
    """The usage is printed."""
    await _ask(pieces["watched"])

    assert f"m {Usage(input_tokens=3, output_tokens=64)}\n" == capsys.readouterr().out


async def test_vllm_s_middleware_and_the_account_beside_it(tmp_path, monkeypatch):
    """The class is called with the app alone; the key of the second step is served."""
    monkeypatch.setenv("METERING_CONFIG", "preset:friendli")
    monkeypatch.setenv("METERING_DATA", str(tmp_path))
    key = await run("serve-vllm.md")["sign_up"]()
    module, _, name = re.search(
        r"--middleware (\w+(\.)\w+)", (PAGES / "serve-vllm.md").read_text()
    )[1].partition(".")
    stack = getattr(__import__(module), name)(FakeModel())
    transport = httpx.ASGITransport(stack)
    async with httpx.AsyncClient(transport=transport, base_url="http://t") as client:
        body = CHAT | {"model": "zai-org/GLM-4.7"}
        answers = [
            await client.post("/v1/chat/completions", json=body, headers=headers)
            for headers in ({}, {"authorization": f"Bearer {key}"})
        ]
        closed = await client.post("/v1/rerank", json=body)

    assert [401, 200] == [answer.status_code for answer in answers]
    assert "x-usage-cost-usd" in answers[1].headers
    assert 403 == closed.status_code
    assert metering.MeteringMiddleware is getattr(__import__(module), name)


PRESET = Path(metering.__file__).parent / "presets" / "friendli.toml"


@pytest.mark.parametrize("path", ["/ask", "/v2/ask"])
async def test_a_dialect_of_one_app(path, tmp_path, monkeypatch):
    """Its path and the route of the page are capped, metered and charged."""
    route = re.search(
        r"```toml\n(.*?)```", (PAGES / "add-a-dialect.md").read_text(), re.DOTALL
    )[1]
    plan = tmp_path / "plan.toml"
    plan.write_text(PRESET.read_text(encoding="utf-8") + route)
    monkeypatch.setenv("METERING_CONFIG", str(plan))
    monkeypatch.setenv("METERING_DATA", str(tmp_path))
    meter = run("add-a-dialect.md")["meter"]
    asked = []

    async def answers(_scope, receive, send):
        asked.append(json.loads((await receive())["body"]))
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        body = b'{"answer": "yes", "read": 3, "written": 100}'
        await send({"type": "http.response.body", "body": body})

    await meter.accounts.create("acme")
    key = await meter.accounts.issue_key("acme")
    body = {
        "model": "zai-org/GLM-4.7",
        "question": "Is it?",
        "answer_tokens_max": 99_999,
    }
    transport = httpx.ASGITransport(meter.wrap(answers))
    async with httpx.AsyncClient(transport=transport, base_url="http://t") as client:
        answer = await client.post(
            path, json=body, headers={"authorization": f"Bearer {key}"}
        )
    await meter.stop()
    (charge,) = await meter.billing.charges("acme")

    assert 200 == answer.status_code
    assert [body | {"answer_tokens_max": 4096}] == asked
    event = charge.event
    assert ("ask", "upstream") == (event.dialect, event.usage_source)
    assert 3 * 600_000 + 100 * 2_200_000 == event.charge_p


async def test_the_page_of_metrics_beside_an_app(tmp_path, monkeypatch):
    """It is not metered itself, and what it counts passed through the stack."""
    monkeypatch.setenv("METERING_DATA", str(tmp_path))
    page = run("observe.md")
    page["app"].mount("/", FakeModel())
    transport = httpx.ASGITransport(page["app"])
    async with httpx.AsyncClient(transport=transport, base_url="http://t") as client:
        refused = await client.post("/v1/chat/completions", json=CHAT)
        scraped = await client.get("/metrics/")

    assert 401 == refused.status_code
    assert (
        'metering_refusals_total{code="invalid_api_key",model="other",quota="",'
        'tier="unknown"} 1.0\n' in scraped.text
    )


async def test_the_page_of_metrics_around_vllm(tmp_path, monkeypatch):
    """The class is called with the app alone, and shows what passed through it."""
    monkeypatch.setenv("METERING_DATA", str(tmp_path))
    monkeypatch.setenv("METERING_CONFIG", "preset:friendli")
    transport = httpx.ASGITransport(run("observe.md")["Metered"](FakeModel()))
    async with httpx.AsyncClient(transport=transport, base_url="http://t") as client:
        refused = await client.post("/v1/chat/completions", json=CHAT)
        scraped = await client.get("/metering/metrics")

    assert 401 == refused.status_code
    assert 'code="invalid_api_key"' in scraped.text


def test_the_index_lists_every_page():
    listed = re.findall(r"\]\(([a-z-]+\.md)\)", (PAGES / "index.md").read_text())

    assert sorted(p.name for p in PAGES.glob("*.md") if p.name != "index.md") == sorted(
        listed
    )
