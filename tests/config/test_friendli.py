"""The preset `friendli` is the reference plan, row by row and to the pico-dollar."""

from datetime import UTC, datetime

import pytest

from metering.accounts import Account, ModelClass
from metering.clock import NS_PER_MS, NS_PER_S
from metering.config import plan_from_preset
from metering.money import PICO, parse_usd
from metering.pricing import PriceVersion
from metering.quota import RateQuota
from metering.usage import Usage

PLAN = plan_from_preset("friendli")
JANUARY_NS = int(datetime(2026, 1, 15, tzinfo=UTC).timestamp()) * NS_PER_S
FREE_UNTIL_NS = int(datetime(2026, 2, 12, tzinfo=UTC).timestamp()) * NS_PER_S
MINUTE_NS = 60 * NS_PER_S
CENT_P = PICO // 100

# level: paid and free requests a minute, output tokens, dollars a month, funding
TIERS = {
    0: (None, None, 4_096, None, "credit"),  # adaptive
    1: (100, 60, 16_384, 50, "postpaid"),
    2: (1_000, 1_000, 16_384, 500, "postpaid"),
    3: (5_000, 5_000, 32_768, 5_000, "postpaid"),
    4: (10_000, 10_000, 65_536, 50_000, "postpaid"),
    5: (10_000, 10_000, 65_536, 50_000, "postpaid"),  # the floor below overrides
}

# dollars per million tokens, input and output
TOKEN_PRICES = {
    "MiniMaxAI/MiniMax-M2.1": ("0.3", "1.2"),
    "zai-org/GLM-4.7": ("0.6", "2.2"),
    "LGAI-EXAONE/EXAONE-4.0.1-32B": ("0.6", "1"),
    "meta-llama/Llama-3.3-70B-Instruct": ("0.6", "0.6"),
    "meta-llama/Llama-3.1-8B-Instruct": ("0.1", "0.1"),
    "Qwen/Qwen3-235B-A22B-Instruct-2507": ("0.2", "0.8"),
}

# dollars per second of compute
TIME_PRICES = {
    "zai-org/GLM-4.6": "0.004",
    "deepseek-ai/DeepSeek-V3.1": "0.004",
    "meta-llama/Llama-4-Maverick-17B-128E-Instruct": "0.004",
    "meta-llama/Llama-4-Scout-17B-16E-Instruct": "0.002",
    "Qwen/Qwen3-235B-A22B-Thinking-2507": "0.004",
    "Qwen/Qwen3-30B-A3B": "0.002",
    "Qwen/Qwen3-32B": "0.002",
}

FREE = "LGAI-EXAONE/K-EXAONE-236B-A23B"


def price_of(model: str, at_ns: int = JANUARY_NS) -> PriceVersion | None:
    priced = PLAN.prices.model(model)
    assert priced is not None
    return priced.at(at_ns)


def charge_p(model: str, **leaves: int) -> int:
    price = price_of(model)
    assert price is not None
    return price.charge_p(Usage(**leaves))


def test_has_exactly_these_tiers_and_models() -> None:
    assert list(TIERS) == [tier.level for tier in PLAN.tiers.tiers]
    assert {*TOKEN_PRICES, *TIME_PRICES, FREE} == {m.name for m in PLAN.prices.models}


@pytest.mark.parametrize("level", TIERS)
def test_each_tier_has_the_limits_of_its_row(level: int) -> None:
    paid, free, output_tokens_max, usage_limit, funding = TIERS[level]
    tier = PLAN.tiers.by_level(level)
    both: dict[ModelClass, int | None] = {"paid": paid, "free": free}
    requests = {name: (RateQuota(rpm, MINUTE_NS),) for name, rpm in both.items() if rpm}
    adaptive = {name for name, rpm in both.items() if rpm is None}

    assert requests == tier.requests
    assert adaptive == tier.adaptive
    assert output_tokens_max == tier.output_tokens_max
    assert (usage_limit and usage_limit * PICO) == tier.usage_limit_p
    assert funding == tier.funding


@pytest.mark.parametrize(
    ("paid_usd", "payment_method", "level"),
    [
        ("0", False, 0),
        ("0", True, 1),
        ("49.99", False, 0),
        ("49.99", True, 1),
        ("50", False, 2),
        ("50", True, 2),
        ("499.99", True, 2),
        ("500", True, 3),
        ("4999.99", True, 3),
        ("5000", True, 4),
        ("5000000", True, 4),
    ],
)
def test_each_tier_begins_exactly_at_its_threshold(
    *, paid_usd: str, payment_method: bool, level: int
) -> None:
    account = Account(
        id="a",
        created_ns=0,
        payment_method=payment_method,
        lifetime_paid_p=parse_usd(paid_usd),
    )

    assert level == PLAN.tiers.tier_of(account, 0).level


@pytest.mark.parametrize(("level", "usd"), [(2, 50), (3, 500), (4, 5000)])
def test_one_pico_dollar_less_is_not_enough(level: int, usd: int) -> None:
    def at(paid_p: int) -> int:
        account = Account(
            id="a", created_ns=0, payment_method=True, lifetime_paid_p=paid_p
        )
        return PLAN.tiers.tier_of(account, 0).level

    assert (level - 1, level) == (at(usd * PICO - 1), at(usd * PICO))


def test_tier_5_is_reached_by_agreement_alone() -> None:
    agreed = Account(id="a", created_ns=0, pin=5)

    assert PLAN.tiers.tier_of(agreed, 0).level == 5
    assert PLAN.tiers.next_above(PLAN.tiers.by_level(4)) is None


def test_sign_up_credit_is_five_dollars() -> None:
    assert PLAN.sign_up_credit_p == 5 * PICO


@pytest.mark.parametrize("model", TOKEN_PRICES)
def test_each_token_price_is_exact_per_token_and_per_million(model: str) -> None:
    input_usd, output_usd = TOKEN_PRICES[model]

    assert parse_usd(input_usd) == charge_p(model, input_tokens=1_000_000)
    assert parse_usd(output_usd) == charge_p(model, output_tokens=1_000_000)
    assert parse_usd(input_usd) == 1_000_000 * charge_p(model, input_tokens=1)
    assert parse_usd(output_usd) == 1_000_000 * charge_p(model, output_tokens=1)
    assert charge_p(model, compute_ms=1_000) == 0


@pytest.mark.parametrize("model", TIME_PRICES)
def test_each_time_price_is_exact_per_millisecond_and_per_second(model: str) -> None:
    priced = PLAN.prices.model(model)

    assert priced is not None
    assert priced.compute_ms_max == 300_000
    assert parse_usd(TIME_PRICES[model]) == charge_p(model, compute_ms=1_000)
    assert parse_usd(TIME_PRICES[model]) == 1_000 * charge_p(model, compute_ms=1)
    assert charge_p(model, input_tokens=1_000, output_tokens=1_000) == 0


@pytest.mark.parametrize("model", [*TOKEN_PRICES, *TIME_PRICES])
def test_prices_without_dates_are_in_force_at_all_times(model: str) -> None:
    version = price_of(model)

    assert version is not None
    assert version == price_of(model, 0) == price_of(model, FREE_UNTIL_NS)
    assert version == price_of(model, 2**62)


def test_a_whole_call_of_glm_4_7_costs_what_it_must() -> None:
    used = {"input_tokens": 1_234_567, "output_tokens": 89_012}

    assert charge_p("zai-org/GLM-4.7", **used) == 936_566_600_000


def test_ten_million_calls_of_one_token_cost_exactly_one_dollar() -> None:
    one_p = charge_p("meta-llama/Llama-3.1-8B-Instruct", input_tokens=1)

    assert 10**7 * one_p == PICO


def test_only_compute_is_billed_by_time() -> None:
    assert parse_usd("0.004936") == charge_p("zai-org/GLM-4.6", compute_ms=1_234)
    assert charge_p("zai-org/GLM-4.6", compute_ms=0) == 0


def test_the_free_model_is_free_until_the_instant_and_then_has_no_price() -> None:
    last = price_of(FREE, FREE_UNTIL_NS - NS_PER_MS)

    assert last is not None
    assert last.kind == "free"
    assert last.charge_p(Usage(input_tokens=10**6, output_tokens=10**6)) == 0
    assert price_of(FREE, FREE_UNTIL_NS) is None


def test_a_model_that_is_not_listed_has_no_price() -> None:
    assert PLAN.prices.model("gpt-x") is None


def test_its_notes_tell_what_is_assumed() -> None:
    notes = " ".join(PLAN.notes)

    for told in ("adaptive", "$5", "300 seconds", "overrides", "2026-02-12"):
        assert told in notes
