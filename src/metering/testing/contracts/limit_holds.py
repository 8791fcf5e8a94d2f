"""What a limit store promises of holds."""

from uuid import uuid4

import anyio
from msgspec.structs import replace

from metering.clock import NS_PER_S, NS_PER_US
from metering.money import PICO
from metering.quota import BudgetQuota, Demand, RateQuota, Verdict
from metering.testing.contracts.limit_calls import (
    CENT,
    DIME,
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

__all__ = ["HoldClaims"]


class HoldClaims:
    """All or none; one answer, one end and one charge for each hold."""

    async def test_all_or_none(self, store: Store) -> None:
        """Whichever demand is refused, the others keep what they had."""
        key = new_key("requests")
        demands = (
            Demand(key, RateQuota(5, MINUTE_NS), 1),
            Demand(beside(key, "tokens"), RateQuota(50, MINUTE_NS), 10),
            Demand(beside(key, "slots"), BudgetQuota(5), 1),
            Demand(beside(key, "usd"), DOLLAR, DIME),
        )
        before = await store.peek(demands, now_ns=NOW)
        for at, demand in enumerate(demands):
            greedy = Demand(demand.key, demand.quota, 10**13)
            asked = (*demands[:at], greedy, *demands[at + 1 :])
            _, outcome = await take(store, *asked)
            assert outcome.status == "refused"
            assert outcome.binding == at
            assert [v.granted for v in outcome.verdicts].count(0) == 1
        assert await store.peek(demands, now_ns=NOW) == before

    async def test_a_quota_in_shadow_refuses_nobody(self, store: Store) -> None:
        """It says what it would have said, and takes nothing where it would refuse."""
        key = new_key()
        tried = (
            Demand(key, RateQuota(1, MINUTE_NS), shadow=True),
            Demand(beside(key, "usd"), DOLLAR, 60 * CENT, shadow=True),
        )
        enforced = Demand(beside(key, "slots"), BudgetQuota(2))
        first, second, third = [(await take(store, *tried, enforced)) for _ in range(3)]
        assert [o.status for _, o in (first, second, third)] == [
            *("admitted", "admitted", "refused")
        ]
        assert [v.reason for v in first[1].verdicts] == ["", "", ""]
        assert [v.reason for v in second[1].verdicts] == ["rate", "held", ""]
        assert third[1].binding == 2
        alone = await take(store, tried[0], hold_id="")
        assert (alone[1].status, alone[1].verdicts[0].reason) == ("admitted", "rate")
        assert await room(store, tried[1].key) == 40 * CENT
        refused = tuple(replace(demand, cost=0) for demand in tried)
        ended = (*refused, enforced)
        await store.settle(second[0], ended, (0, 0, 0), now_ns=NOW)
        assert await room(store, tried[1].key) == 40 * CENT
        assert await room(store, enforced.key, 2) == 1

    async def test_peeking_takes_nothing(self, store: Store) -> None:
        """It answers for each demand by itself, as often as asked."""
        key = new_key()
        demands = (Demand(key, SIXTY_A_MINUTE), Demand(beside(key, "usd"), DOLLAR, 1))
        answers = [await store.peek(demands, now_ns=NOW) for _ in range(2)]
        assert answers[0] == answers[1]
        assert answers[0] == (Verdict(1, 59, 0, NS_PER_S), Verdict(1, PICO - 1))

    async def test_an_open_hold_is_answered_as_at_first(self, store: Store) -> None:
        """A repeated acquire takes nothing more."""
        key = new_key()
        demands = (
            Demand(key, SIXTY_A_MINUTE),
            Demand(beside(key, "usd"), DOLLAR, CENT),
        )
        hold_id, first = await take(store, *demands)
        _, again = await take(store, *demands, hold_id=hold_id, now_ns=NOW + NS_PER_S)
        assert again == first
        assert await room(store, demands[1].key) == 99 * CENT

    async def test_an_expired_lease_refuses_nobody(self, store: Store) -> None:
        """The calls of a killed process are free when their leases end, unswept."""
        slot = Demand(new_key("slots"), BudgetQuota(8))
        assert len(await admitted(store, 8, slot)) == 8
        _, early = await take(store, slot, now_ns=NOW + LEASE_NS - NS_PER_US)
        assert early.verdicts[0].reason == "held"
        assert early.verdicts[0].retry_after_ns == NS_PER_US
        _, on_time = await take(store, slot, now_ns=NOW + LEASE_NS)
        assert on_time.verdicts == (Verdict(1, 7),)

    async def test_sweeping_ends_each_expired_hold_once(self, store: Store) -> None:
        """Those that run are left alone."""
        await store.sweep(now_ns=NOW + LEASE_NS)
        slot = Demand(new_key("slots"), BudgetQuota(8))
        for _ in range(3):
            await take(store, slot)
        await take(store, slot, lease_ns=2 * LEASE_NS)
        assert await store.sweep(now_ns=NOW + LEASE_NS - NS_PER_US) == 0
        assert await store.sweep(now_ns=NOW + LEASE_NS) == 3
        assert await store.sweep(now_ns=NOW + LEASE_NS) == 0
        assert await room(store, slot.key, 8, NOW + LEASE_NS) == 7
        assert await store.sweep(now_ns=NOW + 2 * LEASE_NS) == 1

    async def test_renewing_keeps_a_hold(self, store: Store) -> None:
        """For a lease from then on."""
        slot = Demand(new_key("slots"), BudgetQuota(1))
        hold_id, _ = await take(store, slot)
        half = NOW + LEASE_NS // 2
        assert await store.renew(hold_id, (slot,), lease_ns=LEASE_NS, now_ns=half)
        still_held = await peeked(store, slot, NOW + LEASE_NS)
        assert still_held.reason == "held"
        over = half + LEASE_NS
        assert (await peeked(store, slot, over)).granted == 1

    async def test_renewing_brings_back_a_hold_that_was_lost(
        self, store: Store
    ) -> None:
        """Swept, expired or unknown: its call is running, so it holds again, once."""
        slot = Demand(new_key("slots"), BudgetQuota(3))
        swept, _ = await take(store, slot)
        over = NOW + LEASE_NS
        await store.sweep(now_ns=over)
        expired, _ = await take(store, slot)
        unknown = uuid4().hex
        for left, hold_id in enumerate((swept, expired, unknown)):
            for was_open in (False, True):
                assert was_open == await store.renew(
                    hold_id, (slot,), lease_ns=LEASE_NS, now_ns=over
                )
            assert await room(store, slot.key, 3, over) == 2 - left
        _, refused = await take(store, slot, now_ns=over)
        assert refused.verdicts[0].reason == "held"
        _, again = await take(store, slot, hold_id=unknown, now_ns=over)
        assert (again.status, again.verdicts[0].granted) == ("admitted", 1)
        for hold_id in (swept, expired, unknown):
            settled = await store.settle(hold_id, (slot,), (0,), now_ns=over)
            assert settled == "settled"
        assert await room(store, slot.key, 3, over) == 3

    async def test_a_hold_brought_back_takes_no_rate_and_gives_none(
        self, store: Store
    ) -> None:
        """The rate has refilled since, or forgot; what was used beyond is owed."""
        request = Demand(new_key(), SIXTY_A_MINUTE, 20)
        await take(store, replace(request, cost=30), hold_id="")
        nothing = replace(request, cost=0)
        less, more = uuid4().hex, uuid4().hex
        for hold_id in (less, more):
            await store.renew(hold_id, (request,), lease_ns=LEASE_NS, now_ns=NOW)
        await store.settle(less, (request,), (5,), now_ns=NOW)
        assert (await peeked(store, nothing)).remaining == 30
        await store.settle(more, (request,), (25,), now_ns=NOW)
        assert (await peeked(store, nothing)).remaining == 25

    async def test_what_was_settled_is_not_brought_back(self, store: Store) -> None:
        """A renewal that comes late holds nothing."""
        slot = Demand(new_key("slots"), BudgetQuota(1))
        hold_id, _ = await take(store, slot)
        await store.settle(hold_id, (slot,), (0,), now_ns=NOW)
        renewed = await store.renew(hold_id, (slot,), lease_ns=LEASE_NS, now_ns=NOW)
        assert not renewed
        assert await room(store, slot.key, 1) == 1

    async def test_a_hold_brought_back_does_not_stand_in_for_a_seed(
        self, store: Store
    ) -> None:
        """The budget must be seeded, once, and has what is held beside the seed."""
        dime = Demand(new_key("usd"), BudgetQuota(PICO, ledgered=True), DIME)
        running = uuid4().hex
        await store.renew(running, (dime,), lease_ns=LEASE_NS, now_ns=NOW)
        _, unseeded = await take(store, dime)
        assert unseeded.unseeded == (dime.key,)
        seeds = [await store.seed(dime.key, spent, now_ns=NOW) for spent in (40, 90)]
        assert seeds == [True, False]
        assert await room(store, dime.key) == PICO - 40 - DIME
        await store.settle(running, (dime,), (CENT,), now_ns=NOW)
        assert await room(store, dime.key) == PICO - 40 - CENT

    async def test_a_late_settlement_is_charged(self, store: Store) -> None:
        """Swept, expired or unknown: what was used is spent, and held stays above 0."""
        dime = Demand(new_key("usd"), DOLLAR, DIME)
        swept, _ = await take(store, dime)
        later = NOW + LEASE_NS
        await store.sweep(now_ns=later)
        expired, _ = await take(store, dime)
        for count, hold_id in enumerate((swept, expired, uuid4().hex), start=1):
            late = await store.settle(hold_id, (dime,), (CENT,), now_ns=later)
            assert late == "late"
            assert await room(store, dime.key, now_ns=later) == PICO - count * CENT

    async def test_a_repeated_settlement_changes_nothing(self, store: Store) -> None:
        """In time or late, the first one counts."""
        dime = Demand(new_key("usd"), DOLLAR, DIME)
        hold_id, _ = await take(store, dime)
        answers = [
            await store.settle(name, (dime,), (used,), now_ns=NOW)
            for name in (hold_id, "late-" + hold_id)
            for used in (CENT, 0, DIME)
        ]
        assert answers == [
            *("settled", "repeated", "repeated"),
            *("late", "repeated", "repeated"),
        ]
        assert await room(store, dime.key) == PICO - 2 * CENT

    async def test_a_cancelled_call_leaves_no_hold(self, store: Store) -> None:
        """Settled to nothing in `finally`, wherever the cancellation struck."""
        key = new_key("requests")
        demands = (
            Demand(key, RateQuota(1000, MINUTE_NS)),
            Demand(beside(key, "usd"), DOLLAR, CENT),
        )
        await take(store, Demand(key, demands[0].quota, 500), hold_id="")

        async def call(hold_id: str) -> None:
            try:
                await anyio.lowlevel.checkpoint()
                await take(store, *demands, hold_id=hold_id)
                await anyio.sleep_forever()
            finally:
                with anyio.CancelScope(shield=True):
                    await store.settle(hold_id, demands, (0, 0), now_ns=NOW)

        for turns in range(8):
            async with anyio.create_task_group() as tasks:
                for _ in range(5):
                    tasks.start_soon(call, uuid4().hex)
                for _ in range(turns):
                    await anyio.lowlevel.checkpoint()
                tasks.cancel_scope.cancel()
            assert await room(store, demands[1].key) == PICO
            left = await peeked(store, Demand(key, demands[0].quota, 0))
            assert left.remaining == 500
