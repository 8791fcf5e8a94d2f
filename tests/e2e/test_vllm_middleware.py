"""`MeteringMiddleware` as vLLM loads it, in a reproduction: vLLM needs no GPU here.

Reproduced from vLLM 0.33.0, `vllm/entrypoints/serve/middleware/register.py`, the loop
at the end of `init_entrypoints_middleware`; before that the same loop stood in
`build_app` of `vllm/entrypoints/openai/api_server.py` (commit 0001948b). Each
`--middleware` is an import path: a class is added as middleware after all of vLLM's
own, so it is the outermost; a coroutine function is taken for a dispatch of
`BaseHTTPMiddleware`; all else is refused.
"""

import functools
import importlib
import inspect
import socket
from collections.abc import Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from typing import Any

import httpx
import pytest
import uvicorn
from anyio.from_thread import BlockingPortal, start_blocking_portal
from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from openai import AuthenticationError, OpenAI

import metering
from metering import Metering
from metering.testing.model import FakeModel

FLAG = "metering.MeteringMiddleware"
GLM = "zai-org/GLM-4.7"
CHAT = {"model": GLM, "messages": [{"role": "user", "content": "a b c"}]}
CHARGE_P = 3 * 600_000 + 64 * 2_200_000
STOP_S = 10.0
DOORS = [  # more of the engine's, by the paths that vLLM 0.33.0 gives them
    "/classify",
    "/cohere/v2/chat",
    "/generative_scoring",
    "/inference/v1/generate",
    "/invocations",
    "/pooling",
    "/rerank",
    "/score",
    "/v1/chat/completions/batch",
    "/v1/decisions",
    "/v1/rerank",
    "/v1/score",
    "/v1/systemone",
    "/v2/embed",
    "/v2/rerank",
]


def load(app: FastAPI, flags: list[str]) -> None:
    """Add the middleware of the command line, as vLLM does."""
    for flag in flags:
        module, name = flag.rsplit(".", 1)
        found = getattr(importlib.import_module(module), name)
        if inspect.isclass(found):
            app.add_middleware(found)
        elif inspect.iscoroutinefunction(found):
            app.middleware("http")(found)
        else:
            raise ValueError(flag)


class Vllm:
    """What the API server is, without an engine: its app around a fake model."""

    def __init__(self, flags: list[str]) -> None:
        self.model = FakeModel()
        self.steps: list[str] = []
        self.app = FastAPI(lifespan=self._live)
        self.app.state.log_stats = True
        for path in DOORS:
            self.app.post(path)(self._serve)
        self.app.post("/tokenize")(self._serve)
        self.app.mount("/", self.model)
        self.app.add_middleware(CORSMiddleware, allow_origins=["*"])
        load(self.app, flags)

    @asynccontextmanager
    async def _live(self, app: FastAPI) -> Any:
        self.steps.append("started" if app.state.log_stats else "")
        yield
        self.steps.append("stopped")
        del app.state  # as vLLM's does, so that the engine can be collected

    async def _serve(self) -> dict[str, bool]:
        return {"served": True}


@contextmanager
def running(app: Any, portal: BlockingPortal) -> Iterator[str]:
    """Serve an app with uvicorn; give its address."""
    server = uvicorn.Server(uvicorn.Config(app, lifespan="on", log_config=None))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        served = portal.start_task_soon(server.serve, [listener])
        try:
            yield "http://127.0.0.1:{1}".format(*listener.getsockname())
        finally:
            server.should_exit = True
            served.result(STOP_S)


@pytest.fixture
def portal() -> Iterator[BlockingPortal]:
    """An event loop in a thread."""
    with start_blocking_portal() as portal:
        yield portal


@pytest.fixture
def beside(tmp_path, monkeypatch, portal) -> Iterator[Metering]:
    """What the operator works with beside the server, on the same data."""
    monkeypatch.setenv("METERING_CONFIG", "preset:friendli")
    monkeypatch.setenv("METERING_DATA", str(tmp_path))
    meter = Metering.from_env()
    yield meter
    portal.call(meter.stop)


@pytest.fixture
def key(beside, portal) -> str:
    """A key of the one account."""
    portal.call(beside.accounts.create, "acme")
    return portal.call(beside.accounts.issue_key, "acme")


def client_of(url: str, key: str, closing: ExitStack) -> OpenAI:
    """Return a client; it is closed in the end."""
    made = OpenAI(api_key=key, base_url=f"{url}/v1", max_retries=0)
    return closing.enter_context(made)


def test_the_flag_serves_and_bills(beside, key, portal):
    """With a key it is served and billed, also a stream; without one it is refused."""
    vllm = Vllm([FLAG])
    with ExitStack() as closing:
        url = closing.enter_context(running(vllm.app, portal))
        client = client_of(url, key, closing)
        answer = client.chat.completions.create(**CHAT)
        chunks = list(client.chat.completions.create(**CHAT, stream=True))
        with pytest.raises(AuthenticationError) as refused:
            client_of(url, "mk-unknown", closing).chat.completions.create(**CHAT)
    charged = portal.call(beside.billing.charges, "acme")

    assert (3, 64) == (answer.usage.prompt_tokens, answer.usage.completion_tokens)
    assert 64 == sum(bool(chunk.choices[0].delta.content) for chunk in chunks)
    assert "invalid_api_key" == refused.value.code
    assert [CHARGE_P] * 2 == [charge.event.charge_p for charge in charged]
    assert 2 == len(vllm.model.calls)


def test_it_starts_and_stops_with_the_server(beside, key, portal):
    """Around the app's own life; what was charged is posted when the server is gone."""
    vllm = Vllm([FLAG])
    lock = beside.data / "process.lock"
    with running(vllm.app, portal) as url, ExitStack() as closing:
        client_of(url, key, closing).chat.completions.create(**CHAT)
        assert ["started"] == vllm.steps
        assert lock.exists()
    (charge,) = portal.call(beside.billing.charges, "acme")

    assert ["started", "stopped"] == vllm.steps
    assert CHARGE_P == charge.event.charge_p
    portal.call(beside.start)  # nobody else holds the data any more


def test_it_is_outside_of_all_that_vllm_adds():
    """A refusal reaches none of vLLM's own middleware: CORS headers need a proxy."""
    app = FastAPI()
    app.add_middleware(CORSMiddleware, allow_origins=["*"])
    load(app, [FLAG])

    outermost, _ = app.user_middleware
    assert outermost.cls is metering.MeteringMiddleware


@pytest.mark.usefixtures("beside")
@pytest.mark.parametrize("door", DOORS)
def test_no_other_door_to_the_engine_is_open(portal, door):
    """Nobody gets in for nothing; what needs no model is served as it was."""
    vllm = Vllm([FLAG])

    async def ask() -> list[int]:
        transport = httpx.ASGITransport(vllm.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://t") as http:
            asked = [await http.post(path, json=CHAT) for path in (door, "/tokenize")]
            asked.append(await http.get("/health"))
            return [answer.status_code for answer in asked]

    assert [403, 200, 200] == portal.call(ask)


def test_what_vllm_refuses():
    """A partial does not load, nor an instance: hence a class that needs the app."""
    assert inspect.isclass(metering.MeteringMiddleware)
    assert ["app"] == list(inspect.signature(metering.MeteringMiddleware).parameters)
    with pytest.raises(ValueError, match="partial"):
        load(FastAPI(), [f"{__name__}.partial"])


partial = functools.partial(metering.MeteringMiddleware)
