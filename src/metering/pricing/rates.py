"""What a price is a price of: leaves of usage, and exact fractions of a dollar."""

from collections.abc import Iterable, Mapping
from math import gcd
from typing import Literal

import msgspec

from metering.errors import ConfigurationError

__all__ = [
    "LEAVES_BESIDE",
    "LEAVES_NEEDED",
    "TIMES",
    "TOKENS",
    "Leaf",
    "PriceKind",
    "Rate",
    "Step",
    "checked_steps",
    "completed",
    "normal",
]

Leaf = Literal[
    "input_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "output_tokens",
    "reasoning_tokens",
    "compute_ms",
    "audio_ms",
    "images",
    "requests",
]

_PARENT: dict[Leaf, Leaf] = {
    "cache_read_tokens": "input_tokens",
    "cache_write_tokens": "input_tokens",
    "reasoning_tokens": "output_tokens",
}
TOKENS: frozenset[Leaf] = frozenset({*_PARENT.keys(), *_PARENT.values()})
"""Leaves that a step can price anew."""

TIMES: frozenset[Leaf] = frozenset({"compute_ms", "audio_ms"})
"""Leaves that a minimum can be billed of."""

PriceKind = Literal["token", "time", "audio", "image", "request", "free"]
"""What is counted: tokens, compute time, audio time, images, calls, or nothing."""

LEAVES_NEEDED: dict[PriceKind, frozenset[Leaf]] = {
    "token": frozenset({"input_tokens", "output_tokens"}),
    "time": frozenset({"compute_ms"}),
    "audio": frozenset({"audio_ms"}),
    "image": frozenset({"images"}),
    "request": frozenset({"requests"}),
    "free": frozenset(),
}
"""Without which a price is none of its kind."""

LEAVES_BESIDE: dict[PriceKind, frozenset[Leaf]] = {
    "token": frozenset({*_PARENT, "audio_ms", "requests"}),
    "time": frozenset({"requests"}),
    "audio": frozenset({"requests"}),
    "image": frozenset({"requests"}),
    "request": frozenset(),
    "free": frozenset(),
}
"""What a price of a kind may have beside what it needs."""


class Rate(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """*num_p* pico-dollars for *per* units; the fraction is kept exact.

    Attributes:
        num_p: Pico-dollars, at least 0.
        per: Units, at least 1.
        units_min: A call that used less than that, and any at all, pays for that much.
    """

    num_p: int
    per: int = 1
    units_min: int = 0

    def reduced(self) -> "Rate":
        """Return the same rate in lowest terms.

        Raises:
            ConfigurationError: It is negative, per nothing, or for a negative minimum.
        """
        if self.num_p < 0 or self.per <= 0 or self.units_min < 0:
            least = f", for {self.units_min} at least" if self.units_min else ""
            raise ConfigurationError(
                f"A price of {self.num_p} p$ per {self.per} units{least} cannot be:"
                " prices and minimums are at least 0, per at least 1 unit."
            )
        common = gcd(self.num_p, self.per)
        return Rate(self.num_p // common, self.per // common, self.units_min)


class Step(msgspec.Struct, frozen=True):
    """Other prices for all tokens of a call whose input is above a size.

    Attributes:
        above_input_tokens: The step is for calls that read more tokens than that,
            those of the cache among them.
        rates: Price by leaf; a leaf without one keeps the price below the step.
    """

    above_input_tokens: int
    rates: Mapping[Leaf, Rate]


def normal(rates: Mapping[Leaf, Rate]) -> dict[Leaf, Rate]:
    """Return rates in their order, each in lowest terms.

    Raises:
        ConfigurationError: One cannot be, or has a minimum of what is not a time.
    """
    for leaf, rate in rates.items():
        if rate.units_min and leaf not in TIMES:
            raise ConfigurationError(
                f"A minimum of {rate.units_min} {leaf} cannot be billed: only"
                f" {' and '.join(sorted(TIMES))} have one."
            )
    return {leaf: rates[leaf].reduced() for leaf in sorted(rates)}


def completed(rates: Mapping[Leaf, Rate]) -> dict[Leaf, Rate]:
    """Return rates with those of the leaves that take their parent's."""
    full = dict(rates)
    for leaf, parent in _PARENT.items():
        if leaf not in full and parent in full:
            full[leaf] = full[parent]
    return full


def checked_steps(steps: Iterable[Step]) -> tuple[Step, ...]:
    """Return steps with their rates in lowest terms.

    Raises:
        ConfigurationError: They do not rise, or price nothing or more than tokens.
    """
    checked: list[Step] = []
    below = 0
    for step in steps:
        if step.above_input_tokens <= below:
            raise ConfigurationError(
                f"A step above {step.above_input_tokens:,} input tokens follows one"
                f" above {below:,}. Let steps rise, from 1 token on."
            )
        if not step.rates or not TOKENS.issuperset(step.rates):
            raise ConfigurationError(
                f"The step above {step.above_input_tokens:,} input tokens has rates for"
                f" {', '.join(step.rates) or 'nothing'}; it takes some of"
                f" {', '.join(sorted(TOKENS))}."
            )
        below = step.above_input_tokens
        checked.append(Step(below, normal(step.rates)))
    return tuple(checked)
