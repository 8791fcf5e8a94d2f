"""Billing periods: which one an instant is in, and what was spent in it.

A period is a month that begins at an account's own midnight, on the day of the month
that is its anchor; a month that is too short begins it on its last day. Each period is
computed from the anchor alone, never from the one before, so they tile: half-open,
without gap or overlap, also over the days on which clocks change.
"""

import re
from calendar import monthrange
from datetime import UTC, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

import msgspec

from metering.accounts import Account
from metering.clock import NS_PER_S
from metering.errors import ConfigurationError

__all__ = [
    "Period",
    "PeriodState",
    "checked_anchor_day",
    "checked_period_key",
    "checked_time_zone",
    "day_at",
    "period_at",
    "period_named",
    "period_of",
]

_KEY = re.compile("([0-9]{4})-(0[1-9]|1[0-2])(?:-(0[1-9]|[12][0-9]|3[01]))?")
_S_PER_DAY = 24 * 3600
_DAYS_MAX = 31

# Instants begin with 1970, which west of Greenwich begins in 1969; in 2262 they end.
_YEAR_MIN, _YEAR_MAX = 1969, 2261


class Period(msgspec.Struct, frozen=True, gc=False):
    """A billing month, half-open: `[start_ns, end_ns)`.

    Its key is the month it begins in, "2026-01", or that day where the anchor is not
    the first: "2026-01-31".
    """

    key: str
    start_ns: int
    end_ns: int


def period_at(instant_ns: int, time_zone: str = "UTC", anchor_day: int = 1) -> Period:
    """Return the period that contains *instant_ns*.

    Args:
        instant_ns: Nanoseconds since the epoch.
        time_zone: IANA name of the zone whose midnights count.
        anchor_day: Day of the month, 1 to 31, on which periods begin.
    """
    if anchor_day == 1 and time_zone == "UTC":
        return _month_of_day(instant_ns // NS_PER_S // _S_PER_DAY)
    local = datetime.fromtimestamp(instant_ns // NS_PER_S, ZoneInfo(time_zone))
    period = _period(local.year, local.month, time_zone, anchor_day)
    if instant_ns < period.start_ns:
        year, month = _month_before(local.year, local.month)
        period = _period(year, month, time_zone, anchor_day)
    return period


def period_of(account: Account, instant_ns: int) -> Period:
    """Return the account's period that contains *instant_ns*."""
    return period_at(instant_ns, account.time_zone, account.anchor_day)


def day_at(instant_ns: int, time_zone: str = "UTC") -> str:
    """Return the date of *instant_ns* in that zone, such as "2026-01-31".

    Args:
        instant_ns: Nanoseconds since the epoch.
        time_zone: IANA name of the zone whose midnights count.
    """
    at_s = instant_ns // NS_PER_S
    if time_zone == "UTC":
        return _date_of_day(at_s // _S_PER_DAY)
    return datetime.fromtimestamp(at_s, ZoneInfo(time_zone)).date().isoformat()


def period_named(key: str, time_zone: str = "UTC", anchor_day: int = 1) -> Period:
    """Return the period of that key.

    Raises:
        ConfigurationError: It is written otherwise, or no period begins then.
    """
    checked_period_key(key)
    year, month = int(key[:4]), int(key[5:7])
    if not _YEAR_MIN <= year <= _YEAR_MAX:
        raise ConfigurationError(
            f"Period {key!r} is too far away. Name a month of the years 1970 to 2261."
        )
    period = _period(year, month, time_zone, anchor_day)
    if period.key != key:
        raise ConfigurationError(
            f"No period of the account is {key!r}: they begin on day {anchor_day} of a"
            f" month, at midnight in {time_zone}. That month's is {period.key!r}."
        )
    return period


@lru_cache(maxsize=64)
def _date_of_day(day: int) -> str:
    return datetime.fromtimestamp(day * _S_PER_DAY, UTC).date().isoformat()


@lru_cache(maxsize=64)
def _month_of_day(day: int) -> Period:
    # Nearly each call asks for it, and a month in UTC begins where a day does.
    at = datetime.fromtimestamp(day * _S_PER_DAY, UTC)
    return _period(at.year, at.month, "UTC", 1)


@lru_cache(maxsize=4096)
def _period(year: int, month: int, time_zone: str, anchor_day: int) -> Period:
    """Return the period that begins in that month."""
    start, key = _begin(year, month, time_zone, anchor_day)
    end, _ = _begin(*_month_after(year, month), time_zone, anchor_day)
    return Period(key if anchor_day > 1 else key[:7], start, end)


def _begin(year: int, month: int, time_zone: str, anchor_day: int) -> tuple[int, str]:
    day = min(anchor_day, monthrange(year, month)[1])
    # A midnight that clocks skip becomes the instant at which they skip it.
    midnight = datetime(year, month, day, tzinfo=ZoneInfo(time_zone))
    return int(midnight.timestamp()) * NS_PER_S, f"{year:04d}-{month:02d}-{day:02d}"


def _month_after(year: int, month: int) -> tuple[int, int]:
    return year + month // 12, month % 12 + 1


def _month_before(year: int, month: int) -> tuple[int, int]:
    return (year, month - 1) if month > 1 else (year - 1, 12)


def checked_period_key(key: object) -> str:
    """Return *key* if it is written as periods are named.

    Raises:
        ConfigurationError: It is not written like "2026-01" or "2026-01-31".
    """
    if not isinstance(key, str) or not _KEY.fullmatch(key):
        raise ConfigurationError(
            f'Period {key!r} is not a month. Write it like "2026-01", or like'
            ' "2026-01-31" where periods begin on another day than the first.'
        )
    return key


def checked_time_zone(name: object) -> str:
    """Return *name* if it is a time zone.

    Raises:
        ConfigurationError: There is no zone of that name.
    """
    try:
        if isinstance(name, str) and name:
            ZoneInfo(name)
            return name
    except (KeyError, ValueError, OSError):
        pass
    raise ConfigurationError(
        f"There is no time zone {name!r}. Write an IANA name, such as"
        ' "America/New_York" or "UTC".'
    )


def checked_anchor_day(day: object) -> int:
    """Return *day* if periods may begin on it.

    Raises:
        ConfigurationError: It is not an int from 1 to 31.
    """
    if type(day) is int and 1 <= day <= _DAYS_MAX:
        return day
    raise ConfigurationError(
        f"Periods cannot begin on day {day!r}. Give an int from 1 to {_DAYS_MAX}; a"
        " month that is too short begins one on its last day."
    )


class PeriodState(msgspec.Struct, frozen=True, gc=False):
    """What an account spent in a period, and what of it was paid before its end.

    `epoch` grows with each early payment, so that alerts can fire again.
    """

    spent_p: int = 0
    early_paid_p: int = 0
    epoch: int = 0
