"""Prices are dated and immutable, and a charge is exact to half a pico-dollar."""

from collections.abc import Mapping
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering.clock import NS_PER_S
from metering.errors import ConfigurationError
from metering.money import parse_usd
from metering.pricing import (
    Leaf,
    PriceBook,
    PricedModel,
    PriceVersion,
    Rate,
    refuse_changed_past,
)
from metering.usage import Usage

PARENT: dict[Leaf, Leaf] = {
    "cache_read_tokens": "input_tokens",
    "cache_write_tokens": "input_tokens",
    "reasoning_tokens": "output_tokens",
}
LEAVES: tuple[Leaf, ...] = ("input_tokens", "output_tokens", *PARENT)

counts = st.integers(0, 10**7)
usages = st.builds(
    Usage,
    input_tokens=counts,
    cache_read_tokens=counts,
    cache_write_tokens=counts,
    output_tokens=counts,
    reasoning_tokens=counts,
    compute_ms=counts,
)
whole_rates = st.builds(Rate, st.integers(0, 10**9), st.just(1))
any_rates = st.builds(Rate, st.integers(0, 10**9), st.integers(1, 10**6))


def per_million(
    input_usd: str,
    output_usd: str,
    *,
    cached_usd: str | None = None,
) -> PriceVersion:
    """A token price as price lists write it: dollars per 1,000,000 tokens."""
    rates: dict[Leaf, Rate] = {
        "input_tokens": Rate(parse_usd(input_usd), 10**6),
        "output_tokens": Rate(parse_usd(output_usd), 10**6),
    }
    if cached_usd is not None:
        rates["cache_read_tokens"] = Rate(parse_usd(cached_usd), 10**6)
    return PriceVersion(model="m", kind="token", rates=rates)


def prices_over(rates: st.SearchStrategy[Rate]) -> st.SearchStrategy[PriceVersion]:
    """Token prices, with or without a price of their own for the other leaves."""
    needed: dict[Leaf, st.SearchStrategy[Rate]] = {
        "input_tokens": rates,
        "output_tokens": rates,
    }
    optional: dict[Leaf, st.SearchStrategy[Rate]] = dict.fromkeys(PARENT, rates)
    return st.fixed_dictionaries(needed, optional=optional).map(
        lambda some: PriceVersion(model="m", kind="token", rates=some)
    )


def exact_p(rates: Mapping[Leaf, Rate], usage: Usage) -> Fraction:
    """The charge without any rounding: the rule in other words."""
    total = Fraction(0)
    for leaf in LEAVES:
        rate = rates.get(leaf) or rates[PARENT[leaf]]
        total += Fraction(rate.num_p, rate.per) * getattr(usage, leaf)
    return total


@pytest.mark.parametrize(
    ("price", "usage", "usd"),
    [
        pytest.param(
            per_million("1", "3.2", cached_usd="0.5"),
            Usage(input_tokens=2_500, cache_read_tokens=7_500, output_tokens=1_200),
            "0.01009",
            id="a cached price of its own",
        ),
        pytest.param(
            per_million("0.6", "2.2"),
            Usage(input_tokens=2_500, cache_read_tokens=7_500, output_tokens=1_200),
            "0.00864",
            id="no cached price: its parent's",
        ),
        pytest.param(
            per_million("0.6", "2.2"),
            Usage(output_tokens=500, reasoning_tokens=1_500),
            "0.0044",
            id="reasoning is output, once",
        ),
        pytest.param(
            per_million("1.4", "4.4", cached_usd="0.26"),
            Usage(input_tokens=1, cache_read_tokens=27_146, output_tokens=351),
            "0.00860376",
            id="nearly all cached",
        ),
        pytest.param(
            per_million("1.25", "10", cached_usd="0.625"),
            Usage(input_tokens=5_005, cache_read_tokens=257_955, output_tokens=1_744),
            "0.184918125",
            id="a long cached prompt",
        ),
        pytest.param(
            per_million("0.1", "0.1"), Usage(input_tokens=1), "0.0000001", id="a token"
        ),
    ],
)
def test_charges_of_calls_that_others_got_wrong(
    price: PriceVersion, usage: Usage, usd: str
) -> None:
    assert parse_usd(usd) == price.charge_p(usage)


def test_a_price_an_hour_is_rounded_half_up_once() -> None:
    hourly = PriceVersion(
        model="m",
        kind="time",
        rates={"compute_ms": Rate(parse_usd("2.9"), 3_600_000)},
    )
    parts_ms = (400_000, 400_000, 434_567)

    whole_p = hourly.charge_p(Usage(compute_ms=sum(parts_ms)))
    split_p = sum(hourly.charge_p(Usage(compute_ms=ms)) for ms in parts_ms)

    assert (whole_p, split_p) == (994_512_305_556, 994_512_305_555)


def test_only_compute_has_a_price_where_time_is_billed() -> None:
    price = PriceVersion(
        model="m", kind="time", rates={"compute_ms": Rate(parse_usd("0.004"), 1_000)}
    )

    assert parse_usd("0.004936") == price.charge_p(Usage(compute_ms=1_234))
    assert price.charge_p(Usage(input_tokens=9, output_tokens=9)) == 0


@given(prices_over(whole_rates), st.lists(usages, min_size=1, max_size=6), st.data())
def test_whole_prices_sum_the_same_however_usage_is_grouped(
    price: PriceVersion, parts: list[Usage], data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(parts)))

    def together(some: list[Usage]) -> Usage:
        return Usage(**{leaf: sum(getattr(u, leaf) for u in some) for leaf in LEAVES})

    each_p = sum(price.charge_p(part) for part in parts)
    halves_p = price.charge_p(together(parts[:cut])) + price.charge_p(
        together(parts[cut:])
    )

    assert each_p == halves_p == price.charge_p(together(parts))


@given(prices_over(any_rates), usages)
def test_a_rational_price_is_off_by_half_a_pico_dollar_at_most(
    price: PriceVersion, usage: Usage
) -> None:
    error = price.charge_p(usage) - exact_p(price.rates, usage)

    assert -Fraction(1, 2) < error <= Fraction(1, 2)


@given(
    prices_over(any_rates),
    usages,
    st.integers(0, 10**6),
    st.integers(0, 10**6),
    st.integers(0, 10**6),
)
def test_no_usage_within_the_bounds_costs_more_than_the_worst_case(
    price: PriceVersion, usage: Usage, spare_in: int, spare_out: int, spare_ms: int
) -> None:
    worst_p = price.worst_case_p(
        input_tokens=usage.input_total + spare_in,
        output_tokens=usage.output_total + spare_out,
        compute_ms=usage.compute_ms + spare_ms,
    )

    assert price.charge_p(usage) <= worst_p


@given(any_rates, st.integers(0, 10**6), st.integers(0, 10**6))
def test_the_worst_case_of_compute_time_is_an_upper_bound_too(
    rate: Rate, compute_ms: int, spare_ms: int
) -> None:
    price = PriceVersion(model="m", kind="time", rates={"compute_ms": rate})
    worst_p = price.worst_case_p(
        input_tokens=0, output_tokens=0, compute_ms=compute_ms + spare_ms
    )

    assert price.charge_p(Usage(compute_ms=compute_ms)) <= worst_p


@given(usages)
def test_free_is_free(usage: Usage) -> None:
    assert PriceVersion(model="m", kind="free").charge_p(usage) == 0


@given(any_rates, st.integers(1, 1000))
def test_a_rate_in_other_terms_is_the_same_version(rate: Rate, factor: int) -> None:
    wider = Rate(rate.num_p * factor, rate.per * factor)

    one, other = (
        PriceVersion(model="m", kind="time", rates={"compute_ms": r})
        for r in (rate, wider)
    )

    assert one.id == other.id


def test_the_id_tells_prices_apart_but_not_dates() -> None:
    free = PriceVersion(model="m", kind="free")
    closed = PriceVersion(model="m", kind="free", valid_to_ns=7)
    other_model = PriceVersion(model="n", kind="free")
    other_price = per_million("0.1", "0.2")

    assert free.id == closed.id
    assert len({free.id, other_model.id, other_price.id}) == 3
    assert (
        per_million("0.1", "0.2").id == other_price.id != per_million("0.2", "0.1").id
    )


@pytest.mark.parametrize("rate", [Rate(-1), Rate(1, 0), Rate(1, -2)])
def test_a_rate_that_cannot_be_is_refused(rate: Rate) -> None:
    with pytest.raises(ConfigurationError, match="cannot be"):
        PriceVersion(model="m", kind="time", rates={"compute_ms": rate})


def version(from_ns: int, to_ns: int | None, num_p: int = 1) -> PriceVersion:
    return PriceVersion(
        model="m",
        kind="time",
        valid_from_ns=from_ns,
        valid_to_ns=to_ns,
        rates={"compute_ms": Rate(num_p)},
    )


def model(*versions: PriceVersion) -> PricedModel:
    return PricedModel(name="m", versions=versions, compute_ms_max=1_000)


def test_a_price_is_in_force_from_its_start_until_before_its_end() -> None:
    first, second = version(10, 20, 1), version(20, 30, 2)
    priced = model(first, second)

    assert priced.at(9) is None
    assert first == priced.at(10) == priced.at(19)
    assert second == priced.at(20) == priced.at(29)
    assert priced.at(30) is None


@given(st.lists(st.integers(0, 50), min_size=2, max_size=6, unique=True))
def test_each_instant_has_the_one_price_whose_span_contains_it(
    edges: list[int],
) -> None:
    edges.sort()
    spans = list(pairwise(edges))
    versions = [version(a, b, number) for number, (a, b) in enumerate(spans)]
    priced = model(*versions)

    for instant in range(-1, 52):
        holding = [
            v
            for v, (start, end) in zip(versions, spans, strict=True)
            if start <= instant < end
        ]
        assert holding == ([] if (at := priced.at(instant)) is None else [at])


@pytest.mark.parametrize(
    ("versions", "fault"),
    [
        ((version(0, 20), version(19, None)), "overlap"),
        ((version(0, None), version(20, None)), "overlap"),
        ((version(20, 30), version(0, 20)), "overlap"),
        ((version(0, 20), version(21, None)), "leave a gap"),
    ],
)
def test_prices_that_overlap_or_leave_a_gap_are_refused(
    versions: tuple[PriceVersion, ...], fault: str
) -> None:
    with pytest.raises(ConfigurationError, match=fault):
        model(*versions)


def test_a_price_that_ends_at_its_start_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="end it later"):
        version(5, 5)


def test_a_time_price_without_a_longest_call_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="compute_ms_max"):
        PricedModel(name="m", versions=(version(0, None),))


def test_a_price_under_another_models_name_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="listed under 'n'"):
        PricedModel(name="n", versions=(PriceVersion(model="m", kind="free"),))


def test_a_token_price_needs_both_sides_and_a_free_one_none() -> None:
    with pytest.raises(ConfigurationError, match="it takes input_tokens"):
        PriceVersion(model="m", kind="token", rates={"input_tokens": Rate(1)})
    with pytest.raises(ConfigurationError, match="no rates at all"):
        PriceVersion(model="m", kind="free", rates={"input_tokens": Rate(1)})


def test_a_book_finds_a_model_by_its_name_and_by_its_aliases() -> None:
    priced = model(version(0, None))
    book = PriceBook([priced], {"alias": "m"})

    assert priced is book.model("m") is book.model("alias")
    assert book.model("other") is None


@pytest.mark.parametrize("aliases", [{"m": "m"}, {"alias": "nowhere"}])
def test_an_alias_must_be_new_and_lead_somewhere(aliases: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match="Alias"):
        PriceBook([model()], aliases)


def test_a_model_listed_twice_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="listed twice"):
        PriceBook([model(), model()])


NOW_NS = 100


@pytest.mark.parametrize(
    "wanted",
    [
        pytest.param((version(0, None),), id="unchanged"),
        pytest.param((version(0, 100), version(100, None, 2)), id="dearer from now"),
        pytest.param((version(0, 150), version(150, None, 2)), id="dearer later"),
        pytest.param((version(0, 100),), id="ends now"),
        pytest.param((version(0, 50), version(50, None)), id="same price cut in two"),
    ],
)
def test_the_future_may_change(wanted: tuple[PriceVersion, ...]) -> None:
    refuse_changed_past([version(0, None)], PriceBook([model(*wanted)]), NOW_NS)


@pytest.mark.parametrize(
    "wanted",
    [
        pytest.param((version(0, None, 2),), id="dearer all along"),
        pytest.param(
            (version(0, 99), version(99, None, 2)), id="dearer since just now"
        ),
        pytest.param((version(1, None),), id="starts later"),
        pytest.param((version(0, 99),), id="ended before now"),
        pytest.param(
            (version(0, 40), version(40, 41, 2), version(41, None)),
            id="dearer for a moment",
        ),
    ],
)
def test_the_past_may_not_change(wanted: tuple[PriceVersion, ...]) -> None:
    with pytest.raises(ConfigurationError, match="already published"):
        refuse_changed_past([version(0, None)], PriceBook([model(*wanted)]), NOW_NS)


def test_a_price_that_was_never_in_force_may_still_change() -> None:
    published = [version(0, 150), version(150, None, 2)]
    wanted = PriceBook([model(version(0, 150), version(150, None, 3))])

    refuse_changed_past(published, wanted, NOW_NS)


def test_a_model_may_leave_the_book() -> None:
    refuse_changed_past([version(0, None)], PriceBook([]), NOW_NS)


def test_a_changed_past_is_told_in_dates_with_the_way_out() -> None:
    """Which price, since when, what to write instead, and what to do with a trial."""
    old = PriceVersion(model="m", kind="token", rates=_rates(1))
    new = PriceBook(
        [
            PricedModel(
                name="m",
                versions=(PriceVersion(model="m", kind="token", rates=_rates(2)),),
            )
        ]
    )
    now_ns = 1_768_435_201 * NS_PER_S  # 2026-01-15T00:00:01Z

    with pytest.raises(ConfigurationError) as caught:
        refuse_changed_past([old], new, now_ns)

    assert (
        "The price of 'm' from the beginning is already published and may not change:"
        " charges were made by it. Keep the old price in the plan with until ="
        " 2026-01-15T01:00:00Z or later, and let the new one start there; or remove"
        " the ledger, if this is a trial."
    ) == str(caught.value)


def _rates(per_token_p: int) -> dict[Leaf, Rate]:
    return {"input_tokens": Rate(per_token_p), "output_tokens": Rate(per_token_p)}
