"""`metering price`: the price book, at an instant, and what a call would cost."""

from typing import Annotated

import typer

from metering.billing import Biller
from metering.cli.command import command, group
from metering.cli.desk import Desk
from metering.cli.output import table
from metering.cli.values import amount, instant_ns, when
from metering.cli.words import price_words, validity
from metering.clock import iso_utc, system_clock
from metering.errors import ConfigurationError
from metering.money import format_usd
from metering.pricing import PriceVersion
from metering.resolved import Resolved, resolved
from metering.usage import Usage

__all__ = ["price"]

price = group("price", "Prices: list them, quote a call.")

At = Annotated[
    str | None,
    typer.Option(metavar="INSTANT", help="Prices at that time. Default: now."),
]
Count = Annotated[int, typer.Option(min=0, help="Quantity the call used.")]


@command(price, "list")
async def list_prices(
    desk: Desk,
    *,
    at: At = None,
    every: Annotated[
        bool, typer.Option("--all", help="Include past and future prices.")
    ] = False,
) -> None:
    """List the price of each model, of tokens per million."""
    now_ns = system_clock() if at is None else instant_ns(at)
    found: list[tuple[str, PriceVersion | None]] = []
    for model in desk.plan.prices.models:
        versions = model.versions if every else (model.at(now_ns),)
        found += [(model.name, version) for version in versions or (None,)]
    title = "Prices over time" if every else f"Prices at {when(now_ns)}"
    desk.output.show(
        [_document(name, version) for name, version in found],
        table(
            title,
            ("model", "price (tokens: per 1M)", ""),
            [(name, price_words(v), validity(v)) for name, v in found],
        ),
    )


@command(price, "quote")
async def quote(
    desk: Desk,
    model: Annotated[str, typer.Argument(help="Its name, or an alias.")],
    *,
    input_tokens: Count = 0,
    cache_read_tokens: Count = 0,
    cache_write_tokens: Count = 0,
    output_tokens: Count = 0,
    reasoning_tokens: Count = 0,
    compute_ms: Count = 0,
    audio_ms: Count = 0,
    images: Count = 0,
    account: Annotated[
        str | None, typer.Option(help="Use this account's agreed prices.")
    ] = None,
    at: At = None,
) -> None:
    """Show what one call would cost, to the pico-dollar."""
    now_ns = system_clock() if at is None else instant_ns(at)
    used = Usage(
        input_tokens=input_tokens,
        cache_read_tokens=cache_read_tokens,
        cache_write_tokens=cache_write_tokens,
        output_tokens=output_tokens,
        reasoning_tokens=reasoning_tokens,
        compute_ms=compute_ms,
        audio_ms=audio_ms,
        images=images,
    )
    caller = None if account is None else await _caller(desk, account, now_ns)
    prices = desk.plan.prices
    quoted = Biller(prices, desk.meter.ledger, None).quote(model, caller, now_ns)
    if quoted.model is None:
        known = ", ".join(each.name for each in prices.models)
        raise ConfigurationError(f"There is no model {model!r}; there are: {known}.")
    if quoted.price is None:
        raise ConfigurationError(
            f"{quoted.model.name} has no price at {iso_utc(now_ns)}: calls are"
            f" {'refused' if desk.plan.unpriced == 'refuse' else 'not charged'}. Ask"
            " for another instant by --at."
        )
    charge_p = quoted.price.charge_p(used)
    desk.output.show(
        _document(quoted.model.name, quoted.price)
        | {"usage": used, "charge_usd": format_usd(charge_p)},
        f"{quoted.model.name}: {amount(charge_p)}, at {price_words(quoted.price)}"
        " (tokens: per 1M).",
    )


async def _caller(desk: Desk, account_id: str, now_ns: int) -> Resolved:
    account = await desk.opened.accounts.get(account_id)
    credit = await desk.meter.billing.credit(account_id)
    return resolved(
        account, credit, desk.plan.tiers, now_ns=now_ns, good_until_ns=now_ns
    )


def _document(model: str, version: PriceVersion | None) -> dict[str, object]:
    if version is None:
        return {"model": model, "kind": None}
    end_ns = version.valid_to_ns
    return {
        "model": model,
        "kind": version.kind,
        "version": version.id,
        "from": iso_utc(version.valid_from_ns) if version.valid_from_ns else None,
        "until": None if end_ns is None else iso_utc(end_ns),
        "rates_p": {
            leaf: {"amount": rate.num_p, "per": rate.per}
            for leaf, rate in version.rates.items()
        },
        "price": price_words(version),
    }
