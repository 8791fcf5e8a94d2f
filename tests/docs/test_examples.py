"""What the documents tell a reader to type does what they say."""

import ast
import re
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FunctionType

import httpx
import pytest

ROOT = Path(__file__).parents[2]
TUTORIAL = ROOT / "docs" / "tutorial" / "first-metered-app.md"
FREE_PORT = "--port=0"


def blocks(document, language):
    """Return the fenced blocks of a language, in their order."""
    text = document.read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


async def run(source, names):
    """Run Python that may await at its top level."""
    code = compile(source, "README.md", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    assert isinstance(code, CodeType)
    ran = FunctionType(code, names)()
    if ran is not None:
        await ran


@pytest.mark.anyio
async def test_the_readme_ends_in_tier_2(tmp_path, monkeypatch):
    """Its two blocks run as they stand; the account then has what was paid for."""
    monkeypatch.setenv("METERING_DATA", str(tmp_path))
    names = {}
    for block in blocks(ROOT / "README.md", "python"):
        await run(block, names)
    meter = names["meter"]
    account = await meter.accounts.get("acme")
    await meter.stop()

    assert 2 == meter.accounts.tier_of(account).level
    assert names["key"].startswith("mk-")


def test_the_first_page_begins_as_the_readme_does():
    """So what runs there runs here."""
    index = blocks(ROOT / "docs" / "index.md", "python")

    assert blocks(ROOT / "README.md", "python")[:1] == index


@contextmanager
def shop(folder, source):
    """Serve *source* with uvicorn; yield its URL and the key that it printed."""
    (folder / "shop.py").write_text(source, encoding="utf-8")
    command = (sys.executable, "-u", "-m", "uvicorn", "shop:app", FREE_PORT)
    with subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as served:
        try:
            key = url = ""
            said = []
            for line in served.stdout:
                said.append(line)
                if line.startswith("key: "):
                    key = line.split()[1]
                if found := re.search(r"running on (http://\S+)", line):
                    url = found[1]
                    break
            yield url, key, said
        finally:
            served.terminate()
            served.stdout.read()


def call(folder, source, url, key):
    """Run the client of the tutorial; return what it printed."""
    source = source.replace("http://127.0.0.1:8000", url).replace("mk-…", key)
    (folder / "call.py").write_text(source, encoding="utf-8")
    done = subprocess.run(
        (sys.executable, "call.py"),
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


def test_the_tutorial_from_its_first_step_to_its_last(tmp_path):
    """The client's three lines, a wrong key, a hundred calls, a payment, the pages."""
    app, client, often, payment, mount = blocks(TUTORIAL, "python")
    console = blocks(TUTORIAL, "console")
    with shop(tmp_path, app) as (url, key, _):
        first = call(tmp_path, client, url, key)
        stranger = call(tmp_path, client, url, "mk-wrong")
        eager = call(tmp_path, often, url, key)
    indented = "".join(f"    {line}" for line in payment.splitlines(keepends=True))
    paid = app.replace("    yield\n", f"{indented}    yield\n")
    seen = paid.replace('app.mount("/",', f'{mount}app.mount("/",')
    with shop(tmp_path, seen) as (url, key, said):
        second = call(tmp_path, client, url, key)
        page = httpx.get(f"{url}/console/", follow_redirects=True)

    assert console[0].partition("\n")[2] == first
    assert "openai.AuthenticationError" in stranger
    found = re.fullmatch(r"(\d\d) served, \d\d? refused, the last for 1 s\n", eager)
    served = int(found[1])
    charge_p = 145_000_000 + served * 142_600_000
    assert f"zai-org/GLM-4.7 {1 + served} calls {charge_p} pico-dollars\n" in said
    assert "x-output-tokens-limit 16384" in second
    assert "x-ratelimit-remaining-requests 999" in second
    assert (200, True) == (page.status_code, "Sign in" in page.text)
