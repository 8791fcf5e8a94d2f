"""What is particular to a ledger in PostgreSQL."""

import logging
import sys
from contextlib import closing, contextmanager
from threading import Barrier, Thread

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, inspect

from metering.accounts import Account
from metering.backends.sql import SqlLedger, migrate, schema
from metering.backends.sql.version import SCHEMA_VERSION
from metering.errors import ConfigurationError, StorageError
from metering.ledger import PeriodState
from metering.pricing import PriceVersion
from metering.testing.contracts.samples import (
    PLAN,
    at,
    key_of,
    open_account,
    paid,
    promo,
    used,
)

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def ledger(postgres_url):
    with closing(SqlLedger(postgres_url, tiers=PLAN)) as ledger:
        yield ledger


@contextmanager
def asking(url):
    """Speak with the database beside the ledger."""
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection


def together(number, work):
    """Run *work* in so many threads at the same instant; return their answers."""
    barrier = Barrier(number)
    answers = []

    def run(each):
        barrier.wait()
        answers.append(work(each))

    threads = [Thread(target=run, args=(each,)) for each in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def disturb(url, table, times, act, *, deferred=False):
    """Let PostgreSQL itself run *act* on the first rows written, *times* over.

    It counts with a sequence, which no rollback sets back.
    """
    when = "DEFERRABLE INITIALLY DEFERRED" if deferred else ""
    with asking(url) as connection:
        connection.execute(
            "CREATE SEQUENCE disturbances;"
            "CREATE FUNCTION disturb() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            f" IF nextval('disturbances') <= {times} THEN {act}; END IF;"
            " RETURN NULL; END $$;"
            f"CREATE CONSTRAINT TRIGGER disturb AFTER INSERT ON {table} {when}"
            " FOR EACH ROW EXECUTE FUNCTION disturb()"
        )


def attempts(url):
    """Return how often a row was written that `disturb` saw."""
    with asking(url) as connection:
        return connection.execute("SELECT last_value FROM disturbances").fetchone()[0]


RAISE = "RAISE EXCEPTION USING ERRCODE = '{}'"
END_IT = "PERFORM pg_terminate_backend(pg_backend_pid())"

# The schema


def test_without_its_tables_it_names_the_command(postgres):
    """Nothing is made at a start; once migrated, the same ledger serves."""
    url = postgres.empty()
    with closing(SqlLedger(url, tiers=PLAN)) as ledger:
        with pytest.raises(
            ConfigurationError, match=r"no ledger yet.*metering migrate"
        ):
            ledger.accounts()
        with asking(url) as connection:
            made = connection.execute(
                "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
            ).fetchone()
        migrate(url)

        assert ((0,), []) == (made, ledger.accounts())


@pytest.mark.parametrize(
    ("version", "says"),
    [("0001", "schema 0001.*metering migrate"), ("9999", "schema 9999.*Upgrade")],
)
def test_another_schema_is_said_so(ledger, postgres_url, version, says):
    """An older one names the command, a newer one the package."""
    with asking(postgres_url) as connection:
        connection.execute("UPDATE alembic_version SET version_num = %s", (version,))

    with pytest.raises(ConfigurationError, match=says):
        ledger.accounts()


def test_migrations_and_tables_say_the_same(postgres, postgres_url):
    """A migrated database differs in nothing from the tables the code speaks of."""
    made, migrated = (
        create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
        for url in (postgres.empty(), postgres_url)
    )
    with made.begin() as one, migrated.begin() as other:
        schema.metadata.create_all(one)
        context = MigrationContext.configure(other)
        differences = compare_metadata(context, schema.metadata)
        declared, found = described(one), described(other)
    made.dispose()
    migrated.dispose()

    del found["alembic_version"]
    assert declared == found
    assert [] == differences


def described(connection):
    """Return columns, keys, checks and indexes of each table."""
    there = inspect(connection)
    return {
        table: (
            sorted(
                (c["name"], str(c["type"]), c["nullable"], c["default"])
                for c in there.get_columns(table)
            ),
            there.get_pk_constraint(table)["constrained_columns"],
            sorted(c["sqltext"] for c in there.get_check_constraints(table)),
            sorted(str(key["column_names"]) for key in there.get_indexes(table)),
            sorted(str(k["referred_table"]) for k in there.get_foreign_keys(table)),
        )
        for table in there.get_table_names()
    }


def test_several_may_migrate_at_once(postgres):
    """One of them does, and the others find it done; again changes nothing."""
    url = postgres.empty()

    together(4, lambda _: migrate(url))
    migrate(url)

    with asking(url) as connection:
        found = connection.execute("SELECT version_num FROM alembic_version").fetchall()
    assert [(SCHEMA_VERSION,)] == found


def test_migrating_leaves_logging_alone(postgres):
    """The service's own handlers, levels and loggers are not the library's to set."""
    own = logging.getLogger("a-service")
    before = list(logging.root.handlers), logging.root.level

    migrate(postgres.empty())

    assert before == (list(logging.root.handlers), logging.root.level)
    assert not own.disabled


# What names it


def test_a_driver_that_is_not_installed_names_the_extra(monkeypatch):
    """The command can be copied."""
    monkeypatch.delitem(sys.modules, "metering.backends.sql.postgres", raising=False)
    monkeypatch.setitem(sys.modules, "psycopg", None)

    with pytest.raises(
        ConfigurationError, match=r'pip install "asgi-metering\[postgres\]"'
    ):
        SqlLedger("postgresql://host/db", tiers=PLAN)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:secret@host/db?ssl=yes",
        "postgresql+psycopg://u:secret@host/db",
    ],
)
def test_a_url_that_cannot_be_read_is_refused_without_its_password(url):
    """At once, and not when the first call comes."""
    with pytest.raises(ConfigurationError, match="postgresql://") as caught:
        SqlLedger(url, tiers=PLAN)

    assert "secret" not in str(caught.value)


def test_nothing_is_opened_before_the_first_use():
    """An instance made before a fork shares no connection with the children."""
    SqlLedger("postgresql://u:secret@nowhere.invalid/db", tiers=PLAN).close()


def test_who_is_not_there_is_an_outage_without_a_password(free_port):
    """It says where, and who should be let in."""
    url = f"postgresql://u:secret@127.0.0.1:{free_port()}/books"
    ledger = SqlLedger(url, tiers=PLAN)

    with pytest.raises(StorageError, match=r"127\.0\.0\.1, database books") as caught:
        ledger.accounts()

    assert "secret" not in str(caught.value)


# What a table refuses


@pytest.mark.parametrize(
    ("refused", "reason"),
    [
        (used("e2", 1, admitted_ns=2**63), "out of range"),
        (used("e2", 1, model="a\0b"), "NUL"),
        (used("e2", 1, model="\ud800"), "not Unicode"),
    ],
)
def test_what_no_cell_takes_is_refused_with_all_of_its_batch(ledger, refused, reason):
    """It is no outage: however often it is tried, it stays refused."""
    open_account(ledger)

    with pytest.raises(ConfigurationError, match=reason):
        ledger.post([used("e1", 1), refused])

    assert [] == ledger.events("acme")


def test_an_error_tells_no_row(ledger, postgres_url):
    """PostgreSQL quotes the row it refuses: key hashes and charges go to no log."""
    open_account(ledger)
    with asking(postgres_url) as connection:
        connection.execute("ALTER TABLE api_keys ADD CHECK (hash = '')")

    with pytest.raises(ConfigurationError, match="check constraint") as caught:
        ledger.add_key(key_of("acme"))

    told = f"{caught.value} {caught.value.__cause__}"
    assert "hash-acme-1" not in told
    assert caught.value.__suppress_context__


def test_text_is_ordered_alike_whatever_the_databases_own_order(postgres_url):
    """By code point, as in SQLite: pages of accounts end where the next begins."""
    with asking(postgres_url) as connection:
        orders = connection.execute(
            "SELECT DISTINCT collation_name FROM information_schema.columns"
            " WHERE table_schema = 'public' AND data_type = 'text'"
        ).fetchall()

    assert [("C",)] == orders


# Others who write at the same time


def test_many_ledgers_post_the_same_batches_once(postgres_url):
    """In any order, with credit, for accounts that are there and one that is not."""
    batches = [
        [
            used(f"e{number}-{each}", 3, ("acme", "other", "ghost")[each % 3])
            for each in range(30)
        ]
        for number in range(6)
    ]
    with closing(SqlLedger(postgres_url, tiers=PLAN)) as ledger:
        for name in ("acme", "other"):
            open_account(ledger, name)
        ledger.grant_credit(promo(100))

        def post(each):
            with closing(SqlLedger(postgres_url, tiers=PLAN)) as own:
                order = batches[each:] + batches[:each]
                return [id_ for batch in order for id_ in own.post(batch).posted]

        posted = [id_ for ids in together(4, post) for id_ in ids]

        assert sorted(e.id for batch in batches for e in batch) == sorted(posted)
        assert [PeriodState(180)] * 3 == [
            ledger.period(name, "2026-01") for name in ("acme", "other", "ghost")
        ]
        assert [100] == [grant.consumed_p for grant in ledger.grants("acme")]


def test_credit_is_drawn_by_one_at_a_time(postgres_url):
    """What two draw of the same credit at once is the sum, and never more than it."""
    ledgers = [SqlLedger(postgres_url, tiers=PLAN) for _ in range(3)]
    open_account(ledgers[0])
    ledgers[0].grant_credit(promo(40))

    def post(each):
        for number in range(15):
            ledgers[each].post([used(f"e{each}-{number}", 1)])

    together(3, post)
    grants, events = ledgers[0].grants("acme"), ledgers[0].events("acme")
    for ledger in ledgers:
        ledger.close()

    assert [40] == [grant.consumed_p for grant in grants]
    assert 40 == sum(draw.amount_p for each in events for draw in each.charge.draws)
    assert 5 == sum(each.charge.rest_p for each in events)


def test_an_id_under_two_accounts_at_once_counts_once(postgres_url):
    """Neither waits for the other's account; the second finds the first one's event."""
    ledgers = [SqlLedger(postgres_url, tiers=PLAN) for _ in range(2)]
    for name in ("a0", "a1"):
        open_account(ledgers[0], name)

    def post(each):
        batches = [
            [used(f"e{n}-{i}", 7, f"a{each}") for i in range(9)] for n in range(9)
        ]
        return [id_ for batch in batches for id_ in ledgers[each].post(batch).posted]

    posted = [id_ for ids in together(2, post) for id_ in ids]
    spent_p = [ledgers[0].period(f"a{each}", "2026-01").spent_p for each in range(2)]
    for ledger in ledgers:
        ledger.close()

    assert sorted(f"e{n}-{i}" for n in range(9) for i in range(9)) == sorted(posted)
    assert 7 * 81 == sum(spent_p)


def test_who_is_created_while_others_post_owes_all_of_it(postgres_url):
    """Between the look for the account and the event there is no gap."""
    names = [f"a{number}" for number in range(20)]
    ledgers = [SqlLedger(postgres_url, tiers=PLAN) for _ in range(2)]

    def run(each):
        for name in names:
            if each:
                open_account(ledgers[each], name, payment_method=False)
            else:
                ledgers[each].post([used(f"e-{name}", 7, name, funding="credit")])

    together(2, run)
    owed = [ledgers[0].credit(name, now_ns=1).used_p for name in names]
    for ledger in ledgers:
        ledger.close()

    assert [7] * len(names) == owed


def test_a_payment_told_twice_at_once_counts_once(ledger):
    """Both hear of the one payment; only one of them that it was new."""
    open_account(ledger)

    told = together(4, lambda _: ledger.record_payment(paid(9, "credit_purchase")))

    assert [False] * 3 + [True] == sorted(report.new for report in told)
    assert 9 == ledger.get("acme").lifetime_paid_p


def test_prices_published_twice_at_once_are_published_once(ledger):
    """As by several nodes that start together."""
    free = {"kind": "free", "valid_from_ns": 1}
    prices = [PriceVersion(model=name, **free) for name in "abc"]

    added = together(4, lambda _: ledger.publish(iter(prices), now_ns=1))

    assert [0, 0, 0, 3] == sorted(added)
    assert prices == ledger.published()


def test_prices_published_at_once_never_overlap(ledger):
    """Each builds on what is there: of prices that all lie ahead, the last stays."""

    def publish(each):
        price = PriceVersion(model="a", kind="free", valid_from_ns=2 + each)
        return ledger.publish([price], now_ns=1)

    together(6, publish)

    assert 1 == len(ledger.published())


def test_changes_at_once_are_all_made(ledger):
    """Each builds on the one before: none is lost, and each is counted."""
    open_account(ledger)
    before = ledger.changes()

    together(8, lambda each: ledger.grant_credit(promo(1, id=f"g{each}")))

    assert (9, before + 8) == (ledger.get("acme").version, ledger.changes())


@pytest.mark.parametrize("code", ["40001", "40P01"])
def test_who_gives_way_to_another_tries_again(ledger, postgres_url, code):
    """Deadlock or conflict, the whole batch is begun anew and posted once."""
    open_account(ledger)
    disturb(postgres_url, "usage_events", 2, RAISE.format(code))

    assert ("e1",) == ledger.post([used("e1", 7)]).posted
    assert (3, PeriodState(7)) == (
        attempts(postgres_url),
        ledger.period("acme", "2026-01"),
    )


def test_it_does_not_try_for_ever(ledger, postgres_url):
    """Five times, and then whoever called may decide."""
    open_account(ledger)
    disturb(postgres_url, "usage_events", 99, RAISE.format("40P01"))

    with pytest.raises(StorageError, match=r"in the way.*Nothing was written"):
        ledger.post([used("e1", 7)])

    assert (5, []) == (attempts(postgres_url), ledger.events("acme"))


def test_a_key_that_stays_taken_is_refused(ledger, postgres_url):
    """No second look explains it, so it is no outage that waiting would end."""
    open_account(ledger)
    disturb(postgres_url, "usage_events", 99, RAISE.format("23505"))

    with pytest.raises(ConfigurationError, match="refuses what it was given"):
        ledger.post([used("e1", 7)])

    assert 5 == attempts(postgres_url)


# Connections that are lost


def test_connections_lost_while_idle_are_no_fault(ledger, postgres_url):
    """A server that was started anew: the next call connects again."""
    account = open_account(ledger)
    with asking(postgres_url) as connection:
        ended = connection.execute(
            "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        ).fetchone()[0]

    assert ended >= 1
    assert account == ledger.get("acme")


def test_a_connection_lost_in_the_middle_is_tried_once_more(ledger, postgres_url):
    """Nothing of the first attempt is left, so the second posts all of it."""
    open_account(ledger)
    ledger.grant_credit(promo(5))
    disturb(postgres_url, "draws", 1, END_IT)

    assert ("e1",) == ledger.post([used("e1", 7)]).posted
    assert [5] == [grant.consumed_p for grant in ledger.grants("acme")]
    assert PeriodState(7) == ledger.period("acme", "2026-01")


def test_a_connection_lost_again_is_an_outage(ledger, postgres_url):
    """The second loss is told, and nothing was written."""
    open_account(ledger)
    disturb(postgres_url, "usage_events", 2, END_IT)

    with pytest.raises(StorageError, match=r"terminat.*Nothing was written"):
        ledger.post([used("e1", 7)])

    assert (2, []) == (attempts(postgres_url), ledger.events("acme"))


def test_a_connection_lost_at_the_commit_leaves_it_open_what_was_kept(
    ledger, postgres_url
):
    """It is not tried by itself; tried again by id, the event counts once."""
    open_account(ledger)
    disturb(postgres_url, "usage_events", 1, END_IT, deferred=True)

    with pytest.raises(StorageError, match=r"not known.*counts once"):
        ledger.post([used("e1", 7)])
    ledger.post([used("e1", 7)])

    assert PeriodState(7) == ledger.period("acme", "2026-01")


# How long it is waited for


def test_it_waits_for_anothers_lock_so_long_and_no_longer(ledger, postgres_url):
    """Then nothing was written, readers never waited, and the next attempt posts."""
    open_account(ledger)
    with (
        closing(SqlLedger(postgres_url, tiers=PLAN, timeout_ms=200)) as hasty,
        psycopg.connect(postgres_url) as other,
    ):
        other.execute("SELECT * FROM accounts FOR UPDATE")

        with pytest.raises(
            StorageError, match=r"more than 200 ms.*Nothing was written"
        ):
            hasty.post([used("e1", 7)])
        seen = hasty.get("acme")
        other.rollback()

        assert ledger.get("acme") == seen
        assert ("e1",) == hasty.post([used("e1", 7)]).posted


def test_a_slow_statement_is_ended(ledger, postgres_url):
    """By the server itself, so that it does not go on for nobody."""
    open_account(ledger)
    disturb(postgres_url, "usage_events", 1, "PERFORM pg_sleep(600)")
    with closing(SqlLedger(postgres_url, tiers=PLAN, timeout_ms=200)) as hasty:
        with pytest.raises(StorageError, match="more than 200 ms for a statement"):
            hasty.post([used("e1", 7)])

        assert [] == hasty.events("acme")


def test_when_all_connections_are_busy_one_waits_so_long(postgres_url):
    """More threads than connections wait in turn, and are told if it takes too long."""
    with (
        closing(SqlLedger(postgres_url, tiers=PLAN, timeout_ms=200)) as hasty,
        psycopg.connect(postgres_url) as other,
    ):
        taken = [hasty._opened().connect() for _ in range(8)]
        with pytest.raises(StorageError, match="all 8 connections were busy"):
            hasty.accounts()
        for connection in taken:
            connection.close()
        other.rollback()

        assert [] == hasty.accounts()


def test_a_reader_sees_one_instant(ledger):
    """What is written between two looks of one call is not half seen."""
    open_account(ledger)
    ledger.add_key(key_of("acme"))
    engine = ledger._opened()
    with ledger._database.reader(engine).begin() as connection:
        connection.exec_driver_sql("SELECT 1")
        ledger.grant_credit(promo(5))
        seen = connection.exec_driver_sql("SELECT * FROM credit_grants").all()

        assert [] == seen
        with pytest.raises(Exception, match="read-only"):
            connection.exec_driver_sql("DELETE FROM api_keys")
    assert 5 == ledger.credit("acme", now_ns=at("2026-01-15T00:00")).ceiling_p


def test_a_writer_leaves_no_snapshot_behind(ledger):
    """A connection goes from readers to writers and back, and each has its own way."""
    for number in range(3):
        open_account(ledger, f"a{number}")
        assert number + 1 == len(ledger.accounts())
    assert Account(id="a9", created_ns=1) == ledger.create(
        Account(id="a9", created_ns=1), None
    )
