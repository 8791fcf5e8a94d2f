"""The command line in this process, in a folder of its own, with the preset."""

import json
import shutil
from pathlib import Path

import pytest
import structlog
from typer.testing import CliRunner

from metering.backends.sql import SqlLedger
from metering.cli.app import app
from metering.config import plan_from_preset
from metering.ledger import period_at
from metering.usage import Usage, UsageEvent

JANUARY_NS = 1_768_435_200_000_000_000  # 2026-01-15
PLAN = plan_from_preset("friendli")
MODEL = "zai-org/GLM-4.7"
PRICE = PLAN.prices.model(MODEL).at(JANUARY_NS)


class Ended:
    """How a command ended, and what it wrote where."""

    def __init__(self, result):
        self.code = result.exit_code
        self.out = result.stdout
        self.aside = " ".join(result.stderr.split())  # as one line, however wide

    @property
    def document(self):
        """The answer of a command that was called with --json."""
        return json.loads(self.out)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """The folder in which commands run; nothing else names a plan or data."""
    monkeypatch.chdir(tmp_path)
    for name in ("DATA", "LEDGER", "LIMITS", "WINDOWS", "KEY_PEPPER"):
        monkeypatch.delenv(f"METERING_{name}", raising=False)
    monkeypatch.setenv("METERING_CONFIG", "preset:friendli")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")
    return Path(tmp_path)


@pytest.fixture
def run(home):  # noqa: ARG001 - where it runs
    """Run one command; a bug in it shows as it is."""

    def invoke(*arguments, stdin=None):
        result = CliRunner().invoke(app, arguments, input=stdin)
        if result.exception is not None and not isinstance(
            result.exception, SystemExit
        ):
            raise result.exception
        return Ended(result)

    return invoke


@pytest.fixture
def read(run):
    """Run a command with --json that must succeed; return its document."""

    def invoke(*arguments):
        ended = run(*arguments, "--json")
        assert 0 == ended.code, ended.aside
        return ended.document

    return invoke


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """A data home with one account, made once: to make a ledger takes a while."""
    logging = structlog.get_config()  # of the whole session, which goes on
    data = tmp_path_factory.mktemp("made") / "data"
    arguments = ("accounts", "create", "acme", "--config", "preset:friendli")
    assert 0 == CliRunner().invoke(app, (*arguments, "--data", str(data))).exit_code
    structlog.configure(**logging)
    return data


@pytest.fixture
def acme(home, made):
    """An account with its sign-up credit."""
    shutil.copytree(made, home / ".metering")
    return "acme"


@pytest.fixture
def post(acme, home):
    """Post calls as a service would, each of a thousand tokens in and as many out."""

    def some(count=1, tokens=1000):
        usage = Usage(input_tokens=tokens, output_tokens=tokens)
        events = [
            UsageEvent(
                id=f"019bbf0a-0000-7000-8000-{number:012d}",
                account_id=acme,
                tier=1,
                model=MODEL,
                dialect="openai.chat",
                price_version=PRICE.id,
                period=period_at(JANUARY_NS).key,
                admitted_ns=JANUARY_NS,
                ended_ns=JANUARY_NS,
                ending="completed",
                usage=usage,
                usage_source="upstream",
                charge_p=PRICE.charge_p(usage),
            )
            for number in range(count)
        ]
        ledger = SqlLedger(home / ".metering" / "ledger.db", tiers=PLAN.tiers)
        ledger.publish(PLAN.prices.versions(), now_ns=JANUARY_NS)
        ledger.post(events)
        ledger.close()
        return [event.id for event in events]

    return some
