"""Billing periods: which one an instant is in, and what was spent in it."""

import re
from datetime import UTC, datetime
from functools import lru_cache

import msgspec

from metering.clock import NS_PER_S
from metering.errors import ConfigurationError

__all__ = ["Period", "PeriodState", "checked_period_key", "period_at"]

_PERIOD = re.compile("[0-9]{4}-(?:0[1-9]|1[0-2])")
_S_PER_DAY = 24 * 3600


class Period(msgspec.Struct, frozen=True, gc=False):
    """A billing month, half-open: `[start_ns, end_ns)` in UTC."""

    key: str
    start_ns: int
    end_ns: int


def period_at(instant_ns: int) -> Period:
    """Return the calendar month (UTC) that contains *instant_ns*."""
    return _period_of_day(instant_ns // NS_PER_S // _S_PER_DAY)


@lru_cache(maxsize=64)
def _period_of_day(day: int) -> Period:
    # Each call asks for it, and a month begins where a day does.
    at = datetime.fromtimestamp(day * _S_PER_DAY, UTC)
    start = datetime(at.year, at.month, 1, tzinfo=UTC)
    following = datetime(at.year + at.month // 12, at.month % 12 + 1, 1, tzinfo=UTC)
    return Period(
        f"{at.year:04d}-{at.month:02d}",
        int(start.timestamp()) * NS_PER_S,
        int(following.timestamp()) * NS_PER_S,
    )


def checked_period_key(key: object) -> str:
    """Return *key* if it names a period.

    Raises:
        ConfigurationError: It is not written like "2026-01".
    """
    if not isinstance(key, str) or not _PERIOD.fullmatch(key):
        raise ConfigurationError(
            f'Period {key!r} is not a month. Write it like "2026-01".'
        )
    return key


class PeriodState(msgspec.Struct, frozen=True, gc=False):
    """What an account spent in a period, and what of it was paid before its end.

    `epoch` grows with each early payment, so that alerts can fire again.
    """

    spent_p: int = 0
    early_paid_p: int = 0
    epoch: int = 0
