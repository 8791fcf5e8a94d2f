"""Each ledger alerts once and keeps an outbox; scenario 31 of the acceptance list."""

import json
import subprocess
import sys
from contextlib import ExitStack, closing

import pytest
from sqlalchemy import select

from metering.backends.sql import SqlLedger, schema
from metering.ledger import Notices, Revision
from metering.money import PICO
from metering.testing.contracts.notices import NOTICES, NoticesContract, told
from metering.testing.contracts.samples import PLAN, at, open_account, used

_NODE = """
import json, sys
from metering.backends.sql import SqlLedger
from metering.testing.contracts.notices import NOTICES
from metering.testing.contracts.samples import PLAN, used

url, node, first, count, charge_p = sys.argv[1], *map(int, sys.argv[2:])
ledger = SqlLedger(url, tiers=PLAN, notices=NOTICES)
ledger.get("acme")
print("ready", flush=True)
sys.stdin.readline()
alerts = []
for at in range(first, first + count, 500):
    batch = [used(f"n{node}-{n}", charge_p) for n in range(at, at + 500)]
    alerts += [alert.threshold for alert in ledger.post(batch).alerts]
print(json.dumps(alerts))
ledger.close()
"""


class TestFile(NoticesContract):
    @pytest.fixture
    def ledger(self, tmp_path):
        path = str(tmp_path / "ledger.db")
        with closing(SqlLedger(path, tiers=PLAN, notices=NOTICES)) as ledger:
            yield ledger


class TestMemory(NoticesContract):
    @pytest.fixture
    def ledger(self):
        with closing(SqlLedger("sqlite://", tiers=PLAN, notices=NOTICES)) as ledger:
            yield ledger


@pytest.fixture(scope="module")
def shared_url(postgres):
    """A database that is emptied for each test."""
    return postgres.migrated()


class TestPostgres(NoticesContract):
    @pytest.fixture
    def ledger(self, shared_url, empty_tables):
        empty_tables(shared_url)
        with closing(SqlLedger(shared_url, tiers=PLAN, notices=NOTICES)) as ledger:
            yield ledger


@pytest.fixture(params=["file", "postgres"])
def url(request, tmp_path):
    """A ledger that several processes share."""
    if request.param == "file":
        return str(tmp_path / "ledger.db")
    return request.getfixturevalue("postgres_url")


@pytest.fixture
def ledger(url):
    with closing(SqlLedger(url, tiers=PLAN, notices=NOTICES)) as ledger:
        yield ledger


def thresholds(messages):
    return [json.loads(each.data)["threshold_percent"] for each in messages]


def firings(ledger):
    """Return the thresholds that were fired, and whether each was told."""
    table = schema.alert_firings.c
    wanted = select(table.threshold, table.told).order_by(table.at_ns, table.threshold)
    return [tuple(row) for row in ledger._read(lambda on: on.execute(wanted).all())]


def post_at_once(url, nodes, each, charge_p):
    """Let processes post, each so many calls; return the alerts of their reports."""
    with ExitStack() as stack:
        processes = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", _NODE, url, *map(str, arguments)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for arguments in ((node, 0, each, charge_p) for node in range(nodes))
        ]
        for process in processes:
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            process.stdin.write("go\n")
            process.stdin.flush()
        answers = [process.communicate()[0] for process in processes]
    return [alert for answer in answers for alert in json.loads(answer)]


@pytest.mark.timeout(60)
def test_scenario_31(url, ledger):
    """Alerts at 50/80/90/100 % of $50, each once, whatever comes after."""
    open_account(ledger)
    ledger.post([used("e1", 2_499 * PICO // 100)])
    assert [] == told(ledger)

    ledger.post([used("e2", PICO // 100)])
    assert [50] == thresholds(told(ledger))

    ledger.post([used("e3", 15 * PICO), used("e4", 510 * PICO // 100)])
    assert [90] == thresholds(told(ledger))
    assert [(50, 1), (80, 0), (90, 1)] == firings(ledger)

    # 10,000 more requests on 4 nodes: $1.
    assert [] == post_at_once(url, nodes=4, each=2_500, charge_p=PICO // 10_000)
    assert [] == told(ledger)
    assert 461 * PICO // 10 == ledger.period("acme", "2026-01").spent_p

    # A reversal below 45 and back.
    reversal = Revision(event_id="e4", reason="an answer that was no use")
    ledger.correct([reversal], now_ns=at("2026-01-16T00:00"))
    ledger.post([used("e5", 1)])
    ledger.post([used("e6", 51 * PICO // 10)])
    assert 461 * PICO // 10 + 1 == ledger.period("acme", "2026-01").spent_p
    assert [] == told(ledger)
    assert [(50, 1), (80, 0), (90, 1)] == firings(ledger)


@pytest.mark.timeout(60)
def test_two_processes_that_pass_a_threshold_at_once_tell_it_once(url, ledger):
    """Each posts $20 in two batches: 50 % and 80 % are told by one of them, once."""
    open_account(ledger)

    alerts = post_at_once(url, nodes=2, each=1_000, charge_p=PICO // 50)

    assert [50, 80] == sorted(alerts)
    assert [50, 80] == sorted(thresholds(told(ledger)))


def test_without_thresholds_nothing_is_asked(tmp_path):
    """Nor written: no alert costs anything where there are none."""
    plan = Notices(thresholds=())
    with closing(SqlLedger(tmp_path / "a.db", tiers=PLAN, notices=plan)) as ledger:
        open_account(ledger)
        report = ledger.post([used("e1", 60 * PICO)])

        assert ((), []) == (report.alerts, firings(ledger))
