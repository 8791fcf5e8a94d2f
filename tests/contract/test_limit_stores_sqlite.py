"""Limits in an SQLite file keep the contract, whatever the names, numbers and times."""

import asyncio
from contextlib import closing

import pytest
from msgspec.structs import replace

from metering.backends.sqlite import SqliteLimitStore
from metering.clock import NS_PER_S
from metering.errors import ConfigurationError
from metering.quota import NEVER_NS, BudgetQuota, Demand, RateQuota
from metering.testing.contracts.limits import LimitStoreContract

pytestmark = pytest.mark.anyio

NOW = 1_768_435_200 * NS_PER_S
LEASE_NS = 30 * NS_PER_S
DAY_NS = 24 * 3600 * NS_PER_S
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


@pytest.mark.parametrize("name", ["sqlite:////", "/", "sqlite:///", ".", "sqlite:///."])
def test_a_folder_is_no_file(name):
    """It is said at the start, not by the first call."""
    with pytest.raises(ConfigurationError, match="is not a file for limits"):
        SqliteLimitStore(name)


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
