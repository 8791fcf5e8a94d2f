"""The demo that stays, as a process: a console with a past, traffic, and its end."""

import re
import shlex
import signal
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass

import httpx
import pytest

from metering.backends.sql import SqlLedger
from metering.config import plan_from_preset

STAY = (sys.executable, "-m", "metering.demo", "--stay")

# Five months are lived through: 8 s where nothing else runs, 20 s where much does.
pytestmark = pytest.mark.timeout(90)


@dataclass
class Stay:
    """What the demo said until it invited, and what it said after Ctrl-C."""

    invited: str
    ended: str
    code: int
    answers: dict[str, httpx.Response]
    curled: httpx.Response


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Return where the demo writes."""
    return tmp_path_factory.mktemp("stay") / "data"


@pytest.fixture(scope="module")
def stayed(data):
    """Return a demo that was asked what it invites to, and interrupted."""
    with subprocess.Popen(
        (*STAY, "--data", str(data)),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=heed_interrupts,  # noqa: PLW1509 - it only sets a signal
    ) as process:
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line == "Ctrl-C ends it.\n":
                break
        invited = "".join(lines)
        assert "Ctrl-C ends it." in invited
        try:
            answers = {
                name: looked_at(invited, name) for name in ("operator", "account")
            }
            curled = call(next(line for line in lines if line.startswith("curl ")))
        finally:
            process.send_signal(signal.SIGINT)
            ended = process.stdout.read()
    return Stay(invited, ended, process.returncode, answers, curled)


def heed_interrupts():
    """Undo what a shell does to what it runs in the background: that ignores Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def word_after(name, text):
    return re.search(rf"^  {name} +(\S+)", text, re.MULTILINE)[1]


def looked_at(invited, name):
    """Return the first page of who signs in by what was printed."""
    with httpx.Client(follow_redirects=True) as browser:
        page = browser.get(word_after("open", invited))
        hidden = re.findall(r'name="(\w+)"[^>]*value="([^"]*)"', page.text)
        form = dict(hidden) | {"secret": word_after(name, invited)}
        return browser.post(str(page.url), data=form, headers={"origin": origin(page)})


def origin(page):
    return f"{page.url.scheme}://{page.url.netloc.decode()}"


def call(line):
    """Send what curl would."""
    words = shlex.split(line)
    headers = [words[at + 1] for at, word in enumerate(words) if word == "-H"]
    return httpx.post(
        next(word for word in words if word.startswith("http")),
        headers=[tuple(header.split(": ", 1)) for header in headers],
        content=words[words.index("-d") + 1],
        timeout=15,
    )


def test_ctrl_c_ends_it_well_while_calls_run(stayed):
    """The code is 0 and no error is told."""
    assert (0, "Stopping ...\nEnded; every call is in the ledger.\n") == (
        stayed.code,
        stayed.ended,
    )


def test_bills_are_as_exact_as_without_staying(stayed):
    """The accounts of the script have no past and are in the tables alone."""
    assert re.search(r"^ all +\$6.897489 *$", stayed.invited, re.MULTILINE)


def test_its_curl_line_works(stayed):
    """A call by the key that is printed is served."""
    assert 200 == stayed.curled.status_code
    assert 64 == stayed.curled.json()["usage"]["completion_tokens"]


def test_an_operator_and_an_account_sign_in_by_what_is_printed(stayed):
    """Each sees the first page that is theirs."""
    operator, account = stayed.answers["operator"], stayed.answers["account"]

    assert (200, True) == (operator.status_code, "All accounts" in operator.text)
    assert (200, True) == (account.status_code, "northwind" in account.text)


def test_months_before_and_calls_after_are_in_one_ledger(stayed, data):
    """There are charges in each of five months, and nothing is on its way."""
    assert 0 == stayed.code
    tiers = plan_from_preset("friendli").tiers
    months = ["2025-09", "2025-10", "2025-11", "2025-12", "2026-01"]
    with closing(SqlLedger(data / "ledger.db", tiers=tiers)) as ledger:
        charged = [
            sum(t.charge_p for t in ledger.totals("northwind", m)) for m in months
        ]

    assert all(charged)


def test_neither_key_nor_token_is_written_anywhere(stayed, data):
    """They are on the screen alone."""
    secrets = [word_after(name, stayed.invited) for name in ("operator", "account")]
    written = [path for path in data.rglob("*") if path.is_file()]

    assert data / "demo.log" in written
    assert [] == [
        path
        for path in written
        if any(secret.encode() in path.read_bytes() for secret in secrets)
    ]
