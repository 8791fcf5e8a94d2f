"""How pages write amounts, counts, lengths and instants: exactly, and to be read."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from metering.console.problems import ProblemError
from metering.money import parse_usd

__all__ = [
    "Dollars",
    "When",
    "count",
    "dollars",
    "duration",
    "figure",
    "places_of",
    "plural",
    "share",
    "short_count",
    "short_usd",
    "took",
    "when",
]

CENTS = 2


class Dollars(NamedTuple):
    """An amount in two parts, that cents stand out and nothing is left out.

    Attributes:
        cents: Such as "$1,234.50".
        finer: The digits after the cents, such as "0071".
    """

    cents: str
    finer: str


def dollars(usd: str, places: int = CENTS) -> Dollars:
    """Return an amount with all its digits.

    Args:
        usd: A decimal string, as the API writes it.
        places: Decimal places to be filled up to, so that a column lines up.
    """
    sign, digits = ("\u2212", usd[1:]) if usd.startswith("-") else ("", usd)
    whole, _, fraction = digits.partition(".")
    fraction = fraction.ljust(max(CENTS, places), "0")
    if whole == "0" and fraction.startswith("00") and fraction.strip("0"):
        # Less than a cent is all in what would be set back.
        return Dollars(f"{sign}$0.{fraction}", "")
    return Dollars(f"{sign}${int(whole):,}.{fraction[:CENTS]}", fraction[CENTS:])


def places_of(amounts: Iterable[str]) -> int:
    """Return how many decimal places the finest of some amounts has."""
    return max((len(usd.partition(".")[2]) for usd in amounts), default=CENTS)


def short_usd(usd: str) -> str:
    """Return an amount for where there is no room: whole or in cents, "$50"."""
    cents, finer = dollars(usd)
    return f"{cents}{finer}".removesuffix(".00")


def count(number: int) -> str:
    """Return a whole number with its thousands apart."""
    return f"{number:,}"


def short_count(number: float) -> str:
    """Return a number for an axis: 950, 1.5K, 20M, 3B."""
    for size, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K")):
        if abs(number) >= size:
            return f"{number / size:.3g}{letter}"
    return f"{number:.3g}"


def figure(number: float) -> str:
    """Return a number that is measured, with three digits or all whole ones: "0.45"."""
    return f"{number:.3g}" if number < 100 else f"{number:,.0f}"  # noqa: PLR2004 - three digits


def plural(number: int, one: str, many: str = "") -> str:
    """Return how many there are of something: "1 call", "2 calls"."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def duration(milliseconds: int) -> str:
    """Return a length of time: "0.412 s", "3 min 20 s", "12 h 5 min"."""
    seconds = milliseconds / 1000
    if seconds < 60:  # noqa: PLR2004 - seconds in a minute
        return f"{seconds:,.3f}".rstrip("0").rstrip(".") + " s"
    minutes, rest = divmod(milliseconds // 1000, 60)
    if minutes < 60:  # noqa: PLR2004 - minutes in an hour
        return f"{minutes} min {rest} s"
    return f"{minutes // 60:,} h {minutes % 60} min"


def took(began: str, ended: str) -> str:
    """Return how long something took, given two instants as the API writes them.

    Below a minute it has three decimals, whatever they are: points stand in a line.
    """
    start, end = (datetime.fromisoformat(instant) for instant in (began, ended))
    milliseconds = max(0, (end - start) // timedelta(milliseconds=1))
    if milliseconds < 60_000:  # noqa: PLR2004 - milliseconds in a minute
        return f"{milliseconds / 1000:.3f} s"
    return duration(milliseconds)


def share(part: str, whole: str) -> float:
    """Return which part of an amount another is, 0 to 1, for a bar."""
    whole_p = parse_usd(whole)
    if whole_p <= 0:
        return 1.0 if parse_usd(part) > 0 else 0.0
    return min(1.0, max(0.0, parse_usd(part) / whole_p))


class When(NamedTuple):
    """An instant as people read it, and as programs do.

    Attributes:
        day: Such as "23 Nov 2026".
        time: Such as "18:42:07".
        iso: RFC 3339.
        zone: Such as "CET".
    """

    day: str
    time: str
    iso: str
    zone: str


def when(instant: str, zone: str) -> When:
    """Return an instant in a time zone.

    Args:
        instant: As the API writes it.
        zone: IANA name.

    Raises:
        ProblemError: No calendar has that instant.
    """
    try:
        at = datetime.fromisoformat(instant).astimezone(ZoneInfo(zone))
    except (ValueError, OverflowError):
        raise ProblemError("invalid_request", f"{instant} is in no calendar.") from None
    return When(f"{at.day} {at:%b %Y}", f"{at:%H:%M:%S}", instant, at.tzname() or zone)
