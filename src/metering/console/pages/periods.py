"""Periods to choose from, as pages name them."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple
from zoneinfo import ZoneInfo

from metering.accounts import Account
from metering.clock import NS_PER_S
from metering.ledger import Period, period_named, period_of

__all__ = ["Choice", "choices", "chosen", "period_name"]

PERIODS_MAX = 24
"""Periods to choose from, the latest first."""


class Choice(NamedTuple):
    """A period to choose.

    Attributes:
        key: As links say it.
        name: As people read it.
    """

    key: str
    name: str


def choices(account: Account, now_ns: int) -> Sequence[Choice]:
    """Return the periods of an account, the present one first, at most 24."""
    found: list[Choice] = []
    period = period_of(account, now_ns)
    while len(found) < PERIODS_MAX:
        found.append(Choice(period.key, period_name(period, account.time_zone)))
        if period.start_ns <= account.created_ns or period.start_ns <= 0:
            break
        period = period_of(account, period.start_ns - 1)
    return found


def chosen(account: Account, key: str | None, now_ns: int) -> Choice:
    """Return the period that was chosen; None: the present one.

    Raises:
        ConfigurationError: The account has no such period.
    """
    if key is None:
        period = period_of(account, now_ns)
    else:
        period = period_named(key, account.time_zone, account.anchor_day)
    return Choice(period.key, period_name(period, account.time_zone))


def period_name(period: Period, time_zone: str) -> str:
    """Return a period's name: "November 2026", or "15 Nov to 14 Dec 2026"."""
    zone = ZoneInfo(time_zone)
    first, last = (
        datetime.fromtimestamp(instant_ns // NS_PER_S, UTC).astimezone(zone)
        for instant_ns in (period.start_ns, period.end_ns - 1)
    )
    if first.day == 1 and first.month == last.month:
        return f"{first:%B %Y}"
    return f"{first.day} {first:%b} to {last.day} {last:%b %Y}"
