"""Commands for a running service, and the command line in processes of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from metering.backends.sql import SqlLedger
from metering.cli.reference import MARKER, with_reference
from metering.config import plan_from_preset
from metering.errors import ConfigurationError
from metering.journal import Journal, SetAside
from metering.usage import Usage, UsageEvent

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "command-line.md"
NOW_NS = 1_768_435_200_000_000_000


def event(number, charge_p=10**9):
    """Return a call of acme."""
    return UsageEvent(
        id=f"019bbf0a-0000-7000-8000-{number:012d}",
        account_id="acme",
        tier=0,
        model="zai-org/GLM-4.7",
        dialect="openai.chat",
        price_version="v",
        period="2026-01",
        admitted_ns=NOW_NS,
        ended_ns=NOW_NS,
        ending="completed",
        usage=Usage(output_tokens=number),
        usage_source="upstream",
        charge_p=charge_p,
    )


@pytest.fixture
def journal(home, acme):  # noqa: ARG001 - its ledger
    """The journal of a process that lives: two calls ended, one runs."""
    journal = Journal(home / ".metering", clock=lambda: NOW_NS)
    for number in (1, 2, 3):
        journal.open_call(event(number))
    for number in (1, 2):
        journal.close_call(event(number))
    yield journal
    journal.close()


def set_aside(home, *numbers):
    """Have a ledger refuse calls of acme."""

    def refuse(_events):
        raise ConfigurationError("The amount is too large.")

    aside = SetAside(home / ".metering", refuse, on_refused=lambda *_: None)
    aside.post([event(number) for number in numbers])


def test_verify_tells_what_is_on_its_way_from_what_was_set_aside(run, home, journal):  # noqa: ARG001 - it is written
    """Two calls on their way are no fault; one that was refused is, but no finding."""
    whole = run("verify", "--json")
    set_aside(home, 9)
    ended = run("verify", "--json")

    assert (0, 2, "0.002", 0) == (
        whole.code,
        whole.document["unposted"],
        whole.document["unposted_usd"],
        whole.document["set_aside"],
    )
    assert (1, 2, 1, "0.001", []) == (
        ended.code,
        ended.document["unposted"],
        ended.document["set_aside"],
        ended.document["set_aside_usd"],
        ended.document["findings"],
    )


def test_a_journal_that_is_written_is_read_and_left_alone(run, journal):
    """Two calls wait, one runs; nothing is to be done about it."""
    ended = run("journal", "show", "--json")
    (shown,) = ended.document["journals"]
    posted = run("journal", "post", "--json").document
    journal.close_call(event(3))
    again = run("journal", "show", "--json").document

    assert 0 == ended.code
    assert (True, 2, 1, "0.002") == (
        shown["alive"],
        shown["unposted"],
        shown["running"],
        shown["unposted_usd"],
    )
    assert 0 == posted["left_by_ended_processes"]["posted"]
    assert 3 == again["journals"][0]["unposted"]


def test_what_is_posted_does_not_wait_though_the_journal_has_it(read, home, journal):
    """A journal lets go of its lines later than they are posted."""
    assert journal.written
    tiers = plan_from_preset("friendli").tiers
    ledger = SqlLedger(home / ".metering" / "ledger.db", tiers=tiers)
    ledger.post([event(1)])
    ledger.close()
    (shown,) = read("journal", "show")["journals"]

    assert (1, "0.001") == (shown["unposted"], shown["unposted_usd"])


def test_what_an_ended_process_left_is_posted(run, read, journal):
    """Also the call that was still running when it ended."""
    journal.close()
    shown = run("journal", "show")
    posted = read("journal", "post")
    after = run("journal", "show")

    assert (1, 0) == (shown.code, after.code)
    assert "To post it: metering journal post" in shown.aside
    assert 3 == posted["left_by_ended_processes"]["posted"]
    assert 3 == read("usage", "acme", "--period", "2026-01")[0]["models"][0]["calls"]


def test_what_was_set_aside_is_shown_and_posted_again(run, read, home, acme):
    set_aside(home, 7, 8)
    shown = run("journal", "show")
    posted = read("journal", "post")

    assert 1 == shown.code
    assert "Refused by the ledger: 2" in shown.out
    assert "The amount is too large." in " ".join(shown.out.split())
    assert {"posted": 2, "known": 0, "refused": 0, "damaged": 0} == posted["set_aside"]
    assert 0 == run("journal", "show").code
    assert "0.002" == read("usage", acme, "--period", "2026-01")[0]["spent_usd"]


def test_what_is_still_refused_stays_and_is_a_finding(run, home, acme):  # noqa: ARG001 - its ledger
    """A charge that no cell may hold."""

    def refuse(_events):
        raise ConfigurationError("The amount is too large.")

    aside = SetAside(home / ".metering", refuse, on_refused=lambda *_: None)
    aside.post([event(9, charge_p=2**70)])
    posted = run("journal", "post", "--json")

    assert 1 == posted.code
    assert 1 == len(posted.document["refused"])
    assert 1 == run("journal", "show").code


def test_migrate_changes_nothing_twice(read, acme):  # noqa: ARG001 - its ledger
    first, second = read("migrate"), read("migrate")

    assert first == second
    assert first["migrated"]


def test_bench_measures_and_the_stack_costs_more_than_nothing(read, home):
    """Four figures; what it needs it makes elsewhere, and takes away again."""
    figures = read("bench", "--seconds", "0.05")

    assert 4 == len(figures)
    assert all(figure["added_ns"] > 0 for figure in figures)
    assert [] == list(home.iterdir())


def test_the_reference_has_every_command_as_it_is():
    page = PAGE.read_text(encoding="utf-8")

    assert MARKER in page
    assert with_reference(page) == page, "python -m metering.cli.reference PAGE"


@pytest.mark.parametrize(
    "arguments", [["accounts"], ["accounts", "sho"], ["usage", "-x"]]
)
def test_a_wrong_command_is_2(run, arguments):
    ended = run(*arguments)

    assert 2 == ended.code
    assert "Traceback" not in ended.out + ended.aside


COMMAND = (sys.executable, "-m", "metering")


def test_as_a_process_it_answers_like_any_tool(tmp_path):
    """A document on one stream, a remark on the other, no colour in a pipe."""
    environ = os.environ | {"METERING_CONFIG": "preset:friendli"}
    done = subprocess.run(
        (*COMMAND, "accounts", "create", "acme", "--json", "--data", tmp_path / "d"),
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )

    assert 0 == done.returncode, done.stderr
    assert "acme" == json.loads(done.stdout)["id"]
    assert "metering keys issue acme" in done.stderr
    assert "\x1b" not in done.stdout + done.stderr


def test_without_the_extra_it_says_how_to_install_it():
    """Typer is hidden from the process; a sentence and 2, no traceback."""
    hide = "import sys; sys.modules['typer'] = None; import metering.cli as c; c.main()"
    done = subprocess.run(
        (sys.executable, "-c", hide), capture_output=True, text=True, check=False
    )

    assert (2, "") == (done.returncode, done.stdout)
    assert "pip install 'asgi-metering[cli]'" in done.stderr
    assert 1 == len(done.stderr.splitlines())


def test_completion_is_there_for_bash():
    done = subprocess.run(
        COMMAND,
        env=os.environ
        | {
            "_METERING_COMPLETE": "complete_bash",
            "COMP_WORDS": "metering acc",
            "COMP_CWORD": "1",
        },
        capture_output=True,
        text=True,
        check=False,
    )

    assert "accounts" == done.stdout.strip()
