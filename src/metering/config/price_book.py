"""From the models of a plan file to the price book."""

from metering.config.document import Document
from metering.config.schema import ModelTable, PriceTable
from metering.pricing import (
    Leaf,
    PriceBook,
    PricedModel,
    PriceKind,
    PriceVersion,
    Rate,
)

__all__ = ["price_book"]

_PER_TOKENS = 1_000_000
_PER_MS = 1_000
_UNITS: dict[str, tuple[Leaf, int]] = {
    "input": ("input_tokens", _PER_TOKENS),
    "output": ("output_tokens", _PER_TOKENS),
    "cached_input": ("cache_read_tokens", _PER_TOKENS),
    "cache_write": ("cache_write_tokens", _PER_TOKENS),
    "reasoning": ("reasoning_tokens", _PER_TOKENS),
    "per_second": ("compute_ms", _PER_MS),
}
"""What each price in a plan is a price of, and of how much of it."""

_NEEDED: dict[PriceKind, tuple[str, ...]] = {
    "token": ("input", "output"),
    "time": ("per_second",),
    "free": (),
}
_OPTIONAL: dict[PriceKind, tuple[str, ...]] = {
    "token": ("cached_input", "cache_write", "reasoning"),
    "time": (),
    "free": (),
}


def price_book(tables: tuple[ModelTable, ...], document: Document) -> PriceBook:
    """Return the models and their prices.

    Raises:
        ConfigurationError: Names the first model or price that cannot be.
    """
    taken: dict[str, str] = {}
    aliases: dict[str, str] = {}
    models: list[PricedModel] = []
    for at, table in enumerate(tables):
        path = f"models[{at}]"
        names = {f"{path}.name": table.name}
        names |= {f"{path}.aliases[{i}]": a for i, a in enumerate(table.aliases)}
        for where, name in names.items():
            if name in taken:
                raise document.fault(where, f"It is taken by {taken[name]}.")
            taken[name] = where
        aliases |= dict.fromkeys(table.aliases, table.name)
        models.append(_model(table, path, document))
    return PriceBook(models, aliases)


def _model(table: ModelTable, path: str, document: Document) -> PricedModel:
    context = table.context_tokens_max
    versions: list[PriceVersion] = []
    for at, price in enumerate(table.prices):
        where = f"{path}.prices[{at}]"
        if price.kind == "time" and table.compute_ms_max is None:
            raise document.missing(f"{path}.compute_ms_max")
        if at:
            _check_adjoining(table.prices[at - 1], price, where, document)
        versions.append(_price(price, table.name, where, document))
    with document.at(path):
        return PricedModel(
            name=table.name,
            versions=tuple(versions),
            context_tokens_max=context.units if context else None,
            compute_ms_max=table.compute_ms_max,
        )


def _check_adjoining(
    earlier: PriceTable, later: PriceTable, path: str, document: Document
) -> None:
    """Refuse an overlap or a gap, in the words of a calendar."""
    if later.start is None:
        raise document.missing(f"{path}.from")
    if earlier.until is None or earlier.until.ns != later.start.ns:
        end = f"ends at {earlier.until}" if earlier.until else "has no until"
        raise document.fault(
            f"{path}.from",
            f"The price before it {end}; one must start where the other ends.",
        )


def _price(
    table: PriceTable, model: str, path: str, document: Document
) -> PriceVersion:
    needed, optional = _NEEDED[table.kind], _OPTIONAL[table.kind]
    rates: dict[Leaf, Rate] = {}
    for name, (leaf, per) in _UNITS.items():
        price = getattr(table, name)
        if price is None:
            if name in needed:
                raise document.missing(f"{path}.{name}")
            continue
        if name not in needed + optional:
            takes = ", ".join(needed + optional) or "no price at all"
            raise document.fault(
                f"{path}.{name}", f'A price of kind "{table.kind}" takes {takes}.'
            )
        rates[leaf] = Rate(price.pico, per)
    with document.at(f"{path}.until" if table.until else path):
        return PriceVersion(
            model=model,
            kind=table.kind,
            valid_from_ns=table.start.ns if table.start else 0,
            valid_to_ns=table.until.ns if table.until else None,
            rates=rates,
        )
