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
from metering.backends.sql.schema import DAY_SUMS
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


def test_a_day_of_a_million_calls(postgres: PostgresServer, tell: Any) -> None:
    """Three in ten are one account's, and of one month: what its pages then take."""
    with psycopg.connect(postgres.url(), autocommit=True) as connection:
        connection.execute("CREATE DATABASE day TEMPLATE template0")
    url = postgres.url("day")
    migrate(url)
    changed = {
        "id": "'019bbf0a-' || lpad(to_hex(n), 8, '0') || '-7000-800000000000'",
        "account_id": "'account-' || CASE WHEN n % 10 < 3 THEN 0 ELSE n % 100 END",
        "model": "'model-' || n % 7",
        "period": "CASE WHEN n % 10 < 3 THEN '2026-01' ELSE '2026-02' END",
        "admitted_ns": "admitted_ns + n",
    }
    cells = ", ".join(changed.get(name, name) for name in NAMES)
    with (
        closing(SqlLedger(url, tiers=PLAN)) as ledger,
        psycopg.connect(url, autocommit=True) as bare,
    ):
        account = open_account(ledger, "account-0")
        ledger.post([used("first", 1_700, account.id)])
        bare.execute(
            f"INSERT INTO usage_events ({LISTED}) SELECT {cells}"  # noqa: S608
            " FROM usage_events, generate_series(1, 1000000) AS n WHERE id = 'first'"
        )
        added = ", ".join(f"sum({name}), 0" for name in DAY_SUMS)
        bare.execute("DELETE FROM usage_days")
        bare.execute(
            "INSERT INTO usage_days SELECT account_id, period, '2026-01-15', model,"  # noqa: S608
            f" count(*), {added} FROM usage_events GROUP BY 1, 2, 4"
        )
        bare.execute("VACUUM ANALYZE")
        size = bare.execute("SELECT pg_total_relation_size('usage_events')")
        each = size.fetchone()[0] / 1_000_000
        tell("ledger in PostgreSQL, an event and its indexes", each, "bytes")
        pages = {
            "totals of 300,000 calls": lambda: ledger.totals("account-0", "2026-01"),
            "the latest 100 of them": lambda: ledger.events("account-0"),
            "period": lambda: ledger.period("account-0", "2026-01"),
        }
        for name, page in pages.items():
            took_ms = [timed_ms(page) for _ in range(7)]
            title = f"ledger in PostgreSQL of a million calls, {name}"
            tell(title, median(took_ms), "ms")


DAYS = 1000 * 5 * 31 * 12


@pytest.mark.parametrize("kind", ["SQLite", "PostgreSQL"])
def test_a_year_of_days(
    request: pytest.FixtureRequest, tmp_path: Path, tell: Any, kind: str
) -> None:
    """Of a thousand accounts with five models each, whose months all have 31 days."""
    if kind == "SQLite":
        url = str(tmp_path / "days.db")
        series = (
            "WITH RECURSIVE s(n) AS (VALUES(0) UNION ALL SELECT n + 1 FROM s"  # noqa: S608
            f" LIMIT {DAYS})"
        )
    else:
        server: PostgresServer = request.getfixturevalue("postgres")
        with psycopg.connect(server.url(), autocommit=True) as connection:
            connection.execute("CREATE DATABASE days TEMPLATE template0")
        url = server.url("days")
        series = f"WITH s(n) AS (SELECT generate_series(0, {DAYS - 1}))"
    migrate(url)
    two = "substr('0' || CAST(1 + n / 5000 {} AS TEXT), -2)"
    if kind == "PostgreSQL":
        two = "lpad(CAST(1 + n / 5000 {} AS TEXT), 2, '0')"
    month, day = two.format("/ 31"), two.format("% 31")
    sums = ", ".join("n % 1000, 0" for _ in DAY_SUMS)
    fill = (
        f"{series} INSERT INTO usage_days SELECT 'account-' || (n % 1000),"  # noqa: S608
        f" '2026-' || {month}, '2026-' || {month} || '-' || {day},"
        f" 'model-' || (n / 1000 % 5), 7, {sums} FROM s"
    )
    if kind == "SQLite":
        with closing(sqlite3.connect(url)) as file:
            file.execute(fill)
            file.commit()
    else:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(fill)
            connection.execute("VACUUM ANALYZE usage_days")
    with closing(SqlLedger(url, tiers=PLAN, timeout_ms=60_000)) as ledger:
        pages = {
            "a month of one account by day": lambda: ledger.days(
                "account-7", "2026-05"
            ),
            "its totals": lambda: ledger.totals("account-7", "2026-05"),
            "a month of all accounts by day": lambda: ledger.days_of_all(
                "2026-05-01", "2026-05-31"
            ),
        }
        assert len(ledger.days("account-7", "2026-05")) == 31 * 5
        assert len(ledger.days_of_all("2026-05-01", "2026-05-31")) == 31 * 5
        for name, page in pages.items():
            title = f"ledger in {kind}, {DAYS:,} rows by day, {name}"
            tell(title, median([timed_ms(page) for _ in range(7)]), "ms")


def timed_ms(work: Callable[[], object]) -> float:
    began_s = time.perf_counter()
    work()
    return (time.perf_counter() - began_s) * 1000
