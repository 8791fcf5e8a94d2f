"""Money as whole pico-dollars (p$, 1e-12 USD), because a float cannot be trusted.

A token at $0.1 per million costs 100,000 p$, a millisecond at $0.004 per second
4,000,000 p$: sums of usual prices are exact and need no rounding at all.
"""

from decimal import Decimal, InvalidOperation

from metering.errors import ConfigurationError

__all__ = ["AMOUNT_MAX_P", "PICO", "checked", "format_usd", "parse_usd"]

PICO = 10**12
"""Pico-dollars in one dollar."""

AMOUNT_MAX_P = 9_000_000 * PICO
"""The largest amount any cell may hold.

It is $223,372 below the end of a signed 64-bit cell: one more charge can be added
before the sum is found to be too much.
"""

_PLACES = 12


def parse_usd(amount: str | int | Decimal) -> int:
    """Return *amount* in pico-dollars, exactly.

    Args:
        amount: Dollars as a decimal string ("0.6"), an int or a Decimal; at most
            12 decimal places and at most $9,000,000 either way.

    Raises:
        ConfigurationError: It is a float, not a number, finer than a pico-dollar or
            out of range.
    """
    if isinstance(amount, bool) or not isinstance(amount, str | int | Decimal):
        raise ConfigurationError(
            f"{amount!r} is a {type(amount).__name__}, which cannot hold money exactly."
            ' Write the amount as a string, such as "0.6".'
        )
    # A Decimal reads "1_0", and the digits of any script.
    if isinstance(amount, str) and ("_" in amount or not amount.isascii()):
        raise _unreadable(amount)
    try:
        dollars = Decimal(amount)
    except InvalidOperation:
        raise _unreadable(amount) from None
    if not dollars.is_finite():
        raise ConfigurationError(f"{amount!r} is not a finite amount of dollars.")
    return checked(_pico(dollars, amount))


def _unreadable(amount: object) -> ConfigurationError:
    return ConfigurationError(
        f'{amount!r} is not an amount of dollars. Write it like "0.6" or "50".'
    )


def _pico(dollars: Decimal, shown: object) -> int:
    # Integers only: a Decimal operation would round to the caller's ambient context.
    sign, digits, exponent = dollars.as_tuple()
    assert isinstance(exponent, int)  # noqa: S101 - finite, so never 'n', 'N' or 'F'
    if len(digits) + exponent > _PLACES:
        raise ConfigurationError(f"{shown!r} dollars is above the limit of $9,000,000.")
    mantissa: int = int("".join(map(str, digits)))
    shift = exponent + _PLACES
    if shift < 0:
        mantissa, rest = divmod(mantissa, int(10 ** min(-shift, len(digits) + 1)))
        if rest:
            raise ConfigurationError(
                f"{shown!r} dollars is finer than a pico-dollar (12 decimal places)."
            )
    else:
        mantissa *= int(10**shift)
    return -mantissa if sign else mantissa


def checked(amount_p: int) -> int:
    """Return *amount_p* if a store may keep it.

    Raises:
        ConfigurationError: It is above $9,000,000 either way; a signed 64-bit cell
            must never overflow, least of all into a float.
    """
    if not -AMOUNT_MAX_P <= amount_p <= AMOUNT_MAX_P:
        raise ConfigurationError(
            f"${format_usd(amount_p)} is above the limit of $9,000,000 for one amount."
        )
    return amount_p


def format_usd(amount_p: int) -> str:
    """Return pico-dollars as an exact decimal string, without needless zeros."""
    dollars, rest = divmod(abs(amount_p), PICO)
    fraction = f"{rest:012d}".rstrip("0")
    sign = "-" if amount_p < 0 else ""
    return f"{sign}{dollars}.{fraction}" if fraction else f"{sign}{dollars}"
