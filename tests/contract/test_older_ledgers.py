"""A ledger of an earlier version is brought to the present one with all it has."""

from contextlib import closing, contextmanager

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import MetaData, Table, create_engine, select

from metering.backends.sql import SqlLedger, migrate, schema, upgrade, verify
from metering.backends.sql.rows import event_row
from metering.stores import UsageDay
from metering.testing.contracts.samples import (
    PLAN,
    at,
    key_of,
    open_account,
    paid,
    promo,
    used,
)
from metering.usage import Usage

GLM = "zai-org/GLM-4.7"
FIRST_TABLES = {
    *("accounts", "api_keys", "payments", "credit_grants", "periods"),
    *("usage_events", "draws"),
}


@pytest.fixture(params=["sqlite", "postgres"])
def url(request, tmp_path):
    """Address of a database without tables."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'ledger.db'}"
    return request.getfixturevalue("postgres").empty()


@contextmanager
def opened(url):
    """Open the database beside the ledger, in one transaction."""
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        yield connection
    engine.dispose()


def fill(url, rows_by_table):
    """Make a ledger as version 0001 made it, with what it kept of these rows."""
    config = Config()
    config.set_main_option("script_location", str(upgrade._SCRIPTS))
    with opened(url) as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        for name, rows in rows_by_table.items():
            table = Table(name, MetaData(), autoload_with=connection)
            names = set(table.columns.keys())
            kept = [{n: row[n] for n in names} for row in rows]
            connection.execute(table.insert(), kept)


def rows_of(url):
    """Return what a ledger of the present version has in the tables of 0001."""
    with opened(url) as connection:
        return {
            table.name: connection.execute(select(table)).mappings().all()
            for table in schema.metadata.sorted_tables
            if table.name in FIRST_TABLES
        }


def standing(ledger, name):
    """Return what the books say of an account."""
    return {book: p for book, p in ledger.balances_p(name).items() if p}


def test_usage_by_day_is_made_of_the_events_that_are_there(url):
    """In UTC, the only zone there was then; exact, also beyond 64 bits."""
    huge = Usage(input_tokens=2**63 - 1, output_tokens=3)
    midnight_ns = at("2026-01-16T00:00")
    events = (
        used("e1", 5, admitted_ns=midnight_ns - 1, usage=huge),
        used("e2", 6, admitted_ns=midnight_ns - 2, usage=huge),
        used("e3", 7, admitted_ns=midnight_ns - 2, usage=huge),
        used("e4", 8, admitted_ns=midnight_ns, usage=Usage(compute_ms=9)),
        used("e5", 9, "other", model="another"),
    )
    fill(url, {"usage_events": [event_row(event) for event in events]})
    migrate(url)

    three = Usage(3 * (2**63 - 1), output_tokens=9, requests=3)
    with closing(SqlLedger(url, tiers=PLAN)) as ledger:
        assert [
            UsageDay("2026-01-15", GLM, 3, three, 18),
            UsageDay("2026-01-16", GLM, 1, Usage(compute_ms=9), 8),
        ] == ledger.days("acme", "2026-01")
        (other,) = ledger.days("other", "2026-01")
        assert ("2026-01-15", "another", 9) == (other.day, other.model, other.charge_p)
    assert "days" not in {finding.check for finding in verify(url).findings}


def test_the_books_and_the_spend_of_keys_are_made_of_the_rows_that_are_there(
    url, tmp_path
):
    """As if the present version had kept them: credit, debt, payments of each kind."""
    newer = f"sqlite:///{tmp_path / 'newer.db'}"
    with closing(SqlLedger(newer, tiers=PLAN)) as ledger:
        open_account(ledger, payment_method=False)
        open_account(ledger, "billed")
        ledger.add_key(key_of("billed"))
        ledger.grant_credit(promo(7))
        ledger.grant_credit(promo(3, id="gift", kind="paid"))
        ledger.record_payment(paid(20, "credit_purchase"))
        ledger.post([used("e1", 30, funding="credit"), used("e2", 4, funding="credit")])
        ledger.record_payment(paid(5, "credit_purchase", "pi_2"))
        ledger.post(
            [used(f"b{n}", 10 + n, "billed", key_id=f"key-{n % 2}") for n in range(4)]
        )
        ledger.record_payment(paid(60, "early_payment", "pi_3", "billed"))
        ledger.record_payment(paid(8, "invoice", "pi_4", "billed"))
        ledger.post([used("g1", 9, "ghost")])
        names = "acme", "billed", "ghost"
        before = [standing(ledger, name) for name in names]
    fill(url, rows_of(newer))
    migrate(url)

    with closing(SqlLedger(url, tiers=PLAN)) as ledger:
        assert before == [standing(ledger, name) for name in names]
        assert [22, 24] == [ledger.key_spent_p(f"key-{n}", "2026-01") for n in (0, 1)]
    assert {"price"} == {finding.check for finding in verify(url).findings}
