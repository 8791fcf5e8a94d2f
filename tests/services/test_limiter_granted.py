"""A call that was granted less than it asked for holds no more than that."""

import anyio.lowlevel
import pytest
from msgspec.structs import replace

from metering.backends.memory import MemoryLimitStore
from metering.clock import NS_PER_S
from metering.limiter import Limiter
from metering.quota import BudgetQuota, Demand
from metering.testing import ManualClock

pytestmark = pytest.mark.anyio

LEASE_NS = 30 * NS_PER_S
SPEND = Demand("{acme}:spend:2026-01", BudgetQuota(100), 80, 10, "spend", "pico_usd")


class SharedStore(MemoryLimitStore):
    """A store elsewhere, as far as the limiter knows."""

    waits = True

    async def acquire(self, *args, **kwargs):
        await anyio.lowlevel.checkpoint()
        return await super().acquire(*args, **kwargs)


async def test_a_hold_that_was_lost_is_held_again_as_it_was_granted():
    """80 and the 20 left are 100; 160 would keep others out of what nobody holds."""
    clock = ManualClock()
    limiter = Limiter(SharedStore(), clock=clock, lease_ns=LEASE_NS, steady=clock)
    granted = [
        (await limiter.admit([SPEND], hold_id=hold)).verdicts[0].granted
        for hold in ("h1", "h2")
    ]
    limiter.store = limiter.keeper._store = empty = SharedStore()
    clock.advance(seconds=10)
    await limiter.keeper.renew_due()
    wider = replace(SPEND, quota=BudgetQuota(200), cost=0, cost_min=None)
    (verdict,) = await empty.peek([wider], now_ns=clock())

    assert [80, 20] == granted
    assert 100 == verdict.remaining
