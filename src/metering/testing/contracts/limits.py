"""What every limit store promises: subclass `LimitStoreContract` and give it a `store`.

    class TestMyStore(LimitStoreContract):
        @pytest.fixture
        def store(self):
            return MyStore()

The tests need the anyio plugin. They use keys and holds of their own, so that one store
may serve them all, and instants of their own: a store that reads a clock must be told
to take the caller's.
"""

from typing import ClassVar
from uuid import uuid4

import anyio
import pytest
from hypothesis import HealthCheck, given, settings

from metering.money import PICO
from metering.quota import BudgetQuota, Demand, RateQuota, Verdict
from metering.stores import Outcome
from metering.testing.contracts.limit_budgets import BudgetClaims
from metering.testing.contracts.limit_calls import (
    CENT,
    DIME,
    LEASE_NS,
    MINUTE_NS,
    NOW,
    SIXTY_A_MINUTE,
    Store,
    beside,
    new_key,
    peeked,
    room,
    take,
)
from metering.testing.contracts.limit_holds import HoldClaims
from metering.testing.contracts.limit_numbers import NumberClaims
from metering.testing.contracts.limit_rates import RateClaims
from metering.testing.contracts.limit_script import SCRIPTS, Step, play

__all__ = ["LimitStoreContract"]


class LimitStoreContract(RateClaims, BudgetClaims, HoldClaims, NumberClaims):
    """Claims that hold for every limit store; time is an argument in all of them."""

    pytestmark: ClassVar = pytest.mark.anyio

    @pytest.fixture
    def store(self) -> Store:
        """Return the store to test; subclasses say which."""
        raise NotImplementedError

    async def test_an_unknown_ledgered_key_must_be_seeded(self, store: Store) -> None:
        """All of them are named, nothing is decided, and the seed counts."""
        key = new_key("requests")
        ledgered = BudgetQuota(PICO, ledgered=True)
        month, credit = (
            Demand(beside(key, name), ledgered, DIME) for name in ("month", "credit")
        )
        request = Demand(key, RateQuota(1, MINUTE_NS))
        hold_id, outcome = await take(store, request, month, credit)
        assert outcome == Outcome("unseeded", unseeded=(month.key, credit.key))
        assert await peeked(store, month) == Verdict(DIME, PICO - DIME)
        assert await store.seed(month.key, 90 * CENT, now_ns=NOW)
        _, outcome = await take(store, request, month, credit, hold_id=hold_id)
        assert outcome.unseeded == (credit.key,)
        assert await store.seed(credit.key, 0, now_ns=NOW)
        _, outcome = await take(store, request, month, credit, hold_id=hold_id)
        assert outcome.status == "admitted"
        assert [v.remaining for v in outcome.verdicts] == [0, 0, PICO - DIME]

    async def test_a_budget_known_to_be_unspent_stays_known(self, store: Store) -> None:
        """Nothing spent and nothing held is not the same as unknown."""
        dime = Demand(new_key("usd"), BudgetQuota(PICO, ledgered=True), DIME)
        await store.seed(dime.key, 0, now_ns=NOW)
        hold_id, _ = await take(store, dime)
        await store.settle(hold_id, (dime,), (0,), now_ns=NOW)
        assert (await take(store, dime))[1].status == "admitted"

    async def test_four_seeders_at_once_seed_once(self, store: Store) -> None:
        """The first says what was spent; the others add nothing."""
        key, answers = new_key("usd"), list[bool]()

        async def seed() -> None:
            answers.append(await store.seed(key, 40 * CENT, now_ns=NOW))

        async with anyio.create_task_group() as tasks:
            for _ in range(4):
                tasks.start_soon(seed)
        assert sorted(answers) == [False, False, False, True]
        assert not await store.seed(key, 0, now_ns=NOW)
        assert await room(store, key) == 60 * CENT

    async def test_settling_does_not_stand_in_for_a_seed(self, store: Store) -> None:
        """The ledger has the charge already, or will: the seed brings it."""
        dime = Demand(new_key("usd"), BudgetQuota(PICO, ledgered=True), DIME)
        late = await store.settle(uuid4().hex, (dime,), (DIME,), now_ns=NOW)
        assert late == "late"
        _, outcome = await take(store, dime)
        assert outcome == Outcome("unseeded", unseeded=(dime.key,))

    async def test_an_old_snapshot_is_stale(self, store: Store) -> None:
        """Once a newer version was announced; announcements never go back."""
        account, key = uuid4().hex, new_key()

        async def status(version: int) -> str:
            outcome = await store.acquire(
                (Demand(key, SIXTY_A_MINUTE),),
                hold_id=uuid4().hex,
                lease_ns=LEASE_NS,
                now_ns=NOW,
                account=(account, version),
            )
            return outcome.status

        assert await status(1) == "admitted"
        await store.announce(account, 3)
        await store.announce(account, 2)
        assert [await status(version) for version in (1, 2, 3, 4)] == [
            *("stale", "stale", "admitted", "admitted")
        ]
        assert (await peeked(store, Demand(key, SIXTY_A_MINUTE, 0))).remaining == 57

    @settings(
        max_examples=100,
        deadline=None,
        suppress_health_check=[
            HealthCheck.function_scoped_fixture,
            HealthCheck.differing_executors,
            HealthCheck.too_slow,
        ],
    )
    @given(steps=SCRIPTS)
    async def test_agrees_with_the_pure_rules(
        self, store: Store, steps: list[Step]
    ) -> None:
        """Whatever is asked in whatever order, every answer is the model's."""
        await play(store, steps, now_ns=NOW)
