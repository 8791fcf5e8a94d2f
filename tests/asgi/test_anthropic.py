"""The real client of Anthropic through the stack: what it sees, raises and pays."""

from contextlib import asynccontextmanager

import anthropic
import httpx2
import pytest

from metering.accounts import Overrides, TokenPrices
from metering.money import PICO
from metering.testing.model import FakeModel
from metering.usage import Usage

pytestmark = pytest.mark.anyio

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
MESSAGES = [{"role": "user", "content": "a b c"}]
HELLO = {"model": LLAMA, "max_tokens": 100, "messages": MESSAGES}
PRICE_P = 100_000  # of a token, read or written
DEAR = Overrides(prices={LLAMA: TokenPrices(0, PICO)})


@asynccontextmanager
async def client_of(app, key, *, retries=0):
    """Give a client of an app; it sends its key as `x-api-key`."""
    transport = httpx2.ASGITransport(app)
    async with httpx2.AsyncClient(transport=transport) as http:
        yield anthropic.AsyncAnthropic(
            api_key=key, base_url="http://t", http_client=http, max_retries=retries
        )


@asynccontextmanager
async def metered(open_service, model=None, *, tier=1):
    """Give a service with an account and its client."""
    async with open_service(model) as service:
        key = await service.account("acme", tier=tier)
        async with client_of(service.meter.wrap(service.model), key) as client:
            yield service, client


def seen(usage):
    """Return a client's usage in our leaves."""
    details = usage.output_tokens_details
    thought = details.thinking_tokens if details else 0
    return Usage(
        input_tokens=usage.input_tokens,
        cache_read_tokens=usage.cache_read_input_tokens,
        cache_write_tokens=usage.cache_creation_input_tokens,
        output_tokens=usage.output_tokens - thought,
        reasoning_tokens=thought,
    )


async def test_a_plain_call_is_answered_and_metered(open_service):
    """The client's usage, the header's cost and the ledger's event agree."""
    async with metered(open_service) as (service, client):
        raw = await client.messages.with_raw_response.create(**HELLO)
        (event,) = await service.events("acme")

    message = await raw.parse()
    assert 64 == len(message.content[0].text.split())
    assert Usage(3, output_tokens=64) == seen(message.usage) == event.usage
    assert (67 * PRICE_P, "upstream") == (event.charge_p, event.usage_source)
    assert "0.0000067" == raw.headers["x-usage-cost-usd"]
    assert ("anthropic.messages", event.id) == (
        event.dialect,
        raw.headers["x-usage-id"],
    )


async def test_each_leaf_is_the_servers_own(open_service):
    """Read from the cache, thought and written: beside each other, each once."""
    model = FakeModel(cached_tokens=2, reasoning_tokens=10)
    async with metered(open_service, model) as (service, client):
        message = await client.messages.create(**HELLO)
        (event,) = await service.events("acme")

    assert Usage(1, 2, 0, 54, 10) == seen(message.usage) == event.usage
    assert 67 * PRICE_P == event.charge_p


async def test_a_stream_is_what_it_is_without_the_stack(open_service):
    """The same events, byte for byte, and the same usage."""
    async with metered(open_service) as (service, client):
        async with client.messages.stream(**HELLO) as stream:
            through = [event async for event in stream]
            message = await stream.get_final_message()
        (event,) = await service.events("acme")
        async with (
            client_of(FakeModel(), "any") as bare,
            bare.messages.stream(**HELLO) as stream,
        ):
            straight = [event async for event in stream]

    assert straight == through
    assert Usage(3, output_tokens=64) == seen(message.usage) == event.usage
    assert ("completed", "upstream") == (event.ending, event.usage_source)
    assert 67 * PRICE_P == event.charge_p


async def test_the_cap_of_the_tier_takes_thinking_with_it(open_service):
    """20,000 tokens become 4,096, and of 16,000 for thinking the same share is left."""
    thinking = {"type": "enabled", "budget_tokens": 16_000, "display": "omitted"}
    async with metered(open_service, FakeModel(output_tokens=5000), tier=0) as (
        service,
        client,
    ):
        raw = await client.messages.with_raw_response.create(
            **HELLO | {"max_tokens": 20_000}, thinking=thinking
        )
        (event,) = await service.events("acme")
        sent = service.model.calls[0].body

    assert 4096 == sent["max_tokens"]
    assert {**thinking, "budget_tokens": 3276} == sent["thinking"]
    assert "max_tokens" == (await raw.parse()).stop_reason
    assert "4096" == raw.headers["x-output-tokens-limit"]
    assert (20_000, 4096) == (event.clamped_from, event.usage.output_tokens)


async def test_a_request_within_the_cap_is_untouched(open_service):
    """Byte for byte, thinking and all."""
    thinking = {"type": "enabled", "budget_tokens": 1024}
    body = HELLO | {"max_tokens": 2000, "thinking": thinking}
    async with metered(open_service) as (service, client):
        await client.messages.create(**body)
        async with client_of(bare := FakeModel(), "any") as straight:
            await straight.messages.create(**body)

        assert bare.calls[0].raw == service.model.calls[0].raw


async def test_filling_the_cache_costs_the_input_alone(open_service):
    """`max_tokens` 0 writes nothing and holds nothing for it."""
    async with metered(open_service) as (service, client):
        message = await client.messages.create(**HELLO | {"max_tokens": 0})
        (event,) = await service.events("acme")

    assert ([], 3 * PRICE_P) == (message.content, event.charge_p)


@pytest.mark.parametrize("stream", [False, True])
async def test_an_unknown_key(open_service, stream):
    """401: the client's own exception, and the model is not asked."""
    async with open_service() as service:
        app = service.meter.wrap(service.model)
        async with client_of(app, "mk-unknown", retries=2) as client:
            with pytest.raises(anthropic.AuthenticationError) as caught:
                await client.messages.create(**HELLO, stream=stream)

        error = caught.value
        assert "authentication_error" == error.type
        assert "invalid_api_key" == error.error_code
        assert error.request_id == error.body["request_id"]
        assert error.request_id == error.response.headers["x-usage-id"]
        assert 0 == len(service.model.calls)


async def test_a_key_as_bearer_is_as_good(open_service):
    """For clients that send their token so."""
    async with open_service() as service:
        key = await service.account("acme", tier=1)
        transport = httpx2.ASGITransport(service.meter.wrap(service.model))
        async with httpx2.AsyncClient(transport=transport) as http:
            client = anthropic.AsyncAnthropic(
                auth_token=key, base_url="http://t", http_client=http, max_retries=0
            )
            message = await client.messages.create(**HELLO)

    assert 64 == message.usage.output_tokens


async def test_no_money(open_service):
    """402, which the client does not repeat: billing, and our code."""
    async with metered(open_service, tier=0) as (service, client):
        await service.meter.accounts.override("acme", DEAR)
        await client.messages.create(**HELLO | {"max_tokens": 5})
        with pytest.raises(anthropic.PaymentRequiredError) as caught:
            await client.messages.create(**HELLO | {"max_tokens": 1})

        error = caught.value
        assert (402, "billing_error") == (error.status_code, error.type)
        assert "insufficient_quota" == error.error_code
        assert "false" == error.response.headers["x-should-retry"]
        assert 1 == len(service.model.calls)


async def test_a_request_too_many(open_service):
    """429 with what the client needs to wait exactly as long as it must."""
    async with metered(open_service, tier=0) as (service, client):
        for _ in range(10):
            await client.messages.create(**HELLO)
        with pytest.raises(anthropic.RateLimitError) as caught:
            await client.messages.create(**HELLO)

        error = caught.value
        assert ("rate_limit_error", "rate_limit_exceeded") == (
            error.type,
            error.error_code,
        )
        assert "6" == error.response.headers["retry-after"]
        assert 10 == len(service.model.calls)


async def test_a_model_that_is_not_sold(open_service):
    """404, by our own rule."""
    async with metered(open_service) as (service, client):
        with pytest.raises(anthropic.NotFoundError) as caught:
            await client.messages.create(**HELLO | {"model": "nobody/knows"})

        error = caught.value
        assert ("not_found_error", "model_not_priced") == (error.type, error.error_code)
        assert 0 == len(service.model.calls)


async def test_an_image_that_is_elsewhere(open_service):
    """400: nothing bounds it, as the preset names no context length."""
    image = {"type": "image", "source": {"type": "url", "url": "https://example.org"}}
    async with metered(open_service) as (_, client):
        with pytest.raises(anthropic.BadRequestError) as caught:
            await client.messages.create(
                **HELLO | {"messages": [{"role": "user", "content": [image]}]}
            )

    assert "input_not_bounded" == caught.value.error_code


async def test_what_the_model_refuses_reaches_the_client(open_service):
    """Its own words, and no charge."""
    async with metered(open_service, FakeModel(status=529)) as (service, client):
        with pytest.raises(anthropic.OverloadedError) as caught:
            await client.messages.create(**HELLO)
        (event,) = await service.events("acme")

    assert "overloaded_error" == caught.value.type
    assert ("upstream_error", 0) == (event.ending, event.charge_p)


async def test_an_error_in_mid_stream(open_service):
    """The client raises; what was written before it is charged, as an estimate."""
    async with metered(open_service, FakeModel(error_at=8)) as (service, client):
        with pytest.raises(anthropic.APIStatusError) as caught:
            async with client.messages.stream(**HELLO) as stream:
                await stream.get_final_message()
        (event,) = await service.events("acme")

    assert "overloaded_error" == caught.value.type
    assert ("upstream_error", "estimated") == (event.ending, event.usage_source)
    assert Usage(3, output_tokens=5) == event.usage


async def test_who_leaves_pays_for_the_input_and_what_was_sent(
    open_service, hand_written
):
    """The input is the server's own figure; the output is counted."""
    async with open_service() as service:
        key = await service.account("acme", tier=1)
        body = HELLO | {"stream": True}
        client = hand_written(key, body, path="/v1/messages", leaves_at=13)
        await client.call(service.meter.wrap(service.model))
        (event,) = await service.events("acme")

        assert ("client_gone", "estimated") == (event.ending, event.usage_source)
        # Before the text come three events, and the thirteenth was on its way.
        assert Usage(3, output_tokens=10) == event.usage
        assert event.charge_p == 13 * PRICE_P == await service.in_use_p("acme")
