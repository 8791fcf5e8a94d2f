"""Batches posted to the ledger beside the same rows written bare.

Run from the root of the repository:

    pytest benchmarks/test_ledger.py -o addopts= --import-mode=importlib

A batch is a thousand calls of fifty accounts, as the shipper of a busy node posts them.
The floor writes the very rows, with the same indexes, in one transaction that waits for
the disk: by `executemany` in SQLite, by COPY in PostgreSQL. It knows no duplicates, no
credit and no totals. Both are timed in turns on one server or in one folder.
"""

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import Any

import psycopg
import pytest

from metering.backends.sql import SqlLedger, migrate
from metering.backends.sql.rows import event_row
from metering.testing.contracts.samples import PLAN, open_account, promo, used
from metering.testing.postgres import PostgresServer
from metering.usage import UsageEvent

pytestmark = pytest.mark.timeout(300)

ACCOUNTS = 50
BATCH = 1_000
ROUNDS = 40

Batch = Sequence[UsageEvent]
NAMES = tuple(event_row(used("e", 1)))
LISTED = ", ".join(NAMES)


def batch_of(who: str, number: int) -> Batch:
    """Return calls of many accounts, whose ids rise as those of calls do."""
    return [
        used(
            f"019bbf0a-{number:04x}-7000-8000-{who}{at:08d}",
            1_700_000_000,
            f"account-{at % ACCOUNTS}",
            key_id=f"019bbf0a-0000-7000-8000-{at % ACCOUNTS:012d}",
        )
        for at in range(BATCH)
    ]


def rows_of(batch: Batch) -> list[tuple[Any, ...]]:
    return [tuple(event_row(event).values()) for event in batch]


def per_second(works: dict[str, Callable[[Batch], None]]) -> dict[str, float]:
    """Time each work on batches of its own, in turns; return events a second."""
    took_s: dict[str, list[float]] = {name: [] for name in works}
    for number in range(ROUNDS):
        for who, (name, work) in enumerate(works.items()):
            batch = batch_of(f"{who:04d}", number)
            began_s = time.perf_counter()
            work(batch)
            took_s[name].append(time.perf_counter() - began_s)
    return {name: BATCH / median(all_s) for name, all_s in took_s.items()}


def opened(ledger: SqlLedger, *, credit: bool) -> SqlLedger:
    for at in range(ACCOUNTS):
        account = open_account(ledger, f"account-{at}")
        if credit:
            ledger.grant_credit(promo(10**18, account.id))
    return ledger


def tell_all(tell: Any, where: str, floor: str, found: dict[str, float]) -> None:
    for name, events in found.items():
        if name != floor:
            title = f"{where}, batches of {BATCH}, {name}"
            tell(f"{title} / {floor}", events, "events/s", floor=found[floor])


@pytest.mark.parametrize("credit", [False, True], ids=["postpaid", "credit"])
def test_sqlite(tmp_path: Path, tell: Any, *, credit: bool) -> None:
    bare = sqlite3.connect(tmp_path / "bare.db", isolation_level=None)
    path = tmp_path / "ledger.db"
    with closing(bare), closing(SqlLedger(path, tiers=PLAN)) as ledger:
        opened(ledger, credit=credit)
        with closing(sqlite3.connect(path)) as other:
            tables = other.execute(
                "SELECT sql FROM sqlite_master WHERE tbl_name = 'usage_events'"
                " AND sql IS NOT NULL ORDER BY type DESC"
            ).fetchall()
        bare.execute("PRAGMA journal_mode = WAL")
        bare.execute("PRAGMA synchronous = FULL")
        for (sql,) in tables:
            bare.execute(sql)
        marks = ", ".join("?" for _ in NAMES)
        insert = f"INSERT INTO usage_events ({LISTED}) VALUES ({marks})"  # noqa: S608

        def executemany(batch: Batch) -> None:
            bare.execute("BEGIN IMMEDIATE")
            bare.executemany(insert, rows_of(batch))
            bare.execute("COMMIT")

        kind = "drawn on credit" if credit else "postpaid"
        works = {"executemany": executemany, kind: ledger.post}
        tell_all(tell, "ledger in SQLite", "executemany", per_second(works))


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    with PostgresServer(25_437, fsync="on", shared_buffers="256MB") as server:
        yield server


@pytest.mark.parametrize("credit", [False, True], ids=["postpaid", "credit"])
def test_postgres(postgres: PostgresServer, tell: Any, *, credit: bool) -> None:
    with psycopg.connect(postgres.url(), autocommit=True) as connection:
        name = f"credit_{credit}".lower()
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template0")
    url = postgres.url(name)
    migrate(url)
    with (
        psycopg.connect(url) as bare,
        closing(SqlLedger(url, tiers=PLAN)) as ledger,
    ):
        opened(ledger, credit=credit)
        bare.execute("CREATE TABLE bare (LIKE usage_events INCLUDING ALL)")
        bare.commit()

        def copy(batch: Batch) -> None:
            with bare.cursor() as cursor:
                with cursor.copy(f"COPY bare ({LISTED}) FROM STDIN") as rows:
                    for row in rows_of(batch):
                        rows.write_row(row)
                bare.commit()

        kind = "drawn on credit" if credit else "postpaid"
        found = per_second({"COPY": copy, kind: ledger.post})
        tell_all(tell, "ledger in PostgreSQL", "COPY", found)
        if not credit:
            size = bare.execute("SELECT pg_total_relation_size('usage_events')")
            each = size.fetchone()[0] / (BATCH * ROUNDS)
            tell("ledger in PostgreSQL, an event with its indexes", each, "bytes")
