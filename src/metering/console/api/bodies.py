"""What requests to the API say in their bodies."""

from datetime import datetime
from typing import Annotated

import msgspec

from metering.accounts import ModelClass
from metering.console.api.asked import CallsOf, Cursor, Model, Strict, Whose
from metering.console.api.fields import (
    END,
    PRINTABLE,
    AccountId,
    PageSize,
    PeriodKey,
    Reference,
    UsdAsked,
)
from metering.ledger import PaymentKind

__all__ = [
    "Agreed",
    "AgreedRate",
    "AgreedTokens",
    "DuePeriods",
    "NewAccount",
    "NewCredit",
    "NewKey",
    "NewPayment",
    "PaymentMethod",
    "PeriodClosed",
    "Rerated",
    "Reversed",
    "Suspension",
    "TierPin",
]

Reason = Annotated[
    str,
    msgspec.Meta(
        description="Why; it is kept with each correction.",
        min_length=1,
        max_length=500,
        pattern=PRINTABLE,
    ),
]
Tokens = Annotated[int, msgspec.Meta(ge=1, le=1_000_000_000)]


class NewAccount(Strict, frozen=True, kw_only=True):
    """An account to be there."""

    id: AccountId
    time_zone: (
        Annotated[
            str,
            msgspec.Meta(description="IANA name; null: the plan's.", max_length=100),
        ]
        | None
    ) = None
    anchor_day: (
        Annotated[
            int,
            msgspec.Meta(description="Day its months begin on.", ge=1, le=31),
        ]
        | None
    ) = None


class NewPayment(Strict, frozen=True, kw_only=True):
    """Money that has come or gone back."""

    account: AccountId
    usd: UsdAsked
    reference: Annotated[
        Reference, msgspec.Meta(description="The payment processor's id; counts once.")
    ]
    kind: PaymentKind
    refers_to: (
        Annotated[
            Reference,
            msgspec.Meta(description="The payment taken back, or the invoice paid."),
        ]
        | None
    ) = None


class NewCredit(Strict, frozen=True, kw_only=True):
    """Promotional credit."""

    account: AccountId
    usd: UsdAsked
    reference: Annotated[
        Reference, msgspec.Meta(description="Your own name for it; counts once.")
    ]
    expires: (
        Annotated[datetime, msgspec.Meta(tz=True, description="Null: never.")] | None
    ) = None
    models: (
        Annotated[
            tuple[Model, ...],
            msgspec.Meta(description="Null: any.", min_length=1, max_length=100),
        ]
        | None
    ) = None
    priority: Annotated[
        int, msgspec.Meta(description="Lower is drawn first.", ge=0, le=100)
    ] = 50


class TierPin(Strict, frozen=True, kw_only=True):
    """A tier set by agreement; null: by spend again."""

    account: AccountId
    level: int | None


class NewKey(Strict, frozen=True, kw_only=True):
    """A key to be issued."""

    account: Whose | None = None
    usage_limit_usd: (
        Annotated[
            UsdAsked,
            msgspec.Meta(
                description="What its calls may cost in a period; null: no own."
            ),
        ]
        | None
    ) = None


class Suspension(Strict, frozen=True, kw_only=True):
    """Whether every call of an account is refused."""

    account: AccountId
    suspended: bool


class PaymentMethod(Strict, frozen=True, kw_only=True):
    """Whether an account has a valid payment method on file."""

    account: AccountId
    on_file: bool


class AgreedRate(Strict, frozen=True, kw_only=True):
    """A request limit: so many in so many seconds, and so many at once."""

    amount: Annotated[int, msgspec.Meta(ge=1, le=2**53)]
    per_s: Annotated[int, msgspec.Meta(ge=1, le=400 * 86_400)]
    burst: (
        Annotated[int, msgspec.Meta(description="Null: the amount.", ge=1, le=2**53)]
        | None
    ) = None


class AgreedTokens(Strict, frozen=True, kw_only=True):
    """Dollars for a million tokens."""

    input_usd: UsdAsked
    output_usd: UsdAsked


class Agreed(Strict, frozen=True, kw_only=True):
    """All that is agreed with an account; what is null is its tier's own."""

    account: AccountId
    usage_limit_usd: UsdAsked | None = None
    output_tokens_max: Tokens | None = None
    reasoning_output_tokens_max: Tokens | None = None
    requests: dict[ModelClass, AgreedRate] = msgspec.field(default_factory=dict)
    prices: Annotated[
        dict[Model, AgreedTokens],
        msgspec.Meta(description="By the name of a model.", max_length=100),
    ] = msgspec.field(default_factory=dict)


class PeriodClosed(Strict, frozen=True, kw_only=True):
    """A period to be closed."""

    account: AccountId
    period: (
        Annotated[
            PeriodKey, msgspec.Meta(description="Null: the last that may be closed.")
        ]
        | None
    ) = None


class DuePeriods(Strict, frozen=True, kw_only=True):
    """Periods that may be closed, of whatever account."""

    cursor: Cursor | None = None
    limit: Annotated[
        PageSize, msgspec.Meta(description="Periods looked at, at most.")
    ] = 50


class Reversed(Strict, frozen=True, kw_only=True):
    """A call whose charge is taken back."""

    id: Annotated[Reference, msgspec.Meta(description="The call's.")]
    reason: Reason


class Rerated(CallsOf, frozen=True, kw_only=True):
    """Calls to be priced anew, and what that was seen to come to."""

    reason: Reason
    delta_usd: Annotated[
        str,
        msgspec.Meta(
            description="That of the preview: it is done only while it is so.",
            pattern=r"^-?[0-9]{1,7}(\.[0-9]{1,12})?" + END,
        ),
    ]
