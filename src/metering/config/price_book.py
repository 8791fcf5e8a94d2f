"""From the models of a plan file to the price book."""

from metering.config.document import Document
from metering.config.schema import ModelTable, PriceTable, StepTable
from metering.pricing import (
    LEAVES_BESIDE,
    LEAVES_NEEDED,
    TIMES,
    Leaf,
    PriceBook,
    PricedModel,
    PriceKind,
    PriceVersion,
    Rate,
    Step,
)

__all__ = ["price_book"]

_PER_TOKENS = 1_000_000
_MS_PER_S = 1_000
_MS_PER_MINUTE = 60_000
_MS_PER_HOUR = 3_600_000
_PRICES: dict[str, tuple[Leaf, int]] = {
    "input": ("input_tokens", _PER_TOKENS),
    "output": ("output_tokens", _PER_TOKENS),
    "cached_input": ("cache_read_tokens", _PER_TOKENS),
    "cache_write": ("cache_write_tokens", _PER_TOKENS),
    "reasoning": ("reasoning_tokens", _PER_TOKENS),
    "per_second": ("compute_ms", _MS_PER_S),
    "per_hour": ("compute_ms", _MS_PER_HOUR),
    "audio_per_second": ("audio_ms", _MS_PER_S),
    "audio_per_minute": ("audio_ms", _MS_PER_MINUTE),
    "audio_per_hour": ("audio_ms", _MS_PER_HOUR),
    "per_image": ("images", 1),
    "per_request": ("requests", 1),
}
"""What each price in a plan is a price of, and of how much of it."""


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
        if at:
            _check_adjoining(table.prices[at - 1], price, where, document)
        version = _price(price, table.name, where, document)
        for leaf in sorted(TIMES):
            # Such as compute_ms_max: what is held until the actual time is known.
            if leaf in version.rates and getattr(table, f"{leaf}_max") is None:
                raise document.missing(f"{path}.{leaf}_max")
        versions.append(version)
    with document.at(path):
        return PricedModel(
            name=table.name,
            versions=tuple(versions),
            reasoning=table.reasoning,
            context_tokens_max=context.units if context else None,
            compute_ms_max=table.compute_ms_max,
            audio_ms_max=table.audio_ms_max,
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
    rates = _rates(table, table.kind, path, document)
    for leaf in sorted(LEAVES_NEEDED[table.kind]):
        if leaf not in rates:
            name = next(name for name, (its, _) in _PRICES.items() if its == leaf)
            raise document.missing(f"{path}.{name}")
    if table.billed_ms_min is not None:
        timed = TIMES & rates.keys()
        if not timed:
            raise document.fault(
                f"{path}.billed_ms_min", "There is no price of time or audio here."
            )
        for leaf in timed:
            rate = rates[leaf]
            rates[leaf] = Rate(rate.num_p, rate.per, table.billed_ms_min)
    steps = _steps(table, path, document)
    with document.at(f"{path}.until" if table.until else path):
        return PriceVersion(
            model=model,
            kind=table.kind,
            valid_from_ns=table.start.ns if table.start else 0,
            valid_to_ns=table.until.ns if table.until else None,
            rates=rates,
            steps=steps,
        )


def _steps(table: PriceTable, path: str, document: Document) -> tuple[Step, ...]:
    steps: list[Step] = []
    for at, step in enumerate(table.steps):
        where = f"{path}.steps[{at}]"
        size = step.above_input_tokens.units
        if table.kind != "token":
            raise document.fault(where, 'Only a price of kind "token" has steps.')
        if steps and size <= steps[-1].above_input_tokens:
            raise document.fault(
                f"{where}.above_input_tokens",
                "List steps by rising input: each is for calls above that of the last.",
            )
        rates = _rates(step, table.kind, where, document)
        if not rates:
            raise document.missing(f"{where}.input")
        steps.append(Step(size, rates))
    return tuple(steps)


def _rates(
    table: PriceTable | StepTable, kind: PriceKind, path: str, document: Document
) -> dict[Leaf, Rate]:
    """Return the prices that are written in a table, by what they are prices of."""
    takes = LEAVES_NEEDED[kind] | LEAVES_BESIDE[kind]
    rates: dict[Leaf, Rate] = {}
    for name, (leaf, per) in _PRICES.items():
        price = getattr(table, name, None)
        if price is None:
            continue
        if leaf not in takes:
            names = [each for each, (its, _) in _PRICES.items() if its in takes]
            named = ", ".join(names) or "no price at all"
            raise document.fault(
                f"{path}.{name}", f'A price of kind "{kind}" takes {named}.'
            )
        if leaf in rates:
            raise document.fault(
                f"{path}.{name}", "The same is priced above, by another unit."
            )
        rates[leaf] = Rate(price.pico, per)
    return rates
