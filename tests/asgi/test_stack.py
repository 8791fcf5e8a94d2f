"""The whole stack around a fake model: admitted, capped, metered, priced, recorded."""

import anyio
import pytest

from metering.accounts import Overrides, TokenPrices
from metering.money import PICO, format_usd

pytestmark = pytest.mark.anyio

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
FREE = "LGAI-EXAONE/K-EXAONE-236B-A23B"
TIMED = "Qwen/Qwen3-32B"


async def test_a_plain_call_is_served_priced_and_recorded(open_service):
    """Three words in, 64 out, at $0.1 a million: $0.0000067, told and posted."""
    async with open_service() as service:
        key = await service.account("acme", tier=1)
        answer = await service.chat(key)
        (event,) = await service.events("acme")

    assert 200 == answer.status_code
    assert "0.0000067" == answer.headers["x-usage-cost-usd"]
    assert "99" == answer.headers["x-ratelimit-remaining-requests"]
    assert (3, 64) == (event.usage.input_tokens, event.usage.output_tokens)
    assert 6_700_000 == event.charge_p
    assert "completed" == event.ending
    assert answer.headers["x-usage-id"] == event.id


async def test_the_cap_is_written_where_there_is_no_bound(open_service):
    """Tier 1 may write 16,384 tokens; a smaller bound stays byte for byte."""
    async with open_service() as service:
        key = await service.account("acme", tier=1)
        answer = await service.chat(key)
        small = await service.chat(key, max_tokens=5)
        large = await service.chat(key, max_tokens=99_999)
        sent = [call.body["max_tokens"] for call in service.model.calls]
        events = await service.events("acme")

    assert [16_384, 5, 16_384] == sent
    assert "16384" == answer.headers["x-output-tokens-limit"]
    assert "x-output-tokens-limit" not in small.headers
    assert "16384" == large.headers["x-output-tokens-limit"]
    assert {99_999, None} == {event.clamped_from for event in events}


async def test_a_stream_shows_no_usage_it_was_not_asked_for(open_service):
    """The usage is metered exactly, and taken out again."""
    async with open_service() as service:
        key = await service.account("acme", tier=1)
        unasked = await service.chat(key, stream=True)
        asked = await service.chat(
            key, stream=True, stream_options={"include_usage": True}
        )
        events = await service.events("acme")

    assert b"usage" not in unasked.content
    assert unasked.content.endswith(b"data: [DONE]\n\n")
    assert 1 == asked.content.count(b'"choices":[]')
    assert [6_700_000] * 2 == [event.charge_p for event in events]
    assert {"upstream"} == {event.usage_source for event in events}


async def test_keys_are_asked_for_before_the_body_is_read(open_service):
    """No key, an unknown one and a revoked one are 401, and nothing reaches the app."""
    async with open_service() as service:
        key = await service.account("acme", tier=1)
        await service.meter.accounts.revoke_key(key)
        answers = [await service.chat(k) for k in ("", "mk-unknown", key)]

        assert [401] * 3 == [answer.status_code for answer in answers]
        assert {"invalid_api_key"} == {a.json()["error"]["code"] for a in answers}
        assert 0 == len(service.model.calls)


async def test_two_hundred_calls_at_once_admit_the_quota(open_service):
    """60 a minute on the free model of tier 1: 60 pass, and the wait is true."""
    async with open_service() as service:
        key = await service.account("acme", tier=1)
        answers = []

        async def call():
            answers.append(await service.chat(key, model=FREE))

        async with anyio.create_task_group() as tasks:
            for _ in range(200):
                tasks.start_soon(call)
        refused = [a for a in answers if a.status_code == 429]

        assert 140 == len(refused)
        assert {"rate_limit_exceeded"} == {a.json()["error"]["code"] for a in refused}
        assert {"1000"} == {a.headers["retry-after-ms"] for a in refused}
        service.clock.advance(ns=999_999_000)
        assert 429 == (await service.chat(key, model=FREE)).status_code
        service.clock.advance(ns=1_000)
        assert 200 == (await service.chat(key, model=FREE)).status_code


async def test_credit_is_all_that_tier_0_can_spend(open_service):
    """Of $5 credit a hold too many is refused, with the way on; nothing overshoots."""
    async with open_service() as service:
        key = await service.account("acme")
        await service.meter.accounts.override("acme", _dear())
        first = await service.chat(key)
        second = await service.chat(key)
        (event,) = await service.events("acme")

    assert 200 == first.status_code
    assert 402 == second.status_code
    assert "insufficient_quota" == second.json()["error"]["code"]
    assert "false" == second.headers["x-should-retry"]
    assert "Add a payment method to reach Tier 1" in second.json()["error"]["message"]
    assert event.charge_p <= 5 * PICO


async def test_a_free_model_is_free_until_its_instant(open_service):
    """One millisecond before, $0 and the free quota; at it, no price and no service."""
    async with open_service() as service:
        key = await service.account("acme", tier=1)
        end_ns = 1_770_854_400 * 10**9
        service.clock.move_to(end_ns - 10**6)
        last = await service.chat(key, model=FREE)
        service.clock.move_to(end_ns)
        after = await service.chat(key, model=FREE)
        (event,) = await service.events("acme")

    assert 200 == last.status_code
    assert "60" == last.headers["x-ratelimit-limit-requests"]
    assert 0 == event.charge_p
    assert 404 == after.status_code
    assert "model_not_priced" == after.json()["error"]["code"]


async def test_a_payment_raises_the_tier_at_once(open_service):
    """$50 of credit bought: the next call has tier 2's quota."""
    async with open_service() as service:
        key = await service.account("acme", tier=1)
        before = await service.chat(key)
        await service.meter.billing.record_payment(
            "acme", usd="50", reference="pi_1", kind="credit_purchase"
        )
        after = await service.chat(key)
        again = await service.meter.accounts.create("acme")

    assert "100" == before.headers["x-ratelimit-limit-requests"]
    assert "1000" == after.headers["x-ratelimit-limit-requests"]
    assert "50" == format_usd(again.lifetime_paid_p)


async def test_an_error_of_the_app_costs_nothing(open_service):
    """The app's own 400 passes; the event says upstream_error at $0."""
    async with open_service() as service:
        key = await service.account("acme", tier=1)
        answer = await service.chat(key, max_tokens="abc")
        (event,) = await service.events("acme")

    assert 400 == answer.status_code
    assert ("upstream_error", 0) == (event.ending, event.charge_p)


async def test_what_is_not_json_gets_the_apps_own_error(open_service):
    """It passes as it is, takes no money and leaves no event."""
    async with open_service() as service:
        key = await service.account("acme", tier=1)
        answer = await service.client.post(
            "/v1/chat/completions",
            content=b"hello",
            headers={"authorization": f"Bearer {key}"},
        )

        assert 400 == answer.status_code
        assert [] == await service.events("acme")


def _dear():
    # $4 for 64 tokens of output, $4.99 held for at most 79 of them.
    return Overrides(
        output_tokens_max=64, prices={LLAMA: TokenPrices(0, 5 * PICO // 79)}
    )
