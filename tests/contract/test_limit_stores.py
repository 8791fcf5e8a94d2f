"""Every limit store keeps the contract; the memory store also keeps its bounds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering.backends import memory
from metering.backends.limit_stores import limit_store
from metering.backends.memory import MemoryLimitStore
from metering.clock import NS_PER_S, NS_PER_US
from metering.errors import ConfigurationError
from metering.quota import BudgetQuota, Demand, RateQuota, decide_rate
from metering.testing.clock import ManualClock
from metering.testing.contracts.limits import LimitStoreContract

pytestmark = pytest.mark.anyio

LEASE_NS = 30 * NS_PER_S
LEDGERED = BudgetQuota(1000, ledgered=True)
SLOTS = BudgetQuota(10**6)


class TestMemoryLimitStore(LimitStoreContract):
    @pytest.fixture
    def store(self) -> MemoryLimitStore:
        return MemoryLimitStore()


def test_memory_has_no_name():
    """Two processes would not meet in it, whatever it is called."""
    with pytest.raises(ConfigurationError, match="'memory://shared' have no name"):
        limit_store("memory://shared")


@pytest.fixture
def store() -> MemoryLimitStore:
    return MemoryLimitStore()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


async def take(store, clock, demand, hold_id="", lease_ns=LEASE_NS):
    return await store.acquire(
        (demand,), hold_id=hold_id, lease_ns=lease_ns, now_ns=clock()
    )


def size(store, name):
    return len(getattr(store, name))


async def test_rates_that_are_whole_again_make_room_for_new_ones(store, clock):
    """A thousand keys in use at a time: never many more are kept, whoever comes."""
    quota = RateQuota(1, NS_PER_S)
    for caller in range(20_000):
        await take(store, clock, Demand(f"caller {caller}", quota))
        clock.advance(ns=NS_PER_S // 1000)
    assert 1000 <= size(store, "_dues") <= 1350
    assert size(store, "_due_keys") == size(store, "_dues")


async def test_a_rate_in_use_is_never_forgotten(store, clock):
    """One exhausted key is refused however many others come."""
    exhausted = Demand("exhausted", RateQuota(1, 3600 * NS_PER_S))
    await take(store, clock, exhausted)
    for caller in range(10_000):
        await take(store, clock, Demand(f"caller {caller}", RateQuota(1, 1000)))
        clock.advance(ns=1000)
    assert (await take(store, clock, exhausted)).status == "refused"
    assert size(store, "_dues") < 10


async def test_a_rate_given_back_is_kept_once(store, clock):
    """Taken and given back a thousand times, a key has one entry."""
    demands = [Demand(f"rate {n}", RateQuota(2, NS_PER_S)) for n in range(5)]
    for turn in range(1000):
        hold_id = str(turn)
        outcome = await store.acquire(
            demands, hold_id=hold_id, lease_ns=LEASE_NS, now_ns=clock()
        )
        assert outcome.status == "admitted"
        await store.settle(hold_id, demands, [0] * 5, now_ns=clock())
    assert size(store, "_due_keys") == size(store, "_dues") == 5


async def test_instants_near_the_epoch_are_instants(store):
    """A rate given back to instant 0 is still the same key."""
    demand = Demand("rate", RateQuota(1, NS_PER_S, burst=9))
    for turn in range(5):
        clock = ManualClock(0)
        await take(store, clock, demand, str(turn))
        await store.settle(str(turn), (demand,), (0,), now_ns=clock())
    assert dict(store._dues) == {"rate": 0}
    assert list(store._due_keys) == ["rate"]


async def test_slots_leave_nothing_behind(store, clock):
    """Neither when settled, nor when they expire."""
    slot = Demand("slots", SLOTS)
    for hold_id in ("settled", "expired"):
        await take(store, clock, slot, hold_id)
    await store.settle("settled", (slot,), (0,), now_ns=clock())
    clock.advance(ns=LEASE_NS)
    assert await store.sweep(now_ns=clock()) == 1
    assert size(store, "_budgets") == size(store, "_holds") == 0


async def test_holds_that_nobody_sweeps_are_bounded(store, clock):
    """Calls that never end need about as much room as those whose lease runs."""
    slot = Demand("slots", SLOTS)
    for call in range(10_000):
        await take(store, clock, slot, str(call), NS_PER_S)
        clock.advance(ns=NS_PER_S // 100)
    assert 100 <= size(store, "_holds") <= 1024
    assert await store.sweep(now_ns=clock() + NS_PER_S) <= 1024
    assert size(store, "_budgets") == 0


async def test_settled_holds_are_remembered_up_to_a_bound(clock, monkeypatch):
    """The oldest are forgotten first, and at least seven eighths are kept."""
    monkeypatch.setattr(memory, "SETTLED_MAX", 16)
    store, slot = MemoryLimitStore(), Demand("slots", SLOTS)
    for call in range(100):
        await store.settle(str(call), (slot,), (0,), now_ns=clock())
        assert min(call + 1, 14) <= size(store, "_settled") <= 16
        oldest = str(max(0, call - 13))
        assert await store.settle(oldest, (slot,), (0,), now_ns=clock()) == "repeated"
    assert await store.settle("0", (slot,), (0,), now_ns=clock()) == "late"


async def test_ledgered_budgets_are_bounded_but_for_holds(store, clock, monkeypatch):
    """The oldest that nobody holds must be seeded again; what is held stays."""
    monkeypatch.setattr(memory, "LEDGERED_MAX", 10)
    for month in range(10):
        await store.seed(str(month), 500, now_ns=clock())
    await take(store, clock, Demand("0", LEDGERED), "hold")
    await store.seed("10", 500, now_ns=clock())
    kept = [
        (await take(store, clock, Demand(str(m), LEDGERED, 0), f"m{m}")).status
        for m in range(11)
    ]
    assert kept == ["admitted", *["unseeded"] * 3, *["admitted"] * 7]


async def test_announcements_are_bounded(store, monkeypatch):
    """The account that changed longest ago is forgotten first."""
    monkeypatch.setattr(memory, "ANNOUNCED_MAX", 2)
    for account, version in (("a", 5), ("b", 1), ("a", 2), ("c", 1)):
        await store.announce(account, version)
    assert dict(store._versions) == {"a": 5, "c": 1}


@pytest.mark.parametrize("leases", [(1, 3), (3, 1)])
async def test_an_expired_hold_is_found_behind_a_longer_one(store, clock, leases):
    """Whatever the order of admission."""
    pair = Demand("slots", BudgetQuota(2))
    for span in leases:
        await take(store, clock, pair, str(span), span * LEASE_NS)
    refused = await take(store, clock, pair, "third")
    assert refused.verdicts[0].retry_after_ns == leases[0] * LEASE_NS
    clock.advance(ns=LEASE_NS)
    assert (await take(store, clock, pair, "third")).status == "admitted"


async def test_renewing_never_shortens_a_lease(store, clock):
    """The longer of the two ends counts."""
    slot = Demand("slots", BudgetQuota(1))
    await take(store, clock, slot, "hold", 2 * LEASE_NS)
    assert await store.renew("hold", (slot,), lease_ns=NS_PER_S, now_ns=clock())
    clock.advance(ns=LEASE_NS)
    assert await store.settle("hold", (slot,), (0,), now_ns=clock()) == "settled"


async def test_an_id_may_name_a_new_hold_once_the_first_was_settled(store, clock):
    """The second is settled by itself, in time or late."""
    unit = Demand("units", BudgetQuota(10))
    for _ in range(2):
        await take(store, clock, unit, "id")
        assert await store.settle("id", (unit,), (1,), now_ns=clock()) == "settled"
    await take(store, clock, unit, "id")
    clock.advance(ns=LEASE_NS)
    assert await store.sweep(now_ns=clock()) == 1
    assert await store.settle("id", (unit,), (1,), now_ns=clock()) == "late"
    assert (await take(store, clock, unit, "next")).verdicts[0].remaining == 6


async def test_an_id_may_name_a_new_hold_once_the_first_has_expired(store, clock):
    """It is decided anew, and nothing of the first is left."""
    slot, rate = Demand("slots", SLOTS), Demand("rate", RateQuota(1, NS_PER_S))
    await take(store, clock, slot, "id")
    clock.advance(ns=LEASE_NS)
    assert (await take(store, clock, rate, "id")).verdicts[0].remaining == 0
    assert (await take(store, clock, slot, "next")).verdicts[0].remaining == 10**6 - 1


@given(
    st.integers(1, 7),
    st.integers(1, 20),
    st.integers(1, 7),
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=30),
)
async def test_one_rate_is_decided_as_by_the_pure_rule(amount, per_us, burst, calls):
    """To the microsecond and to the unit, where each of them counts."""
    store, clock, due_us = MemoryLimitStore(), ManualClock(), 0
    quota = RateQuota(amount, per_us * NS_PER_US, burst)
    for pause_us, cost in calls:
        now_us = clock.advance(ns=pause_us * NS_PER_US) // NS_PER_US
        verdict, due_us = decide_rate(quota, due_us, cost, now_us)
        outcome = await take(store, clock, Demand("rate", quota, cost))
        assert outcome.verdicts == (verdict,)


async def test_a_clock_that_steps_back_gives_nothing_away(store, clock):
    """Rates refill, and leases end, only when it is again where it was."""
    hour_ns, earlier = 3600 * NS_PER_S, ManualClock()
    clock.advance(ns=hour_ns)
    rate = Demand("rate", RateQuota(10, 60 * NS_PER_S))
    slot = Demand("slots", BudgetQuota(1))
    await take(store, clock, rate)
    await take(store, clock, slot, "hold")

    refused = (await take(store, earlier, rate)).verdicts[0]
    assert ("rate", 3552 * NS_PER_S) == (refused.reason, refused.retry_after_ns)
    assert hour_ns + 6 * NS_PER_S == refused.reset_after_ns
    held = (await take(store, earlier, slot, "next")).verdicts[0]
    assert ("held", hour_ns + LEASE_NS) == (held.reason, held.retry_after_ns)
    assert await store.sweep(now_ns=earlier()) == 0

    earlier.advance(ns=refused.retry_after_ns)
    assert (await take(store, earlier, rate)).status == "admitted"
    untouched = Demand("other", RateQuota(10, 60 * NS_PER_S))
    assert (await take(store, earlier, untouched)).status == "admitted"


async def test_costs_must_match_the_demands(store, clock):
    """A settlement that does not say what each demand used changes nothing."""
    slot = Demand("slots", BudgetQuota(1))
    await take(store, clock, slot, "hold")
    with pytest.raises(ConfigurationError, match="0 costs for 1 demands"):
        await store.settle("hold", (slot,), (), now_ns=clock())
    assert (await take(store, clock, slot, "other")).status == "refused"
