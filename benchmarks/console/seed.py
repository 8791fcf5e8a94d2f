"""A ledger as large as a busy service has, written by SQL so that all of it agrees.

From the root of the repository, for a look by hand:

    python -m benchmarks.console.seed ledger.db --accounts 10000 --events 1000000

Calls reach 90 days back, at an even pace. One in ten is the first account's; the others
are spread over all. The first and the second account have keys whose secrets are below.
"""

import argparse
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from metering.accounts import Account, ApiKey, hash_key
from metering.backends.sql import SqlLedger
from metering.backends.sql.rows import event_row
from metering.backends.sql.schema import DAY_SUMS, metadata
from metering.clock import NS_PER_S, system_clock
from metering.config import Plan, plan_from_preset
from metering.ledger import SIGN_UP, CreditGrant, Payment, period_of
from metering.money import PICO
from metering.usage import Usage, UsageEvent

__all__ = ["BUSY", "QUIET", "SECRETS", "seed"]

BUSY, QUIET = "account-00000", "account-00001"
SECRETS = {BUSY: "mk-of-the-busiest-account", QUIET: "mk-of-a-usual-account"}

DAYS = 90
USAGES = 50
PAYMENTS = 120
REFUSALS = 20_000
NODES = 3
INVOICES = 60

_DAY_NS = 86_400 * NS_PER_S
_MINUTE_NS = 60 * NS_PER_S
_CALLS = """
INSERT INTO usage_events ({names}) SELECT {cells} FROM (
    WITH RECURSIVE s(n) AS (VALUES(1) UNION ALL SELECT n + 1 FROM s LIMIT {events})
    SELECT n, {first_ms} + n * {span_ms} / {events} AS ms,
    CASE WHEN n % 10 = 0 THEN 0 ELSE n * 7919 % {accounts} END AS account FROM s
) JOIN kinds ON kinds.rowid = 1 + n * 104729 % {kinds}
"""
_CELLS = {
    "id": "printf('%08x-%04x-7000-8000-%012x', ms >> 16, ms & 65535, n)",
    "account_id": "printf('account-%05d', account)",
    "key_id": "printf('00000000-0000-7000-8000-%012d', account)",
    "period": "strftime('%Y-%m', ms / 1000, 'unixepoch')",
    "admitted_ns": "ms * 1000000",
    "ended_ns": "ms * 1000000 + 900000000",
}


def seed(
    path: Path,
    *,
    accounts: int = 10_000,
    events: int = 1_000_000,
    now_ns: int | None = None,
    plan: Plan | None = None,
) -> None:
    """Write a ledger into a new SQLite file.

    Args:
        path: The file; there is none yet.
        accounts: How many accounts there are, at least 2.
        events: How many calls they have made.
        now_ns: When the last call was made; None: now.
        plan: Whose tiers, prices and sign-up credit; None: the preset "friendli".
    """
    now_ns = system_clock() if now_ns is None else now_ns
    plan = plan_from_preset("friendli") if plan is None else plan
    with closing(SqlLedger(path, tiers=plan.tiers)) as ledger:
        _begin(ledger, plan, now_ns)
        with closing(sqlite3.connect(path)) as file:
            file.execute("PRAGMA synchronous = OFF")
            _add_accounts(file, accounts)
            _add_calls(file, plan, accounts, events, now_ns)
            for statement in _sums():
                file.execute(statement)
            _add_history(file, plan, now_ns)
            file.execute("ANALYZE")
            file.commit()
        first = Account(id=BUSY, created_ns=0)
        ended = period_of(first, now_ns - DAYS * _DAY_NS).key
        for number in range(min(accounts, INVOICES)):
            ledger.close_period(
                f"account-{number:05d}", ended, now_ns=now_ns, grace_ns=0
            )


def _begin(ledger: SqlLedger, plan: Plan, now_ns: int) -> None:
    """Publish the prices, and make the account that the others are made after."""
    ledger.publish(plan.prices.versions(), now_ns=now_ns)
    began_ns = now_ns - (DAYS + 1) * _DAY_NS
    ledger.create(
        Account(id=BUSY, created_ns=began_ns, payment_method=True),
        CreditGrant(
            id=SIGN_UP,
            account_id=BUSY,
            kind="promo",
            amount_p=max(1, plan.sign_up_credit_p),
            effective_ns=began_ns,
        ),
    )
    ledger.add_key(
        ApiKey(
            id="00000000-0000-7000-8000-000000000000",
            account_id=BUSY,
            hash=hash_key(SECRETS[BUSY].encode(), plan.key_pepper),
            hint=SECRETS[BUSY][-4:],
            created_ns=began_ns,
        )
    )
    for number in range(PAYMENTS):
        ledger.record_payment(
            Payment(
                reference=f"pi-{number:05d}",
                account_id=BUSY,
                kind="credit_purchase",
                amount_p=10 * PICO,
                at_ns=began_ns + number * _MINUTE_NS,
            )
        )


def _add_accounts(file: sqlite3.Connection, accounts: int) -> None:
    """Copy the first account, its key and its sign-up credit, in tiers 1 to 4."""
    numbers = f"VALUES(1) UNION ALL SELECT n + 1 FROM s LIMIT {accounts - 1}"  # noqa: S608 - a count
    series = f"WITH RECURSIVE s(n) AS ({numbers})"
    of = "printf('account-%05d', n)"
    copied: dict[str, tuple[dict[str, str], str]] = {
        "accounts": (
            {"id": of, "pin": "1 + n % 4", "tier": "1 + n % 4", "lifetime_paid_p": "0"},
            f"id = '{BUSY}'",
        ),
        "api_keys": (
            {
                "id": "printf('00000000-0000-7000-8000-%012d', n)",
                "account_id": of,
                "hash": f"CASE n WHEN 1 THEN '{hash_key(SECRETS[QUIET].encode())}'"
                " ELSE printf('%064x', n) END",
            },
            f"account_id = '{BUSY}'",
        ),
        "credit_grants": ({"account_id": of}, f"id = '{SIGN_UP}'"),
        "transfers": (
            {
                "id": "NULL",
                "account_id": of,
                "credit": f"replace(credit, '{BUSY}', {of})",
                "debit": f"replace(debit, '{BUSY}', {of})",
            },
            f"source = '{SIGN_UP}'",
        ),
    }
    for table, (cells, where) in copied.items():
        names = [column.name for column in metadata.tables[table].columns]
        selected = ", ".join(cells.get(name, name) for name in names)
        file.execute(
            f"{series} INSERT INTO {table} SELECT {selected} FROM {table}, s"  # noqa: S608
            f" WHERE {where}"
        )


def _add_calls(
    file: sqlite3.Connection, plan: Plan, accounts: int, events: int, now_ns: int
) -> None:
    """Add calls of all models, each of them with usage and its price."""
    kinds = [event_row(event) for event in _kinds(plan, now_ns)]
    names = tuple(kinds[0])
    listed = ", ".join(names)
    file.execute(f"CREATE TEMP TABLE kinds ({listed})")
    marks = ", ".join("?" for _ in names)
    file.executemany(
        f"INSERT INTO kinds VALUES ({marks})",  # noqa: S608
        [tuple(row.values()) for row in kinds],
    )
    (index,) = file.execute(
        "SELECT sql FROM sqlite_master WHERE name = 'usage_events_latest'"
    ).fetchone()
    file.execute("DROP INDEX usage_events_latest")
    file.execute(
        _CALLS.format(
            names=listed,
            cells=", ".join(_CELLS.get(name, f"kinds.{name}") for name in names),
            events=events,
            first_ms=(now_ns - DAYS * _DAY_NS) // 1_000_000,
            span_ms=DAYS * _DAY_NS // 1_000_000,
            accounts=accounts,
            kinds=len(kinds),
        )
    )
    file.execute(index)


def _kinds(plan: Plan, now_ns: int) -> Iterator[UsageEvent]:
    """Yield calls of each model that differ in what they used."""
    for model in plan.prices.models:
        price = model.at(now_ns)
        if price is None:
            continue
        for number in range(USAGES):
            usage = Usage(
                input_tokens=400 + 37 * number,
                cache_read_tokens=100 * (number % 3),
                output_tokens=200 + 61 * number,
                compute_ms=700 + 13 * number,
            )
            yield UsageEvent(
                id="",
                account_id="",
                tier=1,
                model=model.name,
                dialect="openai_chat",
                price_version=price.id,
                period="",
                admitted_ns=0,
                ended_ns=0,
                ending="completed",
                status=200,
                usage=usage,
                usage_source="upstream",
                charge_p=price.charge_p(usage),
                output_tokens_max=16_384,
            )


def _sums() -> Iterator[str]:
    """Yield what makes the figures that are sums of the calls."""
    added = ", ".join(f"sum({name}), 0" for name in DAY_SUMS)
    yield (
        "INSERT INTO periods (account_id, period, spent_p, early_paid_p, epoch)"
        " SELECT account_id, period, sum(charge_p), 0, 0 FROM usage_events"
        " GROUP BY 1, 2"
    )
    yield (
        "INSERT INTO key_periods (account_id, key_id, period, spent_p)"
        " SELECT account_id, key_id, period, sum(charge_p) FROM usage_events"
        " GROUP BY 1, 2, 3 HAVING sum(charge_p) > 0"
    )
    yield (
        "INSERT INTO usage_days SELECT account_id, period,"  # noqa: S608
        " date(admitted_ns / 1000000000, 'unixepoch'), model, count(*),"
        f" {added} FROM usage_events GROUP BY 1, 2, 3, 4"
    )
    yield (
        "INSERT INTO transfers"
        " (code, debit, credit, amount_p, account_id, source, at_ns)"
        " SELECT 'usage', 'receivable:' || account_id, 'revenue', spent_p,"
        " account_id, period, 0 FROM periods WHERE spent_p > 0"
    )
    yield (
        "INSERT INTO alert_firings (account_id, subject, period, epoch, threshold,"
        " value_p, limit_p, at_ns, told) SELECT account_id, 'usage_limit', period, 0,"
        " 50, spent_p, 2 * spent_p, 1700000000000000000 + rowid, 1 FROM ("
        "SELECT *, row_number() OVER () AS rowid FROM periods WHERE spent_p > 0)"
    )


def _add_history(file: sqlite3.Connection, plan: Plan, now_ns: int) -> None:
    """Add refusals of a month, and what adaptive pools did in a week."""
    last_ns = now_ns // _MINUTE_NS * _MINUTE_NS
    file.execute(
        "WITH RECURSIVE s(n) AS (VALUES(1) UNION ALL SELECT n + 1 FROM s LIMIT ?)"
        " INSERT INTO refusals SELECT printf('account-%05d', n % 50),"
        " ? - n * 2 * 60000000000, ?, 'rate_limited', 'requests', 1, 429, 3,"
        " ? - n * 2 * 60000000000, ? - n * 2 * 60000000000 + 5000000000 FROM s",
        (REFUSALS, last_ns, plan.prices.models[0].name, last_ns, last_ns),
    )
    pools = [model.name for model in plan.prices.models]
    file.executemany(
        "INSERT INTO pool_minutes VALUES"
        " (?, ?, ?, 'normal', 'ceiling', 60, 60, 2, 0, 9, 9, 0.2)",
        [
            (last_ns - minute * _MINUTE_NS, pool, f"node-{node}")
            for minute in range(7 * 24 * 60)
            for pool in pools[:3]
            for node in range(NODES)
        ],
    )


def _main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("path", type=Path)
    asked.add_argument("--accounts", type=int, default=10_000)
    asked.add_argument("--events", type=int, default=1_000_000)
    chosen = asked.parse_args()
    began_s = time.perf_counter()
    seed(chosen.path, accounts=chosen.accounts, events=chosen.events)
    print(f"Written in {time.perf_counter() - began_s:.1f} s.")


if __name__ == "__main__":
    _main()
