"""Room that an operator makes reaches limits that processes share, come what may."""

from dataclasses import replace

import pytest

from metering import Metering, StorageError
from metering.billing import usage_limit_demand
from metering.config import plan_from_preset
from metering.money import PICO
from metering.testing.clock import ManualClock
from metering.testing.contracts.samples import used

pytestmark = pytest.mark.anyio

LIMIT = usage_limit_demand("acme", "2026-01", 50 * PICO, 0)


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def make_meter(tmp_path, clock):
    """Make what an operator's script has: it starts nothing."""
    limits = f"sqlite:///{tmp_path / 'limits.db'}"
    plan = replace(
        plan_from_preset("friendli"), data=str(tmp_path), limits_store=limits
    )
    return lambda: Metering(plan, clock=clock)


@pytest.fixture
async def service(make_meter, clock):
    """A service whose account has spent $48 of $50."""
    meter = make_meter()
    await meter.accounts.create("acme")
    await meter.accounts.set_payment_method("acme", on_file=True)
    meter.ledger.post([used("e1", 48 * PICO, admitted_ns=clock())])
    await meter.limit_store.seed(LIMIT.key, 48 * PICO, now_ns=clock())
    yield meter
    await meter.stop()


async def room_p(service, clock):
    (verdict,) = await service.limit_store.peek([LIMIT], now_ns=clock())
    return verdict.remaining


async def test_a_script_waits_for_limits_that_are_away_for_a_moment(
    service, make_meter, clock, monkeypatch
):
    """Its event loop ends with it, and nobody else knows what it owes."""
    script = make_meter()
    settle, asked = script.limit_store.settle, []

    async def away_at_first(*args, **named):
        asked.append(args[0])
        if len(asked) == 1:
            raise StorageError("away")
        return await settle(*args, **named)

    monkeypatch.setattr(script.limit_store, "settle", away_at_first)
    await script.billing.record_payment(
        "acme", usd="48", reference="pi_1", kind="early_payment"
    )
    await script.stop()

    assert 50 * PICO == await room_p(service, clock)
