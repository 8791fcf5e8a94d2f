"""The limiter service over the memory store: seeds, leases, early payments."""

import threading
from functools import partial

import anyio
import pytest

from metering.backends.memory import MemoryLimitStore
from metering.errors import StorageError
from metering.limiter import Limiter
from metering.quota import BudgetQuota, Demand
from metering.testing import ManualClock

pytestmark = pytest.mark.anyio

KEY = "{acme}:spend:2026-01"


@pytest.fixture
def clock():
    return ManualClock()


def spend(cost, amount=100):
    return Demand(KEY, BudgetQuota(amount, ledgered=True), cost, None, "spend")


async def test_an_unknown_budget_is_seeded_before_it_is_decided(clock):
    """Of 100, the ledger says 90 are spent: 10 fit, one more does not."""
    asked = []

    def spent_of(key, now_ns):
        asked.append((key, now_ns))
        return 90

    limiter = Limiter(MemoryLimitStore(), clock=clock, spent_of=spent_of)
    ten = await limiter.admit([spend(10)], hold_id="h1")
    more = await limiter.admit([spend(1)], hold_id="h2")

    assert ("admitted", "refused") == (ten.status, more.status)
    assert "held" == more.verdicts[0].reason
    assert [(KEY, clock())] == asked


async def test_a_running_call_keeps_what_it_holds(clock):
    """For an hour, though its lease is 30 s: the store ends with the process."""
    limiter = Limiter(
        MemoryLimitStore(), clock=clock, lease_ns=30 * 10**9, spent_of=lambda *_: 0
    )
    await limiter.admit([spend(95)], hold_id="long")
    clock.advance(seconds=3600)
    other = await limiter.admit([spend(10)], hold_id="short")
    await limiter.settle("long", [spend(95)], [50])
    after = await limiter.admit([spend(50)], hold_id="after")

    assert ("refused", "admitted") == (other.status, after.status)


async def test_an_early_payment_makes_room_once(clock):
    """Of 100 all are spent; 60 are paid early, twice told: room for 60."""
    limiter = Limiter(MemoryLimitStore(), clock=clock, spent_of=lambda *_: 100)
    assert "refused" == (await limiter.admit([spend(1)], hold_id="h1")).status
    for _ in range(2):
        async with limiter.seeding(spend(0).key):
            await limiter.relieve(spend(0), 60, reference="pi_1")

    assert "admitted" == (await limiter.admit([spend(60)], hold_id="h2")).status
    assert "refused" == (await limiter.admit([spend(1)], hold_id="h3")).status


async def test_a_hundred_first_calls_read_the_ledger_once(clock):
    """They wait for one seed; another account's budget is seeded meanwhile."""
    reads = []
    slow = threading.Event()

    def spent_of(key, _now_ns):
        reads.append(key)
        if key == KEY:
            assert slow.wait(10)
        return 0

    limiter = Limiter(MemoryLimitStore(), clock=clock, spent_of=spent_of)
    other = Demand("{other}:spend:2026-01", BudgetQuota(100, ledgered=True), 1)
    async with anyio.create_task_group() as tasks:
        for number in range(100):
            tasks.start_soon(partial(limiter.admit, [spend(1)], hold_id=f"h{number}"))
        outcome = await limiter.admit([other], hold_id="other")
        slow.set()

    assert "admitted" == outcome.status
    assert [KEY, other.key] == sorted(reads)
    assert "refused" == (await limiter.admit([spend(1)], hold_id="more")).status


async def test_a_seed_that_fails_is_tried_by_who_waited(clock):
    """The first caller gets the error; another leads, and both waiters are admitted."""
    reads = []

    def spent_of(key, _now_ns):
        reads.append(key)
        if len(reads) == 1:
            raise StorageError("The ledger is away.")
        return 0

    limiter = Limiter(MemoryLimitStore(), clock=clock, spent_of=spent_of)
    found = []

    async def call(hold_id):
        try:
            found.append((await limiter.admit([spend(1)], hold_id=hold_id)).status)
        except StorageError:
            found.append("error")

    async with anyio.create_task_group() as tasks:
        for number in range(3):
            tasks.start_soon(call, f"h{number}")

    assert ["admitted", "admitted", "error"] == sorted(found)
    assert 2 == len(reads)
    assert ({}, {}) == (limiter._flights, limiter._seeding)
