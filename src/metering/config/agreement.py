"""From what was agreed with one account, in a plan's notation, to its overrides."""

from typing import Any

from msgspec import Struct

from metering.accounts import (
    Agreement,
    ModelClass,
    Overrides,
    RateOverride,
    TokenPrices,
)
from metering.config.document import Document
from metering.config.schema import RequestTable, Units, Usd
from metering.config.tier_book import request_quotas

__all__ = ["agreed_overrides"]

_PER_TOKENS = 1_000_000


class _AgreementTable(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    usage_limit: Usd | None = None
    output_tokens_max: Units | None = None
    reasoning_output_tokens_max: Units | None = None
    requests: RequestTable = RequestTable()
    prices: dict[str, Any] = {}


class _AgreedPriceTable(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    input: Usd
    output: Usd


def agreed_overrides(account_id: str, agreed: Agreement) -> Overrides:
    """Return the overrides that an agreement stands for.

    Args:
        account_id: Whose it is, for errors.
        agreed: Its terms; one that is None or left out is the tier's own.

    Raises:
        ConfigurationError: Names the term, its value and what is allowed.
    """
    source = f"Overrides of {account_id!r}"
    terms = {name: term for name, term in agreed.items() if term is not None}
    document = Document(terms, source)
    table = document.read(_AgreementTable)
    limit, cap = table.usage_limit, table.output_tokens_max
    reasoning = table.reasoning_output_tokens_max
    return Overrides(
        output_tokens_max=cap.units if cap else None,
        reasoning_output_tokens_max=reasoning.units if reasoning else None,
        usage_limit_p=limit.pico if limit else None,
        requests=_requests(table.requests, document),
        prices={
            model: _prices(price, f"{source}: prices[{model!r}]")
            for model, price in table.prices.items()
        },
    )


def _requests(
    table: RequestTable, document: Document
) -> dict[ModelClass, RateOverride]:
    agreed: dict[ModelClass, RateOverride] = {}
    for kind, quotas in request_quotas(table, "requests", document).items():
        quota, *others = quotas
        if others:
            raise document.fault(
                f"requests.{kind}", "It names several rates, and one can be agreed."
            )
        agreed[kind] = RateOverride(quota.amount, quota.per_ns, quota.burst)
    return agreed


def _prices(price: object, source: str) -> TokenPrices:
    table = Document(price, source).read(_AgreedPriceTable)
    return TokenPrices(table.input.pico, table.output.pico, _PER_TOKENS)
