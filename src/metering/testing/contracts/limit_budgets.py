"""What a limit store promises of budgets."""

from metering.clock import NS_PER_S, NS_PER_US
from metering.money import PICO
from metering.quota import NEVER_NS, BudgetQuota, Demand, Verdict
from metering.testing.contracts.limit_calls import (
    CENT,
    DIME,
    DOLLAR,
    LEASE_NS,
    NOW,
    Store,
    admitted,
    beside,
    new_key,
    peeked,
    room,
    take,
)

__all__ = ["BudgetClaims"]


class BudgetClaims:
    """Never overshoot, and forgive no debt."""

    async def test_a_dollar_admits_ten_dimes_and_what_is_given_back_admits_again(
        self, store: Store
    ) -> None:
        """A hundred at once never overshoot; settled at 2 cents, eight more fit."""
        dime = Demand(new_key("usd"), DOLLAR, DIME)
        holds = await admitted(store, 100, dime)
        assert len(holds) == 10
        assert await room(store, dime.key) == 0
        for hold_id in holds:
            settled = await store.settle(hold_id, (dime,), (2 * CENT,), now_ns=NOW)
            assert settled == "settled"
        assert await room(store, dime.key) == 80 * CENT
        for _ in range(8):
            assert (await take(store, dime))[1].status == "admitted"
        _, ninth = await take(store, dime)
        assert ninth.verdicts[0].reason == "held"

    async def test_held_spent_and_impossible_are_told_apart(self, store: Store) -> None:
        """Only what running calls hold is worth waiting for."""
        key = new_key("usd")
        dime = Demand(key, DOLLAR, DIME)
        whole, _ = await take(store, Demand(key, DOLLAR, PICO))
        _, held = await take(store, dime, now_ns=NOW + NS_PER_S)
        wait_ns = held.verdicts[0].retry_after_ns
        assert held.verdicts[0].reason == "held"
        assert NS_PER_US <= wait_ns <= LEASE_NS - NS_PER_S
        await store.settle(whole, (Demand(key, DOLLAR, PICO),), (PICO,), now_ns=NOW)
        spent = await peeked(store, dime)
        assert spent == Verdict(0, 0, NEVER_NS, 0, "spent")
        impossible = await peeked(store, Demand(key, DOLLAR, PICO + CENT))
        assert impossible == Verdict(0, 0, NEVER_NS, 0, "impossible")

    async def test_more_than_held_is_debt(self, store: Store) -> None:
        """$0.89 spent, $0.10 held, $0.13 used: $1.02 is spent, and nothing forgiven."""
        key = new_key("usd")
        demands = (Demand(key, DOLLAR, DIME, name="usd"),)
        earlier, _ = await take(store, Demand(key, DOLLAR, 89 * CENT))
        await store.settle(earlier, demands, (89 * CENT,), now_ns=NOW)
        hold_id, _ = await take(store, *demands)
        await store.settle(hold_id, demands, (13 * CENT,), now_ns=NOW)
        assert await room(store, key, 2 * PICO) == 98 * CENT
        refusal = await peeked(store, Demand(key, DOLLAR, 1))
        assert refusal == Verdict(0, 0, NEVER_NS, 0, "spent")

    async def test_fits_the_demand_to_the_room(self, store: Store) -> None:
        """Between the least worth having and the most asked for, all there is."""
        key = new_key("usd")
        await take(store, Demand(key, DOLLAR, PICO - 28_800_000_000))
        wanted = Demand(key, DOLLAR, DIME, 20_000_000_000)
        hold_id, fitted = await take(store, wanted)
        assert fitted.verdicts == (Verdict(28_800_000_000, 0),)
        assert await room(store, key, 2 * PICO) == PICO
        granted = (Demand(key, DOLLAR, 28_800_000_000),)
        await store.settle(hold_id, granted, (0,), now_ns=NOW)
        assert await room(store, key) == 28_800_000_000
        _, too_little = await take(store, Demand(key, DOLLAR, DIME, 28_800_000_001))
        assert too_little.verdicts[0].granted == 0
        assert too_little.verdicts[0].remaining == 28_800_000_000

    async def test_a_changed_budget_keeps_what_was_spent(self, store: Store) -> None:
        """A higher limit opens at once; a lower one may already be overrun."""
        key = new_key("usd")
        hold_id, _ = await take(store, Demand(key, DOLLAR, DIME))
        await store.settle(
            hold_id, (Demand(key, DOLLAR, DIME),), (40 * CENT,), now_ns=NOW
        )
        assert await room(store, key, 2 * PICO) == 160 * CENT
        lowered = await peeked(store, Demand(key, BudgetQuota(30 * CENT), CENT))
        assert lowered.reason == "spent"

    async def test_slots_are_free_again_when_settled_to_nothing(
        self, store: Store
    ) -> None:
        """Eight at a time: the ninth waits for one to end."""
        slot = Demand(new_key("slots"), BudgetQuota(8))
        holds = await admitted(store, 9, slot)
        assert len(holds) == 8
        await store.settle(holds[0], (slot,), (0,), now_ns=NOW)
        assert len(await admitted(store, 2, slot)) == 1

    async def test_amounts_beyond_a_double_are_exact(self, store: Store) -> None:
        """Where a float counts in twos, one unit decides."""
        key, amount = new_key("usd"), 2**53 + 3
        quota = BudgetQuota(amount)
        demand = Demand(key, quota, 2**53 + 1)
        hold_id, outcome = await take(store, demand)
        assert outcome.verdicts == (Verdict(2**53 + 1, 2),)
        await store.settle(hold_id, (demand,), (2**53 + 2,), now_ns=NOW)
        assert await peeked(store, Demand(key, quota, 1)) == Verdict(1, 0)
        assert (await peeked(store, Demand(key, quota, 2))).reason == "spent"
        seeded = beside(key, "ledgered")
        largest = BudgetQuota(2**63 - 1, ledgered=True)
        await store.seed(seeded, 2**62 + 1, now_ns=NOW)
        left = (await peeked(store, Demand(seeded, largest, 0))).remaining
        assert left == 2**62 - 2
