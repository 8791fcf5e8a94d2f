"""How the API writes amounts, instants and names, and what it takes for them."""

from datetime import UTC, datetime
from typing import Annotated

import msgspec

from metering.clock import NS_PER_S, NS_PER_US
from metering.errors import ConfigurationError

__all__ = [
    "END",
    "PAGE_MAX",
    "PRINTABLE",
    "AccountId",
    "Instant",
    "Key",
    "PageSize",
    "PeriodKey",
    "Reference",
    "Usd",
    "UsdAsked",
    "nanoseconds",
]

PAGE_MAX = 200
"""Rows of one answer at most."""

_NS_MAX = 2**63 - 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

END = r"$(?!\n)"
"""Ends a pattern: in Python "$" alone lets one more line feed through."""

PRINTABLE = r"^[^\x00-\x1f\x7f-\x9f]+" + END
"""Text without controls: a database may keep no NUL, and a log shows it as it is."""

Usd = Annotated[
    str,
    msgspec.Meta(
        description="Dollars, exact to 12 decimal places.",
        extra_json_schema={"pattern": r"^-?[0-9]+(\.[0-9]{1,12})?$"},
    ),
]
"""An amount in an answer: a float could not hold it."""

UsdAsked = Annotated[
    str,
    msgspec.Meta(
        description='Dollars as a decimal string, such as "50" or "0.6".',
        pattern=r"^[0-9]{1,7}(\.[0-9]{1,12})?" + END,
    ),
]
"""An amount in a request."""

Instant = Annotated[
    str,
    msgspec.Meta(
        description="RFC 3339, in UTC.", extra_json_schema={"format": "date-time"}
    ),
]

AccountId = Annotated[
    str, msgspec.Meta(min_length=1, max_length=200, pattern=PRINTABLE)
]
Reference = Annotated[
    str, msgspec.Meta(min_length=1, max_length=200, pattern=PRINTABLE)
]
Key = Annotated[
    str,
    msgspec.Meta(
        description="The id of a key, never its secret.",
        pattern="^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}" + END,
    ),
]
PeriodKey = Annotated[
    str,
    msgspec.Meta(
        description='A billing month: "2026-01", or "2026-01-31" where it begins on'
        " another day than the first.",
        pattern=r"^[0-9]{4}-[0-9]{2}(-[0-9]{2})?" + END,
    ),
]
PageSize = Annotated[int, msgspec.Meta(description="Rows at most.", ge=1, le=PAGE_MAX)]


def nanoseconds(at: datetime) -> int:
    """Return an instant in nanoseconds since the epoch.

    Raises:
        ConfigurationError: It is before 1970 or after 2262.
    """
    since = at - _EPOCH
    seconds = since.days * 86_400 + since.seconds
    instant_ns = seconds * NS_PER_S + since.microseconds * NS_PER_US
    if not 0 <= instant_ns <= _NS_MAX:
        raise ConfigurationError(
            f"{at.isoformat()} is no instant that can be kept. Give one from 1970 to"
            " 2262."
        )
    return instant_ns
