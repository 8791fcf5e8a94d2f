"""What a limit store promises of rates."""

from uuid import uuid4

import pytest

from metering.clock import NS_PER_S, NS_PER_US
from metering.errors import ConfigurationError
from metering.quota import BudgetQuota, Demand, RateQuota, Verdict
from metering.testing.contracts.limit_calls import (
    DOLLAR,
    LEASE_NS,
    MINUTE_NS,
    NOW,
    SIXTY_A_MINUTE,
    Store,
    admitted,
    beside,
    new_key,
    peeked,
    room,
    take,
)

__all__ = ["RateClaims"]


class RateClaims:
    """Refuse until exactly the time said, and charge nothing for refusing."""

    async def test_refuses_until_exactly_the_time_it_said(self, store: Store) -> None:
        """One microsecond early is refused; on time passes."""
        demand = Demand(new_key(), RateQuota(7, MINUTE_NS), 5)
        await take(store, demand)
        _, refusal = await take(store, demand)
        assert refusal.status == "refused"
        assert refusal.binding == 0
        due_ns = NOW + refusal.verdicts[0].retry_after_ns
        _, early = await take(store, demand, now_ns=due_ns - NS_PER_US)
        assert early.status == "refused"
        assert early.verdicts[0].retry_after_ns == NS_PER_US
        _, on_time = await take(store, demand, now_ns=due_ns)
        assert on_time.status == "admitted"

    async def test_refusals_are_free(self, store: Store) -> None:
        """A thousand delay the next admission by nothing and hold nothing."""
        key = new_key("requests")
        rate = Demand(key, RateQuota(1, MINUTE_NS), name="requests")
        tokens = Demand(beside(key, "tokens"), RateQuota(100, MINUTE_NS), 10)
        slot = Demand(beside(key, "slots"), BudgetQuota(8))
        await take(store, rate)
        wait_ns = (await peeked(store, rate)).retry_after_ns
        for _ in range(1000):
            _, refusal = await take(store, tokens, slot, rate)
            assert refusal.verdicts[2].retry_after_ns == wait_ns
        assert await peeked(store, tokens) == Verdict(10, 90, 0, 6 * NS_PER_S)
        assert await room(store, slot.key, 8) == 8
        _, outcome = await take(store, tokens, slot, rate, now_ns=NOW + wait_ns)
        assert outcome.status == "admitted"

    async def test_sixty_a_minute_admits_sixty_of_two_hundred(
        self, store: Store
    ) -> None:
        """All asked for at once, and not one more until a second has passed."""
        demand = Demand(new_key(), SIXTY_A_MINUTE)
        assert len(await admitted(store, 200, demand)) == 60
        _, next_second = await take(store, demand, now_ns=NOW + NS_PER_S)
        assert next_second.status == "admitted"

    async def test_a_changed_rate_keeps_the_fraction_used(self, store: Store) -> None:
        """The key does not contain the amount: half used stays half used."""
        key = new_key()
        await take(store, Demand(key, SIXTY_A_MINUTE, 30))
        doubled = Demand(key, RateQuota(120, MINUTE_NS), 0)
        assert (await peeked(store, doubled)).remaining == 60
        halved = Demand(key, RateQuota(30, MINUTE_NS), 0)
        assert (await peeked(store, halved)).remaining == 15

    async def test_settling_moves_a_rate_by_the_difference(self, store: Store) -> None:
        """What was not used comes back; what was used beyond is owed."""
        key = new_key()
        demand, nothing = (Demand(key, SIXTY_A_MINUTE, cost) for cost in (20, 0))
        first, _ = await take(store, demand)
        second, _ = await take(store, demand)
        assert (await peeked(store, nothing)).remaining == 20
        await store.settle(first, (demand,), (5,), now_ns=NOW)
        assert (await peeked(store, nothing)).remaining == 35
        await store.settle(second, (demand,), (65,), now_ns=NOW)
        owing = await peeked(store, nothing)
        assert (owing.remaining, owing.reason) == (0, "rate")
        assert owing.reset_after_ns == 70 * NS_PER_S

    async def test_debt_of_a_rate_counts_from_now(self, store: Store) -> None:
        """Even if the quota has become whole since the call was admitted."""
        demand = Demand(new_key(), SIXTY_A_MINUTE, 1)
        hold_id, _ = await take(store, demand)
        later = NOW + LEASE_NS - NS_PER_US
        await store.settle(hold_id, (demand,), (31,), now_ns=later)
        assert (await peeked(store, demand, later)).remaining == 29

    async def test_a_late_settlement_gives_a_rate_nothing_back(
        self, store: Store
    ) -> None:
        """It has refilled since, or the units were never taken."""
        demand = Demand(new_key(), RateQuota(60, 60 * MINUTE_NS), 30)
        expired, _ = await take(store, demand)
        later = NOW + LEASE_NS
        before = await peeked(store, demand, later)
        for hold_id in (expired, uuid4().hex):
            late = await store.settle(hold_id, (demand,), (0,), now_ns=later)
            assert late == "late"
        assert await peeked(store, demand, later) == before

    async def test_rates_can_be_taken_without_a_hold(self, store: Store) -> None:
        """An empty hold id is not an id: each call is a new one."""
        demand = Demand(new_key(), RateQuota(2, MINUTE_NS))
        answers = [(await take(store, demand, hold_id=""))[1] for _ in range(3)]
        assert [answer.status for answer in answers] == [
            "admitted",
            "admitted",
            "refused",
        ]
        with pytest.raises(ConfigurationError, match="hold_id"):
            await take(store, Demand(new_key(), DOLLAR), hold_id="")
