"""Traps of ASGI that frameworks and servers set: each behaves as without the stack."""

import json
import socket
from contextlib import contextmanager

import anyio
import httpx
import pytest
import uvicorn
from anyio import to_thread
from anyio.from_thread import start_blocking_portal
from fastapi import BackgroundTasks, FastAPI
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute

from metering.testing.model import FakeModel

pytestmark = pytest.mark.anyio

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
CHAT = {"model": LLAMA, "messages": [{"role": "user", "content": "a b c"}]}
STREAM = {**CHAT, "stream": True}
PATH = "/v1/chat/completions"
USAGE = {"prompt_tokens": 3, "completion_tokens": 2}
ANSWER_P = 5 * 100_000
EVENT = b'data: {"choices":[{"index":0,"delta":{"content":"w"}}]}\n\n'
LAST = b"data: " + json.dumps({"choices": [], "usage": USAGE}).encode() + b"\n\n"
DONE = b"data: [DONE]\n\n"
STOP_S = 10.0


async def answer(_request):
    """Answer with a usage."""
    return JSONResponse({"usage": USAGE})


def added(service, app):
    """Install the stack as a framework's middleware."""
    app.add_middleware(service.meter.wrap)
    return app


def wrapped(service, app):
    """Install the stack around the whole framework."""
    return service.meter.wrap(app)


both_ways = pytest.mark.parametrize("install", [added, wrapped])


# Streams with trailers


async def test_a_stream_ends_before_its_trailers(open_service, hand_written):
    """The call is charged with its last body; the trailers pass after it."""
    trailers = {"type": "http.response.trailers", "headers": [(b"a", b"b")]}

    async def app(_scope, _receive, send):
        kind = [(b"content-type", b"text/event-stream"), (b"trailer", b"a")]
        start = {"type": "http.response.start", "status": 200, "headers": kind}
        await send({**start, "trailers": True})
        for event in (EVENT, LAST, DONE):
            await send({"type": "http.response.body", "body": event, "more_body": True})
        await send({"type": "http.response.body"})
        await send(trailers)

    asked = {**STREAM, "stream_options": {"include_usage": True}}
    async with open_service() as service:
        client = hand_written(await service.account("acme", tier=1), asked)
        await client.call(service.meter.wrap(app))
        (event,) = await service.events("acme")

    assert client.sent[0]["trailers"]
    assert [EVENT, LAST, DONE, b""] == client.bodies
    assert trailers == client.sent[-1]
    assert ("completed", ANSWER_P) == (event.ending, event.charge_p)


# Background tasks


class TaskError(Exception):
    """What a background task raises."""


@both_ways
@pytest.mark.parametrize("streams", [False, True])
async def test_starlettes_background_task(open_service, hand_written, install, streams):
    """It runs after the answer, when the call is settled; its error is raised again."""
    found = []

    async def task():
        service.clock.advance(seconds=5)
        whole = b"".join(client.bodies)
        found.append((whole, await service.in_use_p("acme")))
        raise TaskError

    async def endpoint(_request):
        late = BackgroundTask(task)
        if streams:
            events = iter([EVENT, LAST, DONE])
            return StreamingResponse(
                events, media_type="text/event-stream", background=late
            )
        return JSONResponse({"usage": USAGE}, background=late)

    async with open_service() as service:
        app = Starlette(routes=[Route(PATH, endpoint, methods=["POST"])])
        key = await service.account("acme", tier=1)
        client = hand_written(key, STREAM if streams else CHAT)
        with pytest.raises(TaskError):
            await client.call(install(service, app))
        (event,) = await service.events("acme")

    assert [(b"".join(client.bodies), ANSWER_P)] == found
    assert ("completed", ANSWER_P) == (event.ending, event.charge_p)
    assert event.admitted_ns == event.ended_ns


@both_ways
async def test_fastapis_background_tasks(open_service, hand_written, install):
    """All run, in their order, after the answer."""
    app, found = FastAPI(), []

    @app.post(PATH)
    async def chat(tasks: BackgroundTasks):
        for name in ("one", "two"):
            tasks.add_task(lambda name: found.append((name, len(client.bodies))), name)
        return {"usage": USAGE}

    async with open_service() as service:
        client = hand_written(await service.account("acme", tier=1))
        client.scope["query_string"] = b""
        await client.call(install(service, app))
        (event,) = await service.events("acme")

    assert [("one", 1), ("two", 1)] == found
    assert ANSWER_P == event.charge_p


# Errors of an endpoint


@both_ways
@pytest.mark.parametrize("after", [None, 0, 2], ids=["before", "at once", "later"])
async def test_an_endpoint_that_fails(open_service, hand_written, install, after):
    """Before the start: the framework's own 500, at $0. After it: what was written."""

    async def events():
        for _ in range(after):
            yield EVENT
        raise TaskError

    async def endpoint(_request):
        if after is None:
            raise TaskError
        return StreamingResponse(events(), media_type="text/event-stream")

    async with open_service() as service:
        app = Starlette(routes=[Route(PATH, endpoint, methods=["POST"])])
        client = hand_written(await service.account("acme", tier=1), STREAM)
        with pytest.raises(TaskError):
            await client.call(install(service, app))
        (event,) = await service.events("acme")

        assert (500 if after is None else 200) == client.status
        assert 0 == await service.in_use_p("acme") - event.charge_p
    tokens = 2 + after if after else 0  # two are the estimate of its input
    outside_saw_500 = after is None and install is wrapped
    assert tokens * 100_000 == event.charge_p
    assert ("upstream_error" if outside_saw_500 else "app_error") == event.ending


# Other middleware inside


async def test_a_stream_through_starlettes_base_middleware(open_service, hand_written):
    """As in `transformers serve`: it copies the stream in tasks of its own."""

    async def tag(request, call_next):
        response = await call_next(request)
        response.headers["x-request-id"] = "the app's"
        return response

    async with open_service() as service:
        app = Starlette(routes=[Mount("/", service.model)])
        app.add_middleware(BaseHTTPMiddleware, dispatch=tag)
        client = hand_written(await service.account("acme", tier=1), STREAM)
        await client.call(service.meter.wrap(app))
        (event,) = await service.events("acme")

    assert b"the app's" == client.header(b"x-request-id")
    assert ("completed", "upstream") == (event.ending, event.usage_source)
    assert 67 * 100_000 == event.charge_p


async def test_who_leaves_starlettes_base_middleware(open_service, hand_written):
    """It ends the body as if the stream had ended: the call was left all the same."""

    async def pause(chunk):
        if chunk == 4:
            client.gone.set()
            await anyio.sleep_forever()

    async def dispatch(request, call_next):
        return await call_next(request)

    async with open_service(FakeModel(pause=pause)) as service:
        app = Starlette(routes=[Mount("/", service.model)])
        app.add_middleware(BaseHTTPMiddleware, dispatch=dispatch)
        client = hand_written(await service.account("acme", tier=1), STREAM)
        await client.call(service.meter.wrap(app))
        (event,) = await service.events("acme")

        assert service.model.calls[0].disconnected
        assert "client_gone" == event.ending
        assert 5 * 100_000 == event.charge_p == await service.in_use_p("acme")


async def test_compression_inside_is_not_asked_for(open_service):
    """A client that takes gzip gets a readable answer, and its usage is known."""
    app = Starlette(routes=[Mount("/", FakeModel(output_tokens=2_000))])
    app.add_middleware(GZipMiddleware)
    async with open_service(app) as service:
        key = await service.account("acme", tier=1)
        got = await service.chat(key, headers={"accept-encoding": "gzip"})
        (event,) = await service.events("acme")

    assert "content-encoding" not in got.headers
    assert (2_000, "upstream") == (event.usage.output_tokens, event.usage_source)


async def test_compression_outside_is_the_clients(open_service, hand_written):
    """Around the stack it may compress what it likes: the meter has read it before."""
    model = FakeModel(output_tokens=2_000)
    async with open_service(model) as service:
        client = hand_written(await service.account("acme", tier=1))
        client.scope["headers"].append((b"accept-encoding", b"gzip"))
        await client.call(GZipMiddleware(service.meter.wrap(model)))
        (event,) = await service.events("acme")

    assert b"gzip" == client.header(b"content-encoding")
    assert (2_000, "upstream") == (event.usage.output_tokens, event.usage_source)


# Apps in apps


def _nested():
    """Return an app with models on a route, in a sub-app and in a mounted app."""
    app, sub = FastAPI(), FastAPI()

    @sub.post(PATH)
    @app.post(PATH)
    async def chat(body: dict[str, object]):
        return {"usage": USAGE, "model": body["model"]}

    @app.get("/notes/{note}")
    async def note(note: int):
        return {"note": note}

    @app.websocket("/live")
    async def live(socket):
        await socket.accept()

    app.mount("/sub", sub)
    deep = Starlette(routes=[Route(PATH, answer, methods=["POST"])])
    app.mount("/a", Starlette(routes=[Mount("/b", deep)]))
    return app


@both_ways
@pytest.mark.parametrize("prefix", ["", "/sub", "/a/b"])
async def test_models_of_mounted_apps_are_metered(
    open_service, hand_written, install, prefix
):
    """However deep: Starlette changes the scope on its way down."""
    async with open_service() as service:
        key = await service.account("acme", tier=1)
        client = hand_written(key, path=prefix + PATH)
        client.scope["query_string"] = b""
        client.scope["headers"].append((b"content-type", b"application/json"))
        await client.call(install(service, _nested()))
        (event,) = await service.events("acme")

    assert (200, ANSWER_P) == (client.status, event.charge_p)


@both_ways
@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/notes/7", 200),
        ("GET", "/notes/x", 422),
        ("HEAD", "/notes/7", 405),
        ("OPTIONS", PATH, 405),
        ("HEAD", PATH, 405),
        ("GET", PATH, 405),
        ("GET", "/notes/7/", 307),
        ("GET", "/sub/docs", 200),
        ("GET", "/openapi.json", 200),
        ("POST", "/nowhere", 404),
    ],
)
async def test_what_else_a_framework_answers_is_its_own(
    open_service, install, method, path, status
):
    """Status, headers and body, to the byte; nobody needs a key for it."""
    got = []
    async with open_service() as service:
        for app in (_nested(), install(service, _nested())):
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport) as client:
                said = await client.request(method, f"http://t{path}")
                got.append((said.status_code, said.headers.raw, said.content))

        assert got[0] == got[1]
        assert status == got[0][0]


@both_ways
async def test_a_refused_websocket_keeps_its_answer(open_service, install):
    """The app denies it with a response of its own, where the server can send one."""

    async def deny(websocket):
        await websocket.send_denial_response(JSONResponse({"why": "late"}, 429))

    scope = {"type": "websocket", "path": "/live", "headers": []}
    scope["extensions"] = {"websocket.http.response": {}}
    told = []
    async with open_service() as service:
        for wrap in (lambda _service, app: app, install):
            sent = []

            async def receive():
                return {"type": "websocket.connect"}

            async def send(message, sent=sent):
                sent.append(message)

            app = wrap(service, Starlette(routes=[WebSocketRoute("/live", deny)]))
            await app({**scope, "extensions": dict(scope["extensions"])}, receive, send)
            told.append(sent)

    start, body = told[1]
    assert told[0] == told[1]
    assert ("websocket.http.response.start", 429) == (start["type"], start["status"])
    assert b'{"why":"late"}' == body["body"]


# A real server


@contextmanager
def _served(app):
    """Serve an app with uvicorn in a thread; give a function that opens connections."""
    server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_config=None))
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        start_blocking_portal() as portal,
    ):
        running = portal.start_task_soon(server.serve, [listener])
        try:
            yield lambda: socket.create_connection(listener.getsockname(), STOP_S)
        finally:
            server.should_exit = True
            running.result(STOP_S)


def _head(key, length, *, expects=True):
    expect = "expect: 100-continue\r\n" if expects else ""
    return (
        f"POST {PATH} HTTP/1.1\r\nhost: t\r\nauthorization: Bearer {key}\r\n"
        f"content-type: application/json\r\ncontent-length: {length}\r\n{expect}\r\n"
    ).encode()


def _read_status(stream):
    """Return the next status, and read the rest of that answer."""
    status = int(stream.readline().split()[1])
    length = 0
    while (line := stream.readline()) not in {b"\r\n", b""}:
        name, _, value = line.partition(b":")
        length = int(value) if name.lower() == b"content-length" else length
    stream.read(length)
    return status


@pytest.mark.parametrize(
    ("known", "statuses"), [(True, [100, 200]), (False, [401])], ids=["served", "not"]
)
async def test_a_client_that_asks_before_its_upload(open_service, known, statuses):
    """It is told to go on when its key is known; else 401, and nothing is uploaded."""
    body = json.dumps(CHAT).encode()

    def talk(connect, key):
        with connect() as connection, connection.makefile("rb") as stream:
            connection.sendall(_head(key, len(body)))
            told = [_read_status(stream)]
            if told == [100]:
                connection.sendall(body)
                told.append(_read_status(stream))
            return told

    async with open_service() as service:
        key = await service.account("acme", tier=1) if known else "mk-unknown"
        with _served(service.meter.wrap(service.model)) as connect:
            told = await to_thread.run_sync(talk, connect, key)

        assert statuses == told
        assert known == len(service.model.calls)
