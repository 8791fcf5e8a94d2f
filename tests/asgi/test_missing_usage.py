"""A whole answer that tells no usage costs what the operator decided."""

import json

import pytest
from structlog.testing import capture_logs

from metering.testing.model import FakeModel

pytestmark = pytest.mark.anyio

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
GLM = "zai-org/GLM-4.7"
TIMED = "Qwen/Qwen3-32B"
STREAM = {
    "model": LLAMA,
    "messages": [{"role": "user", "content": "a b c"}],
    "max_tokens": 10,
    "stream": True,
}
TOKEN_P = 100_000

# "a b c" has 5 bytes: at 4 bytes a token, 2 tokens.
INPUT_TOKENS = 2

both = pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])


def _telling(usage):
    """Return an app whose every answer says this of its usage."""

    async def app(_scope, receive, send):
        while (await receive()).get("more_body"):
            pass
        head = [(b"content-type", b"application/json")]
        body = json.dumps({"choices": [], "usage": usage}).encode()
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": "http.response.body", "body": body})

    return app


@both
async def test_it_is_estimated_by_default(open_service, stream):
    """Ten words written in a stream are ten tokens; nothing is logged."""
    async with open_service(FakeModel(usage=False)) as service:
        key = await service.account("acme", tier=1)
        with capture_logs() as logs:
            await service.chat(key, stream=stream, max_tokens=10)
        (event,) = await service.events("acme")

        assert ("estimated",) == event.flags
        assert INPUT_TOKENS == event.usage.input_tokens
        assert (INPUT_TOKENS + event.usage.output_tokens) * TOKEN_P == event.charge_p
        assert event.charge_p == await service.in_use_p("acme")
        assert [] == [log for log in logs if log["event"] == "usage_missing"]


@both
async def test_failing_it_is_charged_what_was_held(open_service, stream):
    """The client has had the answer, and the money is not lost."""
    model = FakeModel(usage=False)
    async with open_service(model, missing_usage="fail") as service:
        key = await service.account("acme", tier=1)
        answer = await service.chat(key, stream=stream, max_tokens=10)
        (event,) = await service.events("acme")

        assert 200 == answer.status_code
        assert event.hold_p == event.charge_p > 0
        assert ("estimated", "quarantined") == event.flags
        assert event.hold_p == await service.in_use_p("acme")


@both
async def test_free_it_costs_nothing(open_service, stream):
    """The estimate is kept beside the charge of $0, and nothing stays held."""
    model = FakeModel(usage=False)
    async with open_service(model, missing_usage="free") as service:
        key = await service.account("acme", tier=1)
        await service.chat(key, stream=stream, max_tokens=10)
        (event,) = await service.events("acme")

        assert 0 == event.charge_p
        assert INPUT_TOKENS == event.usage.input_tokens
        assert ("estimated", "usage_missing") == event.flags
        assert 0 == await service.in_use_p("acme")


@pytest.mark.parametrize("policy", ["estimate", "fail", "free"])
async def test_an_explicit_zero_is_zero(open_service, policy):
    """The app said so: it is upstream's own figure, whatever the policy."""
    app = _telling({"prompt_tokens": 0, "completion_tokens": 0})
    async with open_service(app, missing_usage=policy) as service:
        await service.chat(await service.account("acme", tier=1))
        (event,) = await service.events("acme")

        assert ("upstream", 0, ()) == (event.usage_source, event.charge_p, event.flags)
        assert (0, 0) == (event.usage.input_total, event.usage.output_total)
        assert event.hold_p > 0 == await service.in_use_p("acme")


@pytest.mark.parametrize("policy", ["fail", "free"])
async def test_a_usage_that_is_told_is_charged(open_service, policy):
    """3 tokens read and 10 written, in spite of the policy."""
    async with open_service(missing_usage=policy) as service:
        await service.chat(await service.account("acme", tier=1), max_tokens=10)
        (event,) = await service.events("acme")

        assert (13 * TOKEN_P, ()) == (event.charge_p, event.flags)


@pytest.mark.parametrize("policy", ["fail", "free"])
async def test_hanging_up_early_is_estimated(open_service, hand_written, policy):
    """A role and four words: nobody gets a free answer by leaving before its end."""
    async with open_service(missing_usage=policy) as service:
        key = await service.account("acme", tier=1)
        client = hand_written(key, STREAM, leaves_at=5)
        await client.call(service.meter.wrap(service.model))
        (event,) = await service.events("acme")

        assert ("client_gone", ("estimated",)) == (event.ending, event.flags)
        assert (INPUT_TOKENS + 4) * TOKEN_P == event.charge_p


@pytest.mark.parametrize("policy", ["fail", "free"])
async def test_an_error_costs_nothing(open_service, policy):
    """There was no answer whose usage could be missing."""
    async with open_service(FakeModel(status=500), missing_usage=policy) as service:
        await service.chat(await service.account("acme", tier=1))
        (event,) = await service.events("acme")

        assert ("upstream_error", 0, ()) == (event.ending, event.charge_p, event.flags)


@pytest.mark.parametrize("policy", ["fail", "free"])
async def test_a_time_price_is_charged_for_the_time(open_service, policy):
    """No tokens are told, but the time was measured: 2 s at $0.002."""

    async def pause(_chunk):
        service.clock.advance(seconds=2)

    model = FakeModel(usage=False, pause=pause)
    async with open_service(model, missing_usage=policy) as service:
        key = await service.account("acme", tier=1)
        await service.chat(key, model=TIMED)
        (event,) = await service.events("acme")

        assert (2000, 2000 * 2_000_000) == (event.usage.compute_ms, event.charge_p)


@pytest.mark.parametrize("policy", ["fail", "free"])
async def test_it_is_logged_once_a_model(open_service, policy):
    """However many calls, and by its name in the price book."""
    model = FakeModel(usage=False)
    async with open_service(model, missing_usage=policy) as service:
        key = await service.account("acme", tier=1)
        with capture_logs() as logs:
            for name in (LLAMA, GLM, LLAMA, GLM):
                await service.chat(key, model=name, max_tokens=10)

    told = [log for log in logs if log["event"] == "usage_missing"]
    assert [(LLAMA, policy), (GLM, policy)] == [(t["model"], t["policy"]) for t in told]
