"""Adaptive tiers: a share that is told and enforced, a moment's wait, or 503."""

from contextlib import asynccontextmanager
from dataclasses import replace

import anyio
import anyio.lowlevel
import http_sf
import httpx
import pytest
from structlog.testing import capture_logs

from metering.adaptive import AdaptiveSettings
from metering.asgi.adaptive import AdaptiveMiddleware
from metering.asgi.coldstart import ColdStartMiddleware
from metering.asgi.parts import Parts
from metering.clock import NS_PER_MS
from metering.coldstart import ColdStart
from metering.config import plan_from_preset
from metering.errors import ConfigurationError
from metering.platform import Platform, PlatformSettings
from metering.stores import AccountChange
from metering.testing.clock import ManualClock
from metering.testing.model import FakeModel

pytestmark = pytest.mark.anyio

PRESET = plan_from_preset("friendli")
LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
GLM = "zai-org/GLM-4.7"
CHAT = {"model": LLAMA, "messages": [{"role": "user", "content": "a b c"}]}


class Held:
    """A model whose streams begin one by one, when the test says so."""

    def __init__(self):
        self.app = FakeModel(output_tokens=4, pause=self._pause)
        self._may = anyio.Semaphore(0)
        self.asked = 0

    async def _pause(self, message):
        if message == 0:
            self.asked += 1
            await self._may.acquire()

    def go_on(self, calls=1):
        for _ in range(calls):
            self._may.release()


@pytest.fixture
def held():
    return Held()


@pytest.fixture
def open_adaptive(open_service):
    """Run services of the preset as it is, with other settings of the pool."""

    @asynccontextmanager
    async def opened(app=None, *, cold=None, clock=None, pools=None, **settings):
        adaptive = PRESET.adaptive
        adaptive = replace(
            adaptive,
            pool=replace(adaptive.pool, **settings),
            pools=adaptive.pools if pools is None else pools,
        )
        async with open_service(
            app, cold=cold, clock=clock, tiers=PRESET.tiers, adaptive=adaptive
        ) as service:
            yield service

    return opened


async def until(condition):
    """Let others work until something is so."""
    while not condition():
        await anyio.lowlevel.checkpoint()


def upstream(service, model=LLAMA):
    return service.meter.platform.upstream(model)


def waiting(service, model=LLAMA):
    return upstream(service, model).explain().waiting


@pytest.mark.parametrize(
    ("rpm", "policy", "limit"),
    [(12.0, (12, 60), 12), (5.5, (11, 120), 5), (0.8, (4, 300), 1)],
)
async def test_what_is_told_is_what_is_enforced(open_adaptive, rpm, policy, limit):
    """As many as are left are served; one is refused until the instant it is told."""
    async with open_adaptive(floor_rpm=rpm, ceiling_rpm=rpm) as service:
        key = await service.account("acme")
        first = await service.chat(key)
        ((_, told),) = http_sf.parse(first.headers["ratelimit"].encode(), tltype="list")
        served = [await service.chat(key) for _ in range(told["r"])]
        refused = await service.chat(key)
        counted = upstream(service).pool._lanes[0].second
        wait_ns = int(refused.headers["retry-after-ms"]) * NS_PER_MS
        again = []
        for step_ns in (wait_ns - 2 * NS_PER_MS, 2 * NS_PER_MS, 0):
            await service.flush()  # the journal takes a long wait for a full disk
            service.clock.advance(ns=step_ns)
            again.append((await service.chat(key)).status_code)

    ((_, quota),) = http_sf.parse(
        first.headers["ratelimit-policy"].encode(), tltype="list"
    )
    assert policy == (quota["q"], quota["w"])
    assert str(limit) == first.headers["x-ratelimit-limit-requests"]
    assert [200] * told["r"] == [answer.status_code for answer in served]
    assert (1 + told["r"], 1) == (counted.passed, counted.limited)
    assert "0" == refused.headers["x-ratelimit-remaining-requests"]
    assert str(min(limit, told["r"])) == first.headers["x-ratelimit-remaining-requests"]
    assert (429, "rate_limit_exceeded") == (
        refused.status_code,
        refused.json()["error"]["code"],
    )
    assert f"The limit of {rpm:g} requests per minute" in refused.text
    assert [429, 200, 429] == again


async def test_a_limit_that_falls_keeps_the_share_that_was_used(open_adaptive):
    """Half of what 60 a minute allow is used: half of 20 is left."""
    async with open_adaptive() as service:
        key = await service.account("acme")
        whole = upstream(service).demand("acme").quota.burst // 1000
        for _ in range(whole // 2):
            await service.chat(key)
        published = upstream(service).pool._published
        published.rpm = 20.0
        answer = await service.chat(key)

    left = int(answer.headers["ratelimit"].split("r=")[1].split(";")[0])
    assert whole / 3 / 2 - 2 <= left <= whole / 3 / 2


async def test_a_call_waits_until_the_one_before_has_its_first_byte(
    open_adaptive, held
):
    """An unknown platform is given one at a time; nothing of the wait is billed."""
    async with open_adaptive(held.app) as service:
        key = await service.account("acme")
        answers = []

        async def call():
            answers.append(await service.chat(key, stream=True))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call)
            await until(lambda: held.asked)
            tasks.start_soon(call)
            await until(lambda: waiting(service))
            before = held.asked
            held.go_on()
            await until(lambda: held.asked == 2)
            held.go_on()
        assert not upstream(service).in_use

    assert 1 == before
    assert [200, 200] == [answer.status_code for answer in answers]


async def test_a_call_that_waited_3_s_is_told_when_to_come_back(open_adaptive, held):
    """503 and a retry-after; the request and the money that it had taken are back."""
    async with open_adaptive(held.app) as service:
        key = await service.account("acme")
        answers = []

        async def call():
            answers.append(await service.chat(key, stream=True))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call)
            await until(lambda: held.asked)
            demand = upstream(service).demand("acme")
            (before,) = await service.meter.limit_store.peek(
                [demand], now_ns=service.clock()
            )
            tasks.start_soon(call)
            await until(lambda: waiting(service))
            service.clock.advance(seconds=2.9)
            service.meter.platform.tick()
            await anyio.lowlevel.checkpoint()
            early = len(answers)
            service.clock.advance(seconds=0.1)
            service.meter.platform.tick()
            await until(lambda: answers)
            (after,) = await service.meter.limit_store.peek(
                [demand], now_ns=service.clock()
            )
            held.go_on()
        events = await service.events("acme")

    assert 0 == early
    busy, served = answers
    assert (503, "platform_busy") == (busy.status_code, busy.json()["error"]["code"])
    assert 1 <= int(busy.headers["retry-after"]) <= 9
    assert after.remaining >= before.remaining
    assert (200, 1) == (served.status_code, len(events))


async def test_a_client_that_leaves_the_room_leaves_no_trace(
    open_adaptive, held, hand_written
):
    """It never reached the app, took no place of anybody, and has all it took back."""
    async with open_adaptive(held.app) as service:
        key = await service.account("acme")
        request = hand_written(key, CHAT | {"stream": True})
        app = service.meter.wrap(held.app)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: service.chat(key, stream=True))
            await until(lambda: held.asked)
            demand = upstream(service).demand("acme")
            store = service.meter.limit_store
            (before,) = await store.peek([demand], now_ns=service.clock())
            async with anyio.create_task_group() as leaving:
                leaving.start_soon(request.call, app)
                await until(lambda: waiting(service))
                request.gone.set()
            (after,) = await store.peek([demand], now_ns=service.clock())
            left = waiting(service)
            held.go_on()
        assert not upstream(service).in_use

    assert [] == request.sent
    assert (0, before.remaining, 1) == (left, after.remaining, held.asked)


async def test_a_call_that_is_let_go_and_cancelled_at_once_leaves_no_trace(
    open_adaptive, held, hand_written
):
    """A server may give up on a request while it is being taken out of the room."""
    async with open_adaptive(held.app) as service:
        key = await service.account("acme")
        request = hand_written(key, CHAT | {"stream": True})
        app = service.meter.wrap(held.app)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: service.chat(key, stream=True))
            await until(lambda: held.asked)
            with anyio.CancelScope() as given_up:

                async def receive():
                    try:
                        return await type(request).receive(request)
                    except BaseException:  # nobody listens for the client any more
                        given_up.cancel()
                        raise

                async with anyio.create_task_group() as waits:
                    waits.start_soon(app, request.scope, receive, request.send)
                    await until(lambda: waiting(service))
                    held.go_on()
        assert not upstream(service).in_use

    assert given_up.cancelled_caught
    assert (1, []) == (held.asked, request.sent)


async def test_who_pays_is_served_while_others_wait(open_adaptive, held):
    """Ten of a paid tier go at once where an adaptive call must wait."""
    async with open_adaptive(held.app) as service:
        spare = await service.account("spare")
        paid = await service.account("paid", tier=3)
        codes = []

        async def call(key):
            codes.append((await service.chat(key, stream=True)).status_code)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call, spare)
            await until(lambda: held.asked)
            tasks.start_soon(call, spare)
            await until(lambda: waiting(service))
            for _ in range(10):
                tasks.start_soon(call, paid)
            await until(lambda: held.asked == 11)
            still = waiting(service)
            held.go_on(12)

    assert 1 == still
    assert [200] * 12 == codes


@pytest.mark.parametrize("status", [200, 429, 500, 503])
@pytest.mark.parametrize("streams", [False, True])
async def test_every_call_that_went_upstream_comes_back(open_adaptive, status, streams):
    async with open_adaptive(FakeModel(status=status)) as service:
        key = await service.account("acme")
        answer = await service.chat(key, stream=streams)

        assert status == answer.status_code
        assert not upstream(service).in_use
        assert 0 == upstream(service).explain().awaiting


async def test_an_app_that_raises_is_not_waited_for(open_adaptive):
    async with open_adaptive(FakeModel(fail_at=0)) as service:
        key = await service.account("acme")
        with pytest.raises(RuntimeError):
            await service.chat(key, stream=True)

        assert not upstream(service).in_use
        assert 0 == upstream(service).explain().awaiting


async def test_a_client_that_goes_mid_stream_is_not_waited_for(
    open_adaptive, hand_written
):
    async with open_adaptive() as service:
        key = await service.account("acme")
        request = hand_written(key, CHAT | {"stream": True}, leaves_at=2)
        with anyio.move_on_after(1):
            await request.call(service.meter.wrap(service.model))

        assert not upstream(service).in_use


async def test_a_comment_is_no_first_byte(open_adaptive):
    """Servers send them to keep a stream alive while its call is queued."""
    seen = []

    async def app(_scope, _receive, send):
        headers = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for body in (b": here\n\n", b"", b": still\n\ndata: {}\n\n", b"data: {}\n\n"):
            await send({"type": "http.response.body", "body": body, "more_body": True})
            seen.append(service.meter.platform.upstream(LLAMA).explain().awaiting)
        await send({"type": "http.response.body", "body": b"data: [DONE]\n\n"})

    async with open_adaptive(app) as service:
        key = await service.account("acme")
        await service.chat(key, stream=True)

    assert [1, 1, 0, 0] == seen


async def test_upstream_refusals_pace_what_is_sent(open_adaptive):
    """The pool goes by them as soon as the second in which they came is over."""
    async with open_adaptive(FakeModel(status=503)) as service:
        key = await service.account("acme")
        before = upstream(service).explain().pace_per_s
        await service.chat(key)
        service.clock.advance(seconds=1)
        service.meter.platform.upstream(LLAMA).tick(service.clock())
        after = upstream(service).explain().pace_per_s

    assert before is None
    assert after is not None


async def test_models_of_one_pool_wait_for_one_another(open_adaptive, held):
    """Of the two pools, only the one in use makes wait."""
    pools = {LLAMA: "small", "zai-org/GLM-4.6": "small", GLM: "large"}
    async with open_adaptive(held.app, pools=pools) as service:
        key = await service.account("acme")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: service.chat(key, stream=True))
            await until(lambda: held.asked)
            tasks.start_soon(lambda: service.chat(key, model=GLM, stream=True))
            await until(lambda: held.asked == 2)
            tasks.start_soon(
                lambda: service.chat(key, model="zai-org/GLM-4.6", stream=True)
            )
            await until(lambda: waiting(service))
            states = {
                name: one.state
                for name, one in service.meter.platform.explain().items()
            }
            held.go_on(3)

    assert {"small": "busy", "large": "normal", "others": "normal"} == states


async def test_a_cold_model_is_not_upstream_yet(open_adaptive):
    """The call is sent when its model is warm: the warm-up is no sign of load."""
    clock = ManualClock()
    warm = anyio.Event()

    async def warm_up(_model):
        await warm.wait()

    cold = ColdStart(warm_up, clock=clock)
    async with open_adaptive(cold=cold, clock=clock) as service:
        key = await service.account("acme")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: service.chat(key, stream=True))
            await until(lambda: cold.status(LLAMA) == "warming")
            early = upstream(service).in_use
            clock.advance(seconds=20)
            warm.set()
        explained = upstream(service).explain()

    assert not early
    assert explained.unloaded_s < 1


async def test_an_account_that_changed_on_the_way_is_asked_for_once(open_adaptive):
    """What was planned before is forgotten, its place in the queue as well."""
    async with open_adaptive() as service:
        key = await service.account("acme")
        await service.chat(key)
        account = await service.meter.accounts.get("acme")
        changed = service.ledger.change("acme", AccountChange(pin=0), now_ns=0)
        await service.meter.limit_store.announce("acme", changed.version)
        answer = await service.chat(key)

        assert changed.version > account.version
        assert 200 == answer.status_code
        assert 2 == upstream(service).pool._lanes[0].second.passed
        assert not upstream(service).in_use


async def test_another_state_is_logged_with_its_reason(open_adaptive, held):
    async with open_adaptive(held.app) as service:
        key = await service.account("acme")
        with capture_logs() as logs:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(lambda: service.chat(key, stream=True))
                await until(lambda: held.asked)
                tasks.start_soon(lambda: service.chat(key, stream=True))
                await until(lambda: waiting(service))
                service.meter.platform.tick()
                service.meter.platform.tick()
                held.go_on(2)

    (line,) = [line for line in logs if line["event"] == "platform_state"]
    assert (LLAMA, "busy", "normal") == (line["pool"], line["state"], line["before"])
    assert "some of its calls wait" in line["why"]


def alone(**settings):
    """Return the piece around a model that holds, and its platform."""
    clock = ManualClock()
    platform = Platform(
        PlatformSettings(pool=AdaptiveSettings(**settings)), clock=clock
    )
    held = Held()
    return AdaptiveMiddleware(held.app, Parts(platform=platform)), platform, held


async def test_the_piece_alone_keeps_an_app_from_being_overrun():
    """Twenty at once, one place: two more may wait, the others come back later."""
    app, platform, held = alone()
    codes = []

    async def call():
        answer = await client.post("/v1/chat/completions", json=CHAT | {"stream": True})
        codes.append(answer.status_code)

    transport = httpx.ASGITransport(app)
    async with (
        httpx.AsyncClient(transport=transport, base_url="http://t") as client,
        anyio.create_task_group() as tasks,
    ):
        for _ in range(20):
            tasks.start_soon(call)
        await until(lambda: len(codes) == 17)
        held.go_on(3)

    assert {503: 17, 200: 3} == {code: codes.count(code) for code in codes}
    assert not platform.upstream(LLAMA).in_use


async def test_what_serves_no_model_is_passed_on_untouched():
    app, platform, _ = alone()
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://t") as client:
        answer = await client.get("/health")

    assert 200 == answer.status_code
    assert not platform.upstream("").in_use


def test_the_piece_needs_a_platform():
    with pytest.raises(ConfigurationError, match=r"Parts\(platform="):
        AdaptiveMiddleware(FakeModel(), Parts())


def test_the_piece_belongs_just_around_the_app():
    parts = Parts(platform=Platform(PlatformSettings()))
    cold = ColdStart(lambda _model: anyio.lowlevel.checkpoint())
    inside = ColdStartMiddleware(FakeModel(), parts, cold)
    with pytest.raises(ConfigurationError, match="has coldstart inside it"):
        AdaptiveMiddleware(inside, parts)
