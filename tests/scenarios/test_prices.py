"""Acceptance scenarios of prices, by their numbers: exact, rules and whole calls."""

from contextlib import closing

import pytest

from metering.accounts import Overrides
from metering.backends.sql import SqlLedger
from metering.config import load_plan
from metering.errors import ConfigurationError
from metering.money import AMOUNT_MAX_P, PICO, format_usd, parse_usd
from metering.pricing import PriceVersion, PublishedPrices, Rate
from metering.testing.contracts.samples import PLAN as PLAN_OF_LEDGERS
from metering.testing.contracts.samples import used
from metering.usage import Usage

pytestmark = pytest.mark.anyio

PLAN = """
[plan]
name = "scenarios"

[[tiers]]
level = 0
name = "all"
output_tokens_max = "4K"
usage_limit = "500"
requests = { paid = "100/minute", free = "60/minute" }

[[models]]
name = "GLM-4.7"
prices = [
  { kind = "token", input = "0.6", output = "2.2", until = 2026-03-01T00:00:00Z },
  { kind = "token", input = "0.5", output = "2.0", from = 2026-03-01T00:00:00Z },
]

[[models]]
name = "GLM-5"
prices = [{ kind = "token", input = 1, cached_input = "0.5", output = "3.2" }]

[[models]]
name = "Llama-3.1-8B"
prices = [{ kind = "token", input = "0.1", output = "0.1" }]

[[models]]
name = "31714"
prices = [{ kind = "token", input = "1.4", cached_input = "0.26", output = "4.4" }]

[[models]]
name = "14849"
prices = [{ kind = "token", input = "1.25", cached_input = "0.625", output = 10 }]

[[models]]
name = "GLM-4.6"
compute_ms_max = 300_000
prices = [{ kind = "time", per_second = "0.004" }]

[[models]]
name = "gpu-hour"
compute_ms_max = 3_600_000
prices = [{ kind = "time", per_hour = "2.9" }]

[[models]]
name = "whisper"
audio_ms_max = 3_600_000
prices = [{ kind = "audio", audio_per_minute = "0.006" }]

[[models]]
name = "stepped"

[[models.prices]]
kind = "token"
input = "1.25"
output = 10
steps = [{ above_input_tokens = 200_000, input = "2.5", output = 15 }]

[[models]]
name = "K-EXAONE"
prices = [
  { kind = "free", until = 2026-02-01T00:00:00Z },
  { kind = "token", input = "0.2", output = "0.8", from = 2026-02-01T00:00:00Z },
]

[[models]]
name = "expired"
prices = [{ kind = "free", until = 2026-01-10T00:00:00Z }]
"""
JANUARY = "2026-01-15T00:00:00Z"


@pytest.fixture
def price(at):
    """Return the price of a model in January."""
    book = load_plan(PLAN, source="scenarios.toml").prices

    def of(model: str) -> PriceVersion:
        priced = book.model(model)
        found = priced and priced.at(at(JANUARY))
        assert found is not None
        return found

    return of


async def charged_p(open_service, model, usage):
    """Return what a whole call costs whose answer tells that usage."""
    async with open_service(PLAN, JANUARY) as service:
        service.app.usage = usage
        assert 200 == (await service.call(model)).status_code
        (event,) = service.events()
    return event.charge_p


def tokens(prompt, completion, *, cached=None, reasoning=None):
    """A usage as OpenAI's wire tells it: the parts are within their wholes."""
    usage = {"prompt_tokens": prompt, "completion_tokens": completion}
    if cached is not None:
        usage["prompt_tokens_details"] = {"cached_tokens": cached}
    if reasoning is not None:
        usage["completion_tokens_details"] = {"reasoning_tokens": reasoning}
    return usage


async def test_scenario_1_no_part_of_a_call_is_rounded(open_service):
    """1,234,567 in and 89,012 out."""
    charge_p = await charged_p(open_service, "GLM-4.7", tokens(1_234_567, 89_012))

    assert 740_740_200_000 + 195_826_400_000 == charge_p == parse_usd("0.9365666")


def test_scenario_2_ten_million_single_tokens_are_a_dollar(price):
    one_p = price("Llama-3.1-8B").charge_p(Usage(input_tokens=1))

    assert one_p == 100_000
    assert 10_000_000 * one_p == PICO


async def test_scenario_3_cached_input_is_charged_once_at_its_own_price(open_service):
    """10,000 in, of which 7,500 cached, 1,200 out; counted twice it were $0.01759."""
    usage = tokens(10_000, 1_200, cached=7_500)

    assert parse_usd("0.01009") == await charged_p(open_service, "GLM-5", usage)


async def test_scenario_4_without_a_cached_price_it_costs_what_input_does(open_service):
    """The same usage."""
    usage = tokens(10_000, 1_200, cached=7_500)

    assert parse_usd("0.00864") == await charged_p(open_service, "GLM-4.7", usage)


async def test_scenario_5_reasoning_is_part_of_the_output(open_service):
    """2,000 out, of which 1,500 reasoning; counted twice it were $0.0077."""
    usage = tokens(0, 2_000, reasoning=1_500)

    assert parse_usd("0.0044") == await charged_p(open_service, "GLM-4.7", usage)


async def test_scenario_6_nearly_all_of_the_input_is_cached(open_service):
    """27,147 in, of which 27,146 cached, 351 out."""
    usage = tokens(27_147, 351, cached=27_146)

    assert parse_usd("0.00860376") == await charged_p(open_service, "31714", usage)


async def test_scenario_7_a_long_cached_prompt(open_service):
    """262,960 in, of which 257,955 cached, 1,744 out."""
    usage = tokens(262_960, 1_744, cached=257_955)

    assert parse_usd("0.184918125") == await charged_p(open_service, "14849", usage)


@pytest.mark.parametrize(
    ("compute_ms", "usd"), [(1_234, "0.004936"), (0, "0")], ids=["some", "none"]
)
async def test_scenario_8_only_compute_is_billed(open_service, compute_ms, usd):
    """Of 9,876 ms by the wall 3,000 were queue, 5,000 cold start, 642 network."""
    async with open_service(PLAN, JANUARY) as service:
        service.app.usage = tokens(1, 1)
        service.app.metrics = {
            "queue_time_ms": 3_000.0,
            "time_to_first_token_ms": 3_000.0 + compute_ms,
            "generation_time_ms": 0.0,
        }
        service.app.takes = lambda: service.clock.advance(seconds=9.876)
        await service.call("GLM-4.6")
        (event,) = service.events()

    assert (compute_ms, parse_usd(usd)) == (event.usage.compute_ms, event.charge_p)
    assert event.time_source == "metrics"


async def test_scenario_8_wall_time_is_never_billed_silently(open_service):
    """Where nobody tells the compute time, the event says that it was measured."""
    async with open_service(PLAN, JANUARY) as service:
        service.app.usage = tokens(1, 1)
        service.app.takes = lambda: service.clock.advance(seconds=9.876)
        await service.call("GLM-4.6")
        (event,) = service.events()

    assert (9_876, "measured") == (event.usage.compute_ms, event.time_source)


def test_scenario_9_a_price_an_hour_is_rounded_once_for_each_call(price):
    hourly = price("gpu-hour")
    parts_ms = (400_000, 400_000, 434_567)

    whole_p = hourly.charge_p(Usage(compute_ms=sum(parts_ms)))
    split_p = sum(hourly.charge_p(Usage(compute_ms=ms)) for ms in parts_ms)

    assert (whole_p, split_p) == (994_512_305_556, 994_512_305_555)


def test_scenario_10_audio_by_the_minute(price):
    assert parse_usd("0.0012345") == price("whisper").charge_p(Usage(audio_ms=12_345))


def test_scenario_11_crossing_a_step_prices_all_tokens_anew(price):
    stepped = price("stepped")

    assert parse_usd("0.25") == stepped.charge_p(Usage(input_tokens=200_000))
    assert parse_usd("0.5000025") == stepped.charge_p(Usage(input_tokens=200_001))
    assert parse_usd("0.5000025") == stepped.charge_p(
        Usage(input_tokens=1, cache_read_tokens=200_000)
    )
    assert parse_usd("0.5000175") == stepped.charge_p(
        Usage(input_tokens=200_001, output_tokens=1)
    )


def test_scenario_11_a_hold_is_at_the_step_that_the_input_can_reach(price):
    stepped = price("stepped")

    below_p = stepped.worst_case_p(input_tokens=200_000, output_tokens=1_000)
    above_p = stepped.worst_case_p(input_tokens=200_001, output_tokens=1_000)

    assert (parse_usd("0.26"), parse_usd("0.5150025")) == (below_p, above_p)


async def test_scenario_12_free_until_the_instant_by_admission(open_service, at):
    """Admitted 1 ms before the end and done 5 minutes after it: $0, and recorded."""
    async with open_service(PLAN, "2026-01-31T23:59:59.999Z") as service:
        service.app.usage = tokens(1_000, 500)
        service.app.takes = lambda: service.clock.move_to(at("2026-02-01T00:05:00Z"))
        free = await service.call("K-EXAONE")
        service.clock.move_to(at("2026-02-01T00:00:00.000Z"))
        service.app.takes = lambda: None
        paid = await service.call("K-EXAONE")
        events = service.events()

    by_instant = {event.admitted_ns: event for event in events}
    last, first = by_instant[max(by_instant)], by_instant[min(by_instant)]
    assert (0, 1_000) == (first.charge_p, first.usage.input_tokens)
    assert 1_000 * 200_000 + 500 * 800_000 == last.charge_p
    assert ("60", "100") == tuple(
        reply.headers["x-ratelimit-limit-requests"] for reply in (free, paid)
    )


async def test_scenario_13_a_call_costs_what_it_cost_at_its_admission(open_service, at):
    """Also when it is priced again later: the past stays as it was published."""
    march = "2026-03-01T00:00:00.000Z"
    async with open_service(PLAN, "2026-02-28T23:59:59.999Z") as service:
        service.app.usage = tokens(1_000_000, 100_000)
        service.app.takes = lambda: service.clock.move_to(at(march))
        await service.call("GLM-4.7")
        service.app.takes = lambda: None
        await service.call("GLM-4.7")
        events = sorted(service.events(), key=lambda event: event.admitted_ns)
        prices = PublishedPrices(service.meter.ledger.published())

    again = [prices.at(event.model, event.admitted_ns) for event in events]
    assert [parse_usd("0.82"), parse_usd("0.70")] == [e.charge_p for e in events]
    assert [prices.by_id(event.price_version) for event in events] == again
    assert [e.charge_p for e in events] == [
        version.charge_p(event.usage)
        for version, event in zip(again, events, strict=True)
        if version is not None
    ]


async def test_scenario_13_a_price_that_overlaps_is_not_published(open_service, at):
    """Nothing of what is published changes."""
    async with open_service(PLAN, "2026-02-15T00:00:00Z") as service:
        await service.call("GLM-4.7")
        ledger = service.meter.ledger
        before = ledger.published()
        its = [version for version in before if version.model == "GLM-4.7"]
        overlapping = PriceVersion(
            model="GLM-4.7",
            kind="token",
            valid_from_ns=at("2026-02-20T00:00:00Z"),
            rates={"input_tokens": Rate(1), "output_tokens": Rate(1)},
        )
        with pytest.raises(ConfigurationError, match="overlap"):
            ledger.publish([*its, overlapping], now_ns=service.clock())

        assert before == ledger.published()


def test_scenario_13_a_plan_whose_prices_overlap_does_not_load():
    early = PLAN.replace(
        'output = "2.0", from = 2026-03-01', 'output = "2.0", from = 2026-02-20'
    )

    with pytest.raises(ConfigurationError, match=r"ends at 2026-03-01T00:00:00Z"):
        load_plan(early, source="scenarios.toml")


async def test_scenario_36_no_limit_is_above_what_a_cell_may_hold(open_service):
    """$9,000,000, in a plan and by agreement; $10,000,000 is refused."""
    with pytest.raises(ConfigurationError, match=r"\$9,000,000"):
        load_plan(
            PLAN.replace('usage_limit = "500"', 'usage_limit = "10000000"'), source="x"
        )
    async with open_service(PLAN, JANUARY) as service:
        accounts = service.meter.accounts
        await accounts.override("acme", Overrides(usage_limit_p=AMOUNT_MAX_P))
        with pytest.raises(ConfigurationError, match=r"\$9,000,000"):
            await accounts.override("acme", Overrides(usage_limit_p=10**7 * PICO))


@pytest.mark.parametrize("model", ["gpt-9", "expired"])
async def test_scenario_37_without_a_price_nothing_is_served(open_service, model):
    """Never for $0: unknown, or known and without a price at that instant."""
    async with open_service(PLAN, JANUARY) as service:
        reply = await service.call(model)
        events = service.events()

    assert (404, "model_not_priced") == (
        reply.status_code,
        reply.json()["error"]["code"],
    )
    assert events == []


def test_scenario_36_sums_are_exact_or_errors(tmp_path):
    """Two accounts of $9,000,000 are $18,000,000; one cell cannot hold them."""
    with closing(SqlLedger(tmp_path / "ledger.db", tiers=PLAN_OF_LEDGERS)) as ledger:
        for name in ("acme", "beta"):
            ledger.post([used(name, AMOUNT_MAX_P, account_id=name)])
        with pytest.raises(ConfigurationError, match=r"\$9,000,000"):
            ledger.post([used("one more", AMOUNT_MAX_P, account_id="acme")])
        spent_p = [ledger.period(name, "2026-01").spent_p for name in ("acme", "beta")]

    assert [AMOUNT_MAX_P, AMOUNT_MAX_P] == spent_p
    assert "18000000" == format_usd(sum(spent_p))
