"""Pools over time are as the history has them, spans long over a little later."""

import pytest

from metering.backends.sql import SqlLedger
from metering.clock import NS_PER_S
from metering.config import plan_from_preset
from metering.console.past_pools import KEPT_MAX, KEPT_NS, LATE_NS, PastPools
from metering.stores import PoolMinute
from metering.stores.history import MINUTE_NS
from metering.testing.clock import ManualClock

HOUR_NS = 3600 * NS_PER_S
STEP_NS = 5 * MINUTE_NS


class Counted:
    """A history, and from when on it was asked."""

    def __init__(self, history):
        self.history, self.asked = history, []

    def pools(self, pool, *, since_ns, until_ns, step_ns):
        self.asked.append((pool, since_ns))
        return self.history.pools(
            pool, since_ns=since_ns, until_ns=until_ns, step_ns=step_ns
        )


class Told:
    """What was told of pools, and how it is read."""

    def __init__(self, ledger):
        self.clock = ManualClock()
        self.history = Counted(ledger.history)
        self.past = PastPools(self.history, self.clock)
        self.note = ledger.history.note

    def tell(self, *, ago_ns, pool="pool", node="a", limit_rpm=10.0):
        """Have a node tell of a minute."""
        minute_ns = (self.clock() - ago_ns) // MINUTE_NS * MINUTE_NS
        minute = PoolMinute(
            node=node,
            pool=pool,
            minute_ns=minute_ns,
            state="normal",
            cause="ceiling",
            limit_rpm=limit_rpm,
            limit_rpm_min=limit_rpm,
            awaiting=1.0,
            waiting=0.0,
            budget_per_s=None,
            capacity_per_s=3.0,
            unloaded_s=0.5,
        )
        self.note((), [minute])

    def since_ns(self, hours=24):
        """Return when the first span begins."""
        return (self.clock() - hours * HOUR_NS) // STEP_NS * STEP_NS

    def read(self, pool=None, *, hours=24):
        """Return what is said of the last hours."""
        return self.past.read(pool, since_ns=self.since_ns(hours), step_ns=STEP_NS)

    def truth(self, pool=None, *, hours=24):
        """Return what the history says of them."""
        return self.history.history.pools(
            pool,
            since_ns=self.since_ns(hours),
            until_ns=self.clock() + 1,
            step_ns=STEP_NS,
        )


@pytest.fixture
def told():
    """A history of two pools, each told of once an hour."""
    ledger = SqlLedger("sqlite://", tiers=plan_from_preset("friendli").tiers)
    told = Told(ledger)
    for hour in range(30):
        for pool in ("pool", "other"):
            told.tell(ago_ns=hour * HOUR_NS, pool=pool)
    yield told
    ledger.close()


def test_it_says_what_the_history_says_as_time_goes_on(told):
    for minutes in (0, 1, 4, 7, 20, 45, 3, 180):
        told.clock.advance(seconds=60 * minutes)
        told.tell(ago_ns=0, limit_rpm=20.0)
        told.tell(ago_ns=3 * MINUTE_NS, node="b")

        for pool in (None, "pool", "nobody's"):
            for hours in (24, 2, 24):
                assert told.truth(pool, hours=hours) == told.read(pool, hours=hours)
    assert len(told.read()) > 24


def test_what_is_over_is_not_read_again(told):
    told.read()
    told.history.asked.clear()
    told.clock.advance(seconds=60)
    told.read(hours=2)
    told.read()

    oldest_ns = told.clock() - LATE_NS - STEP_NS - MINUTE_NS
    assert 2 == len(told.history.asked)
    assert all(since_ns >= oldest_ns for _, since_ns in told.history.asked)


def test_what_a_node_tells_much_later_is_there_within_an_hour(told):
    told.read()
    told.tell(ago_ns=5 * HOUR_NS, node="late", limit_rpm=30.0)

    told.clock.advance(ns=KEPT_NS - 1)
    assert told.truth() != told.read()
    told.clock.advance(ns=1)
    assert told.truth() == told.read()


def test_further_back_than_before_is_read(told):
    told.read(hours=2)

    assert told.truth(hours=24) == told.read(hours=24)


def test_a_clock_set_back_is_no_fault(told):
    told.read()
    told.clock.move_to(told.clock() - 3 * HOUR_NS)

    assert told.truth() == told.read()


def test_what_is_kept_is_bounded(told):
    for number in range(KEPT_MAX + 1):
        told.read(f"p{number}")
    told.history.asked.clear()
    told.read("p1")
    told.read("p0")

    (_, again_ns), (_, anew_ns) = told.history.asked
    assert told.since_ns() == anew_ns < again_ns
