"""Room that an operator makes reaches limits that processes share, come what may."""

from dataclasses import replace
from functools import partial
from typing import Any

import anyio
import pytest

from metering import Metering, StorageError
from metering.billing import usage_limit_demand
from metering.clock import NS_PER_S
from metering.config import plan_from_preset
from metering.keeper import Keeper
from metering.money import PICO
from metering.testing.clock import ManualClock
from metering.testing.contracts.samples import paid, used

pytestmark = pytest.mark.anyio

LIMIT = usage_limit_demand("acme", "2026-01", 50 * PICO, 0)


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def make_meter(tmp_path, clock):
    """Make what an operator's script has: it starts nothing."""
    plan = replace(plan_from_preset("friendli"), data=str(tmp_path))

    def make(limits="limits.db"):
        named = replace(plan, limits_store=f"sqlite:///{tmp_path / limits}")
        return Metering(named, clock=clock)

    return make


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


async def test_what_is_being_sent_when_a_process_ends_is_sent(clock):
    """The task that sends it is cut off in the middle, and leaves it to who ends."""
    sent = []

    class Store:
        async def settle(self, hold_id, _demands, _costs, *, now_ns):
            sent.append((hold_id, now_ns))
            if len(sent) == 1:
                await anyio.sleep_forever()

    store: Any = Store()
    keeper = Keeper(store, clock=clock, steady=clock, lease_ns=30 * NS_PER_S)
    keeper.ended("h", [], [])
    await anyio.wait_all_tasks_blocked()
    await keeper.close(2)

    assert [("h", clock())] * 2 == sent


async def test_a_payment_whose_process_was_killed_makes_its_room_when_it_comes_again(
    service, make_meter, clock
):
    """It was in the ledger, and no more; however often it comes, it counts once."""
    killed, script = make_meter(), make_meter()
    killed.ledger.record_payment(paid(48 * PICO, "early_payment", at_ns=clock()))
    rooms_p = [await room_p(service, clock)]
    for _ in range(2):
        clock.advance(seconds=600)
        await script.billing.record_payment(
            "acme", usd="48", reference="pi_1", kind="early_payment"
        )
        await script.stop()
        rooms_p.append(await room_p(service, clock))

    assert [2 * PICO, 50 * PICO, 50 * PICO] == rooms_p


@pytest.mark.parametrize("later_s", [60, 3600])
async def test_room_that_was_made_is_not_made_again(
    service, make_meter, clock, later_s
):
    """Nor where limits that were lost are counted anew, from what is in the ledger."""
    script = make_meter()
    pay = partial(
        script.billing.record_payment,
        "acme",
        usd="20",
        reference="pi_1",
        kind="early_payment",
    )
    await pay()
    clock.advance(seconds=later_s)
    await pay()
    await script.stop()
    known_p = await room_p(service, clock)
    anew, other = make_meter("new.db"), make_meter("new.db")
    await room_p(other, clock)  # who has it open keeps it from being forgotten
    await anew.billing.record_payment(
        "acme", usd="20", reference="pi_1", kind="early_payment"
    )
    await anew.stop()
    anew_p = await room_p(other, clock)
    await other.stop()

    assert (22 * PICO, 22 * PICO) == (known_p, anew_p)
