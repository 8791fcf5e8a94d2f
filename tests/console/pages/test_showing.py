"""Amounts, lengths and instants on pages are exact, and charts are true to them."""

from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering.accounts import Account
from metering.clock import NS_PER_S
from metering.console.api.documents import DayUsage, PeriodShown, UsageDaysShown
from metering.console.pages.charts import Series, nice_ticks, stacked_bars
from metering.console.pages.measures import MEASURES, daily
from metering.console.pages.overview import spend_of
from metering.console.pages.periods import choices, chosen
from metering.console.pages.showing import (
    dollars,
    duration,
    figure,
    places_of,
    short_count,
    short_usd,
    took,
    when,
)
from metering.money import PICO, format_usd
from metering.testing.contracts.samples import at
from metering.usage import Usage

AMOUNTS_P = st.integers(-(10**19), 10**19)
VALUES = st.lists(
    st.decimals(0, 10**9, places=6, allow_nan=False), min_size=1, max_size=40
)


@given(AMOUNTS_P, st.integers(0, 12))
def test_no_digit_of_an_amount_is_lost(amount_p, places):
    usd = format_usd(amount_p)
    for shown in ("".join(dollars(usd, places)), short_usd(usd)):
        read = Decimal(shown.replace("$", "").replace(",", "").replace("\u2212", "-"))

        assert amount_p == read * PICO


@pytest.mark.parametrize(
    ("usd", "places", "cents", "finer"),
    [
        ("0", 2, "$0.00", ""),
        ("0", 7, "$0.00", "00000"),
        ("1234567.5", 2, "$1,234,567.50", ""),
        ("-3.25", 2, "\u2212$3.25", ""),
        ("47.8906455", 2, "$47.89", "06455"),
        ("47.89", 7, "$47.89", "00000"),
        ("0.0000067", 7, "$0.0000067", ""),
        ("0.01", 7, "$0.01", "00000"),
    ],
)
def test_cents_stand_out_where_there_are_any(usd, places, cents, finer):
    assert (cents, finer) == dollars(usd, places)


def test_a_column_has_the_places_of_its_finest_amount():
    assert 7 == places_of(["1", "47.8906455", "0.5"])
    assert 2 == places_of([])


@pytest.mark.parametrize(
    ("milliseconds", "said"),
    [
        (0, "0 s"),
        (412, "0.412 s"),
        (59_999, "59.999 s"),
        (60_000, "1 min 0 s"),
        (200_000, "3 min 20 s"),
        (43_500_000, "12 h 5 min"),
    ],
)
def test_lengths_of_time_are_read_at_a_glance(milliseconds, said):
    assert said == duration(milliseconds)


def test_numbers_of_axes_are_short():
    assert ["0", "950", "1.5K", "20M", "3B"] == [
        short_count(number) for number in (0, 950, 1500, 20e6, 3e9)
    ]


def test_an_instant_is_shown_where_the_account_lives():
    shown = when("2026-07-01T22:30:05.5Z", "Europe/Berlin")

    assert ("2 Jul 2026", "00:30:05", "CEST") == (shown.day, shown.time, shown.zone)
    assert "2026-07-01T22:30:05.5Z" == shown.iso


# Periods


def test_periods_go_back_to_where_the_account_began():
    account = Account(id="a", created_ns=at("2026-01-20T00:00"), anchor_day=15)

    found = choices(account, at("2026-03-15T00:00"))

    assert [
        ("2026-03-15", "15 Mar to 14 Apr 2026"),
        ("2026-02-15", "15 Feb to 14 Mar 2026"),
        ("2026-01-15", "15 Jan to 14 Feb 2026"),
    ] == found
    assert found[1] == chosen(account, "2026-02-15", at("2026-03-15T00:00"))


def test_a_month_is_called_by_its_name():
    account = Account(id="a", created_ns=0, time_zone="Asia/Seoul")

    assert "February 2026" == chosen(account, "2026-02", 0).name
    assert "February 2026" == chosen(account, None, at("2026-01-31T15:00")).name
    assert 24 == len(choices(account, at("2026-03-15T00:00")))


# Charts


@given(st.decimals(0, 10**12, places=12, allow_nan=False))
def test_marks_of_an_axis_are_round_and_reach_over_all_there_is(highest):
    ticks = nice_ticks(highest)
    steps = {after - before for before, after in pairwise(ticks)}

    assert 0 == ticks[0]
    assert ticks[-1] >= highest
    assert 2 <= len(ticks) <= 6
    assert 1 == len(steps)
    assert steps.pop().normalize().as_tuple().digits in {(1,), (2,), (5,), (2, 5)}


@given(VALUES, VALUES)
def test_bars_are_as_high_as_what_they_stand_for(low, high):
    places = min(len(low), len(high))
    series = [Series("low", low[:places]), Series("high", high[:places])]
    chart = stacked_bars([str(n) for n in range(places)], series, show=str)
    top = float(nice_ticks(max(map(sum, zip(low, high, strict=False))))[-1])

    for column, values in zip(chart.columns, zip(low, high, strict=False), strict=True):
        drawn = {bar.number: bar for bar in column.bars}
        assert {n for n, value in enumerate(values, 1) if value} == set(drawn)
        below = 0.0
        for number, value in enumerate(values, 1):
            if not value:
                continue
            bar, tall = drawn[number], float(value) * chart.height / top
            foot = chart.height - below * chart.height / top
            assert bar.top + bar.height == pytest.approx(foot, abs=1e-6)
            assert bar.height == pytest.approx(max(tall - 1, 0.75), abs=1e-6)
            assert 0 <= column.left <= bar.left
            assert bar.left + bar.width <= column.left + column.width + 1e-9
            below += float(value)


def days_of(*rows):
    return UsageDaysShown(
        period="2026-01",
        start="2026-01-01T00:00:00Z",
        end="2026-02-01T00:00:00Z",
        first_day="2026-01-01",
        last_day="2026-01-31",
        days=[
            DayUsage(
                day=day,
                model=model,
                calls=calls,
                usage=Usage(output_tokens=10 * calls, compute_ms=60_000 * calls),
                charge_usd=usd,
            )
            for day, model, calls, usd in rows
        ],
    )


def test_days_are_added_up_exactly_and_the_least_used_models_are_one():
    rows = [("2026-01-02", f"m{n}", n, f"0.{n:012d}") for n in range(1, 9)]
    shown = daily(days_of(*rows), MEASURES["money"], by_model=True)

    assert ("m8", "m7", "m6", "m5", "m4", "Other models") == shown.names
    assert 31 == len(shown.chart.columns)
    ((day, parts, all_),) = shown.rows
    assert ("2 Jan", "$0.000000000036") == (day, all_)
    assert ("$0.000000000008", "$0.000000000006") == (parts[0], parts[-1])
    assert "1 of 31 days have usage, $0.000000000036 in all" in shown.desc
    told = shown.chart.columns[1].label.splitlines()
    assert ["2 Jan: $0.000000000036", "m8: $0.000000000008"] == told[:2]
    assert "Other models: $0.000000000006" == told[-1]


@pytest.mark.parametrize(
    ("measure", "told"),
    [
        ("money", "$0.50"),
        ("tokens", "20 tokens"),
        ("requests", "2 requests"),
        ("time", "2 min 0 s"),
    ],
)
def test_each_measure_says_what_it_counts(measure, told):
    used = days_of(("2026-01-31", "m", 2, "0.5"))
    shown = daily(used, MEASURES[measure], by_model=False)

    assert [("31 Jan", (told,), told)] == list(shown.rows)
    assert f"31 Jan: {told}" == shown.chart.columns[-1].label


def test_no_usage_is_a_chart_all_the_same():
    shown = daily(days_of(), MEASURES["tokens"], by_model=True)

    assert ((), "No usage.") == (shown.rows, shown.desc)
    assert 31 == len(shown.chart.columns)


# Spend


def period(spent, *, limit="100", early="0"):
    return PeriodShown(
        period="2026-01",
        start="2026-01-01T00:00:00Z",
        end="2026-01-31T00:00:00Z",
        spent_usd=spent,
        early_paid_usd=early,
        limit_usd=limit,
    )


@pytest.mark.parametrize(
    ("shown", "day", "room", "kind", "pace"),
    [
        (period("30"), 10, "70", "", "100"),
        (period("30"), 1, "70", "", None),
        (period("0"), 10, "100", "", None),
        (period("80"), 20, "20", "warn", "126"),
        (period("80", early="50"), 20, "70", "", "126"),
        (period("120"), 20, "0", "bad", "189"),
        (period("5", limit=None), 15, None, "", "11"),
        (period("5", limit="0"), 15, "0", "bad", "11"),
    ],
)
def test_what_is_left_and_what_the_pace_comes_to(shown, day, room, kind, pace):
    now_ns = at("2026-01-01T00:00") + (day - 1) * 86_400 * NS_PER_S
    if pace is not None and day == 10:
        now_ns = at("2026-01-10T00:00")
    spend = spend_of(shown, now_ns)

    assert (room, kind, pace) == (spend.room_usd, spend.kind, spend.pace_usd)
    assert 31 - day == spend.days_left


@pytest.mark.parametrize(
    ("number", "shown"),
    [(0, "0"), (0.4567, "0.457"), (21.04, "21"), (99.96, "100"), (12345.6, "12,346")],
)
def test_what_is_measured_has_no_exponent(number, shown):
    assert shown == figure(number)


def test_times_below_a_minute_have_their_points_in_a_line():
    began = "2026-01-15T00:00:00+00:00"
    for ended, said in (
        ("2026-01-15T00:00:00.010000+00:00", "0.010 s"),
        ("2026-01-15T00:00:19.830000+00:00", "19.830 s"),
        ("2026-01-15T00:03:20+00:00", "3 min 20 s"),
    ):
        assert said == took(began, ended)
