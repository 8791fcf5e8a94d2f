"""One immutable set of prices, what a usage costs under it, and what it may cost."""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from math import lcm
from typing import NamedTuple

from metering.errors import ConfigurationError
from metering.pricing.rates import (
    LEAVES_BESIDE,
    LEAVES_NEEDED,
    TOKENS,
    Leaf,
    PriceKind,
    Rate,
    Step,
    checked_steps,
    completed,
    normal,
)
from metering.usage import Usage

__all__ = ["PriceVersion", "version_at"]


class _Band(NamedTuple):
    """Token prices of calls whose input is above one size and at most another.

    Attributes:
        above: Most input tokens that are still too few; -1 for none.
        up_to: Most input tokens; None where no step follows.
        leaves: Price of one token by leaf, times the version's scale.
        read: The dearest price of one token of input, times the scale.
        written: The dearest price of one token of output, times the scale.
    """

    above: int
    up_to: int | None
    leaves: tuple[tuple[Leaf, int], ...]
    read: int
    written: int

    def reads(self, input_tokens: int) -> int:
        """Return the most that so many tokens of input, or fewer, cost here."""
        if self.up_to is not None and input_tokens > self.up_to:
            input_tokens = self.up_to
        return input_tokens * self.read


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceVersion:
    """One immutable set of prices of one model, in force over `[from, to)`.

    Attributes:
        model: The model's name.
        kind: What is counted above all; some have a fee for each call beside it.
        valid_from_ns: First instant in force.
        valid_to_ns: First instant no longer in force; None while open.
        rates: Price by leaf; a leaf without one takes its parent's.
        steps: Other token prices for calls with much input, by rising input.
        id: Hash of model, kind, rates and steps, stamped on every event. It leaves out
            the dates: closing a version does not make it another one.
    """

    model: str
    kind: PriceKind
    valid_from_ns: int = 0
    valid_to_ns: int | None = None
    rates: Mapping[Leaf, Rate] = field(default_factory=dict)
    steps: tuple[Step, ...] = ()
    id: str = field(init=False)
    # Each call asks for its worst case and its charge, and most prices have no steps:
    # the first band is laid out beside the others. All prices are times the scale.
    _leaves: tuple[tuple[Leaf, int], ...] = field(init=False, repr=False, compare=False)
    _dearest: tuple[int, int] = field(init=False, repr=False, compare=False)
    _bands: tuple[_Band, ...] = field(init=False, repr=False, compare=False)
    _others: tuple[tuple[Leaf, int, int], ...] = field(
        init=False, repr=False, compare=False
    )
    _scale: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        rates, steps = normal(self.rates), checked_steps(self.steps)
        self._check(rates, steps)
        priced = [rates]
        for step in steps:
            priced.append({**priced[-1], **step.rates})
        scale = lcm(*(rate.per for band in priced for rate in band.values()))
        sizes = [step.above_input_tokens for step in steps]
        bands = tuple(
            _band(above, up_to, band, scale)
            for above, up_to, band in zip(
                [-1, *sizes], [*sizes, None], priced, strict=True
            )
        )
        others = tuple(
            (leaf, rate.num_p * (scale // rate.per), rate.units_min)
            for leaf, rate in rates.items()
            if leaf not in TOKENS
        )
        object.__setattr__(self, "rates", rates)
        object.__setattr__(self, "steps", steps)
        object.__setattr__(self, "id", _id(self.model, self.kind, rates, steps))
        object.__setattr__(self, "_leaves", bands[0].leaves)
        object.__setattr__(self, "_dearest", (bands[0].read, bands[0].written))
        object.__setattr__(self, "_bands", bands)
        object.__setattr__(self, "_others", others)
        object.__setattr__(self, "_scale", scale)

    def _check(self, rates: Mapping[Leaf, Rate], steps: Sequence[Step]) -> None:
        if self.valid_to_ns is not None and self.valid_to_ns <= self.valid_from_ns:
            raise ConfigurationError(
                f"A price of {self.model!r} ends at or before its start; end it later."
            )
        needed, beside = LEAVES_NEEDED[self.kind], LEAVES_BESIDE[self.kind]
        if not needed <= rates.keys() <= needed | beside:
            wanted = ", ".join(sorted(needed)) or "no rates at all"
            may = f", and may take {', '.join(sorted(beside))}" if beside else ""
            raise ConfigurationError(
                f"A {self.kind} price of {self.model!r} has rates for"
                f" {', '.join(rates) or 'nothing'}; it takes {wanted}{may}."
            )
        if steps and self.kind != "token":
            raise ConfigurationError(
                f"A {self.kind} price of {self.model!r} has steps by input; only token"
                " prices have them."
            )

    def charge_p(self, usage: Usage) -> int:
        """Return what *usage* costs, in pico-dollars.

        Usual prices are whole pico-dollars per unit and sum exactly; a rational one
        is rounded half up, once for the whole usage.
        """
        leaves = self._leaves
        if self.steps:
            leaves = _leaves_of(self._bands, usage.input_total)
        total = 0
        for leaf, num_p in leaves:
            units = getattr(usage, leaf)
            if units:
                total += units * num_p
        for leaf, num_p, units_min in self._others:
            units = getattr(usage, leaf)
            if units:
                total += max(units, units_min) * num_p
        scale = self._scale
        return total if scale == 1 else (2 * total + scale) // (2 * scale)

    def worst_case_p(
        self,
        *,
        input_tokens: int = 0,
        output_tokens: int = 0,
        compute_ms: int = 0,
        audio_ms: int = 0,
        images: int = 0,
    ) -> int:
        """Return the most that one call within these bounds can cost.

        Of the steps only those count that so much input can reach.
        """
        read, written = self._dearest
        total = input_tokens * read + output_tokens * written
        if self.steps:
            total = max(
                [
                    band.reads(input_tokens) + output_tokens * band.written
                    for band in self._reached(input_tokens)
                ]
            )
        if self._others:
            total += self._beside_tokens(compute_ms, audio_ms, images)
        return -(-total // self._scale)

    def output_tokens_within(
        self, room_p: int, *, input_tokens: int, audio_ms: int = 0
    ) -> int:
        """Return the most tokens of output whose worst case fits into a room.

        Args:
            room_p: Pico-dollars.
            input_tokens: Most tokens of input.
            audio_ms: Longest audio.

        Returns:
            The count; 0 where output costs nothing, for there is nothing to lower.
        """
        room = room_p * self._scale - self._beside_tokens(0, audio_ms, 0)
        counts: list[int] = []
        for band in self._reached(input_tokens):
            rest = room - band.reads(input_tokens)
            if rest < 0:
                return 0
            if band.written:
                counts.append(rest // band.written)
        return min(counts, default=0)

    def _reached(self, input_tokens: int) -> list[_Band]:
        return [band for band in self._bands if input_tokens > band.above]

    def _beside_tokens(self, compute_ms: int, audio_ms: int, images: int) -> int:
        """Return the most that all but tokens costs, times the scale."""
        total = 0
        for leaf, num_p, units_min in self._others:
            if leaf == "compute_ms":
                units = compute_ms
            elif leaf == "audio_ms":
                units = audio_ms
            else:
                units = images if leaf == "images" else 1
            if units:
                total += max(units, units_min) * num_p
        return total


def version_at(
    versions: Sequence[PriceVersion], instant_ns: int
) -> PriceVersion | None:
    """Return the version in force at that instant, or None.

    Args:
        versions: Versions of one model, oldest first, none overlapping another.
        instant_ns: The instant, usually that of a call's admission.
    """
    after = bisect_right(
        versions, instant_ns, key=lambda version: version.valid_from_ns
    )
    if not after:
        return None
    version = versions[after - 1]
    if version.valid_to_ns is not None and instant_ns >= version.valid_to_ns:
        return None
    return version


def _band(
    above: int, up_to: int | None, rates: Mapping[Leaf, Rate], scale: int
) -> _Band:
    leaves: dict[Leaf, int] = {
        leaf: rate.num_p * (scale // rate.per)
        for leaf, rate in completed(rates).items()
        if leaf in TOKENS
    }
    written = max(leaves.get("output_tokens", 0), leaves.get("reasoning_tokens", 0))
    read = max(
        leaves.get("input_tokens", 0),
        leaves.get("cache_read_tokens", 0),
        leaves.get("cache_write_tokens", 0),
    )
    return _Band(above, up_to, tuple(leaves.items()), read, written)


def _leaves_of(
    bands: Sequence[_Band], input_tokens: int
) -> tuple[tuple[Leaf, int], ...]:
    """Return the prices of a call that read so many tokens."""
    leaves = bands[0].leaves
    for band in bands:
        if input_tokens > band.above:
            leaves = band.leaves
    return leaves


def _id(
    model: str, kind: PriceKind, rates: Mapping[Leaf, Rate], steps: Iterable[Step]
) -> str:
    """Return the hash of all that decides what a usage costs.

    A price with neither steps nor minimums is told as it was before there were any, so
    that ids in events and ledgers stay true.
    """
    terms: list[object] = [model, kind, _told(rates)]
    terms += ((step.above_input_tokens, _told(step.rates)) for step in steps)
    return sha256(repr(tuple(terms)).encode()).hexdigest()[:16]


def _told(rates: Mapping[Leaf, Rate]) -> list[tuple[str | int, ...]]:
    return [
        (leaf, r.num_p, r.per, *((r.units_min,) if r.units_min else ()))
        for leaf, r in rates.items()
    ]
