"""An invoice as a page to be printed: one file, without scripts or anything fetched."""

from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING

from metering.clock import iso_utc
from metering.errors import ConfigurationError
from metering.exports.invoices import cents_usd
from metering.ledger import Invoice, InvoiceLine, LineKind
from metering.money import format_usd
from metering.usage import Usage

if TYPE_CHECKING:
    from jinja2 import Template

__all__ = ["invoice_html"]

_BESIDE: dict[LineKind, str] = {
    "credit": "Paid by credit, or left for credit to make up for",
    "early_payment": "Paid before the end of {period}",
    "carried": "Carried over to credit",
}
_OF_CALLS: dict[LineKind, str] = {
    "usage": "{model}",
    "late": "{model}, late calls of {period}",
    "correction": "{model}, correction of {period}",
}
_UNITS = {
    "input_tokens": "tokens in",
    "cache_read_tokens": "in from cache",
    "cache_write_tokens": "in to cache",
    "output_tokens": "out",
    "reasoning_tokens": "reasoning",
    "images": "images",
}
_TIMES = {"audio_ms": "s of audio", "compute_ms": "s of compute"}


def invoice_html(invoice: Invoice, *, seller: str = "") -> str:
    """Return an invoice as a whole HTML document.

    Args:
        invoice: The invoice.
        seller: Who asks for the money, a line each of name and address.

    Raises:
        ConfigurationError: The extra `console` is not installed.
    """
    return _template().render(
        invoice=invoice,
        seller=seller,
        start=iso_utc(invoice.start_ns),
        end=iso_utc(invoice.end_ns),
        closed=iso_utc(invoice.closed_ns),
        lines=[
            {
                "title": _title(line),
                "detail": _detail(line),
                "exact": format_usd(line.amount_p),
                "usd": cents_usd(line.cents),
            }
            for line in invoice.lines
        ],
        total=cents_usd(invoice.total_cents),
    )


@lru_cache(maxsize=1)
def _template() -> "Template":
    try:
        from jinja2 import Environment  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise ConfigurationError(
            "A printable invoice needs Jinja, which is not installed: pip install"
            ' "asgi-metering[console]". JSON and CSV do not need it.'
        ) from error
    source = files("metering.exports").joinpath("invoice.html")
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(source.read_text(encoding="utf-8"))


def _title(line: InvoiceLine) -> str:
    text = (_OF_CALLS | _BESIDE)[line.kind]
    return text.format(model=line.model, period=line.period)


def _detail(line: InvoiceLine) -> str:
    """Return how many calls there were and what they used."""
    if not line.calls:
        return ""
    parts = [f"{line.calls:,} {'call' if line.calls == 1 else 'calls'}"]
    parts += [] if line.usage is None else _quantities(line.usage)
    return ", ".join([*parts, f"{line.price_kind} price"])


def _quantities(usage: Usage) -> list[str]:
    counted = [
        f"{units:,} {words}"
        for leaf, words in _UNITS.items()
        if (units := getattr(usage, leaf))
    ]
    timed = [
        f"{ms // 1000:,}.{ms % 1000:03d} {words}"
        for leaf, words in _TIMES.items()
        if (ms := getattr(usage, leaf))
    ]
    return counted + timed
