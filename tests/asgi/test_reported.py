"""What an app says itself: its usage, its compute time, and whose request it serves."""

from typing import Annotated

import httpx
import pytest
from fastapi import Depends, FastAPI, Request

import metering
from metering.accounts import Account
from metering.errors import UsageError
from metering.testing.model import FakeModel
from metering.usage import Usage

pytestmark = pytest.mark.anyio

TIMED = "zai-org/GLM-4.6"
LLAMA = "meta-llama/Llama-3.1-8B-Instruct"


def app_of(body, headers=(), **reports):
    """Return an app that reports, then answers with a body of its own."""

    async def app(scope, receive, send):
        await receive()
        if reports:
            assert metering.report(scope, **reports)
        start = [(b"content-type", b"application/json"), *headers]
        await send({"type": "http.response.start", "status": 200, "headers": start})
        await send({"type": "http.response.body", "body": body})

    return app


async def event_of(open_service, app, model):
    """Return the event of one call; the clock moves by 5 s while the app works."""

    async def slow(scope, receive, send):
        service.clock.advance(seconds=5)
        await app(scope, receive, send)

    async with open_service(slow) as service:
        key = await service.account("acme", tier=1)
        assert 200 == (await service.chat(key, model=model)).status_code
        (event,) = await service.events("acme")
    return event


async def test_what_the_app_reports_is_charged(open_service):
    """Above what its answer says: 1,000 in and 500 out at $0.10 a million."""
    body = b'{"usage":{"prompt_tokens":1,"completion_tokens":1}}'
    app = app_of(body, input_tokens=1000, output_tokens=500)
    event = await event_of(open_service, app, LLAMA)

    assert ("reported", 150_000_000) == (event.usage_source, event.charge_p)


async def test_audio_and_images_can_be_reported(open_service):
    """Alone or together, of an app whose answers tell nothing."""
    app = app_of(b"{}", audio_ms=1_500, images=2)
    event = await event_of(open_service, app, LLAMA)

    assert ("reported", Usage(audio_ms=1_500, images=2)) == (
        event.usage_source,
        event.usage,
    )


@pytest.mark.parametrize(
    ("answer", "headers", "reports", "told"),
    [
        ("usage", True, {"compute_ms": 1234}, (1234, "reported")),
        ("usage", True, {}, (2500, "usage")),
        ("", True, {}, (53, "server-timing")),
        ("", False, {}, (5000, "measured")),
    ],
)
async def test_time_is_believed_in_order_of_trust(
    open_service, answer, headers, reports, told
):
    """The app's word, its answer's, its headers', and last the clock's."""
    usage = '"prompt_tokens":1,"completion_tokens":1'
    if answer:
        usage += ',"prompt_time":1.0,"completion_time":1.5'
    timing = (b"server-timing", b"queue;dur=700.2, compute;desc=gpu;dur=53.4")
    app = app_of(
        b'{"usage":{%b}}' % usage.encode(), [timing] if headers else [], **reports
    )
    event = await event_of(open_service, app, TIMED)

    assert told == (event.usage.compute_ms, event.time_source)
    assert told[0] * 4 * 10**6 == event.charge_p


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        (b"x-inference-time", b"1500", (1500, "x-inference-time")),
        (b"Server-Timing", b'compute;dur="1.5"', (2, "server-timing")),
        (b"server-timing", b"compute;desc=none", (5000, "measured")),
        (b"server-timing", b"compute;dur=-1", (5000, "measured")),
        (b"server-timing", b"precompute;dur=9", (5000, "measured")),
        (b"x-inference-time", b"1e9", (5000, "measured")),
    ],
)
async def test_headers_tell_the_time(open_service, name, value, told):
    body = b'{"usage":{"prompt_tokens":1,"completion_tokens":1}}'
    event = await event_of(open_service, app_of(body, [(name, value)]), TIMED)

    assert told == (event.usage.compute_ms, event.time_source)


@pytest.mark.parametrize("count", [-1, 2**53 + 1, 1.5, True, "7"])
async def test_a_figure_that_cannot_be_is_refused_where_it_is_reported(count):
    with pytest.raises(UsageError, match="output_tokens"):
        metering.report({"type": "http"}, output_tokens=count)


async def test_a_report_that_nobody_meters_says_so():
    assert not metering.report({"type": "http", "state": {}}, compute_ms=1)


async def test_the_last_report_counts_and_parts_add_up(open_service):
    """FastAPI's request will do; usage and time may be said one after the other."""
    app = FastAPI()

    @app.post("/v1/chat/completions")
    async def chat(request: Request):
        metering.report(request, input_tokens=9, output_tokens=9)
        metering.report(request, compute_ms=7)
        metering.report(request, input_tokens=3, output_tokens=4)
        return {}

    async with open_service(app) as service:
        key = await service.account("acme", tier=1)
        await service.chat(key)
        (event,) = await service.events("acme")

    assert (3, 4, 7) == (
        event.usage.input_tokens,
        event.usage.output_tokens,
        event.usage.compute_ms,
    )


async def test_a_dependency_tells_whose_request_it_is(open_service):
    """On metered paths and others, without a second look-up of the key's call."""
    async with open_service(FakeModel()) as service:
        meter, app = service.meter, FastAPI()

        @app.get("/me")
        async def me(account: Annotated[Account, Depends(meter.current_account)]):
            return account.id

        key = await service.account("acme", tier=1)
        transport = httpx.ASGITransport(meter.wrap(app))
        async with httpx.AsyncClient(transport=transport, base_url="http://t") as web:
            known = await web.get("/me", headers={"authorization": f"Bearer {key}"})
            unknown = await web.get("/me", headers={"authorization": "Bearer mk-no"})
            nobody = await web.get("/me")
            await meter.accounts.suspend("acme")
            late = await web.get("/me", headers={"authorization": f"Bearer {key}"})

    assert (200, "acme") == (known.status_code, known.json())
    assert [401, 401, 403] == [a.status_code for a in (unknown, nobody, late)]
    assert "not known" in unknown.json()["detail"]
