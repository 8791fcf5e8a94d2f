"""Limits in an SQLite file keep the contract, and what is particular to the file."""

import asyncio
import sqlite3
from contextlib import closing, contextmanager, suppress
from uuid import uuid4

import anyio
import anyio.lowlevel
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from metering.accounts import Account
from metering.backends.memory import MemoryLimitStore
from metering.backends.sql import SqlLedger
from metering.backends.sqlite import SqliteLimitStore, file, page, worker
from metering.clock import NS_PER_S
from metering.errors import ConfigurationError, StorageError
from metering.quota import NEVER_NS, BudgetQuota, Demand, RateQuota
from metering.stores import Outcome
from metering.testing.contracts.limits import LimitStoreContract
from metering.testing.contracts.samples import PLAN

pytestmark = pytest.mark.anyio

NOW = 1_768_435_200 * NS_PER_S
LEASE_NS = 30 * NS_PER_S
DAY_NS = 24 * 3600 * NS_PER_S
PATIENT_MS = 15_000
RATE = RateQuota(10, 3600 * NS_PER_S)
SLOTS = BudgetQuota(8)
LEDGERED = BudgetQuota(1000, ledgered=True)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "limits.db"


@pytest.fixture
def store(path):
    with closing(SqliteLimitStore(path, deadline_ms=PATIENT_MS)) as store:
        yield store


class TestSqliteLimitStore(LimitStoreContract):
    @pytest.fixture
    def store(self, store):
        return store


class TestSqliteLimitStoreOnTrio(LimitStoreContract):
    @pytest.fixture
    def anyio_backend(self):
        return "trio"

    @pytest.fixture
    def store(self, store):
        return store


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


@contextmanager
def locked(path):
    """Be the other who keeps a transaction open."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


# Ticks and transactions

_NAMES = ("requests", "tokens", "slots", "usd", "spent")
_QUOTAS = {
    "requests": RateQuota(5, 60 * NS_PER_S),
    "tokens": RateQuota(7, NS_PER_S, 3),
    "slots": BudgetQuota(3),
    "usd": BudgetQuota(20, ledgered=True),
    "spent": BudgetQuota(9),
}
_DEMANDS = st.lists(
    st.builds(
        lambda name, cost, shadow: Demand(
            name, _QUOTAS[name], cost, name=name, shadow=shadow
        ),
        st.sampled_from(_NAMES),
        st.integers(0, 4),
        st.sampled_from((False, False, True)),
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda demand: demand.key,
)
_HOLDS = st.sampled_from("abcdef")
_CHECKS = st.one_of(
    st.tuples(st.just("acquire"), _HOLDS, _DEMANDS),
    st.tuples(st.just("acquire"), _HOLDS, _DEMANDS),
    st.tuples(st.just("settle"), _HOLDS, _DEMANDS),
    st.tuples(st.just("renew"), _HOLDS, _DEMANDS),
    st.tuples(st.just("peek"), _HOLDS, _DEMANDS),
    st.tuples(st.just("seed"), _HOLDS, st.just(())),
)
_TICKS = st.lists(
    st.tuples(st.integers(0, 20), st.lists(_CHECKS, min_size=1, max_size=12)),
    min_size=1,
    max_size=5,
)


async def ask(store, check, account, now_ns):
    kind, hold, demands = check
    demands = [replace(d, key=f"{account}:{d.key}") for d in demands]
    hold_id = f"{account}:{hold}"
    match kind:
        case "acquire":
            outcome = await take(store, *demands, hold_id=hold_id, now_ns=now_ns)
            verdicts = tuple(without_wait(verdict) for verdict in outcome.verdicts)
            return outcome.status, outcome.unseeded, verdicts
        case "settle":
            costs = [demand.cost // 2 for demand in demands]
            return await store.settle(hold_id, demands, costs, now_ns=now_ns)
        case "renew":
            return await store.renew(hold_id, demands, lease_ns=LEASE_NS, now_ns=now_ns)
        case "peek":
            verdicts = await store.peek(demands, now_ns=now_ns)
            return tuple(without_wait(verdict) for verdict in verdicts)
        case _:
            return await store.seed(f"{account}:usd", 2, now_ns=now_ns)


def without_wait(verdict):
    """A store may know of a hold that ends sooner than the oldest."""
    return replace(verdict, retry_after_ns=1) if verdict.reason == "held" else verdict


@settings(
    max_examples=100,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.differing_executors,
    ],
)
@given(ticks=_TICKS)
async def test_checks_of_one_tick_are_answered_as_one_after_the_other(store, ticks):
    """In one transaction, each by itself sees what those before it changed."""
    memory, account, now_ns = MemoryLimitStore(), uuid4().hex, NOW
    for pause_s, checks in ticks:
        now_ns += pause_s * NS_PER_S
        expected = [await ask(memory, check, account, now_ns) for check in checks]
        actual = await asyncio.gather(
            *(ask(store, check, account, now_ns) for check in checks)
        )
        assert expected == actual


async def test_the_checks_of_a_tick_are_one_transaction(store):
    """However many tasks ask at once."""
    demand = Demand("requests", RATE)
    await take(store, demand)
    statements = []
    store._worker._file._connection.set_trace_callback(statements.append)

    outcomes = await asyncio.gather(*(take(store, demand) for _ in range(50)))

    assert statements.count("BEGIN IMMEDIATE") == 1
    assert [outcome.status for outcome in outcomes].count("admitted") == 9


async def test_a_check_that_cannot_be_written_takes_no_other_along(store):
    """The file is fine; only who asked for nonsense is told so."""
    demand = Demand("units", BudgetQuota(10))

    good, bad, other = await asyncio.gather(
        take(store, demand, hold_id="good"),
        store.settle("bad", (demand,), (0.5,), now_ns=NOW),
        take(store, demand, hold_id="other"),
        return_exceptions=True,
    )

    assert (good.status, other.status) == ("admitted", "admitted")
    assert isinstance(bad, StorageError)
    assert "cannot take" in str(bad)
    assert await room(store, demand) == 8


async def test_what_cannot_wait_any_more_is_told_at_once(store, monkeypatch):
    """The queue is bounded, but for settlements, which are as many as admissions."""
    monkeypatch.setattr(worker, "WAITING_MAX", 3)
    slot = Demand("slots", SLOTS)
    await take(store, slot, hold_id="held")

    *answers, settled = await asyncio.gather(
        *(take(store, slot, hold_id=str(call)) for call in range(5)),
        store.settle("held", (slot,), (0,), now_ns=NOW),
        return_exceptions=True,
    )

    refused = [str(answer) for answer in answers if isinstance(answer, StorageError)]
    assert len(refused) == 2
    assert refused[0].startswith("3 checks wait for the limits in ")
    assert settled == "settled"
    assert await room(store, slot) == 5


# Cancelled, late, locked

BOTH = (Demand("requests", RATE, 3), Demand("slots", SLOTS, 2))


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_call_cancelled_at_any_await_leaves_no_hold(path, backend):
    """Nor takes of a rate; nobody settles it."""

    async def run():
        with closing(SqliteLimitStore(path, deadline_ms=PATIENT_MS)) as store:
            await store.peek(BOTH, now_ns=NOW)
            for turns in range(30):
                async with anyio.create_task_group() as tasks:
                    cancelled = anyio.CancelScope()

                    async def call(hold_id=f"{turns}", scope=cancelled, demands=BOTH):
                        with scope:
                            await take(store, *demands, hold_id=hold_id)
                            await store.settle(hold_id, demands, (0, 0), now_ns=NOW)

                    tasks.start_soon(call)
                    for _ in range(turns):
                        await anyio.lowlevel.checkpoint()
                    cancelled.cancel()
                assert [await room(store, d) for d in BOTH] == [10, 8]

    anyio.run(run, backend=backend)


@pytest.mark.parametrize("hold_id", ["hold", ""])
async def test_what_was_admitted_after_its_caller_had_left_is_given_back(
    path, store, hold_id
):
    """Committed, not yet delivered, and cancelled."""
    demands = BOTH if hold_id else BOTH[:1]
    await store.peek(BOTH, now_ns=NOW)
    call = asyncio.ensure_future(take(store, *demands, hold_id=hold_id))
    await anyio.lowlevel.checkpoint()
    await anyio.lowlevel.checkpoint()
    while not rows(path, "SELECT 1 FROM rates"):
        pass  # the loop stands still, so that nothing is delivered

    call.cancel()

    with suppress(asyncio.CancelledError):
        await call
    assert [await room(store, d) for d in BOTH] == [10, 8]


async def test_who_asks_again_after_cancelling_keeps_the_second_admission(store):
    """What is given back is the first, and before the second is made."""
    await store.peek(BOTH, now_ns=NOW)
    for turns in range(1, 12):
        call = asyncio.ensure_future(take(store, *BOTH, hold_id=str(turns)))
        for _ in range(turns):
            await anyio.lowlevel.checkpoint()
        call.cancel()
        with suppress(asyncio.CancelledError):
            await call
        again = await take(store, *BOTH, hold_id=str(turns))
        assert again.status == "admitted"
        assert [await room(store, d) for d in BOTH] == [7, 6]
        await store.settle(str(turns), BOTH, (0, 0), now_ns=NOW)
        assert [await room(store, d) for d in BOTH] == [10, 8]


async def test_asking_again_for_an_open_hold_and_leaving_keeps_it(store):
    """The call that has it is running."""
    await take(store, *BOTH, hold_id="running")
    for turns in range(1, 12):
        call = asyncio.ensure_future(take(store, *BOTH, hold_id="running"))
        for _ in range(turns):
            await anyio.lowlevel.checkpoint()
        call.cancel()
        with suppress(asyncio.CancelledError):
            await call
        assert [await room(store, d) for d in BOTH] == [7, 6]


async def test_a_file_locked_by_another_is_told_and_nothing_is_taken(path):
    """Within the bound; what was used meanwhile is charged once the lock is gone."""
    dime = Demand("usd", BudgetQuota(1000), 100)
    with closing(SqliteLimitStore(path, busy_timeout_ms=20)) as store:
        await take(store, dime, hold_id="running")
        with locked(path):
            with pytest.raises(StorageError) as told:
                await take(store, dime, hold_id="refused")
            with pytest.raises(StorageError):
                await store.settle("running", (dime,), (70,), now_ns=NOW)

        assert str(told.value) == (
            f"The limits in {path} were locked by another for more than 20 ms, so"
            " nothing was decided. See what keeps a transaction open on the file."
        )
        assert await room(store, dime) == 930
        again = await store.settle("running", (dime,), (70,), now_ns=NOW)
        assert again == "repeated"


async def test_a_call_waits_no_longer_than_its_deadline(path):
    """Whatever the thread waits for; and is not admitted behind its back."""
    with closing(
        SqliteLimitStore(path, busy_timeout_ms=PATIENT_MS, deadline_ms=20)
    ) as store:
        await store.sweep(now_ns=NOW)
        with (
            locked(path),
            pytest.raises(StorageError, match=r"limits.db did not answer within 20 ms"),
        ):
            await take(store, *BOTH, hold_id="late")
        await store.aclose()  # what waits is answered first

        assert rows(path, "SELECT count(*) FROM holds") == [(0,)]
        assert rows(path, "SELECT due_us FROM rates") in ([], [(NOW // 1000,)])


# The file


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


# Values and time


@pytest.mark.parametrize(
    "name", ["", "'\"\\", "é😀", "\x01\n\t", "$[0]", "a'; --", "1"]
)
async def test_names_may_be_any_text(store, name):
    demands = (Demand(name, RATE), Demand(name, BudgetQuota(10, ledgered=True)))
    await store.announce(name, 2)
    await store.seed(name, 3, now_ns=NOW)
    outcome = await store.acquire(
        demands,
        hold_id=f"hold {name}",
        lease_ns=LEASE_NS,
        now_ns=NOW,
        account=(name, 2),
    )
    assert [verdict.remaining for verdict in outcome.verdicts] == [9, 6]
    assert await store.settle(f"hold {name}", demands, (1, 2), now_ns=NOW) == "settled"
    assert [await room(store, demand) for demand in demands] == [9, 5]


@pytest.mark.parametrize("name", ["a\0b", "half \ud800"])
async def test_names_that_sqlite_would_alter_are_refused(store, name):
    """Two keys must never become one."""
    for key, hold_id in ((name, "hold"), ("key", name)):
        with pytest.raises(ConfigurationError, match="NUL or half a surrogate"):
            await take(store, Demand(key, SLOTS), hold_id=hold_id)


async def test_numbers_beyond_64_bits_stay_at_the_bound(store):
    """More than can be counted is as much as can be counted, never an error."""
    most = 2**63 - 1
    budget = Demand("usd", BudgetQuota(most), most)
    rate = Demand("tokens", RateQuota(1, 400 * DAY_NS))
    for hold_id in ("first", "second"):
        late = await store.settle(hold_id, (budget, rate), (most, most), now_ns=NOW)
        assert late == "late"
    spent, owing = await store.peek((budget, rate), now_ns=NOW)
    assert (spent.reason, spent.retry_after_ns) == ("spent", NEVER_NS)
    assert (owing.reason, owing.remaining) == ("rate", 0)


async def test_a_clock_that_steps_back_gives_nothing_away(store):
    """Rates refill, and leases end, only when it is again where it was."""
    earlier = NOW - 3600 * NS_PER_S
    await take(store, replace(BOTH[0], cost=10), BOTH[1], hold_id="hold")
    assert await room(store, BOTH[0], earlier) == 0
    assert await room(store, BOTH[1], earlier) == 6
    refused = await take(store, BOTH[0], now_ns=earlier)
    wait_ns = refused.verdicts[0].retry_after_ns
    assert earlier + wait_ns == NOW + 3 * 360 * NS_PER_S
    assert await store.sweep(now_ns=earlier) == 0
    assert await room(store, BOTH[1], NOW + LEASE_NS) == 8


# Bounds


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


async def test_the_wait_told_is_that_of_a_hold_which_is_still_there(store):
    """Though the one with the first lease end was settled, and its lease is over."""
    pair = Demand("slots", BudgetQuota(2))
    await take(store, pair, hold_id="settled")
    await take(store, pair, hold_id="stays", now_ns=NOW + NS_PER_S)
    await store.settle("settled", (pair,), (0,), now_ns=NOW + NS_PER_S)
    await take(store, pair, hold_id="third", now_ns=NOW + 2 * NS_PER_S)
    later = NOW + LEASE_NS + NS_PER_S // 2
    refused = await take(store, pair, hold_id="refused", now_ns=later)
    assert refused.verdicts[0].retry_after_ns == NS_PER_S // 2


async def test_the_wait_told_knows_what_the_same_tick_has_changed(store):
    """A hold settled just before is none to wait for."""
    pair = Demand("slots", BudgetQuota(2))
    await take(store, pair, hold_id="settled")
    await take(store, pair, hold_id="ends", now_ns=NOW + NS_PER_S)
    await store.settle("settled", (pair,), (0,), now_ns=NOW + NS_PER_S)
    await take(store, pair, hold_id="stays", now_ns=NOW + 5 * NS_PER_S)
    later = NOW + LEASE_NS + NS_PER_S // 2
    *_, refused = await asyncio.gather(
        store.settle("ends", (pair,), (0,), now_ns=later),
        take(store, pair, hold_id="third", now_ns=later),
        take(store, pair, hold_id="refused", now_ns=later),
    )
    assert refused.verdicts[0].retry_after_ns == 4.5 * NS_PER_S


async def test_an_id_may_name_a_new_hold_once_the_first_is_over(store):
    """Settled or expired, the second is settled by itself, in time or late."""
    unit, later = Demand("units", BudgetQuota(10)), NOW + LEASE_NS
    for _ in range(2):
        await take(store, unit, hold_id="id")
        assert await store.settle("id", (unit,), (1,), now_ns=NOW) == "settled"
    await take(store, unit, hold_id="id")
    assert await store.sweep(now_ns=later) == 1
    assert await store.settle("id", (unit,), (1,), now_ns=later) == "late"
    assert await room(store, unit, later) == 7


async def test_a_hold_ends_whole_whatever_its_settlement_names(store):
    """What it had of a budget that is not named is given back."""
    slot, unit = Demand("slots", SLOTS), Demand("units", BudgetQuota(10))
    await take(store, slot, unit, hold_id="hold")
    assert await store.settle("hold", (unit,), (4,), now_ns=NOW) == "settled"
    assert [await room(store, demand) for demand in (slot, unit)] == [8, 6]


async def test_renewing_never_shortens_a_lease(store):
    """The longer of the two ends counts."""
    slot = Demand("slots", SLOTS)
    await take(store, slot, hold_id="hold")
    assert await store.renew("hold", (slot,), lease_ns=NS_PER_S, now_ns=NOW)
    later = NOW + LEASE_NS - 1000
    assert await store.settle("hold", (slot,), (0,), now_ns=later) == "settled"


async def test_costs_must_match_the_demands(store):
    """A settlement that does not say what each demand used changes nothing."""
    with pytest.raises(ConfigurationError, match="0 costs for 1 demands"):
        await store.settle("hold", (BOTH[0],), (), now_ns=NOW)
