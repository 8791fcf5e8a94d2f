"""What a service does from time to time."""

from functools import partial

import anyio
import anyio.lowlevel
import pytest

from metering import Metering
from metering.errors import StorageError
from metering.money import PICO
from metering.testing import ManualClock
from metering.upkeep import Upkeep

pytestmark = pytest.mark.anyio


async def test_chores_are_done_again_though_one_finds_the_storage_away():
    """Each in its turn; to start twice is to start once."""
    calls, done = [], anyio.Event()

    async def failing():
        calls.append("failing")
        raise StorageError("The ledger is away.")

    async def other():
        calls.append("other")
        if calls.count("other") > 1:
            done.set()
            await anyio.sleep_forever()

    upkeep = Upkeep({"failing": failing, "other": other}, every_s=0)
    upkeep.start()
    upkeep.start()
    with anyio.fail_after(5):
        await done.wait()
    upkeep.stop()

    assert ["failing", "other"] * 2 == calls


async def test_a_service_books_credit_that_has_expired(tmp_path, monkeypatch):
    """A day after its end and not before, though nobody calls."""
    monkeypatch.setattr("metering.metering.Upkeep", partial(Upkeep, every_s=0))
    monkeypatch.setenv("METERING_DATA", str(tmp_path))
    clock = ManualClock()
    meter = Metering.from_preset("friendli", clock=clock)
    await meter.accounts.create("acme")
    await meter.billing.grant_credit(
        "acme", usd="2", reference="gift", expires_ns=clock() + 1
    )
    await meter.start()

    def expired_p():
        return {g.id: g.expired_p for g in meter.ledger.grants("acme")}

    clock.advance(seconds=86_400)
    early = expired_p()
    clock.advance(ns=1)
    with anyio.fail_after(10):
        while not any(expired_p().values()):
            await anyio.lowlevel.checkpoint()
    late = expired_p()
    await meter.stop()

    assert {"sign-up": 0, "gift": 0} == early
    assert {"sign-up": 0, "gift": 2 * PICO} == late
