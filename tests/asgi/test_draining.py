"""Where clients that leave are drained, the app goes on for a bounded time."""

import itertools
import json

import anyio
import anyio.lowlevel
import pytest
import trio.testing
from starlette.requests import Request

from metering.clock import NS_PER_S
from metering.testing.model import FakeModel

pytestmark = pytest.mark.anyio

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
TIMED = "Qwen/Qwen3-32B"
CHAT = {"model": LLAMA, "messages": [{"role": "user", "content": "a b c"}]}
STREAM = {**CHAT, "stream": True}
TOKEN_P = 100_000
EXACT_P = (3 + 64) * TOKEN_P
WORD = {"choices": [{"index": 0, "delta": {"content": "w"}}]}

# "a b c" has 5 bytes: at 4 bytes a token, 2 tokens.
INPUT_TOKENS = 2
DRAIN = {"on_client_gone": "drain", "drain_ns": 20 * NS_PER_S}

both_loops = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
in_no_time = pytest.mark.parametrize(
    "anyio_backend",
    [("trio", {"clock": trio.testing.MockClock(autojump_threshold=0.01)})],
    ids=["trio, whose clock jumps"],
)


async def _start(send, kind=b"text/event-stream"):
    head = [(b"content-type", kind)]
    await send({"type": "http.response.start", "status": 200, "headers": head})


async def _word(send):
    body = b"data: " + json.dumps(WORD).encode() + b"\n\n"
    await send({"type": "http.response.body", "body": body, "more_body": True})


@both_loops
@pytest.mark.parametrize(
    "leaving",
    [{"leaves_at": 5}, {"breaks_at": 5}, {"leaves_at": 0}],
    ids=["send hangs", "send raises", "left at once"],
)
async def test_the_usage_of_a_left_stream_is_exact(open_service, hand_written, leaving):
    """The app writes to its end, for nobody: the client pays for all of it."""
    async with open_service(**DRAIN) as service:
        key = await service.account("acme", tier=1)
        client = hand_written(key, STREAM, **leaving)
        await client.call(service.meter.wrap(service.model))
        (event,) = await service.events("acme")
        (call,) = service.model.calls

        assert ("upstream", EXACT_P) == (event.usage_source, event.charge_p)
        assert EXACT_P == await service.in_use_p("acme")
        assert "completed" == event.ending
        # A role, 64 words, an end, the usage and the end mark.
        assert 68 == call.chunks
        assert len(client.bodies) <= 5


@both_loops
async def test_the_usage_of_a_left_plain_call_is_exact(open_service, hand_written):
    """The app listens while its model works, as vLLM does; its answer goes nowhere."""

    async def app(scope, receive, send):
        request = await receive()

        async def listen():
            while (await receive())["type"] != "http.disconnect":
                pass
            tasks.cancel_scope.cancel()

        async def again():
            return request

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listen)
            await anyio.wait_all_tasks_blocked()
            await FakeModel()(scope, again, send)
            tasks.cancel_scope.cancel()

    async with open_service(app, **DRAIN) as service:
        key = await service.account("acme", tier=1)
        client = hand_written(key, CHAT, leaves_at=0)
        await client.call(service.meter.wrap(app))
        (event,) = await service.events("acme")

        assert ("upstream", EXACT_P) == (event.usage_source, event.charge_p)
        assert EXACT_P == await service.in_use_p("acme")
        assert "client_gone" == event.ending
        assert [] == client.sent


@in_no_time
@pytest.mark.parametrize("leaving", [{"leaves_at": 5}, {"leaves_at": 0}])
async def test_the_bound_is_kept(open_service, hand_written, leaving):
    """After 20 s the app is told and stops: nothing is held, what it wrote is charged.

    It writes a word a second and would go on for ever.
    """

    async def pause(_chunk):
        await anyio.sleep(1)

    model = FakeModel(pause=pause, output_tokens=10_000)
    async with open_service(model, **DRAIN) as service:
        key = await service.account("acme", tier=1)
        client = hand_written(key, STREAM, **leaving)
        left_at = anyio.current_time() + leaving["leaves_at"]
        await client.call(service.meter.wrap(model))
        took = anyio.current_time() - left_at
        (event,) = await service.events("acme")
        (call,) = model.calls

        # It is told at 20 s; a pause that begins in the same instant still ends first.
        assert 20 <= took <= 21
        assert call.disconnected
        assert ("client_gone", "estimated") == (event.ending, event.usage_source)
        # A role, then words; it may be told while it hands the last one over.
        words = event.usage.output_tokens
        assert words in {call.chunks - 1, call.chunks}
        assert (INPUT_TOKENS + words) * TOKEN_P == event.charge_p
        assert event.charge_p == await service.in_use_p("acme")


@in_no_time
async def test_what_a_send_raised_is_raised_when_due(open_service, hand_written):
    """To an app that never listens: the server's own error, 20 s after the first."""
    sent = itertools.count()

    async def app(_scope, _receive, send):
        await _start(send)
        while True:
            await _word(send)
            next(sent)
            await anyio.sleep(1)

    async with open_service(app, **DRAIN) as service:
        key = await service.account("acme", tier=1)
        client = hand_written(key, STREAM, breaks_at=3)
        with pytest.raises(OSError, match="gone"):
            await client.call(service.meter.wrap(app))
        (event,) = await service.events("acme")

        words = next(sent)
        assert 2 + 20 == words
        assert 3 == len(client.bodies)
        assert "client_gone" == event.ending
        assert event.charge_p == await service.in_use_p("acme")


@in_no_time
async def test_an_app_that_looks_sees_its_client_until_due(open_service, hand_written):
    """Starlette's `is_disconnected` cancels its look: what it would see is not lost."""
    seen = []

    async def app(scope, receive, send):
        request = Request(scope, receive)
        await request.body()
        await _start(send)
        began = anyio.current_time()
        while not await request.is_disconnected():
            seen.append(round(anyio.current_time() - began))
            await anyio.sleep(5)

    async with open_service(app, **DRAIN) as service:
        key = await service.account("acme", tier=1)
        client = hand_written(key, STREAM, leaves_at=0)
        client.receive = _told_at_once(client)
        await client.call(service.meter.wrap(app))
        (event,) = await service.events("acme")

    assert [0, 5, 10, 15] == seen
    assert "client_gone" == event.ending


@both_loops
async def test_after_its_end_an_app_is_told_at_once(open_service, hand_written):
    """Also where it was waiting for that all along."""
    told = []

    async def app(_scope, receive, send):
        await receive()

        async def listen():
            told.append((await receive())["type"])

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listen)
            await anyio.wait_all_tasks_blocked()
            await _start(send)
            await send({"type": "http.response.body", "body": b"data: [DONE]\n\n"})
        told.append((await receive())["type"])

    async with open_service(app, **DRAIN) as service:
        key = await service.account("acme", tier=1)
        client = hand_written(key, STREAM, leaves_at=0)
        await client.call(service.meter.wrap(app))
        (event,) = await service.events("acme")

    assert ["http.disconnect"] * 2 == told
    assert "completed" == event.ending


@both_loops
async def test_a_client_that_stays_sees_no_difference(open_service, hand_written):
    """The same messages, byte for byte, and the same charge."""
    seen = []
    for fields in ({}, DRAIN):
        async with open_service(**fields) as service:
            key = await service.account(f"acme{len(seen)}", tier=1)
            client = hand_written(key, STREAM)
            await client.call(service.meter.wrap(FakeModel()))
            (event,) = await service.events(f"acme{len(seen)}")
            seen.append((client.bodies, event.charge_p, event.ending))

    assert seen[0] == seen[1]
    assert (EXACT_P, "completed") == seen[0][1:]


@both_loops
async def test_an_error_of_the_app_reaches_the_server_all_the_same(
    open_service, hand_written
):
    """What it raises while nobody listens is raised; what it wrote is charged."""
    async with open_service(FakeModel(fail_at=9), **DRAIN) as service:
        key = await service.account("acme", tier=1)
        client = hand_written(key, STREAM, leaves_at=3)
        with pytest.raises(RuntimeError, match="9 chunks"):
            await client.call(service.meter.wrap(service.model))
        (event,) = await service.events("acme")

        assert (INPUT_TOKENS + 8) * TOKEN_P == event.charge_p
        assert event.charge_p == await service.in_use_p("acme")


@both_loops
async def test_a_send_that_hangs_is_not_time_of_the_model(open_service, hand_written):
    """It waits for a client that has gone: of 7 s, 5 pass there."""

    async def app(_scope, receive, send):
        await receive()

        async def leave():
            await client.waiting.wait()
            service.clock.advance(seconds=5)
            client.gone.set()
            await receive()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(leave)
            await _start(send)
            service.clock.advance(seconds=2)
            await _word(send)
            await send({"type": "http.response.body", "body": b"data: [DONE]\n\n"})

    async with open_service(app, **DRAIN) as service:
        key = await service.account("acme", tier=1)
        client = hand_written(key, {**STREAM, "model": TIMED})
        client.waiting = anyio.Event()
        send = client.send

        async def hanging(message):
            await send(message)
            if client.bodies:
                client.waiting.set()
                await anyio.sleep_forever()

        client.send = hanging
        await client.call(service.meter.wrap(app))
        (event,) = await service.events("acme")

    assert 2000 == event.usage.compute_ms


def _told_at_once(client):
    """Return a `receive` that tells without a pause, once, as some servers do."""
    inbox = [client.inbox[0], {"type": "http.disconnect"}]

    async def receive():
        return inbox.pop(0)

    return receive
