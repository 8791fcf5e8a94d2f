"""What a refusal says: the limit, what is spent, when it ends, and the true way on."""

import pytest

from metering.accounts import Overrides
from metering.asgi.reasons import rate_in_words
from metering.clock import NS_PER_S
from metering.money import PICO
from metering.quota import RateQuota
from metering.testing.model import FakeModel

pytestmark = pytest.mark.anyio

GLM = "zai-org/GLM-4.7"
TIMED = "zai-org/GLM-4.6"


def _error(answer):
    return answer.json()["error"]


async def _limited(service, usd):
    key = await service.account("acme", tier=1)
    limit = Overrides(usage_limit_p=int(usd * PICO))
    await service.meter.accounts.override("acme", limit)
    return key


async def test_a_call_billed_by_time_is_not_told_to_write_less(open_service):
    """$1.20 are held for its 300 s whatever it writes; the limit is $1."""
    async with open_service() as service:
        key = await _limited(service, 1)
        answer = await service.chat(key, model=TIMED, max_tokens=1)

    error = _error(answer)
    assert (400, "request_exceeds_limit") == (answer.status_code, error["code"])
    assert "billed by compute time" in error["message"]
    assert "output" not in error["message"]
    assert "x-affordable-output-tokens" not in answer.headers
    assert "affordable_output_tokens" not in error
    assert ("spend", "1", "0") == (error["quota"], error["limit"], error["spent"])


async def test_an_input_that_is_too_dear_is_told_to_be_less(open_service):
    """Two million letters at $0.6 a million are above $1 by themselves."""
    async with open_service() as service:
        key = await _limited(service, 1)
        words = [{"role": "user", "content": "x" * 2_000_000}]
        answer = await service.chat(key, model=GLM, messages=words)

    assert (400, "request_exceeds_limit") == (
        answer.status_code,
        _error(answer)["code"],
    )
    assert "Send less input" in _error(answer)["message"]
    assert "0 " not in _error(answer)["message"].partition(". ")[2]
    assert "x-affordable-output-tokens" not in answer.headers


async def test_what_would_fit_is_a_member_and_a_header(open_service):
    """The same number twice, and the message names the header as it is."""
    async with open_service() as service:
        key = await _limited(service, 0.01)
        answer = await service.chat(key, model=GLM)

    tokens = _error(answer)["affordable_output_tokens"]
    assert str(tokens) == answer.headers["x-affordable-output-tokens"]
    assert (
        f"{tokens} output tokens (x-affordable-output-tokens)"
        in (_error(answer)["message"])
    )


async def test_a_period_that_is_used_up(open_service):
    """$0.80 of $1.50 are spent, and $1.20 are wanted: 402, until February."""
    async with open_service(FakeModel(compute_ms=200_000)) as service:
        key = await _limited(service, 1.5)
        await service.chat(key, model=TIMED)
        answer = await service.chat(key, model=TIMED)

    error = _error(answer)
    assert (402, "usage_limit_reached") == (answer.status_code, error["code"])
    assert ("spend", "1.5", "0.8", "2026-02-01T00:00:00Z") == (
        error["quota"],
        error["limit"],
        error["spent"],
        error["resets_at"],
    )
    assert error["message"].endswith(
        "It resets at 2026-02-01T00:00:00Z. Pay early, or pay $50 more to reach Tier 2."
    )


async def test_used_up_credit(open_service):
    """$4.00 of $5 are spent, and $1.20 are wanted: 402, and what adds a tier."""
    async with open_service(FakeModel(compute_ms=200_000)) as service:
        key = await service.account("acme")
        answer = [await service.chat(key, model=TIMED) for _ in range(6)][-1]

    error = _error(answer)
    assert (402, "insufficient_quota") == (answer.status_code, error["code"])
    assert ("credit", "5", "4") == (error["quota"], error["limit"], error["spent"])
    assert error["message"].endswith("left. Add a payment method to reach Tier 1.")


@pytest.mark.parametrize(
    ("status", "model", "key"),
    [(401, GLM, "mk-wrong"), (404, "gpt-9", None), (400, "", None)],
)
async def test_each_refusal_has_an_id_to_ask_about(open_service, status, model, key):
    """`x-usage-id`, as the log has it."""
    async with open_service() as service:
        own = await service.account("acme", tier=1)
        answer = await service.chat(key or own, model=model)

    assert status == answer.status_code
    assert answer.headers["x-usage-id"] == answer.headers["x-request-id"]


async def test_a_rate_is_told_with_its_quota(open_service):
    """The eleventh call of tier 0: as people say it, and as members."""
    async with open_service() as service:
        key = await service.account("acme")
        answer = [await service.chat(key) for _ in range(11)][-1]

    error = _error(answer)
    assert (429, "requests", 10) == (
        answer.status_code,
        error["quota"],
        error["limit"],
    )
    assert "The limit of 10 requests per minute is reached" in error["message"]


@pytest.mark.parametrize(
    ("amount", "seconds", "unit", "words"),
    [
        (1, 1, "requests", "1 request per second"),
        (100, 60, "requests", "100 requests per minute"),
        (100, 120, "requests", "100 requests per 2 minutes"),
        (1, 90, "requests", "1 request per 90 seconds"),
        (200_000, 3600, "output_tokens", "200,000 output tokens per hour"),
        (5, 86400, "tokens", "5 tokens per day"),
        (1, 0.5, "tokens", "1 token per 0.5 seconds"),
    ],
)
def test_a_rate_in_words(amount, seconds, unit, words):
    assert words == rate_in_words(RateQuota(amount, int(seconds * NS_PER_S)), unit)
