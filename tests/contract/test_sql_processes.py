"""One ledger file under several processes: together, killed, or kept waiting."""

import json
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing, contextmanager
from threading import Barrier, Thread

import pytest

from metering.accounts import Account
from metering.backends.sql import SqlLedger
from metering.errors import StorageError
from metering.ledger import PeriodState
from metering.testing.contracts.samples import PLAN, open_account, promo, used

pytestmark = pytest.mark.timeout(60)  # several interpreters start at once

_START = """
import json, sys
from sqlalchemy import Engine, event
from metering.accounts import Account
from metering.backends.sql import SqlLedger
from metering.testing.contracts.samples import PLAN, promo, used

ledger = SqlLedger(sys.argv[1], tiers=PLAN)
batch = [used(f"e{number}", 3) for number in range(50)]

def wait(*_):
    print("ready", flush=True)
    sys.stdin.readline()
"""

_TOGETHER = f"""{_START}
import metering.backends.sql.upgrade  # so that no time is lost with it
wait()
account = Account(id="acme", created_ns=1)
ledger.create(account, promo(100))
print(json.dumps(ledger.post(batch).posted))
ledger.close()
"""

_STOPPED = f"""{_START}
@event.listens_for(Engine, "before_cursor_execute")
def stop(connection, cursor, statement, *_):
    if statement.strip().startswith(sys.argv[2]):
        wait()

@event.listens_for(Engine, "commit")
def stop_before_commit(connection):
    writes = "metering_begin" in connection.get_execution_options()
    if writes and sys.argv[2] == "COMMIT":
        wait()

ledger.post(batch)
"""


@contextmanager
def child(script, *arguments):
    """Run a script until it says that it is ready; kill it in the end."""
    process = subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ledger.db"


@pytest.fixture
def ledger(path):
    with closing(SqlLedger(str(path), tiers=PLAN)) as ledger:
        yield ledger


def test_processes_that_start_together_make_one_ledger(path, ledger):
    """All of them find the tables, one creates the account, each event is new once."""
    with (
        child(_TOGETHER, path) as first,
        child(_TOGETHER, path) as second,
        child(_TOGETHER, path) as third,
        child(_TOGETHER, path) as fourth,
    ):
        processes = (first, second, third, fourth)
        for process in processes:
            process.stdin.write("go\n")
            process.stdin.flush()
        answers = [process.communicate()[0] for process in processes]

    assert [process.returncode for process in processes] == [0] * 4
    posted = [event_id for answer in answers for event_id in json.loads(answer)]
    assert sorted(f"e{number}" for number in range(50)) == sorted(posted)
    assert ledger.period("acme", "2026-01") == PeriodState(150)
    assert [grant.consumed_p for grant in ledger.grants("acme")] == [100]


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO draws",
        "UPDATE credit_grants",
        "INSERT INTO periods",
        "COMMIT",
    ],
    ids=["after the events", "after the draws", "before the period", "at the commit"],
)
def test_a_process_killed_while_it_posts_leaves_nothing_half_done(
    path, ledger, statement
):
    """The whole batch is absent afterwards, and the next process posts all of it."""
    open_account(ledger)
    ledger.grant_credit(promo(100))
    ledger.close()

    with child(_STOPPED, path, statement) as process:
        process.kill()

    assert process.returncode == -signal.SIGKILL
    assert ledger.events("acme") == []
    assert ledger.period("acme", "2026-01") == PeriodState()
    assert [grant.consumed_p for grant in ledger.grants("acme")] == [0]
    batch = [used(f"e{number}", 3) for number in range(50)]
    assert len(ledger.post(batch).posted) == 50
    assert ledger.period("acme", "2026-01") == PeriodState(150)


def test_a_process_killed_while_it_migrates_leaves_no_tables(path, ledger):
    """The next one begins anew."""
    with child(_STOPPED, path, "CREATE TABLE draws") as process:
        process.kill()

    with closing(sqlite3.connect(path)) as connection:
        left = connection.execute("SELECT name FROM sqlite_master").fetchall()
    assert left == []
    assert ledger.accounts() == []


def test_two_ledgers_on_one_file_post_a_batch_once(path, ledger):
    """Threads that share nothing but the file, at the same instant."""
    open_account(ledger)
    ledger.grant_credit(promo(100))
    batch = [used(f"e{number}", 3) for number in range(200)]
    together = Barrier(2)
    posted = []

    def post():
        with closing(SqlLedger(str(path), tiers=PLAN)) as own:
            together.wait()
            posted.extend(own.post(batch).posted)

    threads = [Thread(target=post) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(event.id for event in batch) == sorted(posted)
    assert ledger.period("acme", "2026-01") == PeriodState(600)
    assert [grant.consumed_p for grant in ledger.grants("acme")] == [100]


def test_a_writer_waits_so_long_and_no_longer(path, ledger):
    """Who keeps the file locked makes others fail with a sentence, and lose nothing."""
    open_account(ledger)
    with (
        closing(SqlLedger(str(path), tiers=PLAN, timeout_ms=20)) as hasty,
        closing(sqlite3.connect(path, isolation_level=None)) as other,
    ):
        hasty.get("acme")
        other.execute("BEGIN IMMEDIATE")

        with pytest.raises(StorageError, match="locked by another for more than 20 ms"):
            hasty.post([used("e1", 3)])
        seen = hasty.get("acme")
        other.execute("COMMIT")

        assert ledger.get("acme") == seen
        assert hasty.post([used("e1", 3)]).posted == ("e1",)


def test_a_first_start_tries_again_while_another_writes(path, ledger, monkeypatch):
    """SQLite gives up at once where it changes to WAL; the ledger does not."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        pauses_s = []

        def leave(pause_s):
            pauses_s.append(pause_s)
            other.rollback()

        monkeypatch.setattr("time.sleep", leave)

        assert open_account(ledger) == ledger.get("acme")
        assert len(pauses_s) == 1


def test_a_first_start_waits_so_long_and_no_longer(path):
    """Also before there are tables, and the next attempt succeeds."""
    with (
        closing(SqlLedger(str(path), tiers=PLAN, timeout_ms=20)) as hasty,
        closing(sqlite3.connect(path, isolation_level=None)) as other,
    ):
        other.execute("BEGIN EXCLUSIVE")

        with pytest.raises(StorageError, match="locked by another"):
            hasty.create(Account(id="acme", created_ns=1), None)
        other.execute("COMMIT")

        account = Account(id="acme", created_ns=1)
        assert account == hasty.create(account, None)
