"""The answers of the API: accounts, usage, calls, invoices, and pools as they are."""

from typing import Annotated

import msgspec

from metering.accounts import ModelClass
from metering.adaptive import PlatformState, Signal
from metering.adaptive.law import Cause
from metering.console.api.fields import Instant, Usd
from metering.ledger import LineKind
from metering.usage import Ending, FundingMode, Usage, UsageSource

__all__ = [
    "AccountListed",
    "AccountRow",
    "AccountShown",
    "AccountsShown",
    "AgreedPrice",
    "AgreedRequests",
    "AgreementShown",
    "ChargeRow",
    "ChargesShown",
    "CreditLeft",
    "DayUsage",
    "InvoiceLineShown",
    "InvoiceRow",
    "InvoiceShown",
    "InvoicesShown",
    "ModelUsage",
    "NextTier",
    "PeriodShown",
    "PlatformShown",
    "PoolShown",
    "TierShown",
    "UsageDaysShown",
    "UsageShown",
]

Cursor = Annotated[
    str, msgspec.Meta(description="`cursor` of the next page; null: this is the last.")
]

Day = Annotated[
    str,
    msgspec.Meta(
        description="Of the account's calendar; of all accounts, each of its own.",
        extra_json_schema={"format": "date"},
    ),
]


class TierShown(msgspec.Struct, frozen=True, kw_only=True):
    """A tier."""

    level: int
    name: str


class NextTier(msgspec.Struct, frozen=True, kw_only=True):
    """The next tier that paying leads to, and what it still takes."""

    level: int
    name: str
    paid_usd: Annotated[
        Usd, msgspec.Meta(description="What is still to be paid for it.")
    ]
    payment_method: Annotated[
        bool,
        msgspec.Meta(
            description="Whether a payment method is still to be put on file."
        ),
    ]
    usage_limit_usd: Usd | None


class CreditLeft(msgspec.Struct, frozen=True, kw_only=True):
    """Credit as posted; what is left is below 0 where calls ran over it."""

    granted_usd: Usd
    used_usd: Usd
    left_usd: Usd


class PeriodShown(msgspec.Struct, frozen=True, kw_only=True):
    """A billing month, and what was spent in it."""

    period: str
    start: Instant
    end: Instant
    spent_usd: Usd
    early_paid_usd: Annotated[
        Usd, msgspec.Meta(description="What of it was paid before its end.")
    ]
    limit_usd: (
        Annotated[
            Usd, msgspec.Meta(description="What may be spent in it; null: no limit.")
        ]
        | None
    )


class AccountRow(msgspec.Struct, frozen=True, kw_only=True):
    """An account in a list."""

    id: str
    created: Instant
    tier: TierShown
    pinned: int | None
    payment_method: bool
    lifetime_paid_usd: Usd
    suspended: bool


class AccountListed(AccountRow, frozen=True, kw_only=True):
    """An account in a list, with what it spent in its own present period."""

    period: str
    spent_usd: Usd
    limit_usd: (
        Annotated[
            Usd, msgspec.Meta(description="What may be spent in it; null: no limit.")
        ]
        | None
    )


class AgreedRequests(msgspec.Struct, frozen=True, kw_only=True):
    """A request limit by agreement."""

    amount: int
    per_s: float
    burst: int


class AgreedPrice(msgspec.Struct, frozen=True, kw_only=True):
    """Dollars for a million tokens."""

    input_usd: Usd
    output_usd: Usd


class AgreementShown(msgspec.Struct, frozen=True, kw_only=True):
    """What is agreed with an account; what is null is its tier's own."""

    usage_limit_usd: Usd | None
    output_tokens_max: int | None
    reasoning_output_tokens_max: int | None
    requests: dict[ModelClass, AgreedRequests]
    prices: Annotated[
        dict[str, AgreedPrice], msgspec.Meta(description="By the name of a model.")
    ]


class AccountShown(msgspec.Struct, frozen=True, kw_only=True):
    """An account: its tier, what it has spent and what it may."""

    id: str
    created: Instant
    time_zone: str
    anchor_day: int
    tier: TierShown
    pinned: int | None
    next_tier: NextTier | None
    payment_method: bool
    lifetime_paid_usd: Usd
    suspended: bool
    funding: FundingMode
    output_tokens_max: int
    reasoning_output_tokens_max: int
    agreed: AgreementShown
    period: PeriodShown
    credit: CreditLeft


class AccountsShown(msgspec.Struct, frozen=True, kw_only=True):
    """A page of accounts."""

    accounts: list[AccountListed]
    next: Cursor | None


class ModelUsage(msgspec.Struct, frozen=True, kw_only=True):
    """What was used of a model in a period, as it was posted."""

    model: str
    calls: int
    usage: Usage
    charge_usd: Usd


class UsageShown(msgspec.Struct, frozen=True, kw_only=True):
    """What was used in a period, by model."""

    period: str
    start: Instant
    end: Instant
    calls: int
    charge_usd: Usd
    models: list[ModelUsage]


class DayUsage(msgspec.Struct, frozen=True, kw_only=True):
    """What was used of a model on a day, as it was posted."""

    day: Day
    model: str
    calls: int
    usage: Usage
    charge_usd: Usd


class UsageDaysShown(msgspec.Struct, frozen=True, kw_only=True):
    """What was used in a period, by day and model; days without calls are left out."""

    period: str
    start: Instant
    end: Instant
    first_day: Day
    last_day: Day
    days: list[DayUsage]


class PoolShown(msgspec.Struct, frozen=True, kw_only=True):
    """What a pool of models is doing, and why."""

    pool: str
    state: PlatformState
    cause: Cause
    signal: Signal
    limit_rpm: float
    previous_rpm: float
    accounts: int
    budget_per_s: float | None
    capacity_per_s: float
    awaiting: float
    waiting: int
    unloaded_s: float
    pace_per_s: float | None
    text: Annotated[str, msgspec.Meta(description="All of it in sentences.")]


class PlatformShown(msgspec.Struct, frozen=True, kw_only=True):
    """The adaptive pools of this process; none where no tier is adaptive."""

    pools: list[PoolShown]


class ChargeRow(msgspec.Struct, frozen=True, kw_only=True):
    """A call and what it costs."""

    id: str
    key: str | None
    period: str
    model: str
    model_asked: str
    dialect: str
    admitted: Instant
    ended: Instant
    ending: Ending
    status: int
    usage: Usage
    usage_source: UsageSource
    output_tokens_max: int
    clamped_from: int | None
    flags: list[str]
    charge_usd: Annotated[Usd, msgspec.Meta(description="As it was posted.")]
    costs_usd: Annotated[Usd, msgspec.Meta(description="Now, after corrections.")]
    credit_usd: Annotated[Usd, msgspec.Meta(description="What of it credit paid.")]
    reversed: bool
    price_version: str


class ChargesShown(msgspec.Struct, frozen=True, kw_only=True):
    """A page of calls, the latest first."""

    charges: list[ChargeRow]
    next: Cursor | None


class InvoiceRow(msgspec.Struct, frozen=True, kw_only=True):
    """An invoice in a list."""

    id: str
    account: str
    period: str
    start: Instant
    end: Instant
    closed: Instant
    total_usd: Usd
    paid: bool
    paid_by: str | None


class InvoicesShown(msgspec.Struct, frozen=True, kw_only=True):
    """A page of invoices."""

    invoices: list[InvoiceRow]
    next: Cursor | None


class InvoiceLineShown(msgspec.Struct, frozen=True, kw_only=True):
    """A line of an invoice: exact, and in the cents it is shown in."""

    kind: LineKind
    period: str
    model: str
    price_version: str
    calls: int
    usage: Usage | None
    amount_usd: Usd
    shown_usd: Usd


class InvoiceShown(msgspec.Struct, frozen=True, kw_only=True):
    """An invoice with its lines."""

    invoice: InvoiceRow
    lines: list[InvoiceLineShown]
