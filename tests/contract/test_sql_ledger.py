"""What is particular to a ledger in an SQLite file."""

import logging
import re
import sqlite3
from contextlib import closing, contextmanager
from threading import Barrier, Thread

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from msgspec.structs import asdict
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import IntegrityError

from metering.accounts import Account, Tier, TierBook
from metering.backends.sql import SqlLedger, migrate, schema, upgrade
from metering.backends.sql.version import SCHEMA_VERSION, schema_version
from metering.errors import ConfigurationError, StorageError
from metering.money import AMOUNT_MAX_P, PICO
from metering.stores import AccountChange
from metering.testing.contracts.samples import (
    PLAN,
    key_of,
    open_account,
    paid,
    promo,
    used,
)

# An added column stands on one line with the last of the first version.
_SEPARATOR = re.compile(r",?\s*\n\s*|, (?=\w+ (?:INTEGER|TEXT))")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ledger.db"


@pytest.fixture
def ledger(path):
    with closing(SqlLedger(str(path), tiers=PLAN)) as ledger:
        yield ledger


@contextmanager
def statements():
    """Note each statement that any engine executes, with its parameters."""
    seen = []

    def note(_connection, _cursor, statement, parameters, *_rest):
        seen.append((statement, parameters))

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(Engine, "before_cursor_execute", note)


def rows(path, query, *arguments):
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query, arguments).fetchall()


def test_a_path_and_a_url_name_the_same_file(tmp_path, monkeypatch):
    """Relative and absolute; folders on the way are made."""
    monkeypatch.chdir(tmp_path)
    for named in (
        "data/a.db",
        "sqlite:///data/a.db",
        f"{tmp_path}/data/a.db",
        f"sqlite:///{tmp_path}/data/a.db",
    ):
        with closing(SqlLedger(named, tiers=PLAN)) as ledger:
            ledger.create(Account(id=named, created_ns=1), None)

    assert rows(tmp_path / "data" / "a.db", "SELECT count(*) FROM accounts") == [(4,)]


@pytest.mark.parametrize(
    "url",
    [
        "",
        "sqlite:///",
        "sqlite:///:memory:",
        ":memory:",
        "mysql://h/d",
        "mysql",
    ],
)
def test_refuses_what_names_no_file(url):
    """What speaks to nobody is said so at once; what forgets is asked for by name."""
    with pytest.raises(ConfigurationError, match=r"sqlite://.* keeps one in memory"):
        SqlLedger(url, tiers=PLAN)


def test_nothing_is_opened_before_the_first_use(path):
    """An instance made before a fork shares no file handle with the children."""
    ledger = SqlLedger(str(path), tiers=PLAN)

    assert not path.exists()
    ledger.close()


def test_closing_gives_back_every_file(ledger, path):
    """Nothing but the one file is left, and a later call opens it anew."""
    open_account(ledger)

    ledger.close()

    assert [path] == list(path.parent.iterdir())
    assert ledger.get("acme").id == "acme"


def test_what_was_posted_is_there_after_a_restart(ledger):
    """The file is the ledger."""
    account = open_account(ledger)
    ledger.post([used("e1", 7)])
    before = ledger.events("acme")

    ledger.close()

    assert account == ledger.get("acme")
    assert before == ledger.events("acme")


def test_migrations_and_tables_say_the_same(ledger, path):
    """A migrated file differs in nothing from the tables the code speaks of."""
    ledger.accounts()
    engine = create_engine("sqlite://")
    with engine.begin() as connection:
        schema.metadata.create_all(connection)
        declared = ddl(connection)
    migrated_engine = create_engine(f"sqlite:///{path}")
    with migrated_engine.begin() as connection:
        migrated = ddl(connection)
        context = MigrationContext.configure(connection)
        differences = compare_metadata(context, schema.metadata)
    engine.dispose()
    migrated_engine.dispose()

    assert declared == migrated
    assert differences == []


def ddl(connection: Connection):
    """Return the parts of each table's and index's statement, in no order."""
    found = connection.exec_driver_sql(
        "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"
        " AND name <> 'alembic_version'"
    )
    return {
        name: sorted(filter(str.strip, _SEPARATOR.split(sql))) for name, sql in found
    }


def test_the_version_needed_is_the_last_migration():
    """Otherwise each start would migrate, or none."""
    scripts = ScriptDirectory(str(upgrade._SCRIPTS))

    assert scripts.get_current_head() == SCHEMA_VERSION


def test_many_ledgers_may_start_at_once_in_one_process(tmp_path):
    """Each thread has a file of its own, and each file gets all of its tables."""
    together = Barrier(8)
    found = []

    def start(number):
        path = str(tmp_path / f"{number}.db")
        with closing(SqlLedger(path, tiers=PLAN)) as ledger:
            together.wait()
            found.append(open_account(ledger))

    threads = [Thread(target=start, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(found) == 8


def test_a_ledger_of_a_newer_version_is_left_alone(ledger, path):
    """It says which schema it found and what to do."""
    ledger.accounts()
    ledger.close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()

    with pytest.raises(ConfigurationError, match=r"schema 9999.*Upgrade"):
        ledger.accounts()


def test_migrating_a_file_is_what_opening_it_does(path):
    """So that one command serves every ledger; again, it changes nothing."""
    for _ in range(2):
        migrate(path)

        assert [(SCHEMA_VERSION,)] == rows(path, "SELECT * FROM alembic_version")
    with closing(SqlLedger(path, tiers=PLAN)) as ledger:
        assert [] == ledger.accounts()


def test_migrating_leaves_logging_alone(ledger):
    """The service's own handlers, levels and loggers are not the library's to set."""
    own = logging.getLogger("a-service")
    before = list(logging.root.handlers), logging.root.level

    ledger.accounts()

    assert before == (list(logging.root.handlers), logging.root.level)
    assert not own.disabled


def test_each_transaction_that_writes_begins_with_the_lock(ledger):
    """Read first and write later would fail at once, where another wrote between."""
    with statements() as seen:
        open_account(ledger)
        ledger.post([used("e1", 7)])

    begun = ""
    writes = []
    for statement, _ in seen:
        if statement.startswith("BEGIN"):
            begun = statement
        elif statement.strip().startswith(("CREATE", "INSERT", "UPDATE", "DELETE")):
            writes.append(begun)
    assert {"BEGIN IMMEDIATE"} == set(writes)


def test_what_was_written_is_on_the_disk(ledger, path):
    """WAL, and every commit waits for the disk."""
    ledger.accounts()

    with ledger._opened().begin() as connection:
        synchronous = connection.exec_driver_sql("PRAGMA synchronous").scalar_one()

    full = 2
    assert full == synchronous
    assert rows(path, "PRAGMA journal_mode") == [("wal",)]


def test_no_password_comes_into_an_error():
    """The URL of a database that is not served may have one."""
    with pytest.raises(ConfigurationError, match="not a file") as caught:
        SqlLedger("mysql://u:secret@host/db", tiers=PLAN)

    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("named", ["ledger.db", "./ledger", "sqlite:///ledger"])
def test_a_path_or_a_url_names_a_file(named):
    """A suffix, a folder or the scheme tells that a file is meant."""
    SqlLedger(named, tiers=PLAN)


def test_a_file_that_is_no_ledger_is_an_outage(path):
    """The driver's error comes as ours, with the path and what to look at."""
    path.write_bytes(b"not a database at all" * 100)

    with (
        closing(SqlLedger(str(path), tiers=PLAN)) as ledger,
        pytest.raises(StorageError, match=rf"{path.name}.*not a database"),
    ):
        ledger.accounts()


def test_a_folder_in_the_files_place_is_an_outage(tmp_path):
    """Also where the path itself cannot be opened, or its folder not be made."""
    (tmp_path / "file").write_text("")
    for named in (tmp_path, tmp_path / "file" / "ledger.db"):
        with (
            closing(SqlLedger(str(named), tiers=PLAN)) as ledger,
            pytest.raises(StorageError, match=str(named)),
        ):
            ledger.accounts()


def test_a_number_beyond_64_bits_is_refused(ledger):
    """Instants and counts, too, end where the file's integers do."""
    open_account(ledger)

    with pytest.raises(ConfigurationError, match="64 bits"):
        ledger.post([used("e1", 1), used("e2", 1, admitted_ns=2**63)])

    assert ledger.events("acme") == []


def test_an_error_tells_no_parameters(ledger, path):
    """Key hashes and charges do not reach a log by way of a driver's error."""
    open_account(ledger)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TABLE api_keys")

    with pytest.raises(StorageError) as caught:
        ledger.add_key(key_of("acme"))

    assert "hash-acme-1" not in f"{caught.value} {caught.value.__cause__}"


def test_no_cell_turns_into_a_float(ledger, path):
    """The tables are strict: SQLite itself refuses a sum that overflows."""
    open_account(ledger)
    ledger.post([used("e1", AMOUNT_MAX_P)])

    with (
        closing(sqlite3.connect(path)) as connection,
        pytest.raises(sqlite3.IntegrityError, match="REAL"),
    ):
        connection.execute("UPDATE periods SET spent_p = spent_p + ?", (AMOUNT_MAX_P,))


def test_the_file_itself_refuses_what_cannot_be(ledger, path):
    """Credit drawn twice, a negative charge, a rest above it, a debt below nothing."""
    open_account(ledger)
    ledger.grant_credit(promo(5))
    ledger.post([used("e1", 3)])
    engine = create_engine(f"sqlite:///{path}")
    for statement in (
        "UPDATE credit_grants SET consumed_p = 6",
        "UPDATE credit_grants SET consumed_p = -1",
        "UPDATE usage_events SET charge_p = -1",
        "UPDATE usage_events SET rest_p = 4",
        "UPDATE periods SET early_paid_p = 4",
        "UPDATE accounts SET debt_p = -1",
    ):
        with engine.begin() as connection, pytest.raises(IntegrityError):
            connection.exec_driver_sql(statement)
    engine.dispose()


def test_no_key_belongs_to_nobody(ledger):
    """Not even by a mistake of the code: each connection checks foreign keys."""
    row = asdict(key_of("nobody"))

    with ledger._opened().begin() as connection, pytest.raises(IntegrityError):
        connection.execute(schema.api_keys.insert().values(row))


@pytest.mark.parametrize("period", [None, "2026-01"])
def test_the_latest_events_come_from_an_index(ledger, path, period):
    """A page of events costs a page, however many there are: nothing is sorted."""
    with statements() as seen:
        ledger.events("acme", period=period)
    query, parameters = next(
        each for each in seen if each[0].startswith("SELECT usage_events")
    )

    plan = rows(path, f"EXPLAIN QUERY PLAN {query}", *parameters)

    steps = " ".join(step for *_, step in plan)
    assert "usage_events_latest" in steps
    assert "TEMP B-TREE" not in steps


@pytest.fixture
def with_pin_gone(path):
    """A ledger with an account pinned to a level that its plan has no more."""
    account = Account(id="acme", created_ns=1, pin=7)
    seven = Tier(level=7, name="gone", lifetime_paid_min_p=None, output_tokens_max=1)
    with_seven = TierBook((*PLAN.tiers, seven))
    with closing(SqlLedger(str(path), tiers=with_seven)) as earlier:
        earlier.create(account, None)
    with closing(SqlLedger(str(path), tiers=PLAN)) as ledger:
        yield ledger


def test_a_pin_whose_tier_has_gone_can_be_lifted(with_pin_gone):
    """Otherwise no change of the account, not even that one, would be possible."""
    lifted = with_pin_gone.change("acme", AccountChange(pin=None), now_ns=0)

    assert (lifted.pin, lifted.version) == (None, 2)


def test_a_pin_whose_tier_has_gone_refuses_no_payment(with_pin_gone):
    """Money that came in is recorded, and other changes are made."""
    paid_for = with_pin_gone.record_payment(paid(50 * PICO, "invoice")).account
    suspended = with_pin_gone.change("acme", AccountChange(suspended=True), now_ns=0)

    assert (50 * PICO, True) == (paid_for.lifetime_paid_p, suspended.suspended)
    assert 2 == PLAN.tier_of(suspended, 0).level


# In memory


def test_memory_starts_empty_and_is_nobody_elses():
    """Two ledgers share nothing, and one forgets nothing when it is closed."""
    one, other = (SqlLedger("sqlite://", tiers=PLAN) for _ in range(2))
    account = open_account(one)
    one.close()

    assert [] == other.accounts()
    assert [account] == one.accounts()


def test_memory_is_given_back_with_its_ledger():
    """Nobody has to close it: the connection goes with the last who had it."""
    ledger = SqlLedger("sqlite://", tiers=PLAN)
    pool = ledger._opened().pool
    closed = []
    event.listen(pool, "close", lambda *_: closed.append(True))

    del ledger

    assert [True] == closed


def test_memory_serves_many_threads():
    """Each is alone with it for the time of one call; none is refused or lost."""
    together = Barrier(8)
    with closing(SqlLedger("sqlite://", tiers=PLAN)) as ledger:
        open_account(ledger)

        def post(number):
            together.wait()
            for each in range(5):
                ledger.post([used(f"e{number}-{each}", 1)])

        threads = [Thread(target=post, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert 40 == ledger.period("acme", "2026-01").spent_p


def test_memory_is_made_as_a_migrated_file_is(path):
    """Making its tables at once leaves nothing out, and is of the same version."""
    with (
        closing(SqlLedger("sqlite://", tiers=PLAN)) as memory,
        closing(SqlLedger(str(path), tiers=PLAN)) as file,
    ):
        made = [ledger._opened().begin() for ledger in (memory, file)]
        with made[0] as one, made[1] as other:
            assert ddl(one) == ddl(other)
            assert schema_version(one) == schema_version(other) == SCHEMA_VERSION
