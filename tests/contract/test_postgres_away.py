"""A PostgreSQL that is stopped, frozen, or not there; and processes that share one."""

import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import closing, contextmanager

import psycopg
import pytest

from metering.accounts import Account
from metering.backends.sql import SqlLedger, migrate
from metering.errors import StorageError
from metering.journal import Journal
from metering.ledger import PeriodState
from metering.shipper import Shipper
from metering.testing.contracts.samples import PLAN, open_account, promo, used
from metering.testing.postgres import PostgresServer

pytestmark = [pytest.mark.timeout(90), pytest.mark.slow_start]

_POST = """
import json, sys
from metering.backends.sql import SqlLedger
from metering.testing.contracts.samples import PLAN, used

ledger = SqlLedger(sys.argv[1], tiers=PLAN)
batches = [[used(f"e{n}-{i}", 3) for i in range(50)] for n in range(6)]
at = int(sys.argv[2])
ledger.accounts()
print("ready", flush=True)
sys.stdin.readline()
posted = [ledger.post(batch).posted for batch in batches[at:] + batches[:at]]
print(json.dumps([event_id for ids in posted for event_id in ids]))
ledger.close()
"""


@pytest.fixture(scope="module")
def server(free_port):
    """A server that may be stopped, with a ledger's tables."""
    with PostgresServer(free_port()) as server:
        migrate(server.url())
        yield server


@pytest.fixture
def url(server, empty_tables):
    """Its address; nothing is in the tables."""
    empty_tables(server.url())
    return server.url()


@pytest.fixture
def ledger(url):
    with closing(SqlLedger(url, tiers=PLAN, timeout_ms=1_000)) as ledger:
        yield ledger


@contextmanager
def frozen(url):
    """Stop the processes that serve connections: they are there and say nothing."""
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "SELECT pid FROM pg_stat_activity"
            " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        ).fetchall()
    pids = [pid for (pid,) in rows]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield pids
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def test_a_server_that_is_stopped_is_an_outage_until_it_is_back(ledger, server):
    """No call waits for it, and the same ledger serves again afterwards."""
    account = open_account(ledger)
    for crash in (False, True):
        server.stop(crash=crash)
        try:
            for _ in range(2):
                with pytest.raises(StorageError, match="Nothing was written"):
                    ledger.post([used("e1", 7)])
        finally:
            server.start()

        assert account == ledger.get("acme")
    assert ("e1",) == ledger.post([used("e1", 7)]).posted


def test_a_server_that_says_nothing_is_given_up(ledger, url):
    """Its own timeout cannot end the wait, so ours does; then others are asked."""
    account = open_account(ledger)
    with frozen(url) as pids:
        assert 1 == len(pids)
        with pytest.raises(StorageError, match="no answer for 2 s"):
            ledger.get("acme")

        assert account == ledger.get("acme")


def test_a_server_that_takes_no_connection_is_given_up(ledger, server):
    """Where the machine accepts for a server that hangs."""
    ledger.accounts()
    ledger.close()
    server.pause()
    try:
        with pytest.raises(StorageError, match="timeout"):
            ledger.accounts()
    finally:
        server.resume()

    assert [] == ledger.accounts()


def test_the_journal_keeps_what_cannot_be_posted_and_posts_it_once(
    ledger, server, tmp_path
):
    """Calls go on while the database is away; all are charged when it is back."""
    open_account(ledger)
    journal = Journal(tmp_path, clock=lambda: 1)
    told = []
    away = threading.Event()

    def tell(kind, _error):
        told.append(kind)
        if kind == "down":
            away.set()

    shipper = Shipper(journal, ledger.post, wait_ms=10, retry_max_ms=50, on_fault=tell)
    shipper.start()

    def call(number):
        event = used(f"e{number}", 3)
        journal.open_call(event)
        journal.close_call(event)

    call(0)
    assert shipper.flush(10)
    server.stop()
    try:
        for number in range(1, 40):
            call(number)
        assert away.wait(20)
        assert not shipper.flush(0.1)
    finally:
        server.start()

    assert shipper.flush(20)
    assert (["down", "up"], PeriodState(120)) == (
        told,
        ledger.period("acme", "2026-01"),
    )
    shipper.stop(5)
    journal.close()


def test_processes_post_the_same_batches_once(url, ledger):
    """Each event is new to one of them, and credit is drawn once."""
    ledger.create(Account(id="acme", created_ns=1), promo(100))
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _POST, url, str(at)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for at in range(3)
    ]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = [json.loads(process.communicate()[0]) for process in processes]

    assert [0, 0, 0] == [process.returncode for process in processes]
    posted = sorted(event_id for answer in answers for event_id in answer)
    assert sorted(f"e{n}-{i}" for n in range(6) for i in range(50)) == posted
    assert PeriodState(900) == ledger.period("acme", "2026-01")
    assert [100] == [grant.consumed_p for grant in ledger.grants("acme")]


def test_it_forgets_nothing_that_it_confirmed(free_port):
    """A server that waits for the disk, and is killed: what was posted is there."""
    with PostgresServer(free_port(), fsync="on") as server:
        migrate(server.url())
        with closing(SqlLedger(server.url(), tiers=PLAN)) as ledger:
            open_account(ledger)
            ledger.post([used("e1", 7)])
            server.stop(crash=True)
            server.start()

            assert (PeriodState(7), ()) == (
                ledger.period("acme", "2026-01"),
                ledger.post([used("e1", 7)]).posted,
            )
