"""What is looked back at is gathered within bounds, and waits for a ledger."""

from contextlib import closing

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from metering.adaptive import Explanation
from metering.backends.sql import SqlLedger
from metering.clock import NS_PER_S
from metering.errors import ConfigurationError, StorageError
from metering.historian import (
    PLACES_MAX,
    POOL_MINUTES_MAX,
    POOLS_KEPT_NS,
    REFUSALS_KEPT_NS,
    Historian,
)
from metering.observing import RefusedCall
from metering.stores import RefusalPlace
from metering.stores.history import MINUTE_NS
from metering.testing import ManualClock
from metering.testing.contracts.samples import PLAN

pytestmark = pytest.mark.anyio

QUIET = Explanation(
    state="normal",
    signal="first_bytes",
    cause="ceiling",
    limit_rpm=60.0,
    previous_rpm=60.0,
    accounts=1,
    budget_per_s=None,
    capacity_per_s=20.0,
    awaiting=2.0,
    waiting=0,
    unloaded_s=0.5,
    pace_per_s=None,
)
BUSY = Explanation(
    state="busy",
    signal="first_bytes",
    cause="budget",
    limit_rpm=10.0,
    previous_rpm=60.0,
    accounts=3,
    budget_per_s=4.0,
    capacity_per_s=10.0,
    awaiting=8.0,
    waiting=6,
    unloaded_s=0.6,
    pace_per_s=None,
)


class Store:
    """A history that can be away, and counts what it was given."""

    def __init__(self, kept):
        self.kept = kept
        self.fault = None
        self.meanwhile = lambda: None
        self.notes = []

    def note(self, refusals, pools):
        self.meanwhile()
        if self.fault is not None:
            raise self.fault
        self.notes.append((len(refusals), len(pools)))
        self.kept.note(refusals, pools)

    def forget(self, **bounds):
        return self.kept.forget(**bounds)


@pytest.fixture
def kept():
    with closing(SqlLedger("sqlite://", tiers=PLAN)) as ledger:
        yield ledger.history


@pytest.fixture
def store(kept):
    return Store(kept)


@pytest.fixture
def clock():
    return ManualClock()


def historian_of(store, clock, *, models=("m",), look=None):
    return Historian(store, clock=clock, models=models, look=look)


def refused(clock, **told):
    call = {
        "id": "1",
        "account_id": "acme",
        "code": "rate_limit_exceeded",
        "status": 429,
        "quota": "requests",
        "tier": 1,
        "model": "m",
        "dialect": "openai.chat",
        "began_ns": clock(),
        "ended_ns": clock(),
    }
    return RefusedCall(**call | told)


def test_calls_of_a_minute_that_were_refused_for_one_reason_are_one_row(
    kept, store, clock
):
    historian = historian_of(store, clock)
    first_ns = clock()
    for _ in range(3):
        historian.refused(refused(clock))
        clock.advance(seconds=1)
    historian.refused(refused(clock, code="usage_limit_reached", status=402))
    clock.advance(seconds=60)
    historian.refused(refused(clock))
    assert historian.write()

    minute_ns = first_ns - first_ns % MINUTE_NS
    assert {
        (minute_ns, "rate_limit_exceeded", 429): 3,
        (minute_ns, "usage_limit_reached", 402): 1,
        (minute_ns + MINUTE_NS, "rate_limit_exceeded", 429): 1,
    } == {
        (each.place.minute_ns, each.place.code, each.status): each.calls
        for each in kept.refusals("acme")
    }
    assert (first_ns, first_ns + 2 * NS_PER_S) == next(
        (each.first_ns, each.last_ns)
        for each in kept.refusals("acme")
        if each.calls == 3
    )


def test_what_a_client_made_up_is_not_kept(kept, store, clock):
    """A model that is not in the price book; of an unknown caller all but the code."""
    historian = historian_of(store, clock)
    historian.refused(refused(clock, model="a prompt, perhaps"))
    historian.refused(refused(clock, account_id=None, tier=None, model="m", quota="q"))
    historian.write()

    minute_ns = clock() - clock() % MINUTE_NS
    assert [
        RefusalPlace(minute_ns, "acme", "", "rate_limit_exceeded", "requests", 1),
        RefusalPlace(minute_ns, "", "", "rate_limit_exceeded", "", -1),
    ] == [each.place for each in kept.refusals(None)]


@pytest.mark.parametrize(("models", "rows"), [(20_000, PLACES_MAX), (0, 1)])
def test_a_storm_stays_within_its_bound(kept, store, clock, models, rows):
    """100,000 refusals of 20,000 models, of the price book or made up."""
    names = [f"model-{number}" for number in range(20_000)]
    historian = historian_of(store, clock, models=names[:models])
    with capture_logs() as logs:
        for number in range(100_000):
            historian.refused(refused(clock, model=names[number % 20_000]))
        historian.write()
        for number in range(20_000):
            historian.refused(refused(clock, model=names[number]))
        historian.write()
        clock.advance(seconds=60)
        historian.write()

    assert [(rows, 0), (rows, 0)] == store.notes
    told = [line["calls"] for line in logs if line["event"] == "refusals_not_kept"]
    calls = sum(each.calls for each in kept.refusals("acme", limit=30_000))
    assert 120_000 == calls + sum(told)
    assert (2 if models else 0) == len(told), "the first at once, then once a minute"


def test_while_the_ledger_is_away_they_wait(kept, store, clock):
    """Nothing is lost, nor counted twice; each change of state is told once."""
    historian = historian_of(store, clock, look=lambda: {"p": QUIET})
    store.fault = StorageError("The ledger is away.")
    with capture_logs() as logs:
        for _ in range(3):
            historian.refused(refused(clock))
            historian.look()
            assert not historian.write()
            clock.advance(seconds=30)
        store.fault = None
        historian.refused(refused(clock))
        assert historian.write()
        assert historian.write(), "nothing is left"

    assert [4] == [sum(of) for of in [[each.calls for each in kept.refusals("acme")]]]
    assert 2 == len(
        kept.pools("p", since_ns=0, until_ns=clock() + 1, step_ns=MINUTE_NS)
    )
    assert ["history_not_written", "history_written_again"] == [
        line["event"] for line in logs
    ]


def test_what_comes_while_it_is_written_is_kept(kept, store, clock):
    """Though the writing fails; the later look at a minute is the one that counts."""
    looks = iter([BUSY, QUIET])
    historian = historian_of(store, clock, look=lambda: {"p": next(looks)})

    def meanwhile():
        historian.look()
        historian.refused(refused(clock))
        store.meanwhile = lambda: None

    historian.look()
    historian.refused(refused(clock))
    store.meanwhile, store.fault = meanwhile, StorageError("away")
    historian.write()
    store.fault = None
    historian.write()

    (span,) = kept.pools("p", since_ns=0, until_ns=2**62, step_ns=MINUTE_NS)
    assert (60.0, 10.0, 5.0) == (span.limit_rpm, span.limit_rpm_min, span.awaiting)
    assert [2] == [each.calls for each in kept.refusals("acme")]


def test_what_the_ledger_never_takes_does_not_stop_the_rest(kept, store, clock):
    historian = historian_of(store, clock)
    historian.refused(refused(clock))
    store.fault = ConfigurationError("It is too long.")
    with capture_logs() as logs:
        assert historian.write()
    store.fault = None
    historian.refused(refused(clock, tier=2))
    historian.write()

    assert [1] == [
        line["calls"] for line in logs if line["event"] == "refusals_not_kept"
    ]
    assert [2] == [each.place.tier for each in kept.refusals(None)]


@settings(max_examples=50)
@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("refused"), st.integers(0, 5)),
            st.tuples(st.just("pass"), st.integers(1, 90)),
            st.tuples(st.just("write"), st.booleans()),
        ),
        max_size=40,
    )
)
def test_each_refusal_is_written_once_whatever_fails(steps):
    with closing(SqlLedger("sqlite://", tiers=PLAN)) as ledger:
        clock, store = ManualClock(), Store(ledger.history)
        historian = historian_of(store, clock)
        told = 0
        for act, value in steps:
            if act == "refused":
                told += 1
                historian.refused(refused(clock, tier=value))
            elif act == "pass":
                clock.advance(seconds=value)
            else:
                store.fault = None if value else StorageError("away")
                historian.write()
        store.fault = None
        historian.write()

        assert told == sum(each.calls for each in ledger.history.refusals(None))


def test_a_minute_of_a_pool_sums_up_its_looks(kept, store, clock):
    """The worst state, the last limit and the lowest, average load; then a new one."""
    looks = iter([BUSY, QUIET, QUIET, QUIET])
    historian = historian_of(store, clock, look=lambda: {"p": next(looks)})
    for pause_s in (10, 10, 60, 0):
        historian.look()
        historian.write()
        clock.advance(seconds=pause_s)

    first, second = kept.pools("p", since_ns=0, until_ns=clock() + 1, step_ns=MINUTE_NS)
    assert ("busy", ("ceiling",), 60.0, 10.0, 4.0, 2.0, 1) == (
        first.state,
        first.causes,
        first.limit_rpm,
        first.limit_rpm_min,
        first.awaiting,
        first.waiting,
        first.nodes,
    )
    assert ("normal", 60.0, 2.0) == (
        second.state,
        second.limit_rpm_min,
        second.awaiting,
    )


def test_pools_that_wait_have_a_bound(store, clock):
    """The oldest minutes are given up, were the ledger away for a day."""
    store.fault = StorageError("away")
    historian = historian_of(store, clock, look=lambda: {"p": QUIET, "q": QUIET})
    for _ in range(POOL_MINUTES_MAX):
        historian.look()
        historian.write()
        clock.advance(seconds=60)
    store.fault = None
    historian.write()

    assert [(0, POOL_MINUTES_MAX)] == store.notes


async def test_what_is_older_than_it_is_kept_is_forgotten(
    kept, store, clock, monkeypatch
):
    """To the minute, however much there is."""
    monkeypatch.setattr("metering.historian._FORGOTTEN_AT_ONCE", 2)
    historian = historian_of(store, clock, look=lambda: {"p": QUIET})
    began_ns = clock()
    for _ in range(7):
        historian.refused(refused(clock))
        historian.look()
        historian.write()
        clock.advance(seconds=60)

    def left():
        return (
            len(kept.refusals("acme")),
            len(kept.pools("p", since_ns=0, until_ns=2**62, step_ns=MINUTE_NS)),
        )

    clock.advance(ns=began_ns + POOLS_KEPT_NS - clock())
    await historian.forget()
    at_first = left()
    clock.advance(ns=5 * MINUTE_NS)
    await historian.forget()
    pools_gone = left()
    clock.advance(ns=began_ns + REFUSALS_KEPT_NS + 3 * MINUTE_NS - clock())
    await historian.forget()

    assert ((7, 7), (7, 2), (4, 0)) == (at_first, pools_gone, left())


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_it_writes_by_itself_until_it_is_stopped(kept, store, clock, monkeypatch):
    """Though nobody asks; started twice it is one."""
    monkeypatch.setattr("metering.historian._WRITE_S", 0)
    historian = historian_of(store, clock, look=lambda: {"p": QUIET})
    historian.start()
    historian.start()
    historian.refused(refused(clock))
    with anyio.fail_after(10):
        while not kept.refusals("acme"):
            await anyio.lowlevel.checkpoint()
    historian.stop()
    historian.write()
    historian.refused(refused(clock, tier=2))
    for _ in range(100):
        await anyio.lowlevel.checkpoint()

    assert 1 == len(kept.refusals("acme"))
    assert historian.write()
    assert 2 == len(kept.refusals("acme"))
    assert 1 == len(kept.pools("p", since_ns=0, until_ns=2**62, step_ns=MINUTE_NS))
