"""How a plan writes money, counts, instants and request limits.

Each class reads one notation when it is constructed, so that the decoder can name the
field that holds a bad one.
"""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from metering.clock import NS_PER_S, NS_PER_US
from metering.errors import ConfigurationError
from metering.money import parse_usd
from metering.quota import RateQuota

__all__ = ["Count", "Dollars", "Instant", "rate_quotas"]

_FACTORS = {"K": 1 << 10, "M": 1 << 20}
_COUNT_MAX = 1_000_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_INSTANT_MAX_NS = 2**63


class Dollars:
    """An amount of at least $0, kept as `pico` pico-dollars.

    Args:
        raw: A TOML string, integer or number with a point (read as a `Decimal`).

    Raises:
        ConfigurationError: It is no such amount.
    """

    __slots__ = ("pico",)

    def __init__(self, raw: str | int | Decimal) -> None:
        # As text, for an error to show it as the plan has it.
        self.pico = parse_usd(str(raw) if isinstance(raw, Decimal) else raw)
        if self.pico < 0:
            raise ConfigurationError(f"{raw} dollars is less than $0.")


class Count:
    """A count of tokens or bytes, kept as `units`: 4096, or "4K", or "8M".

    Args:
        raw: An integer, or a string of digits with K (1,024) or M (1,048,576).

    Raises:
        ConfigurationError: It is not such a count from 1 to 1,000,000,000.
    """

    __slots__ = ("units",)

    def __init__(self, raw: object) -> None:
        self.units = _counted(raw)
        if not 0 < self.units <= _COUNT_MAX:
            raise ConfigurationError("It is out of range.")


def _counted(raw: object) -> int:
    if isinstance(raw, str):
        digits, factor = raw, 1
        if raw[-1:] in _FACTORS:
            digits, factor = raw[:-1], _FACTORS[raw[-1]]
        # Ten digits are above any count allowed, and int() has a limit of its own.
        if (
            digits.isascii()
            and digits.isdigit()
            and len(digits) <= len(str(_COUNT_MAX))
        ):
            return int(digits) * factor
    elif type(raw) is int:
        return raw
    raise ConfigurationError("It is not a count.")


class Instant:
    """An instant, kept as `ns`: nanoseconds since the Unix epoch.

    Args:
        raw: A TOML date-time with its offset, such as 2026-02-12T00:00:00Z.

    Raises:
        ConfigurationError: It has no offset, is no date-time at all, or lies outside
            the years 1970 to 2261.
    """

    __slots__ = ("_text", "ns")

    def __init__(self, raw: object) -> None:
        if not isinstance(raw, datetime):
            raise ConfigurationError("It is not a date-time (write it without quotes).")
        if raw.tzinfo is None:
            raise ConfigurationError(
                "It has no offset, so it would mean another instant on each machine."
            )
        self.ns = (raw - _EPOCH) // timedelta(microseconds=1) * NS_PER_US
        # Stores keep instants in signed 64-bit cells.
        if not 0 <= self.ns < _INSTANT_MAX_NS:
            raise ConfigurationError("It lies outside the years 1970 to 2261.")
        self._text = raw.isoformat().replace("+00:00", "Z")

    def __str__(self) -> str:
        return self._text


def rate_quotas(text: str, burst: int | None = None) -> tuple[RateQuota, ...]:
    """Return the quotas that *text* names, in the notation of `limits`.

    Args:
        text: Units per time, such as "100/minute" or "100 per 2 minutes", or several
            such rates: "10/second; 5000/day". A month is 30 days and a year 360.
        burst: Units that may pass at once, for one rate; None means as many as its own.

    Raises:
        ConfigurationError: It is not a rate, one that admits nothing, or two of the
            same period; or a burst is given for several.
    """
    # It brings clients of all its storages: only whoever reads a plan waits for them.
    from limits import parse_many  # noqa: PLC0415 - see above

    try:
        rates = parse_many(text)
    except ValueError:
        raise ConfigurationError("It is not a rate.") from None
    if burst is not None and len(rates) != 1:
        raise ConfigurationError(f"It names {len(rates)} rates, and burst is for one.")
    spans_s = [rate.get_expiry() for rate in rates]
    if len(set(spans_s)) < len(spans_s):
        raise ConfigurationError("It names two rates of the same period.")
    return tuple(
        RateQuota(rate.amount, span_s * NS_PER_S, burst)
        for rate, span_s in zip(rates, spans_s, strict=True)
    )
