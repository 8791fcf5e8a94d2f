"""Calls on an SQLite limits file: many in a tick, cancelled, late, locked out."""

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

from metering.backends.memory import MemoryLimitStore
from metering.backends.sqlite import SqliteLimitStore, worker
from metering.clock import NS_PER_S
from metering.errors import StorageError
from metering.quota import BudgetQuota, Demand, RateQuota

pytestmark = pytest.mark.anyio

NOW = 1_768_435_200 * NS_PER_S
LEASE_NS = 30 * NS_PER_S
PATIENT_MS = 15_000
RATE = RateQuota(10, 3600 * NS_PER_S)
SLOTS = BudgetQuota(8)
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


@contextmanager
def locked(path):
    """Be the other who keeps a transaction open."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


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
