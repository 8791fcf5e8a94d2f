"""The file of the SQLite limits: opened, refused, reopened, and kept small."""

import sqlite3
from contextlib import closing

import anyio
import anyio.lowlevel
import pytest
from msgspec.structs import replace

from metering.accounts import Account
from metering.backends.sql import SqlLedger
from metering.backends.sqlite import SqliteLimitStore, file, page
from metering.clock import NS_PER_S
from metering.errors import ConfigurationError, StorageError
from metering.quota import BudgetQuota, Demand, RateQuota
from metering.stores import Outcome
from metering.testing.contracts.samples import PLAN

pytestmark = pytest.mark.anyio

NOW = 1_768_435_200 * NS_PER_S
LEASE_NS = 30 * NS_PER_S
DAY_NS = 24 * 3600 * NS_PER_S
PATIENT_MS = 15_000
RATE = RateQuota(10, 3600 * NS_PER_S)
SLOTS = BudgetQuota(8)
LEDGERED = BudgetQuota(1000, ledgered=True)
BOTH = (Demand("requests", RATE, 3), Demand("slots", SLOTS, 2))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "limits.db"


@pytest.fixture
def store(path):
    with closing(SqliteLimitStore(path, deadline_ms=PATIENT_MS)) as store:
        yield store


async def take(store, *demands, hold_id="", now_ns=NOW):
    return await store.acquire(
        demands, hold_id=hold_id, lease_ns=LEASE_NS, now_ns=now_ns
    )


async def room(store, demand, now_ns=NOW):
    nothing = replace(demand, cost=0)
    return (await store.peek((nothing,), now_ns=now_ns))[0].remaining


def rows(path, query):
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


async def test_nothing_is_opened_before_the_first_check(path):
    """A store made before a fork shares nothing with the children."""
    store = SqliteLimitStore(path)

    await store.aclose()

    assert not list(path.parent.iterdir())


async def test_closing_gives_back_the_file_and_a_later_check_opens_it_again(
    path, store
):
    """Rates, holds and what was spent are there again."""
    spent = Demand("spent", BudgetQuota(10), 4)
    await take(store, *BOTH, spent, hold_id="hold")
    await store.settle("other", (spent,), (3,), now_ns=NOW)

    await store.aclose()

    names = [entry.name for entry in path.parent.iterdir()]
    assert sorted(names) == ["limits.db", "limits.db.open"]
    assert [await room(store, d) for d in (*BOTH, spent)] == [7, 6, 3]
    assert await store.settle("hold", BOTH, (0, 0), now_ns=NOW) == "settled"


async def test_ledgered_budgets_are_seeded_again_after_all_processes_ended(path):
    """The latest commits may be lost to a power cut; what is held stays held."""
    dime = Demand("usd", LEDGERED, 100)
    first = SqliteLimitStore(f"sqlite:///{path}", deadline_ms=PATIENT_MS)
    await first.seed("usd", 300, now_ns=NOW)
    await take(first, dime, hold_id="running")
    with closing(SqliteLimitStore(path, deadline_ms=PATIENT_MS)) as second:
        assert await room(second, dime) == 600
        await first.aclose()
        assert await room(first, dime) == 600
        await first.aclose()

    unseeded = await take(first, dime, hold_id="next")
    late = await first.settle("other", (dime,), (50,), now_ns=NOW)
    seeds = [await first.seed("usd", spent, now_ns=NOW) for spent in (450, 0)]

    assert unseeded == Outcome("unseeded", unseeded=("usd",))
    assert (late, seeds) == ("late", [True, False])
    assert await room(first, dime) == 450
    await first.aclose()


@pytest.mark.parametrize(
    "url", ["", "sqlite://", "sqlite:///", "sqlite:///:memory:", "redis://h/0"]
)
def test_refuses_what_names_no_file(url):
    with pytest.raises(ConfigurationError, match="MemoryLimitStore"):
        SqliteLimitStore(url)


async def test_a_file_that_is_no_database_is_told(path, store):
    path.write_text("Dear diary, " * 1000)

    with pytest.raises(StorageError, match=r"limits.db cannot be used: .* not a data"):
        await take(store, *BOTH, hold_id="hold")

    assert path.read_text().startswith("Dear diary")


async def test_a_database_of_something_else_is_left_alone(path, store):
    """Such as the ledger."""
    with closing(SqlLedger(str(path), tiers=PLAN)) as ledger:
        ledger.create(Account(id="acme", created_ns=1), None)

        with pytest.raises(StorageError, match="a database of something else"):
            await take(store, *BOTH, hold_id="hold")

        assert ledger.get("acme").id == "acme"


async def test_limits_of_another_version_are_left_alone(path, store):
    await store.sweep(now_ns=NOW)
    await store.aclose()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")

    with pytest.raises(StorageError, match="holds limits of version 99"):
        await store.sweep(now_ns=NOW)


@pytest.mark.parametrize("where", ["{}/file/limits.db", "/proc/limits.db"])
async def test_a_place_that_cannot_be_written_is_told(tmp_path, where):
    """It can be mended, and the store works from then on."""
    (tmp_path / "file").touch()
    named = where.format(tmp_path)
    with (
        closing(SqliteLimitStore(named)) as store,
        pytest.raises(StorageError, match=rf"limits in {named} .*written"),
    ):
        await take(store, *BOTH, hold_id="hold")


async def test_a_store_works_once_its_place_is_mended(tmp_path):
    blocked = tmp_path / "data"
    blocked.touch()
    with closing(SqliteLimitStore(blocked / "limits.db")) as store:
        with pytest.raises(StorageError):
            await take(store, *BOTH, hold_id="hold")
        blocked.unlink()
        assert (await take(store, *BOTH, hold_id="hold")).status == "admitted"


def test_event_loops_may_share_a_store_one_after_the_other(path):
    """As tests and scripts do; each finds what the former left."""
    with closing(SqliteLimitStore(path, deadline_ms=PATIENT_MS)) as store:
        for backend in ("asyncio", "trio", "asyncio"):
            anyio.run(take, store, BOTH[0], backend=backend)

        async def left():
            return await room(store, BOTH[0])

        assert anyio.run(left) == 1


async def test_rates_that_are_whole_again_make_room_for_new_ones(path, store):
    """A hundred keys in use at a time: never many more are kept."""
    quota = RateQuota(1, NS_PER_S)
    for step in range(200):
        demands = [Demand(f"caller {step} {n}", quota) for n in range(10)]
        await take(store, *demands, now_ns=NOW + step * NS_PER_S // 10)
    ((kept,),) = rows(path, "SELECT count(*) FROM rates")
    assert 100 <= kept <= 150


async def test_idle_budgets_are_dropped_and_those_in_use_are_not(path, store):
    """Ledgered ones after a day, others after 400; never one that is held."""
    for name, quota in (("month", LEDGERED), ("day", BudgetQuota(1000))):
        for number in range(3):
            demand = Demand(f"{name} {number}", quota, 10)
            if quota.ledgered:
                await store.seed(demand.key, 1, now_ns=NOW)
            await store.settle(f"{demand.key}", (demand,), (5,), now_ns=NOW)
    held = Demand("month 0", LEDGERED, 10)
    await store.acquire((held,), hold_id="held", lease_ns=500 * DAY_NS, now_ns=NOW)

    async def kept_at(now_ns):
        for number in range(8):
            await store.seed(f"new {now_ns} {number}", 0, now_ns=now_ns)
        found = rows(path, "SELECT key FROM budgets WHERE key NOT LIKE 'new%'")
        return sorted(key for (key,) in found)

    days = ["day 0", "day 1", "day 2"]
    assert await kept_at(NOW + DAY_NS - 1000) == [
        *(*days, "month 0", "month 1", "month 2")
    ]
    assert await kept_at(NOW + DAY_NS) == [*days, "month 0"]
    assert await kept_at(NOW + 399 * DAY_NS) == [*days, "month 0"]
    assert await kept_at(NOW + 400 * DAY_NS) == ["month 0"]


async def test_the_log_beside_the_file_is_kept_short(path, store, monkeypatch):
    """Though another, too, has the file open all the time."""
    monkeypatch.setattr(file, "_LOG_BYTES", 30_000)
    log, sizes = path.with_name("limits.db-wal"), []
    with closing(SqliteLimitStore(path, deadline_ms=PATIENT_MS)) as other:
        await other.peek(BOTH, now_ns=NOW)
        for call in range(100):
            await take(store, *BOTH, hold_id=str(call))
            await store.settle(str(call), BOTH, (1, 0), now_ns=NOW)
            sizes.append(log.stat().st_size)
    assert max(sizes) < 100_000


async def test_slots_leave_nothing_behind(path, store):
    """Neither when settled, nor when they expire and the next ones come."""
    slot = Demand("slots", SLOTS)
    await take(store, slot, hold_id="settled")
    await store.settle("settled", (slot,), (0,), now_ns=NOW)
    await take(store, slot, hold_id="expired")
    later = NOW + LEASE_NS
    assert await store.sweep(now_ns=later) == 1
    for number in range(3):
        await take(
            store, Demand(f"z{number}", SLOTS), hold_id=f"z{number}", now_ns=later
        )
    assert rows(path, "SELECT key FROM budgets ORDER BY key") == [
        *(("z0",), ("z1",), ("z2",))
    ]


async def test_settled_holds_and_announcements_are_remembered_up_to_a_bound(
    path, store, monkeypatch
):
    """The oldest are forgotten first."""
    monkeypatch.setattr(page, "SETTLED_MAX", 10)
    monkeypatch.setattr(page, "ANNOUNCED_MAX", 2)
    slot = Demand("slots", SLOTS)
    for call in range(11):
        await store.settle(str(call), (slot,), (0,), now_ns=NOW)
    for account, version in (("a", 5), ("b", 1), ("a", 2), ("c", 1)):
        await store.announce(account, version)
    assert await store.settle("1", (slot,), (0,), now_ns=NOW) == "repeated"
    assert await store.settle("0", (slot,), (0,), now_ns=NOW) == "late"
    assert rows(path, "SELECT count(*) FROM settled") == [(10,)]
    assert rows(path, "SELECT account_id, version FROM versions") == [
        *(("a", 5), ("c", 1))
    ]
