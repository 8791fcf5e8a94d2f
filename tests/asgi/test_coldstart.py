"""Models that must be warmed up: one warm-up, a bounded queue, no wait billed."""

import asyncio

import anyio
import anyio.lowlevel
import httpx
import pytest

from metering.asgi.coldstart import ColdStartMiddleware
from metering.asgi.parts import Parts
from metering.clock import NS_PER_S
from metering.coldstart import ColdStart
from metering.errors import ConfigurationError
from metering.money import PICO
from metering.testing.clock import ManualClock
from metering.testing.model import FakeModel

pytestmark = pytest.mark.anyio

TIMED = "zai-org/GLM-4.6"
FREE = "LGAI-EXAONE/K-EXAONE-236B-A23B"


class WarmUp:
    """A warm-up that lasts until the test ends it."""

    def __init__(self):
        self.models = []
        self.go_on = anyio.Event()
        self.error = None

    async def __call__(self, model):
        self.models.append(model)
        await self.go_on.wait()
        if self.error:
            raise self.error


@pytest.fixture
def warm_up():
    return WarmUp()


async def _until(condition):
    while not condition():
        await anyio.lowlevel.checkpoint()


async def test_one_warm_up_for_a_hundred_callers_and_no_wait_is_billed(
    open_service, warm_up
):
    """20 s of warm-up, then 3 s of compute each: 100 times $0.012, and no more."""
    clock = ManualClock()

    async def pause(chunk):
        if chunk == 0:
            clock.advance(seconds=3)

    cold = ColdStart(warm_up, clock=clock)
    async with open_service(FakeModel(pause=pause), cold=cold, clock=clock) as service:
        key = await service.account("acme", tier=2)
        answers = []

        async def call():
            answers.append(await service.chat(key, model=TIMED))

        async with anyio.create_task_group() as tasks:
            for _ in range(100):
                tasks.start_soon(call)
            await _until(
                lambda: 100 == cold._models[TIMED].waiting if cold._models else 0
            )
            status = cold.status(TIMED)
            clock.advance(seconds=20)
            warm_up.go_on.set()
        events = await service.events("acme")

    assert "warming" == status
    assert [TIMED] == warm_up.models
    assert [200] * 100 == [answer.status_code for answer in answers]
    assert {TIMED: "warm"} == cold.statuses()
    assert "20000" == answers[0].headers["x-cold-start-ms"]
    # All run at once here, and the clock is one: each sees the steps of some others,
    # but of the 20 s before nothing.
    assert 100 == len(events)
    assert {0} == {event.usage.compute_ms % 3000 for event in events}
    assert all(e.charge_p == e.usage.compute_ms * 4 * 10**6 for e in events)


async def test_each_caller_pays_for_its_own_compute(open_service):
    """One after the other, with a cold start before the first: $0.012 each."""
    clock = ManualClock()

    async def pause(chunk):
        if chunk == 0:
            clock.advance(seconds=3)

    async def warm(_model):
        clock.advance(seconds=20)

    cold = ColdStart(warm, clock=clock, idle_ns=60 * NS_PER_S)
    async with open_service(FakeModel(pause=pause), cold=cold, clock=clock) as service:
        key = await service.account("acme", tier=1)
        first = [await service.chat(key, model=TIMED) for _ in range(3)]
        await service.flush()
        clock.advance(seconds=60)
        idle = cold.status(TIMED)
        again = await service.chat(key, model=TIMED)
        events = await service.events("acme")

    assert "cold" == idle
    assert 200 == again.status_code
    assert ["20000", None, None] == [a.headers.get("x-cold-start-ms") for a in first]
    assert "20000" == again.headers["x-cold-start-ms"]
    assert [12 * PICO // 1000] * 4 == [event.charge_p for event in events]


async def test_who_leaves_the_queue_leaves_no_trace(open_service, warm_up):
    """No event, no hold, no request used; the warm-up goes on for the others."""
    cold = ColdStart(warm_up)
    async with open_service(cold=cold) as service:
        key = await service.account("acme", tier=1)
        left = asyncio.ensure_future(service.chat(key, model=TIMED))
        await _until(lambda: cold.status(TIMED) == "warming")
        stays = asyncio.ensure_future(service.chat(key, model=TIMED))
        await _until(lambda: cold._models[TIMED].waiting == 2)
        left.cancel()
        await anyio.wait_all_tasks_blocked()
        waiting, in_use_p = cold._models[TIMED].waiting, await service.in_use_p("acme")
        warm_up.go_on.set()
        await stays
        after = await service.chat(key, model=TIMED)
        events = await service.events("acme")

    assert 1 == waiting
    assert 12 * PICO // 10 == in_use_p
    assert [TIMED] == warm_up.models
    assert "98" == after.headers["x-ratelimit-remaining-requests"]
    assert 2 == len(events)


async def test_a_call_let_through_and_cancelled_at_once_uses_the_model_no_longer(
    open_service, hand_written, warm_up
):
    """A server may give up on a request while the model becomes warm."""
    cold = ColdStart(warm_up)
    async with open_service(cold=cold) as service:
        key = await service.account("acme", tier=1)
        request = hand_written(key, {"model": TIMED, "messages": []})
        app = service.meter.wrap(service.model)
        with anyio.CancelScope() as given_up:

            async def receive():
                try:
                    return await type(request).receive(request)
                except BaseException:  # nobody listens for the client any more
                    given_up.cancel()
                    raise

            async with anyio.create_task_group() as waits:
                waits.start_soon(app, request.scope, receive, request.send)
                await _until(lambda: cold._models.get(TIMED))
                await _until(lambda: cold._models[TIMED].waiting)
                warm_up.go_on.set()

    assert given_up.cancelled_caught
    assert 0 == cold._models[TIMED].running


async def test_a_client_that_hangs_up_while_queued_is_noticed(
    open_service, hand_written, warm_up
):
    """Pure ASGI: the server says `http.disconnect`; nothing is sent to nobody."""
    cold = ColdStart(warm_up)
    async with open_service(cold=cold) as service:
        key = await service.account("acme", tier=1)
        client = hand_written(key, {"model": TIMED, "messages": []}, leaves_at=0)
        await client.call(service.meter.wrap(service.model))

        assert [] == client.sent
        assert 0 == await service.in_use_p("acme")
        assert [] == await service.events("acme")
        warm_up.go_on.set()
        await anyio.wait_all_tasks_blocked()
        assert "warm" == cold.status(TIMED)


async def test_a_full_queue_and_a_slow_one_are_503(open_service, warm_up):
    """With a true `retry-after`; what was taken is given back."""
    clock = ManualClock()
    cold = ColdStart(
        warm_up,
        waiting_max=1,
        wait_max_ns=NS_PER_S // 100,
        usual_ns=30 * NS_PER_S,
        clock=clock,
    )
    async with open_service(cold=cold, clock=clock) as service:
        key = await service.account("acme", tier=1)
        slow = asyncio.ensure_future(service.chat(key, model=FREE))
        await _until(lambda: cold.statuses() and cold._models[FREE].waiting)
        clock.advance(seconds=12)
        full = await service.chat(key, model=FREE)
        slow = await slow
        warm_up.go_on.set()
        await _until(lambda: cold.status(FREE) == "warm")
        served = await service.chat(key, model=FREE)

    assert [(503, "18")] * 2 == [
        (answer.status_code, answer.headers["retry-after"]) for answer in (full, slow)
    ]
    assert "model_not_ready" == full.json()["error"]["code"]
    assert "1 calls wait" in full.json()["error"]["message"]
    assert "59" == served.headers["x-ratelimit-remaining-requests"]


async def test_a_warm_up_that_fails_is_told_and_tried_again(open_service, warm_up):
    cold = ColdStart(warm_up)
    async with open_service(cold=cold) as service:
        key = await service.account("acme", tier=1)
        warm_up.error = RuntimeError("no GPU left")
        warm_up.go_on.set()
        failed = await service.chat(key, model=TIMED)
        warm_up.error = None
        served = await service.chat(key, model=TIMED)

    assert (503, "model_not_ready") == (
        failed.status_code,
        failed.json()["error"]["code"],
    )
    assert "GPU" not in failed.text
    assert 200 == served.status_code
    assert [TIMED, TIMED] == warm_up.models


async def test_works_alone_and_with_a_status_from_elsewhere(warm_up):
    """Around any app, without accounts or limits."""
    warm = {"a"}
    cold = ColdStart(warm_up, is_warm=warm.__contains__)
    app = httpx.ASGITransport(ColdStartMiddleware(FakeModel(), Parts(), cold))
    async with httpx.AsyncClient(transport=app, base_url="http://test") as client:

        async def ask(model):
            body = {"model": model, "messages": []}
            return (await client.post("/v1/chat/completions", json=body)).status_code

        assert 200 == await ask("a")
        warm_up.go_on.set()
        assert 200 == await ask("b")

    assert ["b"] == warm_up.models


async def test_names_from_clients_are_not_kept_without_end(warm_up):
    cold = ColdStart(warm_up)
    warm_up.go_on.set()
    for number in range(3000):
        await cold.enter(f"m{number}")
        cold.leave(f"m{number}")

    assert len(cold.statuses()) <= 1024


def test_a_queue_that_admits_nobody_is_refused(warm_up):
    with pytest.raises(ConfigurationError, match="waiting_max 0"):
        ColdStart(warm_up, waiting_max=0)
