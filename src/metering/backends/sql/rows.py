"""Between the ledger's values and the rows of its tables."""

from typing import Any, Literal

import msgspec
from msgspec.structs import asdict
from sqlalchemy import RowMapping

from metering.accounts import Account, ApiKey, Overrides, TierBook
from metering.ledger import CreditGrant, Payment, PeriodState
from metering.pricing import Leaf, PriceVersion, Rate, Step
from metering.usage import Usage, UsageEvent

__all__ = [
    "account_of",
    "account_row",
    "event_of",
    "event_row",
    "grant_of",
    "grant_row",
    "key_of",
    "payment_of",
    "period_of",
    "price_of",
    "price_row",
]

_LEAVES = Usage.__struct_fields__
_EVENT_FIELDS = tuple(
    name for name in UsageEvent.__struct_fields__ if name not in ("usage", "flags")
)

_encode = msgspec.json.Encoder().encode
_decode_texts = msgspec.json.Decoder(tuple[str, ...]).decode
_decode_overrides = msgspec.json.Decoder(Overrides).decode
_decode_rates = msgspec.json.Decoder(
    dict[Leaf | Literal["steps"], Rate | tuple[Step, ...]]
).decode


def account_row(account: Account, tiers: TierBook, now_ns: int) -> dict[str, Any]:
    """Return the row of an account at an instant, but for its debt."""
    row = asdict(account)
    row["payment_method"] = int(account.payment_method)
    row["suspended"] = int(account.suspended)
    row["overrides"] = _encode(account.overrides).decode()
    row["tier"] = tiers.tier_of(account, now_ns).level
    return row


def account_of(row: RowMapping) -> Account:
    """Return the account of a row."""
    return Account(
        id=row["id"],
        created_ns=row["created_ns"],
        payment_method=bool(row["payment_method"]),
        lifetime_paid_p=row["lifetime_paid_p"],
        pin=row["pin"],
        overrides=_decode_overrides(row["overrides"]),
        suspended=bool(row["suspended"]),
        version=row["version"],
        credit_epoch=row["credit_epoch"],
        time_zone=row["time_zone"],
        anchor_day=row["anchor_day"],
        kept_tier=row["kept_tier"],
        kept_until_ns=row["kept_until_ns"],
    )


def key_of(row: RowMapping) -> ApiKey:
    """Return the key of a row."""
    return ApiKey(**row)


def payment_of(row: RowMapping) -> Payment:
    """Return the payment of a row."""
    return Payment(**row)


def grant_row(grant: CreditGrant) -> dict[str, Any]:
    """Return the row of a grant."""
    row = asdict(grant)
    row["models"] = None if grant.models is None else _encode(grant.models).decode()
    return row


def grant_of(row: RowMapping) -> CreditGrant:
    """Return the grant of a row."""
    models = row["models"]
    decoded = None if models is None else _decode_texts(models)
    return CreditGrant(**{**row, "models": decoded})


def period_of(row: RowMapping) -> PeriodState:
    """Return the state of a period's row."""
    return PeriodState(row["spent_p"], row["early_paid_p"], row["epoch"])


def price_row(version: PriceVersion) -> dict[str, Any]:
    """Return the row of a price version."""
    steps = {"steps": version.steps} if version.steps else {}
    return {
        "model": version.model,
        "valid_from_ns": version.valid_from_ns,
        "valid_to_ns": version.valid_to_ns,
        "id": version.id,
        "kind": version.kind,
        "rates": _encode({**version.rates, **steps}).decode(),
    }


def price_of(row: RowMapping) -> PriceVersion:
    """Return the price version of a row."""
    rates: dict[Leaf, Rate] = {}
    steps: tuple[Step, ...] = ()
    for name, priced in _decode_rates(row["rates"]).items():
        if isinstance(priced, Rate) and name != "steps":
            rates[name] = priced
        elif isinstance(priced, tuple):
            steps = priced
    return PriceVersion(
        model=row["model"],
        kind=row["kind"],
        valid_from_ns=row["valid_from_ns"],
        valid_to_ns=row["valid_to_ns"],
        rates=rates,
        steps=steps,
    )


def event_row(event: UsageEvent) -> dict[str, Any]:
    """Return the row of an event of which no credit has paid anything yet."""
    row = asdict(event)
    row |= asdict(row.pop("usage"))
    row["flags"] = _encode(event.flags).decode()
    row["rest_p"] = event.charge_p
    return row


def event_of(row: RowMapping) -> UsageEvent:
    """Return the event of a row."""
    return UsageEvent(
        usage=Usage(**{leaf: row[leaf] for leaf in _LEAVES}),
        flags=_decode_texts(row["flags"]),
        **{name: row[name] for name in _EVENT_FIELDS},
    )
