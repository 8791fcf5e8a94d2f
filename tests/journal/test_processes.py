"""What is left when a process is killed, and what a fork does not share."""

import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from metering.journal import Adoption, adopt_orphans

PREAMBLE = """
import os, sys
from pathlib import Path
from metering.journal import Journal
from metering.usage import Usage, UsageEvent

NOW_NS = 1_768_435_200_000_000_000
home = Path(sys.argv[1])

def event(number, charge_p, ending="completed"):
    return UsageEvent(
        id=f"019bbf0a-0000-7000-8000-{number:012d}", account_id="acme", tier=1,
        model="m", dialect="openai.chat", price_version="1", period="2026-01",
        admitted_ns=NOW_NS, ended_ns=NOW_NS, ending=ending,
        usage=Usage(output_tokens=number), usage_source="upstream", charge_p=charge_p,
    )

def tell(word):
    os.write(1, word.encode() + b"\\n")

def await_word():
    sys.stdin.readline()

journal = Journal(home, clock=lambda: NOW_NS)
"""


@pytest.fixture
def run(tmp_path) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Run a script that has a journal; it is killed in the end."""
    running = []

    def run(script: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", PREAMBLE + script, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        return process

    yield run
    for process in running:
        process.kill()
        process.communicate()


def heard(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait(10)


def test_a_killed_process_leaves_one_event_for_each_call(run, tmp_path, ledger):
    """1,000 closed, 50 running, 10 of them with counts: 1,050 events, three times."""
    process = run("""
for number in range(1000):
    journal.open_call(event(number, 100_000))
    journal.close_call(event(number, number))
for number in range(1000, 1050):
    journal.open_call(event(number, 10))
for number in range(1000, 1010):
    journal.checkpoint(event(number, 30))
tell("written")
await_word()
""")
    assert heard(process) == "written"
    alive = adopt_orphans(tmp_path, ledger.post)
    kill(process)
    copies = [tmp_path / f"copy{n}" for n in range(3)]
    for copy in copies:
        shutil.copytree(tmp_path / "journal", copy / "journal")

    found = [adopt_orphans(copy, ledger.post) for copy in copies]

    once = Adoption(owners=1, closed=1000, recovered=50)
    total_p = sum(range(1000)) + 40 * 10 + 10 * 30
    endings = [e.ending for e in ledger.events.values()]
    assert Adoption() == alive
    assert [adoption.posted for adoption in found] == [1050, 0, 0]
    assert {(1000, 50, 0, 0)} == {
        (a.closed, a.recovered, a.conflicts, a.damaged) for a in found
    }
    assert (1050, 50, total_p) == (
        len(endings),
        endings.count("recovered"),
        ledger.spent_p(),
    )
    assert once.owners == found[0].owners


def test_no_closed_call_is_lost_wherever_the_kill_strikes(run, tmp_path, ledger):
    """Whatever was acknowledged before it is in the journal, as it was closed."""
    process = run("""
number = 0
while True:
    journal.open_call(event(number, 100_000))
    journal.close_call(event(number, number))
    tell(str(number))
    number += 1
""")
    acknowledged = [heard(process) for _ in range(500)]
    kill(process)
    rest, _ = process.communicate()

    found = adopt_orphans(tmp_path, ledger.post)

    numbers = {int(word) for word in [*acknowledged, *rest.splitlines()] if word}
    closed = {
        e.usage.output_tokens: e.charge_p
        for e in ledger.events.values()
        if e.ending == "completed"
    }
    assert set() == numbers - closed.keys()
    assert closed == {number: number for number in closed}
    assert found.recovered <= 1


def test_a_forked_child_begins_a_journal_of_its_own(run, tmp_path, ledger):
    """Its lines are its own, and its death gives up its lock but not its parent's."""
    process = run("""
journal.open_call(event(1, 10))
journal.close_call(event(2, 20))
child = os.fork()
if child == 0:
    assert journal.owed.of_account("acme", "2026-01") == 0
    journal.open_call(event(3, 30))
    journal.close_call(event(3, 31))
    assert journal.owed.of_account("acme", "2026-01") == 31
    os._exit(0)
_, status = os.waitpid(child, 0)
journal.close_call(event(1, 11))
assert journal.owed.of_account("acme", "2026-01") == 31
tell(str(os.waitstatus_to_exitcode(status)))
await_word()
""")
    assert heard(process) == "0"

    of_child = adopt_orphans(tmp_path, ledger.post)
    kill(process)
    of_parent = adopt_orphans(tmp_path, ledger.post)

    assert (of_child.owners, of_child.closed, of_child.recovered) == (1, 1, 0)
    assert (of_parent.owners, of_parent.closed, of_parent.recovered) == (1, 2, 0)
    assert ledger.spent_p() == 31 + 20 + 11


def test_a_child_that_lives_on_does_not_hold_its_parents_lock(run, tmp_path, ledger):
    """The parent's journal is adopted though the child it forked still runs."""
    process = run("""
journal.open_call(event(1, 10))
if os.fork() == 0:
    tell("child")
    await_word()
    os._exit(0)
await_word()
""")
    assert heard(process) == "child"
    kill(process)

    assert adopt_orphans(tmp_path, ledger.post).recovered == 1
