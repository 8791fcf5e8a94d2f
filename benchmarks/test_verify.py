"""How long a whole ledger takes to verify, how much memory, and how large it is.

Run from the root of the repository:

    pytest benchmarks/test_verify.py -o addopts= --import-mode=importlib

A million calls of a hundred accounts, of which three in ten are one account's in one
month, written by SQL so that all figures agree.
"""

import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import Any

import psycopg
import pytest

from metering.backends.sql import SqlLedger, migrate
from metering.backends.sql.rows import event_row
from metering.backends.sql.schema import DAY_SUMS
from metering.testing.contracts.samples import PLAN, open_account, used
from metering.testing.postgres import PostgresServer

pytestmark = pytest.mark.timeout(600)

CALLS = 1_000_000
ACCOUNTS = 100
PORT = 27_541
NAMES = tuple(event_row(used("e", 1)))
CHANGED = {
    "account_id": "'account-' || CASE WHEN n % 10 < 3 THEN 0 ELSE (n % 100) END",
    "key_id": "'key-' || (n % 100)",
    "model": "'model-' || (n % 7)",
    "period": "CASE WHEN n % 10 < 3 THEN '2026-01' ELSE '2026-02' END",
    "admitted_ns": "admitted_ns + n",
}
ID = {
    "sqlite": "printf('019bbf0a-%08x-7000-800000000000', n)",
    "postgres": "'019bbf0a-' || lpad(to_hex(n), 8, '0') || '-7000-800000000000'",
}
SERIES = {
    "sqlite": f"WITH RECURSIVE s(n) AS (VALUES(1) UNION ALL SELECT n + 1 FROM s LIMIT {CALLS})",  # noqa: E501, S608 - one statement, a constant
    "postgres": f"WITH s AS (SELECT generate_series(1, {CALLS}) AS n)",
}
ADDED = ", ".join(f"sum({name}), 0" for name in DAY_SUMS)
SUMS = (
    "DELETE FROM usage_days",
    (
        "INSERT INTO usage_days SELECT account_id, period, '2026-01-15', model,"  # noqa: S608 - our own names
        f" count(*), {ADDED} FROM usage_events GROUP BY 1, 2, 4"
    ),
    "DELETE FROM periods",
    "DELETE FROM transfers",
    (
        "INSERT INTO periods (account_id, period, spent_p, early_paid_p, epoch)"
        " SELECT account_id, period, sum(charge_p), 0, 0 FROM usage_events"
        " GROUP BY 1, 2"
    ),
    (
        "INSERT INTO key_periods (account_id, key_id, period, spent_p)"
        " SELECT min(account_id), key_id, period, sum(charge_p) FROM usage_events"
        " WHERE key_id <> '' GROUP BY 2, 3"
    ),
    (
        "INSERT INTO transfers"
        " (code, debit, credit, amount_p, account_id, source, at_ns)"
        " SELECT 'usage', 'receivable:' || account_id, 'revenue', sum(charge_p),"
        " account_id, 'all', 0 FROM usage_events GROUP BY account_id"
    ),
    (
        "INSERT INTO price_versions (model, valid_from_ns, id, kind, rates)"
        " VALUES ('model-1', 0, '0123456789abcdef', 'token', '{}')"
    ),
)
Execute = Callable[[str], object]


def fill(url: str, kind: str, execute: Execute) -> None:
    """Write a ledger whose figures agree."""
    with closing(SqlLedger(url, tiers=PLAN)) as ledger:
        for number in range(ACCOUNTS):
            open_account(ledger, f"account-{number}")
        ledger.post([used("first", 1_700, "account-0")])
    cells = ", ".join((CHANGED | {"id": ID[kind]}).get(name, name) for name in NAMES)
    execute(
        f"{SERIES[kind]} INSERT INTO usage_events ({', '.join(NAMES)}) SELECT {cells}"  # noqa: S608
        " FROM usage_events, s WHERE id = 'first'"
    )
    for statement in SUMS:
        execute(statement)


def measured(url: str) -> tuple[float, float]:
    """Verify in a process of its own; return the seconds, and the memory in MB."""
    script = (
        "import resource, sys, time\n"
        "from metering.backends.sql import verify\n"
        "began_s = time.perf_counter()\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "assert verify(sys.argv[1]).findings == ()\n"
        "after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "print(time.perf_counter() - began_s, (after - before) / 1024)\n"
    )
    done = subprocess.run(  # noqa: S603 - our own words
        [sys.executable, "-c", script, url], capture_output=True, text=True, check=True
    )
    took_s, memory = map(float, done.stdout.split())
    return took_s, memory


def tell_of(kind: str, url: str, size: float, tell: Any) -> None:
    """Tell how large it is, and how long reading takes."""
    tell(f"ledger in {kind}, a call with all its rows", size / CALLS, "bytes")
    took_s, memory = measured(url)
    tell(f"ledger in {kind} of a million calls, verified", took_s, "s")
    tell(f"ledger in {kind} of a million calls, verifying takes", memory, "MB")
    with closing(SqlLedger(url, tiers=PLAN, timeout_ms=60_000)) as ledger:
        took_ms = []
        for _ in range(5):
            began_s = time.perf_counter()
            ledger.totals("account-0", "2026-01")
            took_ms.append((time.perf_counter() - began_s) * 1000)
    title = f"ledger in {kind} of a million calls, a month of 300,000"
    tell(title, median(took_ms), "ms")


def test_sqlite(tmp_path: Path, tell: Any) -> None:
    """A file."""
    path = tmp_path / "ledger.db"

    def execute(statement: str) -> None:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute(statement)

    fill(str(path), "sqlite", execute)
    execute("PRAGMA wal_checkpoint(TRUNCATE)")
    tell_of("SQLite", str(path), path.stat().st_size, tell)


def test_postgres(tell: Any) -> None:
    """A server on this machine."""
    with PostgresServer(PORT, fsync="on") as server:
        migrate(server.url())
        with psycopg.connect(server.url(), autocommit=True) as connection:
            fill(server.url(), "postgres", connection.execute)  # type: ignore[arg-type]
            connection.execute("VACUUM ANALYZE")
            row = connection.execute(
                "SELECT pg_database_size(current_database())"
            ).fetchone()
        assert row is not None
        tell_of("PostgreSQL", server.url(), row[0], tell)
