"""Steps by input, minimums and fees a call: charged exactly, and held in full."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metering.errors import ConfigurationError
from metering.money import parse_usd
from metering.pricing import (
    Leaf,
    PricedModel,
    PriceKind,
    PriceVersion,
    PublishedPrices,
    Rate,
    Step,
)
from metering.usage import Usage

TOKENS: tuple[Leaf, ...] = (
    "input_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "output_tokens",
    "reasoning_tokens",
)
PARENT: dict[Leaf, Leaf] = {
    "cache_read_tokens": "input_tokens",
    "cache_write_tokens": "input_tokens",
    "reasoning_tokens": "output_tokens",
}
SIZE = 1_000
"""Inputs around which the steps of these tests lie."""

counts = st.integers(0, 2 * SIZE)
rates = st.builds(Rate, st.integers(0, 1_000), st.sampled_from([1, 3, 7, 1_000]))
timed_rates = st.builds(
    Rate, st.integers(0, 1_000), st.sampled_from([1, 60]), st.integers(0, SIZE)
)
leaves: st.SearchStrategy[Leaf] = st.sampled_from(TOKENS)
some_rates: st.SearchStrategy[dict[Leaf, Rate]] = st.dictionaries(
    leaves, rates, min_size=1
)


@st.composite
def token_prices(draw: st.DrawFn) -> PriceVersion:
    """Token prices with any leaves, steps, and with audio and a fee beside them."""
    priced: dict[Leaf, Rate] = draw(some_rates)
    for leaf in ("input_tokens", "output_tokens"):
        priced.setdefault(leaf, draw(rates))
    if draw(st.booleans()):
        priced["audio_ms"] = draw(timed_rates)
    if draw(st.booleans()):
        priced["requests"] = draw(rates)
    sizes = draw(st.lists(st.integers(1, 3 * SIZE), unique=True, max_size=3))
    steps = tuple(Step(size, draw(some_rates)) for size in sorted(sizes))
    return PriceVersion(model="m", kind="token", rates=priced, steps=steps)


usages = st.builds(
    Usage,
    input_tokens=counts,
    cache_read_tokens=counts,
    cache_write_tokens=counts,
    output_tokens=counts,
    reasoning_tokens=counts,
    audio_ms=counts,
)


def exact_p(price: PriceVersion, usage: Usage) -> Fraction:
    """The charge without any rounding: the rule in other words."""
    read = usage.input_tokens + usage.cache_read_tokens + usage.cache_write_tokens
    in_force = dict(price.rates)
    for step in price.steps:
        if read > step.above_input_tokens:
            in_force |= step.rates
    total = Fraction(0)
    for leaf in (*TOKENS, "audio_ms", "requests"):
        rate = in_force.get(leaf) or in_force.get(PARENT.get(leaf, leaf))
        used = getattr(usage, leaf)
        if rate is not None and used:
            total += Fraction(rate.num_p, rate.per) * max(used, rate.units_min)
    return total


@given(token_prices(), usages)
def test_one_rounding_whatever_is_added_up(price: PriceVersion, usage: Usage) -> None:
    error = price.charge_p(usage) - exact_p(price, usage)

    assert -Fraction(1, 2) < error <= Fraction(1, 2)


@given(token_prices(), usages, counts, counts, counts)
def test_nothing_within_the_bounds_costs_more_than_the_hold(
    price: PriceVersion, usage: Usage, spare_in: int, spare_out: int, spare_ms: int
) -> None:
    worst_p = price.worst_case_p(
        input_tokens=usage.input_total + spare_in,
        output_tokens=usage.output_total + spare_out,
        audio_ms=usage.audio_ms + spare_ms,
    )

    assert price.charge_p(usage) <= worst_p


@given(token_prices(), st.integers(1, 3 * SIZE), counts, counts)
@settings(max_examples=60)
def test_a_hold_is_what_some_call_within_the_bounds_costs(
    price: PriceVersion, input_tokens: int, output_tokens: int, audio_ms: int
) -> None:
    """Not a pico-dollar more is set aside: the dearest call there is costs as much."""
    worst_p = price.worst_case_p(
        input_tokens=input_tokens, output_tokens=output_tokens, audio_ms=audio_ms
    )

    edges = [step.above_input_tokens for step in price.steps]
    inputs = {input_tokens} | {edge for edge in edges if edge <= input_tokens}
    dearest = max(
        exact_p(
            price,
            Usage(audio_ms=audio_ms, **{read: size}, **{written: output_tokens}),
        )
        for size in inputs
        for read in TOKENS[:3]
        for written in TOKENS[3:]
    )
    assert -(-dearest.numerator // dearest.denominator) == worst_p


@given(token_prices(), counts, counts, st.integers(0, 10**7))
def test_what_a_room_buys_fits_and_one_token_more_does_not(
    price: PriceVersion, input_tokens: int, audio_ms: int, room_p: int
) -> None:
    def cost_p(tokens: int) -> int:
        return price.worst_case_p(
            input_tokens=input_tokens, output_tokens=tokens, audio_ms=audio_ms
        )

    tokens = price.output_tokens_within(
        room_p, input_tokens=input_tokens, audio_ms=audio_ms
    )

    assert tokens == 0 or cost_p(tokens) <= room_p
    free = cost_p(10**9) == cost_p(0)
    assert free or cost_p(tokens + 1) > room_p or cost_p(0) > room_p


def test_a_room_that_the_input_alone_may_exceed_buys_no_output() -> None:
    """Also where output is free from the step on that the input may reach."""
    price = PriceVersion(
        model="m",
        kind="token",
        rates={"input_tokens": Rate(1), "output_tokens": Rate(1)},
        steps=(Step(10, {"input_tokens": Rate(9), "output_tokens": Rate(0)}),),
    )

    assert 0 == price.output_tokens_within(100, input_tokens=12)
    assert 98 == price.output_tokens_within(108, input_tokens=12)


def only(kind: PriceKind, leaf: Leaf, rate: Rate) -> PriceVersion:
    """A price of one thing."""
    return PriceVersion(model="m", kind=kind, rates={leaf: rate})


def test_a_fee_for_each_call_is_charged_and_held_once() -> None:
    price = PriceVersion(
        model="m",
        kind="token",
        rates={
            "input_tokens": Rate(10),
            "output_tokens": Rate(20),
            "requests": Rate(parse_usd("0.005")),
        },
    )

    assert 5_000_000_070 == price.charge_p(Usage(input_tokens=3, output_tokens=2))
    assert 5_000_000_070 == price.worst_case_p(input_tokens=3, output_tokens=2)


def test_images_are_charged_and_held_each() -> None:
    price = PriceVersion(
        model="m",
        kind="image",
        rates={"images": Rate(parse_usd("0.04")), "requests": Rate(7)},
    )

    assert parse_usd("0.12") + 7 == price.charge_p(Usage(images=3))
    assert parse_usd("0.16") + 7 == price.worst_case_p(images=4)


@pytest.mark.parametrize(
    ("audio_ms", "billed_ms"),
    [(0, 0), (1, 10_000), (9_999, 10_000), (10_000, 10_000), (10_001, 10_001)],
)
def test_a_minimum_is_billed_of_what_was_used_at_all(
    audio_ms: int, billed_ms: int
) -> None:
    price = only("audio", "audio_ms", Rate(2, 1, units_min=10_000))

    assert 2 * billed_ms == price.charge_p(Usage(audio_ms=audio_ms))
    assert 2 * billed_ms == price.worst_case_p(audio_ms=audio_ms)


def test_a_step_prices_all_tokens_and_keeps_what_it_does_not_name() -> None:
    price = PriceVersion(
        model="m",
        kind="token",
        rates={
            "input_tokens": Rate(10),
            "cache_read_tokens": Rate(1),
            "output_tokens": Rate(50),
        },
        steps=(
            Step(100, {"input_tokens": Rate(20)}),
            Step(200, {"output_tokens": Rate(90)}),
        ),
    )

    def charge_p(cached: int, fresh: int) -> int:
        return price.charge_p(
            Usage(cache_read_tokens=cached, input_tokens=fresh, output_tokens=1)
        )

    assert charge_p(60, 40) == 60 + 400 + 50
    assert charge_p(60, 41) == 60 + 820 + 50
    assert charge_p(60, 141) == 60 + 2820 + 90


def test_a_step_that_the_input_cannot_reach_is_not_held() -> None:
    price = PriceVersion(
        model="m",
        kind="token",
        rates={"input_tokens": Rate(10), "output_tokens": Rate(50)},
        steps=(Step(100, {"input_tokens": Rate(20), "output_tokens": Rate(70)}),),
    )

    assert 100 * 10 + 5 * 50 == price.worst_case_p(input_tokens=100, output_tokens=5)
    assert 101 * 20 + 5 * 70 == price.worst_case_p(input_tokens=101, output_tokens=5)


def test_where_much_input_is_cheaper_the_edge_is_held() -> None:
    price = PriceVersion(
        model="m",
        kind="token",
        rates={"input_tokens": Rate(10), "output_tokens": Rate(0)},
        steps=(Step(100, {"input_tokens": Rate(2)}),),
    )

    assert price.worst_case_p(input_tokens=400) == 100 * 10
    assert price.worst_case_p(input_tokens=501) == 501 * 2


def test_ids_of_prices_published_before_there_were_steps_stay() -> None:
    """Events and ledgers name these; a price told otherwise would be another one."""
    token = PriceVersion(
        model="m",
        kind="token",
        rates={
            "input_tokens": Rate(600_000),
            "output_tokens": Rate(22, 10),
            "cache_read_tokens": Rate(1, 3),
        },
    )
    hourly = only("time", "compute_ms", Rate(29 * 10**11, 3_600_000))
    free = PriceVersion(model="m", kind="free")

    assert ("85458d86b08dcad6", "93787b0662b294ca", "da4f9fcf8ad29d67") == (
        token.id,
        hourly.id,
        free.id,
    )


def test_steps_and_minimums_make_another_price() -> None:
    base: dict[Leaf, Rate] = {"input_tokens": Rate(1), "output_tokens": Rate(1)}
    ids = {
        PriceVersion(model="m", kind="token", rates=base, steps=steps).id
        for steps in (
            (),
            (Step(1, {"input_tokens": Rate(2)}),),
            (Step(2, {"input_tokens": Rate(2)}),),
            (Step(2, {"input_tokens": Rate(3)}),),
        )
    }
    least = {only("audio", "audio_ms", Rate(1, 1, ms)).id for ms in (0, 1, 2)}

    assert (4, 3) == (len(ids), len(least))


@pytest.mark.parametrize(
    ("kind", "priced", "says"),
    [
        ("audio", {}, "takes audio_ms, and may take requests"),
        ("image", {"requests": Rate(1)}, "takes images"),
        ("request", {"requests": Rate(1), "images": Rate(1)}, "takes requests."),
        ("time", {"compute_ms": Rate(1), "input_tokens": Rate(1)}, "takes compute_ms"),
        ("free", {"requests": Rate(1)}, "no rates at all"),
    ],
)
def test_prices_that_do_not_belong_together_are_refused(
    kind: PriceKind, priced: dict[Leaf, Rate], says: str
) -> None:
    with pytest.raises(ConfigurationError, match=says):
        PriceVersion(model="m", kind=kind, rates=priced)


@pytest.mark.parametrize(
    ("steps", "says"),
    [
        ([Step(0, {"input_tokens": Rate(1)})], "Let steps rise"),
        ([Step(5, {"input_tokens": Rate(1)})] * 2, "Let steps rise"),
        ([Step(5, {})], "has rates for nothing"),
        ([Step(5, {"requests": Rate(1)})], "has rates for requests"),
        ([Step(5, {"input_tokens": Rate(-1)})], "cannot be"),
        ([Step(5, {"input_tokens": Rate(1, 1, 9)})], "A minimum of 9 input_tokens"),
    ],
)
def test_steps_that_cannot_be_are_refused(steps: list[Step], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        PriceVersion(
            model="m",
            kind="token",
            rates={"input_tokens": Rate(1), "output_tokens": Rate(1)},
            steps=tuple(steps),
        )


def test_only_tokens_have_steps() -> None:
    with pytest.raises(ConfigurationError, match="only token prices have them"):
        PriceVersion(
            model="m",
            kind="request",
            rates={"requests": Rate(1)},
            steps=(Step(5, {"input_tokens": Rate(1)}),),
        )


@pytest.mark.parametrize("rate", [Rate(1, 1, -1), Rate(1, 1, 10)])
def test_only_a_time_has_a_minimum(rate: Rate) -> None:
    with pytest.raises(ConfigurationError, match="minimum"):
        only("request", "requests", rate)


def test_a_price_of_audio_needs_the_longest_audio() -> None:
    price = only("audio", "audio_ms", Rate(1))

    with pytest.raises(ConfigurationError, match="audio_ms_max"):
        PricedModel(name="m", versions=(price,))
    assert PricedModel(name="m", versions=(price,), audio_ms_max=1).audio_ms_max == 1


def dated(start_ns: int, end_ns: int | None, num_p: int, name: str) -> PriceVersion:
    """A price of a call of that model, in force from one instant until another."""
    return PriceVersion(
        model=name,
        kind="request",
        valid_from_ns=start_ns,
        valid_to_ns=end_ns,
        rates={"requests": Rate(num_p)},
    )


def test_a_published_price_is_found_by_its_id_and_by_its_instant() -> None:
    early, late = dated(10, 20, 1, "m"), dated(20, None, 2, "m")
    other = dated(0, None, 1, "n")
    prices = PublishedPrices([late, other, early])

    assert (early, late, other) == tuple(
        prices.by_id(version.id) for version in (early, late, other)
    )
    assert prices.at("m", 9) is None
    assert early == prices.at("m", 10) == prices.at("m", 19)
    assert late == prices.at("m", 20) == prices.at("m", 10**18)
    assert other == prices.at("n", 0)
    assert prices.at("unknown", 15) is prices.by_id("unknown") is None
