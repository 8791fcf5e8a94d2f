"""What serves no model passes unharmed; what does passes with all that an app needs."""

import json
from contextvars import ContextVar

import pytest
from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route

from metering.backends.memory import MemoryLimitStore
from metering.backends.sql import SqlLedger
from metering.testing.model import FakeModel

pytestmark = pytest.mark.anyio

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
CHAT = {"model": LLAMA, "messages": [{"role": "user", "content": "a b c"}]}
PATH = "/v1/chat/completions"
ANSWER = b'{"usage":{"prompt_tokens":3,"completion_tokens":2}}'
ANSWER_P = 5 * 100_000


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    """Run every test here on both."""
    return request.param


class Watched:
    """Notes each call of the wrapped object's methods."""

    def __init__(self, inner, calls):
        self._inner = inner
        self._calls = calls

    def __getattr__(self, name):
        """Hand a method out, and note it."""
        value = getattr(self._inner, name)
        if callable(value):
            self._calls.append(name)
        return value


@pytest.fixture
def store_calls(monkeypatch):
    """Return the list of what the limit store is asked while a service runs."""
    calls = []
    store = MemoryLimitStore()
    monkeypatch.setattr(
        "metering.backends.memory.MemoryLimitStore", lambda: Watched(store, calls)
    )
    return calls


# Off the model routes


def _http(method, path, **more):
    return {"type": "http", "method": method, "path": path, "headers": [], **more}


@pytest.mark.parametrize(
    "scope",
    [
        _http("GET", "/"),
        _http("POST", "/v1/audio/voices"),
        _http("POST", "/v1/chat/completionsx"),
        _http("POST", "/v1/chat"),
        _http("POST", "/v2/completions", root_path="/v2"),
        _http("GET", PATH),
        _http("HEAD", PATH),
        _http("OPTIONS", PATH),
        {"type": "websocket", "path": "/live", "headers": []},
        {"type": "of a later specification"},
    ],
    ids=lambda scope: " ".join(str(v) for v in scope.values() if v),
)
async def test_what_serves_no_model_is_passed_on_itself(
    open_service, store_calls, scope
):
    """The very scope, receive and send; nothing is opened, no store is asked."""
    found = []

    async def app(*given):
        found.append(given)

    async def receive():
        raise AssertionError("Nobody asked.")

    async def send(_message):
        raise AssertionError("Nobody answered.")

    ledger_calls = []
    ledger = Watched(
        SqlLedger("sqlite://", tiers=open_service.plan().tiers), ledger_calls
    )
    async with open_service(ledger=ledger) as service:
        kept = dict(scope)
        ledger_calls.clear()
        await service.meter.wrap(app)(scope, receive, send)

        assert [(scope, receive, send)] == found
        assert found[0][0] is scope
        assert kept == scope
        assert ([], []) == (store_calls, ledger_calls)
        assert not (service.meter.data / "process.lock").exists()


async def test_an_upload_passes_byte_for_byte(open_service, store_calls):
    """Multipart on a route of the app's own, without a key."""

    async def echo(request):
        return JSONResponse((await request.body()).hex())

    app = Starlette(routes=[Route("/v1/files", echo, methods=["POST"])])
    async with open_service(app) as service:
        data = bytes(range(256)) * 1000
        answer = await service.client.post("/v1/files", files={"file": data})

        assert 200 == answer.status_code
        assert data in bytes.fromhex(answer.json())
        assert "x-usage-id" not in answer.headers
        assert [] == store_calls


async def test_what_an_app_raises_elsewhere_comes_out_as_it_was(open_service):
    """A health check that fails fails as it would without us."""
    raised = RuntimeError("mine")

    async def app(_scope, _receive, _send):
        raise raised

    async with open_service() as service:
        with pytest.raises(RuntimeError) as caught:
            await service.meter.wrap(app)(_http("GET", "/"), None, None)

    assert caught.value is raised


# Browsers


def _with_cors(app):
    return CORSMiddleware(app, allow_origins=["*"], allow_methods=["POST"])


async def test_a_preflight_needs_no_key_and_costs_nothing(open_service, store_calls):
    """With CORS inside: it reaches the app's own answer."""
    headers = {"origin": "https://a.example", "access-control-request-method": "POST"}
    async with open_service(_with_cors(FakeModel())) as service:
        answer = await service.client.options(PATH, headers=headers)

        assert 200 == answer.status_code
        assert "*" == answer.headers["access-control-allow-origin"]
        assert [] == store_calls


async def test_a_refusal_can_be_read_in_a_browser(open_service, hand_written):
    """With CORS outside: a 401 has its header too."""
    async with open_service() as service:
        client = hand_written(None)
        client.scope["headers"].append((b"origin", b"https://a.example"))
        await client.call(_with_cors(service.meter.wrap(service.model)))

    assert 401 == client.status
    assert b"*" == client.header(b"access-control-allow-origin")


# Where a model's route is


@pytest.mark.parametrize(
    ("path", "root_path"),
    [
        (PATH, ""),
        (PATH + "/", ""),
        ("/llm" + PATH, "/llm"),
        ("/llm" + PATH + "//", "/llm"),
        (PATH, "/llm"),  # as servers before ASGI's `path` included the root
    ],
)
async def test_a_route_is_metered_under_a_prefix_and_with_a_slash(
    open_service, hand_written, path, root_path
):
    """The app sees path and root_path as the server gave them."""
    found = []

    async def app(scope, _receive, send):
        found.append((scope["path"], scope["root_path"]))
        await _answer(send)

    async with open_service() as service:
        client = hand_written(await service.account("acme", tier=1), path=path)
        client.scope["root_path"] = root_path
        await client.call(service.meter.wrap(app))
        (event,) = await service.events("acme")

    assert [(path, root_path)] == found
    assert ANSWER_P == event.charge_p


async def test_a_mounted_stack_is_metered(open_service, hand_written):
    """Starlette's Mount moves the prefix to root_path, and leaves the path whole."""

    async def app(_scope, _receive, send):
        await _answer(send)

    async with open_service() as service:
        outer = Starlette(routes=[Mount("/llm", service.meter.wrap(app))])
        client = hand_written(await service.account("acme", tier=1), path="/llm" + PATH)
        await client.call(outer)
        (event,) = await service.events("acme")

    assert (200, ANSWER_P) == (client.status, event.charge_p)


async def test_a_second_stack_around_the_same_app_passes(open_service, hand_written):
    """Wrapped, and added as middleware too: one charge, one set of headers."""
    async with open_service() as service:
        app = Starlette(routes=[Mount("/", service.model)])
        app.add_middleware(service.meter.wrap)
        client = hand_written(await service.account("acme", tier=1))
        await client.call(service.meter.wrap(app))
        (event,) = await service.events("acme")
        names = [name for name, _ in client.sent[0]["headers"]]

        assert 6_700_000 == event.charge_p == await service.in_use_p("acme")
        assert sorted(set(names)) == sorted(names)


# What an app sends and sees


async def _start(send, kind=b"application/json", **more):
    headers = [(b"content-type", kind)]
    if kind == b"application/json":
        headers.append((b"content-length", b"%d" % len(ANSWER)))
    start = {"type": "http.response.start", "status": 200, "headers": headers}
    await send({**start, **more})


async def _answer(send):
    await _start(send)
    await send({"type": "http.response.body", "body": ANSWER})


HINT = {"type": "http.response.early_hint", "links": [b"</a>"]}
DEBUG = {"type": "http.response.debug", "info": {}}
PUSH = {"type": "http.response.push", "path": "/a", "headers": []}
TRAILERS = {"type": "http.response.trailers", "headers": [(b"a", b"b")]}


async def test_messages_of_extensions_pass_in_order(open_service, hand_written):
    """Hints before the start, a push before the body, trailers after it."""
    extensions = {message["type"]: {} for message in (HINT, DEBUG, PUSH, TRAILERS)}
    found = []

    async def app(scope, _receive, send):
        found.append(scope["extensions"])
        await send(DEBUG)
        await send(HINT)
        await _start(send, trailers=True)
        await send(PUSH)
        await send({"type": "http.response.body", "body": ANSWER})
        await send(TRAILERS)

    async with open_service() as service:
        client = hand_written(await service.account("acme", tier=1))
        client.scope["extensions"] = extensions
        await client.call(service.meter.wrap(app))
        (event,) = await service.events("acme")

    kinds = [message["type"].rpartition(".")[2] for message in client.sent]
    assert [extensions] == found
    assert ["debug", "early_hint", "start", "push", "body", "trailers"] == kinds
    assert client.sent[2]["trailers"]
    assert TRAILERS == client.sent[-1]
    assert ("completed", ANSWER_P) == (event.ending, event.charge_p)


async def test_a_file_that_the_server_sends_ends_the_call(open_service, hand_written):
    """Nobody reads it on the way: its input is charged, flagged estimated."""
    file = {"type": "http.response.pathsend", "path": "/answer.json"}

    async def app(_scope, _receive, send):
        await _start(send)
        await send(file)

    async with open_service() as service:
        client = hand_written(await service.account("acme", tier=1))
        await client.call(service.meter.wrap(app))
        (event,) = await service.events("acme")

        assert ["start", "pathsend"] == [
            message["type"].rpartition(".")[2] for message in client.sent
        ]
        assert file == client.sent[1]
        assert ("completed", "estimated") == (event.ending, event.usage_source)
        assert event.charge_p == await service.in_use_p("acme")


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
async def test_a_message_may_lack_what_has_a_default(open_service, hand_written, kind):
    """No headers, no body, no more_body; and a body of any kind of bytes."""

    async def app(_scope, _receive, send):
        await send({"type": "http.response.start", "status": 200})
        await send(
            {"type": "http.response.body", "body": kind(ANSWER), "more_body": True}
        )
        await send({"type": "http.response.body"})

    async with open_service() as service:
        client = hand_written(await service.account("acme", tier=1))
        await client.call(service.meter.wrap(app))
        (event,) = await service.events("acme")

    assert [ANSWER, b""] == client.bodies
    assert ("completed", "estimated") == (event.ending, event.usage_source)


async def test_an_app_that_does_not_answer(open_service, hand_written):
    """It returned without a word: so do we, at $0, and nothing is held."""

    async def app(_scope, _receive, _send):
        pass

    async with open_service() as service:
        client = hand_written(await service.account("acme", tier=1))
        await client.call(service.meter.wrap(app))
        (event,) = await service.events("acme")

        assert [] == client.sent
        assert ("app_error", 0) == (event.ending, event.charge_p)
        assert 0 == await service.in_use_p("acme")


@pytest.mark.parametrize("done", [True, False])
async def test_an_app_may_send_to_nobody(open_service, hand_written, done):
    """The client left; servers take the rest in silence, and it is charged."""

    async def app(_scope, receive, send):
        while (await receive())["type"] != "http.disconnect":
            pass
        await _start(send, b"text/event-stream")
        for data in [{"choices": [{"index": 0, "delta": {"content": "w"}}]}] * 3:
            text = b"data: " + json.dumps(data).encode() + b"\n\n"
            await send({"type": "http.response.body", "body": text, "more_body": True})
        end = b"data: [DONE]\n\n" if done else b""
        await send({"type": "http.response.body", "body": end})

    async with open_service() as service:
        key = await service.account("acme", tier=1)
        client = hand_written(key, {**CHAT, "stream": True})
        client.gone.set()
        await client.call(service.meter.wrap(app))
        (event,) = await service.events("acme")

        assert 4 == len(client.bodies)
        assert 3 == event.usage.output_tokens
        assert ("completed" if done else "client_gone") == event.ending
        assert event.charge_p == await service.in_use_p("acme")


@pytest.mark.parametrize("path", [PATH, "/health"])
async def test_context_variables_go_in_and_come_out(open_service, hand_written, path):
    """The app runs in its caller's context, as if nothing lay between."""
    request_id = ContextVar("request_id", default="none")
    found = []

    async def app(_scope, _receive, send):
        found.append(request_id.get())
        request_id.set("the app's")
        await _answer(send)

    async with open_service() as service:
        client = hand_written(await service.account("acme", tier=1), path=path)
        request_id.set("the caller's")
        await client.call(service.meter.wrap(app))

    assert (["the caller's"], "the app's") == (found, request_id.get())


async def test_the_state_of_the_lifespan_is_the_apps(open_service, hand_written):
    """The same dict, with one name more; the scope is a copy."""
    pool = object()
    state, found = {"pool": pool}, []

    async def app(scope, _receive, send):
        found.append(scope)
        await _answer(send)

    async with open_service() as service:
        client = hand_written(await service.account("acme", tier=1))
        client.scope["state"] = state
        await client.call(service.meter.wrap(app))

    assert found[0]["state"] is state
    assert {"pool", "metering"} == set(state)
    assert state["pool"] is pool


async def test_a_call_is_seen_by_who_watches_the_store(open_service, store_calls):
    """Else the tests above could not fail."""
    async with open_service() as service:
        await service.chat(await service.account("acme", tier=1))

    assert store_calls
