"""The real client of OpenAI against a real server: what it raises, waits and sees."""

import types

import anyio
import openai
import pytest

from metering.accounts import Overrides, TokenPrices
from metering.money import PICO
from metering.testing.model import FakeModel

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
MESSAGES = [{"role": "user", "content": "a b c"}]
CHAT = {"model": LLAMA, "messages": MESSAGES}


def tokens(event):
    return event.usage.input_tokens, event.usage.output_tokens


def test_a_plain_call_is_answered_and_metered(run_service):
    """The client's own usage, the header's cost and the ledger's event agree."""
    service = run_service()
    client = service.client(service.account("acme", tier=1))

    raw = client.chat.completions.with_raw_response.create(**CHAT)
    usage = raw.parse().usage
    (event,) = service.events("acme", calls=1)

    assert (3, 64) == (usage.prompt_tokens, usage.completion_tokens) == tokens(event)
    assert "0.0000067" == raw.headers["x-usage-cost-usd"]
    assert 6_700_000 == event.charge_p
    assert raw.headers["x-usage-id"] == event.id


def test_a_request_too_many_is_a_rate_limit_error(run_service):
    """Of tier 0's ten a minute the eleventh: 429, its code, and when to come back."""
    service = run_service()
    client = service.client(service.account("acme", tier=0))
    for _ in range(10):
        client.chat.completions.create(**CHAT)

    with pytest.raises(openai.RateLimitError) as caught:
        client.chat.completions.create(**CHAT)

    error = caught.value
    assert (429, "rate_limit_exceeded") == (error.status_code, error.code)
    assert "6" == error.response.headers["retry-after"]
    assert "6000" == error.response.headers["retry-after-ms"]
    assert 10 == len(service.model.calls)


def test_the_client_waits_as_long_as_it_is_told_and_is_served(run_service, monkeypatch):
    """It sleeps exactly the 6 s of the refusal; its one retry is admitted."""
    service = run_service()
    waits_s = []

    def sleep(seconds):
        waits_s.append(seconds)
        service.clock.advance(seconds=seconds)

    monkeypatch.setattr("openai._base_client.time", types.SimpleNamespace(sleep=sleep))
    client = service.client(service.account("acme", tier=0), retries=2)

    for _ in range(11):
        client.chat.completions.create(**CHAT)

    assert [6.0] == waits_s
    assert 12 == service.arrivals.count
    assert 11 == len(service.events("acme", calls=11))


def test_a_bad_key_is_an_authentication_error(run_service):
    """401, its code, and the client does not try again."""
    service = run_service()

    with pytest.raises(openai.AuthenticationError) as caught:
        service.client("mk-unknown", retries=2).chat.completions.create(**CHAT)

    assert (401, "invalid_api_key") == (caught.value.status_code, caught.value.code)
    assert (1, 0) == (service.arrivals.count, len(service.model.calls))


def test_a_stream_shows_no_usage_unasked_and_is_metered(run_service):
    """No chunk has a usage, each has a choice, and the event has the server's own."""
    service = run_service()
    client = service.client(service.account("acme", tier=1))

    chunks = list(client.chat.completions.create(**CHAT, stream=True))
    (event,) = service.events("acme", calls=1)

    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert 64 == len(text.split())
    assert {None} == {chunk.usage for chunk in chunks}
    assert ((3, 64), "upstream") == (tokens(event), event.usage_source)
    assert 6_700_000 == event.charge_p


def test_a_stream_shows_one_usage_if_asked(run_service):
    """The last chunk has it, without a choice, and it is the event's."""
    service = run_service()
    client = service.client(service.account("acme", tier=1))

    options = {"include_usage": True}
    *chunks, last = client.chat.completions.create(
        **CHAT, stream=True, stream_options=options
    )
    (event,) = service.events("acme", calls=1)

    assert {None} == {chunk.usage for chunk in chunks}
    assert [] == last.choices
    assert tokens(event) == (last.usage.prompt_tokens, last.usage.completion_tokens)


@pytest.mark.parametrize("stream", [False, True])
def test_the_client_does_not_retry_for_want_of_money(run_service, stream):
    """Credit too small for the worst case: 402 and its code, one request, no event."""
    service = run_service()
    client = service.client(service.account("acme", tier=0), retries=2)
    service.override("acme", Overrides(prices={LLAMA: TokenPrices(0, PICO)}))
    client.chat.completions.create(**CHAT, max_tokens=5)

    with pytest.raises(openai.APIStatusError) as caught:
        client.chat.completions.create(**CHAT, max_tokens=1, stream=stream)

    error = caught.value
    assert (402, "insufficient_quota") == (error.status_code, error.code)
    assert "false" == error.response.headers["x-should-retry"]
    assert (2, 1) == (service.arrivals.count, len(service.model.calls))


def test_a_body_too_large_is_refused(run_service):
    """A megabyte more than the preset reads: 413, heard though half of it was sent."""
    service = run_service()
    client = service.client(service.account("acme", tier=1), retries=2)
    long = [{"role": "user", "content": "a" * 9 * 1024 * 1024}]

    with pytest.raises(openai.APIStatusError) as caught:
        client.chat.completions.create(model=LLAMA, messages=long)

    assert (413, "body_too_large") == (caught.value.status_code, caught.value.code)
    assert (1, 0) == (service.arrivals.count, len(service.model.calls))


def test_completions_and_embeddings_are_metered(run_service):
    """Two prompts write twice; embeddings read and write nothing."""
    service = run_service()
    client = service.client(service.account("acme", tier=1))

    written = client.completions.create(model=LLAMA, prompt=["a b", "c"], max_tokens=5)
    embedded = client.embeddings.create(
        model=LLAMA, input=["a b c", "d"], encoding_format="float"
    )
    events = service.events("acme", calls=2)

    assert (2, 10) == (len(written.choices), written.usage.completion_tokens)
    assert (2, 4) == (len(embedded.data), embedded.usage.total_tokens)
    assert {"openai.completions": (3, 10), "openai.embeddings": (4, 0)} == {
        event.dialect: tokens(event) for event in events
    }
    assert {1_300_000, 400_000} == {event.charge_p for event in events}


@pytest.mark.anyio
async def test_the_async_client_is_served_alike(run_service):
    """Twenty calls at once on tier 0: ten served, ten refused, ten events."""
    service = run_service()
    key = service.account("acme", tier=0)
    codes = []

    async def call():
        try:
            answer = await client.chat.completions.create(**CHAT, max_tokens=7)
            codes.append(answer.usage.completion_tokens)
        except openai.RateLimitError as error:
            codes.append(error.code)

    async with service.async_client(key) as client, anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(call)
    events = await anyio.to_thread.run_sync(lambda: service.events("acme", calls=10))

    assert (10, 10) == (codes.count(7), codes.count("rate_limit_exceeded"))
    assert [(3, 7)] * 10 == [tokens(event) for event in events]


@pytest.mark.anyio
async def test_who_leaves_a_stream_pays_for_what_was_sent(run_service):
    """Gone after the role and 19 words: 19 cents are charged, the rest is free."""

    async def hold(chunk):
        if chunk == 20:
            await anyio.sleep_forever()

    service = run_service(FakeModel(output_tokens=400, pause=hold))
    key = service.account("acme", tier=0)
    service.override("acme", Overrides(prices={LLAMA: TokenPrices(0, PICO // 100)}))
    seen = []
    async with service.async_client(key) as client:
        stream = await client.chat.completions.create(
            **CHAT, max_tokens=400, stream=True
        )
        async for chunk in stream:
            seen.append(chunk)
            if len(seen) == 20:
                break
        await stream.close()
        (event,) = await anyio.to_thread.run_sync(
            lambda: service.events("acme", calls=1)
        )
        # $4 of the $5 credit were held; $4.81 are there again.
        whole = await client.chat.completions.create(**CHAT, max_tokens=480)

    assert ("client_gone", "estimated") == (event.ending, event.usage_source)
    assert (19, 19 * PICO // 100) == (event.usage.output_tokens, event.charge_p)
    assert service.model.calls[0].disconnected
    assert 400 == whole.usage.completion_tokens
