"""OpenAI's client speaks Responses through the stack: what it sees, raises and pays."""

from contextlib import asynccontextmanager

import openai
import pytest

from metering.accounts import Overrides, TokenPrices
from metering.money import PICO
from metering.testing.model import FakeModel
from metering.usage import Usage

pytestmark = pytest.mark.anyio

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
NOTE = {"model": LLAMA, "input": "a b", "instructions": "c"}
PRICE_P = 100_000  # of a token, read or written
DEAR = Overrides(prices={LLAMA: TokenPrices(0, PICO)})


def client_of(service, key, *, retries=0):
    """Return a client of the service."""
    return openai.AsyncOpenAI(
        api_key=key,
        base_url="http://t/v1",
        http_client=service.client,
        max_retries=retries,
    )


@asynccontextmanager
async def metered(open_service, model=None, *, tier=1, **fields):
    """Give a service with an account and its client."""
    async with open_service(model, **fields) as service:
        key = await service.account("acme", tier=tier)
        yield service, client_of(service, key)


def seen(usage):
    """Return a client's usage in our leaves."""
    cached = usage.input_tokens_details.cached_tokens
    thought = usage.output_tokens_details.reasoning_tokens
    return Usage(
        input_tokens=usage.input_tokens - cached,
        cache_read_tokens=cached,
        output_tokens=usage.output_tokens - thought,
        reasoning_tokens=thought,
    )


async def test_a_plain_call_is_answered_and_metered(open_service):
    """The client's usage, the header's cost and the ledger's event agree."""
    model = FakeModel(cached_tokens=2, reasoning_tokens=10)
    async with metered(open_service, model) as (service, client):
        raw = await client.responses.with_raw_response.create(**NOTE)
        (event,) = await service.events("acme")

    answer = raw.parse()
    assert 64 == len(answer.output_text.split())
    assert Usage(1, 2, 0, 54, 10) == seen(answer.usage) == event.usage
    assert (67 * PRICE_P, "upstream") == (event.charge_p, event.usage_source)
    assert "0.0000067" == raw.headers["x-usage-cost-usd"]
    assert ("openai.responses", event.id) == (event.dialect, raw.headers["x-usage-id"])


@pytest.mark.parametrize("words", [64, 10_000], ids=["short", "too long to hold"])
async def test_a_stream_tells_its_usage_in_the_end(open_service, words):
    """However long the last event is, which repeats the whole answer."""
    async with metered(open_service, FakeModel(output_tokens=words)) as (
        service,
        client,
    ):
        stream = await client.responses.create(**NOTE, stream=True)
        told = [event async for event in stream]
        (event,) = await service.events("acme")

    last = told[-1]
    deltas = [t.delta for t in told if t.type == "response.output_text.delta"]
    assert ("response.completed", words) == (last.type, len(deltas))
    assert "".join(deltas) == last.response.output_text
    assert Usage(3, output_tokens=words) == seen(last.response.usage) == event.usage
    assert ("completed", "upstream") == (event.ending, event.usage_source)
    assert (3 + words) * PRICE_P == event.charge_p


async def test_the_cap_of_the_tier_is_written(open_service):
    """Where nothing was asked for, and where too much was; a smaller bound stays."""
    async with metered(open_service, FakeModel(output_tokens=5000), tier=0) as (
        service,
        client,
    ):
        for asked in ({}, {"max_output_tokens": 9000}, {"max_output_tokens": 20}):
            answer = await client.responses.create(**NOTE, **asked)
        events = await service.events("acme")
        sent = [call.body["max_output_tokens"] for call in service.model.calls]

    assert [4096, 4096, 20] == sent
    assert "max_output_tokens" == answer.incomplete_details.reason
    assert {(4096, None), (4096, 9000), (20, None)} == {
        (event.usage.output_tokens, event.clamped_from) for event in events
    }


async def test_a_stream_cut_by_its_bound(open_service):
    """It ends as incomplete, which is an end like another."""
    async with metered(open_service) as (service, client):
        stream = await client.responses.create(
            **NOTE, max_output_tokens=20, stream=True
        )
        told = [event async for event in stream]
        (event,) = await service.events("acme")

    assert "response.incomplete" == told[-1].type
    assert ("completed", "upstream") == (event.ending, event.usage_source)
    assert 23 * PRICE_P == event.charge_p


async def test_the_background_is_refused(open_service):
    """403 before the model is asked, with the member's name."""
    async with metered(open_service) as (service, client):
        with pytest.raises(openai.PermissionDeniedError) as caught:
            await client.responses.create(**NOTE, background=True)

        assert "route_not_metered" == caught.value.code
        assert "'background'" in caught.value.message
        assert (0, []) == (len(service.model.calls), await service.events("acme"))


async def test_the_background_is_open_by_decision(open_service):
    """It is then charged for about the input, as nobody tells more."""
    async with metered(open_service, unmetered="pass") as (service, client):
        answer = await client.responses.create(**NOTE, background=True)
        (event,) = await service.events("acme")

    assert ("queued", None) == (answer.status, answer.usage)
    assert ("estimated", 0) == (event.usage_source, event.usage.output_tokens)


@pytest.mark.parametrize(
    "named",
    [
        {"previous_response_id": "resp_1"},
        {"conversation": "conv_1"},
        {"prompt": {"id": "pmpt_1"}},
        {"tools": [{"type": "web_search"}]},
        {"input": [{"type": "item_reference", "id": "msg_1"}]},
    ],
    ids=lambda named: next(iter(named)),
)
async def test_input_that_is_elsewhere(open_service, named):
    """400: nothing bounds it, as the preset names no context length."""
    async with metered(open_service) as (service, client):
        with pytest.raises(openai.BadRequestError) as caught:
            await client.responses.create(**NOTE | named)

        assert "input_not_bounded" == caught.value.code
        assert 0 == len(service.model.calls)


async def test_an_unknown_key(open_service):
    """401: the client's own exception, and one try."""
    async with open_service() as service:
        with pytest.raises(openai.AuthenticationError) as caught:
            await client_of(service, "mk-no", retries=2).responses.create(**NOTE)

    assert "invalid_api_key" == caught.value.code


async def test_no_money(open_service):
    """402 and its code, which the client does not repeat."""
    async with metered(open_service, tier=0) as (service, client):
        await service.meter.accounts.override("acme", DEAR)
        await client.responses.create(**NOTE, max_output_tokens=5)
        with pytest.raises(openai.APIStatusError) as caught:
            await client.responses.create(**NOTE, max_output_tokens=1)

    error = caught.value
    assert (402, "insufficient_quota") == (error.status_code, error.code)


async def test_a_request_too_many(open_service):
    """429 with what the client needs to wait exactly as long as it must."""
    async with metered(open_service, tier=0) as (_, client):
        for _ in range(10):
            await client.responses.create(**NOTE)
        with pytest.raises(openai.RateLimitError) as caught:
            await client.responses.create(**NOTE)

    error = caught.value
    assert ("requests", "rate_limit_exceeded") == (error.type, error.code)
    assert "6" == error.response.headers["retry-after"]


async def test_a_model_that_is_not_sold(open_service):
    """404, by our own rule."""
    async with metered(open_service) as (_, client):
        with pytest.raises(openai.NotFoundError) as caught:
            await client.responses.create(**NOTE | {"model": "nobody/knows"})

    assert "model_not_priced" == caught.value.code


async def test_an_error_in_mid_stream(open_service):
    """The client is told in an event; what was written before it is charged."""
    async with metered(open_service, FakeModel(error_at=9)) as (service, client):
        stream = await client.responses.create(**NOTE, stream=True)
        told = [event async for event in stream]
        (event,) = await service.events("acme")

    assert "error" == told[-1].type
    assert ("upstream_error", "estimated") == (event.ending, event.usage_source)
    assert 5 == event.usage.output_tokens


async def test_who_leaves_pays_for_what_was_sent(open_service, hand_written):
    """Counted, as this server tells its usage in the last event alone."""
    async with open_service() as service:
        key = await service.account("acme", tier=1)
        body = NOTE | {"stream": True}
        client = hand_written(key, body, path="/v1/responses", leaves_at=14)
        await client.call(service.meter.wrap(service.model))
        (event,) = await service.events("acme")

        assert ("client_gone", "estimated") == (event.ending, event.usage_source)
        # Before the text come four events, and the fourteenth was on its way.
        assert 10 == event.usage.output_tokens
        assert event.charge_p == await service.in_use_p("acme") > 0
