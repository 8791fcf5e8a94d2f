"""Each word of the API has its words for people, and limits are told in sentences."""

from typing import get_args

import pytest

from metering.adaptive import PlatformState
from metering.adaptive.law import Cause
from metering.asgi.refusal import STATUS_BY_CODE
from metering.console.api.documents import NextTier
from metering.console.api.limits import LimitRow, PoolRow, RuleRow
from metering.console.pages import words
from metering.console.pages.limits import alike
from metering.ledger import LineKind, PaymentKind
from metering.usage import Ending, Usage


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (Ending, words.ENDINGS),
        (PaymentKind, words.PAYMENTS),
        (LineKind, words.LINES),
        (PlatformState, words._STATES),
        (Cause, words._CAUSES),
    ],
    ids=["endings", "payments", "lines", "states", "causes"],
)
def test_every_word_of_the_api_is_told(kind, said):
    assert set(get_args(kind)) == set(said)


def test_every_refusal_has_its_reason():
    assert set(STATUS_BY_CODE) == set(words._REASONS)
    assert "Refused." == words.reason("a_code_to_come")


def rule(**changes):
    members = {
        "name": "tokens",
        "counts": "total_tokens",
        "per": ["account"],
        "models": None,
        "model": None,
        "window": None,
        "shadow": False,
        "amount": 20_000,
        "per_s": 60,
        "burst": 20_000,
        "used": 0,
        "remaining": 20_000,
        "whole_after_s": 0,
    }
    return RuleRow(**members | changes)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (rule(), "20,000 total tokens per minute, per account"),
        (
            rule(per=["account", "model"], model="m"),
            "20,000 total tokens per minute, per account and model, for m",
        ),
        (
            rule(per=["everyone"], models=["m", "n"], per_s=90),
            "20,000 total tokens per 90 s, shared by everyone, for m, n",
        ),
        (
            rule(counts="calls", amount=8, per_s=None, per=["key"]),
            "8 calls at once, per key",
        ),
    ],
)
def test_a_limit_of_the_plan_is_a_phrase(row, said):
    assert said == words.rule(row)


def test_a_request_limit_is_a_phrase():
    row = LimitRow(
        models="paid",
        name="requests",
        amount=100,
        per_s=60,
        burst=20,
        used=0,
        remaining=20,
        whole_after_s=0,
    )

    assert "100 requests per minute, at most 20 at once" == words.rate(row)


@pytest.mark.parametrize(
    ("paid_usd", "payment_method", "said"),
    [
        ("380", False, "Tier 3: pay $380 more."),
        ("0", True, "Tier 3: add a payment method."),
        ("1.5", True, "Tier 3: pay $1.50 more and add a payment method."),
        ("0", False, "Tier 3 starts with the next call."),
    ],
)
def test_what_the_next_tier_takes_is_a_sentence(paid_usd, payment_method, said):
    following = NextTier(
        level=3,
        name="Tier 3",
        paid_usd=paid_usd,
        payment_method=payment_method,
        usage_limit_usd=None,
    )

    assert said == words.next_tier_takes(following)


def test_what_was_used_is_told_without_what_was_not():
    used = Usage(input_tokens=3, cache_read_tokens=1000, images=2, compute_ms=61_000)

    assert "1,003 tokens in, 2 images, 1 min 1 s of compute" == words.quantities(used)


# Adaptive limits


def pool(name, **changes):
    members = {
        "models": ["paid"],
        "state": "normal",
        "cause": "ceiling",
        "limit_rpm": 60,
        "previous_rpm": 60,
        "used": 0,
        "remaining": 63,
    }
    return PoolRow(pool=name, **members | changes)


def test_pools_alike_are_told_once_and_those_in_use_first():
    low = {"limit_rpm": 2.5, "previous_rpm": 60, "state": "busy", "cause": "budget"}
    rows = [pool("a"), pool("b", used=3, remaining=60), pool("c"), pool("d", **low)]

    assert [("b",), ("a", "c"), ("d",)] == [each.names for each in alike(rows)]
    assert "2.5 requests" == words.per_minute(2.5)
    why = words.why_adaptive(rows[3])
    assert why.startswith("The platform is busy")
    assert why.endswith("Before that it was 60 per minute.")
