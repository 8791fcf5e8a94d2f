"""However a call ends, it is charged once for what was delivered, and holds nothing."""

import json
import types
from functools import partial

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from metering.config.plan import JournalSettings
from metering.testing.model import FakeModel

pytestmark = pytest.mark.anyio

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
TIMED = "Qwen/Qwen3-32B"
CHAT = {"model": LLAMA, "messages": [{"role": "user", "content": "a b c"}]}
STREAM = {**CHAT, "stream": True}
TOKEN_P = 100_000
WORD = {"choices": [{"index": 0, "delta": {"content": "w"}}]}

# "a b c" has 5 bytes: at 4 bytes a token, 2 tokens.
INPUT_TOKENS = 2


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    """Run every test here on both."""
    return request.param


async def test_a_client_that_leaves_pays_for_what_it_got(open_service, hand_written):
    """A role and four words, no usage told: estimated input and four tokens."""
    async with open_service() as service:
        key = await service.account("acme", tier=1)
        client = hand_written(key, STREAM, leaves_at=5)
        await client.call(service.meter.wrap(service.model))
        (event,) = await service.events("acme")

        assert ("client_gone", "estimated") == (event.ending, event.usage_source)
        assert (INPUT_TOKENS, 4) == (
            event.usage.input_tokens,
            event.usage.output_tokens,
        )
        assert (INPUT_TOKENS + 4) * TOKEN_P == event.charge_p
        assert event.charge_p == await service.in_use_p("acme")
        assert service.model.calls[0].disconnected


async def test_the_last_running_usage_is_charged(open_service, hand_written):
    """An app that tells usage beside each event: its own figures, never the sum."""

    async def app(_scope, _receive, send):
        await _start(send, b"text/event-stream")
        for written in range(1, 10):
            usage = {"prompt_tokens": 3, "completion_tokens": written}
            await _event(send, {"choices": [{"index": 0}], "usage": usage})
        raise AssertionError("The client had left.")

    async with open_service() as service:
        key = await service.account("acme", tier=1)
        client = hand_written(key, STREAM, breaks_at=7)
        with pytest.raises(OSError, match="gone"):
            await client.call(service.meter.wrap(app))
        (event,) = await service.events("acme")

        assert ("client_gone", "upstream") == (event.ending, event.usage_source)
        assert (3 + 7) * TOKEN_P == event.charge_p
        assert event.charge_p == await service.in_use_p("acme")


async def test_leaving_before_the_body_is_whole_costs_nothing(
    open_service, hand_written
):
    """The app is not called, nothing is held, and there is no event."""
    async with open_service() as service:
        key = await service.account("acme", tier=1)
        client = hand_written(key)
        client.inbox = [
            {"type": "http.request", "body": b'{"model":', "more_body": True},
            {"type": "http.disconnect"},
            {"type": "http.disconnect"},
        ]
        await client.call(service.meter.wrap(service.model))

        assert [] == client.sent
        assert 0 == len(service.model.calls)
        assert 0 == await service.in_use_p("acme")
        assert [] == await service.events("acme")


@pytest.mark.parametrize("late", [b"null", b""])
async def test_a_plain_call_that_was_left_is_not_free(open_service, hand_written, late):
    """As vLLM answers it, with 200 and `null` or nothing: its input is charged."""

    async def app(_scope, receive, send):
        while (await receive())["type"] != "http.disconnect":
            pass
        await _start(send, b"application/json", length=len(late))
        await send({"type": "http.response.body", "body": late})

    async with open_service() as service:
        key = await service.account("acme", tier=1)
        await hand_written(key, STREAM, leaves_at=0).call(service.meter.wrap(app))
        (event,) = await service.events("acme")

        assert ("client_gone", "estimated") == (event.ending, event.usage_source)
        assert INPUT_TOKENS * TOKEN_P == event.charge_p
        assert event.charge_p == await service.in_use_p("acme")


async def test_leaving_after_the_end_is_no_leaving(open_service, hand_written):
    """The disconnect that every server tells after a response changes nothing."""
    ending = []

    async def app(_scope, receive, send):
        await receive()
        await _start(send, b"text/event-stream")
        await send({"type": "http.response.body", "body": b"data: [DONE]\n\n"})
        client.gone.set()
        ending.append([(await receive())["type"] for _ in range(2)])

    async with open_service() as service:
        key = await service.account("acme", tier=1)
        client = hand_written(key, STREAM)
        await client.call(service.meter.wrap(app))
        (event,) = await service.events("acme")

    assert [["http.disconnect"] * 2] == ending
    assert "completed" == event.ending


class AppError(Exception):
    """What an app raises."""


@pytest.mark.parametrize(
    ("messages", "tokens"),
    [(0, 0), (1, 0), (4, INPUT_TOKENS + 3)],
    ids=["before the start", "after the start", "after three events"],
)
@pytest.mark.parametrize("kind", [AppError, SystemExit])
async def test_what_an_app_raises_reaches_the_server_unchanged(
    open_service, hand_written, messages, tokens, kind
):
    """The same object; $0 before any output, what was written after, nothing held."""
    raised = kind("mine")

    async def app(_scope, _receive, send):
        if messages:
            await _start(send, b"text/event-stream")
        for _ in range(messages - 1):
            await _event(send, WORD)
        raise raised

    async with open_service() as service:
        key = await service.account("acme", tier=1)
        client = hand_written(key, STREAM)
        caught = await _caught(client.call(service.meter.wrap(app)))
        (event,) = await service.events("acme")

        assert caught is raised
        assert messages == len(client.sent)
        if kind is AppError:
            assert ("app_error", tokens * TOKEN_P) == (event.ending, event.charge_p)
        else:
            assert "cancelled" == event.ending
        assert event.charge_p == await service.in_use_p("acme")


async def test_a_call_whose_loop_is_gone_still_leaves_its_event(
    open_service, hand_written
):
    """GeneratorExit comes where nothing can be awaited any more."""
    async with open_service() as service:
        key = await service.account("acme", tier=1)
        await service.chat(key)  # so that all is started and resolved
        client = hand_written(key, STREAM)
        client.receive = _at_once(client.inbox)
        call = client.call(service.meter.wrap(_sleep_bare))
        call.send(None)
        await anyio.to_thread.run_sync(call.close)
        events = await service.events("acme")

    assert {"cancelled", "completed"} == {event.ending for event in events}
    assert 2 == len(events)


@pytest.mark.parametrize("streams", [True, False])
async def test_an_app_that_never_finishes(open_service, hand_written, streams):
    """It returned early: what a stream wrote is charged, half a JSON is not."""

    async def app(_scope, _receive, send):
        await _start(send, b"text/event-stream" if streams else b"application/json")
        await _event(send, WORD)

    async with open_service() as service:
        key = await service.account("acme", tier=1)
        await hand_written(key, STREAM).call(service.meter.wrap(app))
        (event,) = await service.events("acme")

        tokens = INPUT_TOKENS + 1 if streams else 0
        assert ("app_error", tokens * TOKEN_P) == (event.ending, event.charge_p)
        assert event.charge_p == await service.in_use_p("acme")


@pytest.mark.parametrize("status", [400, 404, 429, 500, 503])
async def test_an_error_status_costs_nothing(open_service, hand_written, status):
    """It passes, and the event says upstream_error."""
    async with open_service(FakeModel(status=status)) as service:
        key = await service.account("acme", tier=1)
        client = hand_written(key, STREAM)
        await client.call(service.meter.wrap(service.model))
        (event,) = await service.events("acme")

        assert status == client.status
        assert ("upstream_error", status, 0) == (
            event.ending,
            event.status,
            event.charge_p,
        )
        assert 0 == await service.in_use_p("acme")


async def test_an_error_in_a_stream_ends_it(open_service, hand_written):
    """A role, two words, an error object: two tokens, upstream_error, status 200."""
    async with open_service(FakeModel(error_at=3)) as service:
        key = await service.account("acme", tier=1)
        client = hand_written(key, STREAM)
        await client.call(service.meter.wrap(service.model))
        (event,) = await service.events("acme")

        assert ("upstream_error", 200) == (event.ending, event.status)
        assert (INPUT_TOKENS + 2) * TOKEN_P == event.charge_p
        assert b'"error"' in b"".join(client.bodies)
        assert event.charge_p == await service.in_use_p("acme")


async def test_a_deadline_cuts_a_stream_once(open_service, hand_written):
    """Under `move_on_after` each await in a `finally` is cancelled again."""

    async def pause(chunk):
        if chunk == 4:
            scope.cancel()
        await anyio.lowlevel.checkpoint()

    async with open_service(FakeModel(pause=pause)) as service:
        key = await service.account("acme", tier=1)
        client = hand_written(key, STREAM)
        with anyio.move_on_after(60) as scope:
            await client.call(service.meter.wrap(service.model))
        (event,) = await service.events("acme")

        assert scope.cancelled_caught
        assert "cancelled" == event.ending
        assert (INPUT_TOKENS + 3) * TOKEN_P == event.charge_p
        assert event.charge_p == await service.in_use_p("acme")


@pytest.mark.parametrize("body", [STREAM, CHAT], ids=["stream", "plain"])
@pytest.mark.parametrize("durable", [True, False])
async def test_cancelled_at_any_await(
    open_service, hand_written, tmp_path, body, durable
):
    """Wherever it is cut: at most one event, charged what is spent, and nothing held.

    A call that was admitted has its event; one that was not yet has none.
    """
    async with open_service(FakeModel(output_tokens=3), **_durable(durable)) as service:
        key = await service.account("acme", tier=1)
        app = service.meter.wrap(service.model)
        events, at, cut = 0, 0, True
        while cut:
            at += 1
            client = hand_written(key, body)
            with anyio.CancelScope() as scope:
                await _cancelling(client.call(app), at, scope)
            cut = scope.cancelled_caught
            service.clock.advance(seconds=1)
            seen = await service.events("acme")
            reached = len(service.model.calls)

            assert len(seen) - events <= 1, f"await {at}"
            events = len(seen)
            total_p = sum(event.charge_p for event in seen)
            assert total_p == await service.in_use_p("acme"), f"await {at}"

        assert reached <= events
        assert at >= 5
        assert "completed" == seen[0].ending
    # A journal that owes nothing is deleted: no call was opened and never closed.
    assert [] == list((tmp_path / "journal").glob("*"))


async def test_a_send_that_never_returns_holds_nothing(open_service, hand_written):
    """Hypercorn's HTTP/2 may never come back from the last message: it is settled."""
    async with open_service(FakeModel(output_tokens=2)) as service:
        key = await service.account("acme", tier=1)
        client = hand_written(key, CHAT, leaves_at=1)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.call, service.meter.wrap(service.model))
            await client.gone.wait()
            (event,) = await service.events("acme")
            in_use_p = await service.in_use_p("acme")
            tasks.cancel_scope.cancel()

        assert 5 * TOKEN_P == event.charge_p == in_use_p


async def test_a_background_task_is_not_part_of_the_call(open_service, hand_written):
    """It finds the call settled, and its error changes nothing."""
    found = []

    async def app(scope, receive, send):
        await FakeModel()(scope, receive, send)
        service.clock.advance(seconds=5)
        found.append((await service.in_use_p("acme"), await service.events("acme")))
        raise AppError

    async with open_service() as service:
        key = await service.account("acme", tier=1)
        client = hand_written(key)
        with pytest.raises(AppError):
            await client.call(service.meter.wrap(app))
        (event,) = await service.events("acme")

        assert [(67 * TOKEN_P, [event])] == found
        assert ("completed", event.admitted_ns) == (event.ending, event.ended_ns)


async def test_the_time_of_a_killed_stream_is_in_its_checkpoints(
    open_service, hand_written
):
    """A time price has no tokens to go by: each checkpoint carries the time so far."""
    noted = []

    async def pause(_chunk):
        service.clock.advance(seconds=1)

    async with open_service(FakeModel(pause=pause, output_tokens=4)) as service:
        key = await service.account("acme", tier=1)
        client = hand_written(key, {**STREAM, "model": TIMED})
        journal = service.meter._recorder.journal
        journal.checkpoint = noted.append
        await client.call(service.meter.wrap(service.model))

    assert [2000, 4000, 6000] == [event.usage.compute_ms for event in noted]
    assert [2000 * 2_000_000] == [event.charge_p for event in noted[:1]]


async def _start(send, kind, *, length=None):
    headers = [(b"Content-Type", kind)]
    if length is not None:
        headers.append((b"Content-Length", b"%d" % length))
    await send({"type": "http.response.start", "status": 200, "headers": headers})


async def _event(send, data):
    body = b"data: " + json.dumps(data).encode() + b"\n\n"
    await send({"type": "http.response.body", "body": body, "more_body": True})


async def _caught(awaitable):
    try:
        await awaitable
    except BaseException as error:  # noqa: BLE001 - whatever it is
        return error
    return None


@types.coroutine
def _bare():
    yield


async def _sleep_bare(_scope, _receive, _send):
    await _bare()


def _at_once(inbox):
    async def receive():
        return inbox.pop(0)

    return receive


class _cancelling:  # noqa: N801 - reads as a function
    """Await something, and cancel *scope* where it suspends for the n-th time."""

    def __init__(self, awaitable, at, scope):
        self._awaitable, self._at, self._scope = awaitable, at, scope

    def __await__(self):
        steps = self._awaitable.__await__()
        resume, count = partial(next, steps), 0
        while True:
            try:
                wanted = resume()
            except StopIteration as stop:
                return stop.value
            count += 1
            if count == self._at:
                self._scope.cancel()
            try:
                answer = yield wanted
            except BaseException as error:  # noqa: BLE001 - all of it is the call's
                resume = partial(steps.throw, error)
            else:
                resume = partial(steps.send, answer)


def _durable(durable):
    settings = JournalSettings(sync_ms=1, durability="power")
    return {"journal": settings} if durable else {}
