"""Counts as servers write them, read leniently; what cannot be a count is none."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

import msgspec

from metering.errors import UsageError

__all__ = [
    "COUNT_MAX",
    "NOT_AN_OBJECT",
    "NULL",
    "TEXT_BYTES_PER_TOKEN",
    "UNREADABLE",
    "count_of",
    "members_of",
    "value_of",
]

NULL: Final = msgspec.Raw(b"null")

UNREADABLE: Final = (
    msgspec.MsgspecError,
    UnicodeDecodeError,
    RecursionError,
    ArithmeticError,  # an exponent that no Decimal can hold
)
"""All that decoding a stranger's JSON may raise."""

TEXT_BYTES_PER_TOKEN: Final = 4
"""A usual figure for English text, good for an estimate only."""

NOT_AN_OBJECT: Final = "usage is not an object"
"""Why a usage is set aside that is there and has no members."""

COUNT_MAX: Final = 2**53
"""The highest count or time that is believed."""

_DIGITS_MAX = 16  # of 2**53

# Floats become Decimals: none is ever rounded on its way to a charge.
_values = msgspec.json.Decoder(float_hook=Decimal)


def value_of(raw: msgspec.Raw) -> Any:
    """Return what *raw* says; an empty tuple, like no JSON, where it cannot be read."""
    if raw == NULL:
        return None
    try:
        return _values.decode(raw)
    except UNREADABLE:
        return ()


def members_of(figures: Mapping[str, object], name: str) -> Mapping[str, object]:
    """Return the object that is the member *name*; an empty one if it is none."""
    members = figures.get(name)
    return members if isinstance(members, dict) else {}


def count_of(figures: Mapping[str, object], name: str) -> int | None:
    """Return the count that is the member *name*; None if it is absent or null.

    Raises:
        UsageError: It is there and no count from 0 to 2**53. The value is left out: it
            is the app's text, and the message goes to a log.
    """
    count = figures.get(name)
    if count is None:
        return None
    if isinstance(count, str) and count.isascii() and count.isdigit():
        count = int(count) if len(count) <= _DIGITS_MAX else -1
    if isinstance(count, Decimal) and 0 <= count <= COUNT_MAX and count == int(count):
        count = int(count)
    if type(count) is not int or not 0 <= count <= COUNT_MAX:
        raise UsageError(f"{name} is no whole number from 0 to 2**53")
    return count
