"""What a limit store promises of numbers: which it takes, and how far it counts."""

from uuid import uuid4

import pytest

from metering.clock import NS_PER_S
from metering.errors import ConfigurationError
from metering.quota import COUNT_MAX, BudgetQuota, Demand, RateQuota
from metering.testing.contracts.limit_calls import (
    LEASE_NS,
    MINUTE_NS,
    NOW,
    Store,
    beside,
    new_key,
    peeked,
    room,
    take,
)

__all__ = ["NumberClaims"]

_VAST = BudgetQuota(COUNT_MAX)
_QUOTAS = (RateQuota(10, MINUTE_NS), BudgetQuota(10))
_NO_COSTS = (-100, -1, COUNT_MAX + 1, 2**64, 1.5, True, "1", None)
_NO_LEASTS = (-1, 6, 2.5, False)


class NumberClaims:
    """Take whole numbers of 63 bits, and count up to the largest of them exactly."""

    @pytest.mark.parametrize("quota", _QUOTAS, ids=("rate", "budget"))
    @pytest.mark.parametrize("cost", _NO_COSTS)
    async def test_what_is_no_cost_is_refused(
        self, store: Store, quota: RateQuota | BudgetQuota, cost: int
    ) -> None:
        """Named with its demand and what is allowed; nothing is given or taken."""
        good = Demand(new_key(), quota)
        bad = Demand(beside(good.key, "bad"), quota, cost, name="tokens")
        held = uuid4().hex
        for demands in ((bad,), (good, bad)):
            for asking in (
                take(store, *demands, hold_id=held),
                store.renew(held, demands, lease_ns=LEASE_NS, now_ns=NOW),
                store.peek(demands, now_ns=NOW),
            ):
                with pytest.raises(ConfigurationError) as told:
                    await asking
                assert f"'tokens' costs {cost!r}" in str(told.value)
                assert "0 to 2**63 - 1" in str(told.value)
        for demand in (good, Demand(bad.key, quota)):
            assert (await peeked(store, demand)).remaining == 9

    @pytest.mark.parametrize("least", _NO_LEASTS)
    async def test_what_is_no_least_cost_is_refused(
        self, store: Store, least: int
    ) -> None:
        """It lies between nothing and the cost."""
        bad = Demand(new_key(), BudgetQuota(10), 5, least)
        for asking in (take(store, bad), store.peek((bad,), now_ns=NOW)):
            with pytest.raises(ConfigurationError, match=f"at least {least!r}"):
                await asking
        assert await room(store, bad.key, 10) == 10

    async def test_the_largest_cost_is_a_cost(self, store: Store) -> None:
        """A rate calls it impossible; a budget of as much grants it."""
        rate = Demand(new_key(), RateQuota(1, MINUTE_NS), COUNT_MAX)
        assert (await take(store, rate))[1].verdicts[0].reason == "impossible"
        budget = Demand(new_key(), _VAST, COUNT_MAX)
        assert (await take(store, budget))[1].verdicts[0].granted == COUNT_MAX

    @pytest.mark.parametrize("more", [1, 5, COUNT_MAX, 2**64])
    async def test_what_was_spent_ends_at_the_largest_number(
        self, store: Store, more: int
    ) -> None:
        """More is charged without an error, and forgotten: nothing fits as it is."""
        demand = Demand(new_key("usd"), _VAST, COUNT_MAX)
        hold_id, _ = await take(store, demand)
        await store.settle(hold_id, (demand,), (COUNT_MAX,), now_ns=NOW)
        late = await store.settle(uuid4().hex, (demand,), (more,), now_ns=NOW)
        assert late == "late"
        assert (await peeked(store, Demand(demand.key, _VAST, 1))).reason == "spent"
        assert await room(store, demand.key, COUNT_MAX) == 0
        await store.settle(uuid4().hex, (demand,), (-7,), now_ns=NOW)
        assert await room(store, demand.key, COUNT_MAX) == 7

    async def test_a_seed_ends_at_the_largest_number(self, store: Store) -> None:
        """A ledger may have counted further than a store can."""
        demand = Demand(new_key("usd"), BudgetQuota(COUNT_MAX, ledgered=True))
        assert await store.seed(demand.key, 2**70, now_ns=NOW)
        assert (await peeked(store, demand)).reason == "spent"

    async def test_what_is_held_is_exact_beyond_the_largest_number(
        self, store: Store
    ) -> None:
        """Calls brought back hold what they held, whether there is room or not."""
        most = 2**62 + 2**61
        demand = Demand(new_key("usd"), _VAST, most)
        nothing = Demand(demand.key, _VAST, 0)
        holds = [uuid4().hex for _ in range(3)]
        for at, hold_id in enumerate(holds):
            lease_ns = LEASE_NS + at * NS_PER_S
            await store.renew(hold_id, (demand,), lease_ns=lease_ns, now_ns=NOW)
        assert await room(store, demand.key, COUNT_MAX) == 0
        await store.settle(holds[2], (demand,), (1,), now_ns=NOW)
        assert (await peeked(store, Demand(demand.key, _VAST, 1))).reason == "held"
        one_over = NOW + LEASE_NS
        assert (await peeked(store, nothing, one_over)).remaining == (
            COUNT_MAX - 1 - most
        )
        all_over = one_over + NS_PER_S
        other = Demand(beside(demand.key, "requests"), RateQuota(5, MINUTE_NS))
        _, outcome = await take(store, other, demand, now_ns=all_over)
        assert outcome.status == "admitted"
        assert await room(store, demand.key, COUNT_MAX, all_over) == (
            COUNT_MAX - 1 - most
        )

    async def test_many_vast_holds_end_together(self, store: Store) -> None:
        """What they held in all is more than a cell has room for."""
        demand = Demand(new_key("usd"), _VAST, COUNT_MAX)
        for _ in range(4):
            await store.renew(uuid4().hex, (demand,), lease_ns=LEASE_NS, now_ns=NOW)
        assert await room(store, demand.key, COUNT_MAX) == 0
        over = NOW + LEASE_NS
        assert await room(store, demand.key, COUNT_MAX, over) == COUNT_MAX
