"""Billing periods: tiled, half-open, at the account's own midnight."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering.clock import NS_PER_S
from metering.errors import ConfigurationError
from metering.ledger import (
    checked_anchor_day,
    checked_period_key,
    checked_time_zone,
    period_at,
    period_named,
)

HOUR_NS = 3600 * NS_PER_S
# Zones whose clocks change at midnight, by half an hour, or have skipped a whole day.
ZONES = (
    "UTC",
    "Asia/Seoul",
    "America/New_York",
    "America/Sao_Paulo",
    "America/Havana",
    "Asia/Beirut",
    "Africa/Cairo",
    "Australia/Lord_Howe",
    "Pacific/Apia",
)
zones = st.sampled_from(ZONES)
anchors = st.integers(1, 31)
instants = st.integers(
    int(datetime(2000, 1, 1, tzinfo=UTC).timestamp()) * NS_PER_S,
    int(datetime(2037, 1, 1, tzinfo=UTC).timestamp()) * NS_PER_S,
)


def at(text):
    """Return the instant of an ISO date-time in UTC, exact to the millisecond."""
    moment = datetime.fromisoformat(text).replace(tzinfo=UTC)
    return int(moment.timestamp() * 1000) * 1_000_000


@given(instants, zones, anchors)
def test_each_instant_is_in_exactly_one_period(instant, zone, anchor):
    """Half-open and tiled: the next begins where this one ends, and so back."""
    period = period_at(instant, zone, anchor)

    assert period.start_ns <= instant < period.end_ns
    assert period == period_at(period.start_ns, zone, anchor)
    assert period == period_at(period.end_ns - 1, zone, anchor)
    assert period.end_ns == period_at(period.end_ns, zone, anchor).start_ns
    assert period.start_ns == period_at(period.start_ns - 1, zone, anchor).end_ns


@given(instants, zones, anchors)
def test_a_period_begins_on_its_anchor_at_the_accounts_midnight(instant, zone, anchor):
    """Or on the last day of a month that is too short for it."""
    period = period_at(instant, zone, anchor)
    begin = datetime.fromtimestamp(period.start_ns // NS_PER_S, ZoneInfo(zone))
    next_day = datetime.fromtimestamp(
        period.start_ns // NS_PER_S + 36 * 3600, ZoneInfo(zone)
    )

    assert (
        begin.day == anchor
        or (begin.day < anchor and next_day.day == 1)
        or (
            # Samoa had no 30 December 2011.
            zone == "Pacific/Apia" and begin.year == 2011
        )
    )
    assert (begin - begin.replace(hour=0, minute=0, second=0)).total_seconds() <= 3600


@given(instants, zones, anchors)
def test_a_period_is_found_again_by_its_key(instant, zone, anchor):
    """Keys are unique to an account, so the key is enough."""
    period = period_at(instant, zone, anchor)

    assert period == period_named(period.key, zone, anchor)
    assert period.key == checked_period_key(period.key)


def test_scenario_14_seouls_january_ends_at_three_in_the_afternoon_utc():
    """The account's own midnight counts."""
    assert "2026-01" == period_at(at("2026-01-31T14:59:59.999"), "Asia/Seoul").key
    assert "2026-02" == period_at(at("2026-01-31T15:00:00.000"), "Asia/Seoul").key


def test_scenario_15_months_in_which_clocks_change_are_longer_and_shorter():
    """March 2026 has 743 hours in New York, November 721."""
    march = period_named("2026-03", "America/New_York")
    november = period_named("2026-11", "America/New_York")

    assert (743 * HOUR_NS, 721 * HOUR_NS) == (
        march.end_ns - march.start_ns,
        november.end_ns - november.start_ns,
    )


def test_scenario_16_an_anchor_of_31_takes_the_last_day_of_short_months():
    """Jan 31 to Feb 28, Feb 28 to Mar 31, Mar 31 to Apr 30."""
    keys, instant = [], at("2026-02-10T00:00:00")
    for _ in range(4):
        period = period_at(instant, "UTC", 31)
        keys.append(period.key)
        instant = period.end_ns

    assert ["2026-01-31", "2026-02-28", "2026-03-31", "2026-04-30"] == keys


@pytest.mark.parametrize("key", ["2026-1", "2026-13", "2026-00", "26-01", "2026-01-32"])
def test_what_names_no_month_is_refused(key):
    """It says how months are written."""
    with pytest.raises(ConfigurationError, match=r'not a month.*"2026-01"'):
        checked_period_key(key)


def test_a_period_of_another_calendar_is_refused():
    """The account's own name for that month is told."""
    with pytest.raises(ConfigurationError, match=r"day 15 .* Asia/Seoul.*'2026-01-15'"):
        period_named("2026-01", "Asia/Seoul", 15)


@pytest.mark.parametrize("key", ["0000-01", "0001-01", "1900-01", "2300-01", "9999-12"])
@pytest.mark.parametrize("zone", ["UTC", "Asia/Seoul", "America/New_York"])
def test_a_month_that_no_instant_is_in_is_refused(key, zone):
    """Instants are 64-bit nanoseconds since 1970; years before 1 are in no calendar."""
    with pytest.raises(ConfigurationError, match=f"'{key}'.*1970 to 2261"):
        period_named(key, zone)


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("key", ["1970-01", "2261-12"])
def test_the_first_and_the_last_month_are_there(key, zone):
    assert key == period_named(key, zone).key


@pytest.mark.parametrize("zone", ["Mars/Base", "", None, "../etc/passwd", "/etc"])
def test_a_zone_that_does_not_exist_is_refused(zone):
    """With what a zone's name looks like."""
    with pytest.raises(ConfigurationError, match="America/New_York"):
        checked_time_zone(zone)


@pytest.mark.parametrize("day", [0, 32, -1, True, "1", 1.0])
def test_a_day_that_no_month_has_is_refused(day):
    """From 1 to 31."""
    with pytest.raises(ConfigurationError, match="1 to 31"):
        checked_anchor_day(day)
