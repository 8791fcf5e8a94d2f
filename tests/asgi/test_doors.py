"""No door to a model is open beside those that are metered, unless someone says so."""

import pytest
from structlog.testing import capture_logs

from metering.asgi.clamp import ClampMiddleware
from metering.asgi.parts import Parts

pytestmark = pytest.mark.anyio

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
BODY = {"model": LLAMA, "messages": [{"role": "user", "content": "a b c"}]}
UNMETERED = [
    "/v1/responses/compact",
    "/v1/messages/batches",
    "/v1/messages/batches/",
    "/llm/v1/messages/batches",
    "/v1/videos",
    "/api/v1/moderations",
    "/v1/batches",
    "/v1/chat/completions/batch",
    "/inference/v1/generate",
    "/v1/rerank",
    "/generate",
    "/invocations",
    "/openai/deployments/dear/chat/completions",
    "/openai/deployments/a/dear/one/embeddings",
    "/engines/dear/completions",
]
THE_APPS_OWN = [
    "/",
    "",
    "/health",
    "/reports/generate",
    "/api/deployments/5/restart",
    "/posts/1/score",
    "/v1/models",
    "/v1/messages/count_tokens",
    "/tokenize",
]


class Open:
    """An app that answers everything."""

    def __init__(self):
        self.paths = []

    async def __call__(self, scope, _receive, send):
        """Say yes."""
        self.paths.append(scope["path"])
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"{}"})


@pytest.mark.parametrize("path", UNMETERED)
@pytest.mark.parametrize("known", [True, False], ids=["with a key", "without"])
async def test_a_door_that_nobody_meters_is_closed(open_service, path, known):
    """403, before the app, with what an operator can do about it."""
    async with open_service(Open()) as service:
        key = await service.account("acme", tier=1)
        headers = {"authorization": f"Bearer {key}"} if known else {}
        with capture_logs() as logs:
            answer = await service.client.post(path, json=BODY, headers=headers)

        error = answer.json()["error"]
        assert (403, "route_not_metered") == (answer.status_code, error["code"])
        for word in (path.rstrip("/"), "[[routes]]", 'calls.unmetered = "pass"'):
            assert word in error["message"]
        assert "false" == answer.headers["x-should-retry"]
        assert ["call_refused"] == [line["event"] for line in logs]
        assert [] == service.model.paths


@pytest.mark.parametrize("path", THE_APPS_OWN)
async def test_what_is_the_apps_own_stays_open(open_service, path):
    """A name that only the root of a model server has means nothing below a prefix."""
    async with open_service(Open()) as service:
        assert 200 == (await service.client.post(path, json=BODY)).status_code


async def test_reading_what_was_made_stays_open(open_service):
    """GET runs no model."""
    async with open_service(Open()) as service:
        answer = await service.client.get("/v1/responses/resp_1")
        listed = await service.client.get("/v1/batches")

    assert [200, 200] == [answer.status_code, listed.status_code]


@pytest.mark.parametrize(
    "path",
    ["/api/v1/chat/completions", "/chat/completions", "/engines/x/v1/chat/completions"],
)
async def test_a_prefix_changes_nothing(open_service, hand_written, path):
    """Chat is metered wherever a router puts it: no key no answer, and a charge."""
    async with open_service() as service:
        stack = service.meter.wrap(service.model)
        stranger = hand_written(None, BODY, path=path)
        await stranger.call(stack)

        assert 401 == stranger.status
        assert 0 == len(service.model.calls)


async def test_open_by_decision_with_one_warning_a_path(open_service):
    """They reach the app, and the operator hears of each once; not of more than 64."""
    async with open_service(Open(), unmetered="pass") as service:
        with capture_logs() as logs:
            for _ in range(3):
                answer = await service.client.post("/v1/batches", json=BODY)
                await service.client.post("/v1/rerank", json=BODY)
            first = list(logs)
            for number in range(100):
                await service.client.post(f"/{number}/v1/batches", json=BODY)

    assert 200 == answer.status_code
    assert ["/v1/batches", "/v1/rerank"] == [line["path"] for line in first]
    assert [("warning", "route_not_metered")] == list(
        {(line["log_level"], line["event"]) for line in first}
    )
    assert 64 == len(logs)


async def test_one_path_can_be_declared_to_be_the_apps_own(open_service):
    """`[[routes]]` with the dialect "none": open without a warning, alone."""
    routes = {"/mail/v1/messages": "none", "/v1/embeddings": "none"}
    async with open_service(Open(), routes=routes) as service:
        with capture_logs() as logs:
            mail = await service.client.post("/mail/v1/messages", json=BODY)
            own = await service.client.post("/v1/embeddings", json=BODY)
        other = await service.client.post("/v1/messages", json=BODY)

    assert [200, 200, 401] == [a.status_code for a in (mail, own, other)]
    assert [] == logs


async def test_a_route_can_give_a_closed_door_a_dialect(open_service):
    """`/generate` that speaks Completions: metered, so a key is asked for."""
    async with open_service(
        Open(), routes={"/generate": "openai.completions"}
    ) as service:
        answer = await service.client.post("/generate", json=BODY)

    assert 401 == answer.status_code


async def test_a_piece_that_does_not_bill_closes_nothing(hand_written):
    """The clamp alone has no money to guard."""
    app = Open()
    client = hand_written(None, BODY, path="/v1/batches")
    await client.call(ClampMiddleware(app, Parts()))

    assert (200, ["/v1/batches"]) == (client.status, app.paths)


@pytest.mark.parametrize("path", ["/v1/realtime", "/v1/responses", "/x/v1/responses"])
@pytest.mark.parametrize("unmetered", ["refuse", "pass"])
async def test_a_websocket_to_a_model_is_a_door_too(open_service, unmetered, path):
    """It is turned away before it is accepted, also where HTTP would be metered."""
    reached, sent = [], []

    async def app(scope, _receive, _send):
        reached.append(scope["path"])

    async def send(message):
        sent.append(message)

    scope = {"type": "websocket", "path": path, "headers": []}
    async with open_service(app, unmetered=unmetered) as service:
        await service.meter.wrap(app)(scope, None, send)

    if unmetered == "pass":
        assert ([path], []) == (reached, sent)
    else:
        closed = {"code": 1008, "reason": "route_not_metered"}
        assert ([], [{"type": "websocket.close", **closed}]) == (reached, sent)
