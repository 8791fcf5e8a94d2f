"""The price book: dated, immutable prices, and what a usage costs under one of them."""

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from math import gcd, lcm
from typing import Literal

import msgspec

from metering.clock import NS_PER_S, iso_utc
from metering.errors import ConfigurationError
from metering.usage import Usage

__all__ = [
    "Leaf",
    "PriceBook",
    "PriceKind",
    "PriceVersion",
    "PricedModel",
    "Rate",
    "refuse_changed_past",
]

PriceKind = Literal["token", "time", "free"]
Leaf = Literal[
    "input_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "output_tokens",
    "reasoning_tokens",
    "compute_ms",
]

_PARENT: dict[Leaf, Leaf] = {
    "cache_read_tokens": "input_tokens",
    "cache_write_tokens": "input_tokens",
    "reasoning_tokens": "output_tokens",
}
_NEEDED: dict[PriceKind, tuple[Leaf, ...]] = {
    "token": ("input_tokens", "output_tokens"),
    "time": ("compute_ms",),
    "free": (),
}


class Rate(msgspec.Struct, frozen=True, gc=False):
    """*num_p* pico-dollars for *per* units; the fraction is kept exact."""

    num_p: int
    per: int = 1

    def reduced(self) -> "Rate":
        """Return the same rate in lowest terms.

        Raises:
            ConfigurationError: It is negative or per nothing.
        """
        if self.num_p < 0 or self.per <= 0:
            raise ConfigurationError(
                f"A price of {self.num_p} p$ per {self.per} units cannot be: prices"
                " are at least 0, per at least 1 unit."
            )
        common = gcd(self.num_p, self.per)
        return Rate(self.num_p // common, self.per // common)


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceVersion:
    """One immutable set of prices of one model, in force over `[from, to)`.

    Attributes:
        model: The model's name.
        kind: What is counted: tokens, compute time, or nothing.
        valid_from_ns: First instant in force.
        valid_to_ns: First instant no longer in force; None while open.
        rates: Price by leaf; a leaf without one takes its parent's.
        id: Hash of model, kind and rates, stamped on every event. It leaves out the
            dates: closing a version does not make it another one.
    """

    model: str
    kind: PriceKind
    valid_from_ns: int = 0
    valid_to_ns: int | None = None
    rates: Mapping[Leaf, Rate] = field(default_factory=dict)
    id: str = field(init=False)
    _leaves: tuple[tuple[Leaf, int], ...] = field(init=False, repr=False, compare=False)
    _dearest: tuple[int, int, int] = field(init=False, repr=False, compare=False)
    _scale: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        rates: dict[Leaf, Rate] = {
            leaf: self.rates[leaf].reduced() for leaf in sorted(self.rates)
        }
        self._check(rates)
        full: dict[Leaf, Rate] = dict(rates)
        for leaf, parent in _PARENT.items():
            if leaf not in full and parent in full:
                full[leaf] = full[parent]
        scale = lcm(*(rate.per for rate in full.values()))
        leaves: tuple[tuple[Leaf, int], ...] = tuple(
            (leaf, r.num_p * (scale // r.per)) for leaf, r in full.items()
        )
        text = repr(
            (self.model, self.kind, [(k, r.num_p, r.per) for k, r in rates.items()])
        )
        object.__setattr__(self, "rates", rates)
        object.__setattr__(self, "id", sha256(text.encode()).hexdigest()[:16])
        object.__setattr__(self, "_leaves", leaves)
        object.__setattr__(self, "_dearest", _dearest(leaves))
        object.__setattr__(self, "_scale", scale)

    def _check(self, rates: Mapping[Leaf, Rate]) -> None:
        if self.valid_to_ns is not None and self.valid_to_ns <= self.valid_from_ns:
            raise ConfigurationError(
                f"A price of {self.model!r} ends at or before its start; end it later."
            )
        missing = [leaf for leaf in _NEEDED[self.kind] if leaf not in rates]
        if missing or (self.kind == "free" and rates):
            wanted = ", ".join(_NEEDED[self.kind]) or "no rates at all"
            raise ConfigurationError(
                f"A {self.kind} price of {self.model!r} has rates for"
                f" {', '.join(rates) or 'nothing'}; it takes {wanted}."
            )

    def charge_p(self, usage: Usage) -> int:
        """Return what *usage* costs, in pico-dollars.

        Usual prices are whole pico-dollars per unit and sum exactly; a rational one
        is rounded half up, once for the whole usage.
        """
        total = 0
        for leaf, num_p in self._leaves:
            units = getattr(usage, leaf)
            if units:
                total += units * num_p
        scale = self._scale
        return total if scale == 1 else (2 * total + scale) // (2 * scale)

    def worst_case_p(
        self, *, input_tokens: int, output_tokens: int, compute_ms: int
    ) -> int:
        """Return the most that a call within these bounds can cost."""
        dearest_input, dearest_output, time = self._dearest
        total = (
            input_tokens * dearest_input
            + output_tokens * dearest_output
            + compute_ms * time
        )
        return -(-total // self._scale)


def _dearest(leaves: Iterable[tuple[Leaf, int]]) -> tuple[int, int, int]:
    """Return the highest price of one unit of input, of output, and of time."""
    price = dict(leaves)
    read = max(price.get("input_tokens", 0), price.get("cache_read_tokens", 0))
    written = max(price.get("output_tokens", 0), price.get("reasoning_tokens", 0))
    read = max(read, price.get("cache_write_tokens", 0))
    return read, written, price.get("compute_ms", 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class PricedModel:
    """A model and its prices over time.

    Attributes:
        name: As requests name it.
        versions: Its prices, oldest first, without overlap or gap.
        context_tokens_max: Context length; None if unknown.
        compute_ms_max: Longest compute time of one call, held for time prices.

    Raises:
        ConfigurationError: Versions overlap, leave a gap or belong to another model,
            or a time price lacks `compute_ms_max`.
    """

    name: str
    versions: tuple[PriceVersion, ...]
    context_tokens_max: int | None = None
    compute_ms_max: int | None = None

    def __post_init__(self) -> None:
        for version in self.versions:
            if version.model != self.name:
                raise ConfigurationError(
                    f"A price of {version.model!r} is listed under {self.name!r}."
                )
            if version.kind == "time" and not self.compute_ms_max:
                raise ConfigurationError(
                    f"{self.name!r} is priced by time, so it needs compute_ms_max:"
                    " the longest call, which is held until the actual time is known."
                )
        for earlier, later in zip(self.versions, self.versions[1:], strict=False):
            if earlier.valid_to_ns != later.valid_from_ns:
                fault = (
                    "overlap"
                    if earlier.valid_to_ns is None
                    or earlier.valid_to_ns > later.valid_from_ns
                    else "leave a gap"
                )
                end_ns = earlier.valid_to_ns
                ends = "never ends" if end_ns is None else f"ends at {iso_utc(end_ns)}"
                raise ConfigurationError(
                    f"Two prices of {self.name!r} {fault}: one {ends}, the next starts"
                    f" at {iso_utc(later.valid_from_ns)}. Let one start where the other"
                    " ends."
                )

    def at(self, instant_ns: int) -> PriceVersion | None:
        """Return the price in force at that instant, or None: never a price of 0."""
        after = bisect_right(
            self.versions, instant_ns, key=lambda version: version.valid_from_ns
        )
        if not after:
            return None
        version = self.versions[after - 1]
        if version.valid_to_ns is not None and instant_ns >= version.valid_to_ns:
            return None
        return version


class PriceBook:
    """All models and their prices. Immutable; a lookup is one dict access.

    Args:
        models: The models, each name once.
        aliases: Other names by which requests may call a model.

    Raises:
        ConfigurationError: A name is given twice, or an alias leads nowhere.
    """

    __slots__ = ("_by_name", "models")

    def __init__(
        self, models: Iterable[PricedModel], aliases: Mapping[str, str] | None = None
    ) -> None:
        self.models = tuple(models)
        self._by_name: dict[str, PricedModel] = {}
        for model in self.models:
            if model.name in self._by_name:
                raise ConfigurationError(f"Model {model.name!r} is listed twice.")
            self._by_name[model.name] = model
        for alias, name in (aliases or {}).items():
            if alias in self._by_name or name not in self._by_name:
                raise ConfigurationError(
                    f"Alias {alias!r} of {name!r}: a new name for a listed model."
                )
            self._by_name[alias] = self._by_name[name]

    def model(self, name: str) -> PricedModel | None:
        """Return the model of that name or alias, or None."""
        return self._by_name.get(name)

    def versions(self) -> list[PriceVersion]:
        """Return every version of every model."""
        return [version for model in self.models for version in model.versions]


def refuse_changed_past(
    published: Iterable[PriceVersion], wanted: PriceBook, now_ns: int
) -> None:
    """Refuse a book under which a past instant would cost something else.

    Args:
        published: The versions that were in force so far.
        wanted: The book about to be published.
        now_ns: The present; prices from here on may change freely.

    Raises:
        ConfigurationError: Names the model, and how to write the change instead.
    """
    for old in published:
        model = wanted.model(old.model)
        if model is None or old.valid_from_ns >= now_ns:
            continue
        last_ns = now_ns if old.valid_to_ns is None else min(old.valid_to_ns, now_ns)
        edges = [old.valid_from_ns, last_ns - 1]
        edges += [v.valid_from_ns for v in model.versions]
        for edge in edges:
            if not old.valid_from_ns <= edge < last_ns:
                continue
            new = model.at(edge)
            if new is None or new.id != old.id:
                when = f"at {iso_utc(edge)}" if edge > 0 else "from the beginning"
                raise ConfigurationError(
                    f"The price of {old.model!r} {when} is already published and may"
                    " not change: charges were made by it. Keep the old price in the"
                    f" plan with until = {_soon(now_ns)} or later, and let the new one"
                    " start there; or remove the ledger, if this is a trial."
                )


def _soon(now_ns: int) -> str:
    """Return the next full hour: an instant that is easily written into a plan."""
    hour_ns = 3600 * NS_PER_S
    return iso_utc((now_ns // hour_ns + 1) * hour_ns)
