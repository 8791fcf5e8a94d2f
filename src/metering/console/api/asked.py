"""What requests to the API say: members of their queries and of their bodies."""

from datetime import datetime
from typing import Annotated

import msgspec

from metering.console.api.fields import (
    PRINTABLE,
    AccountId,
    Key,
    PageSize,
    PeriodKey,
    Reference,
    UsdAsked,
)
from metering.console.api.places import CURSOR_LENGTH_MAX
from metering.ledger import PaymentKind

__all__ = [
    "AccountsPage",
    "ChargesPage",
    "KeyRevoked",
    "NewAccount",
    "NewCredit",
    "NewKey",
    "NewPayment",
    "Nothing",
    "OneInvoice",
    "OwnedPage",
    "OwnedQuery",
    "PoolsOf",
    "TierPin",
    "UsageDaysOf",
    "UsageOf",
]

_PAGE = 50

Model = Annotated[
    str,
    msgspec.Meta(
        description="Name in the price book.",
        min_length=1,
        max_length=300,
        pattern=PRINTABLE,
    ),
]
Cursor = Annotated[
    str,
    msgspec.Meta(
        description="`next` of the page before.",
        min_length=1,
        max_length=CURSOR_LENGTH_MAX,
        pattern=PRINTABLE,
    ),
]
Whose = Annotated[
    AccountId,
    msgspec.Meta(description="Whose. An operator names it; a key sees its own alone."),
]


class _Strict(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True
): ...


class Nothing(_Strict, frozen=True):
    """No members."""


class OwnedQuery(_Strict, frozen=True, kw_only=True):
    """Whose rows.

    Attributes:
        account: An operator must name it; a key sees its own account alone.
    """

    account: Whose | None = None


class UsageOf(OwnedQuery, frozen=True, kw_only=True):
    """Of which period; None: the present one."""

    period: PeriodKey | None = None


class UsageDaysOf(UsageOf, frozen=True, kw_only=True):
    """And of which model; None: of all."""

    model: Model | None = None


class ChargesPage(OwnedQuery, frozen=True, kw_only=True):
    """Which calls, the latest first."""

    period: PeriodKey | None = None
    model: Model | None = None
    cursor: Cursor | None = None
    limit: PageSize = _PAGE


class OwnedPage(OwnedQuery, frozen=True, kw_only=True):
    """Which page of a list."""

    cursor: Cursor | None = None
    limit: PageSize = _PAGE


class OneInvoice(OwnedQuery, frozen=True, kw_only=True):
    """Which invoice."""

    id: Reference


class AccountsPage(_Strict, frozen=True, kw_only=True):
    """Which accounts, by id."""

    cursor: Cursor | None = None
    limit: PageSize = _PAGE


class KeyRevoked(_Strict, frozen=True, kw_only=True):
    """Which key."""

    id: Key


class NewAccount(_Strict, frozen=True, kw_only=True):
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


class NewPayment(_Strict, frozen=True, kw_only=True):
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


class NewCredit(_Strict, frozen=True, kw_only=True):
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


class TierPin(_Strict, frozen=True, kw_only=True):
    """A tier set by agreement; null: by spend again."""

    account: AccountId
    level: int | None


class NewKey(_Strict, frozen=True, kw_only=True):
    """A key to be issued."""

    account: AccountId
    usage_limit_usd: (
        Annotated[
            UsdAsked,
            msgspec.Meta(
                description="What its calls may cost in a period; null: no own."
            ),
        ]
        | None
    ) = None


class PoolsOf(_Strict, frozen=True, kw_only=True):
    """What adaptive pools did; of one, or of all."""

    pool: (
        Annotated[
            str,
            msgspec.Meta(
                description="Name of a pool.",
                min_length=1,
                max_length=300,
                pattern=PRINTABLE,
            ),
        ]
        | None
    ) = None
    hours: Annotated[
        int, msgspec.Meta(description="How far to look back.", ge=1, le=168)
    ] = 24
