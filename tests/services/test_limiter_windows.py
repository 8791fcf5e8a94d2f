"""The limiter service over windows: what it gives back, and when they are away."""

import anyio
import anyio.lowlevel
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metering.backends.memory import MemoryLimitStore
from metering.backends.windows import LimitsWindowStore
from metering.clock import NS_PER_S
from metering.errors import StorageError
from metering.limiter import Limiter
from metering.local_share import LocalShare
from metering.quota import UNKNOWN, BudgetQuota, Demand, RateQuota
from metering.testing import ManualClock

pytestmark = pytest.mark.anyio

HOUR = RateQuota(40, 3600 * NS_PER_S)
REQUEST = Demand("{acme}:rpm:paid", HOUR, 1, None, "requests")
SLOT = Demand("{acme}:running", BudgetQuota(8), 1, unit="running")
WINDOW = Demand("{acme}:limit:calls:", HOUR, 1, None, "calls", window="moving")


class Windows(LimitsWindowStore):
    """Windows in memory that may be away, or take their time."""

    def __init__(self):
        super().__init__("memory://")
        self.away = False
        self.slow = anyio.Event()
        self.slow.set()

    async def take(self, demands):
        await anyio.lowlevel.checkpoint()
        await self.slow.wait()
        if self.away:
            raise StorageError("The windows are away.")
        return await super().take(demands)

    async def peek(self, demands):
        if self.away:
            raise StorageError("The windows are away.")
        return await super().peek(demands)


class Node:
    """A limiter, its stores, and what is left in them."""

    def __init__(self, **share):
        self.clock, self.store, self.windows = (
            ManualClock(),
            MemoryLimitStore(),
            Windows(),
        )
        self.limiter = Limiter(
            self.store,
            clock=self.clock,
            share=LocalShare(MemoryLimitStore(), nodes=4, **share),
            windows=self.windows,
        )

    async def left(self):
        """Return what is left of requests, slots and the window."""
        kept = await self.store.peek([REQUEST, SLOT], now_ns=self.clock())
        (counted,) = await self.windows.peek([WINDOW])
        return tuple(v.remaining + v.granted for v in (*kept, counted))


async def test_a_caller_that_gives_up_takes_nothing_of_the_others():
    """Cancelled while the window is asked."""
    node = Node()
    node.windows.slow = anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(
            lambda: node.limiter.admit([REQUEST, SLOT, WINDOW], hold_id="h1")
        )
        await anyio.wait_all_tasks_blocked()
        held = await node.left()
        tasks.cancel_scope.cancel()

    assert (39, 7, 40) == held
    assert (40, 8, 40) == await node.left()


async def test_a_hold_is_settled_without_its_windows():
    node = Node()
    demands = [WINDOW, REQUEST, SLOT]
    outcome = await node.limiter.admit(demands, hold_id="h1")
    running = await node.left()
    await node.limiter.settle("h1", demands, [1, 1, 0])

    assert ("admitted", [39, 39, 7]) == (
        outcome.status,
        [verdict.remaining for verdict in outcome.verdicts],
    )
    assert (39, 7, 39) == running
    assert (39, 8, 39) == await node.left()


async def test_a_window_alone_asks_no_store():
    node = Node()
    outcome = await node.limiter.admit([WINDOW], hold_id="")
    await node.limiter.settle("h1", [WINDOW], [1])

    assert "admitted" == outcome.status
    assert (40, 8, 39) == await node.left()


async def test_each_change_of_an_outage_is_told_once(capsys):
    node = Node()
    for away in (False, True, True, False, False, True):
        node.windows.away = away
        for _ in range(2):
            outcome = await node.limiter.admit([REQUEST, WINDOW], hold_id="")
            assert "admitted" == outcome.status
            assert (outcome.verdicts[1].remaining == UNKNOWN) is away
    told = capsys.readouterr().out

    assert (2, 1) == (told.count("windows_away"), told.count("windows_back"))


async def test_a_refusal_stands_though_the_windows_are_away():
    node = Node(rates="refuse")
    node.windows.away = True
    whole = Demand("{acme}:rare", RateQuota(1, NS_PER_S), 2, None, "rare")
    refused = await node.limiter.admit([WINDOW, whole], hold_id="")
    with pytest.raises(StorageError, match="windows are away"):
        await node.limiter.admit([WINDOW, REQUEST], hold_id="h1")

    assert ("refused", 1) == (refused.status, refused.binding)
    node.windows.away = False
    assert (40, 8, 40) == await node.left()


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    calls=st.lists(
        st.tuples(
            st.permutations([0, 1, 2]).map(lambda order: order[:2]),
            st.sampled_from(["run", "settle", "away", "cancel"]),
        ),
        max_size=30,
    )
)
async def test_whatever_happens_no_quota_loses_what_no_call_took(calls):
    """Windows refuse, are away or are left waiting: the sums are of admitted calls."""
    node = Node(rates="refuse")
    three = RateQuota(3, 3600 * NS_PER_S)
    small = Demand("{acme}:limit:few:", three, 1, None, "few", window="fixed")
    all_demands = [REQUEST, SLOT, small]
    admitted = running = 0
    for at, (order, act) in enumerate(calls):
        demands = [all_demands[n] for n in order]
        hold_id = f"h{at}"
        node.windows.away = act == "away"
        try:
            with anyio.CancelScope() as scope:
                if act == "cancel":
                    scope.cancel()
                outcome = await node.limiter.admit(demands, hold_id=hold_id)
        except StorageError:
            continue
        if scope.cancelled_caught or outcome.status == "refused":
            continue
        admitted += REQUEST in demands
        if act == "settle":
            costs = [int(demand is not SLOT) for demand in demands]
            await node.limiter.settle(hold_id, demands, costs)
        else:
            running += SLOT in demands
    node.windows.away = False
    requests, slots, _ = await node.left()

    assert (40 - admitted, 8 - running) == (requests, slots)
