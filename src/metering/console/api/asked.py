"""What requests to the API say in their queries."""

from datetime import datetime
from typing import Annotated, Literal

import msgspec

from metering.console.api.fields import (
    PRINTABLE,
    AccountId,
    Key,
    PageSize,
    PeriodKey,
    Reference,
)
from metering.console.api.places import CURSOR_LENGTH_MAX

__all__ = [
    "AccountsPage",
    "CallsOf",
    "ChargesPage",
    "KeyRevoked",
    "Nothing",
    "OneInvoice",
    "OwnedPage",
    "OwnedQuery",
    "PoolsOf",
    "ReasonsOf",
    "Strict",
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


class Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Takes its members and no others."""


class Nothing(Strict, frozen=True):
    """No members."""


class OwnedQuery(Strict, frozen=True, kw_only=True):
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


class AccountsPage(Strict, frozen=True, kw_only=True):
    """Which accounts, and in which order."""

    prefix: (
        Annotated[AccountId, msgspec.Meta(description="How their ids begin.")] | None
    ) = None
    tier: Annotated[int, msgspec.Meta(description="The level they are in.")] | None = (
        None
    )
    suspended: bool | None = None
    order: Annotated[
        Literal["id", "spent"],
        msgspec.Meta(
            description="By id, or by spend of the present period, most first."
        ),
    ] = "id"
    cursor: Cursor | None = None
    limit: PageSize = _PAGE


class KeyRevoked(Strict, frozen=True, kw_only=True):
    """Which key."""

    id: Key


class CallsOf(Strict, frozen=True, kw_only=True):
    """Which calls to price anew, and at which price."""

    model: Model
    since: Annotated[
        datetime, msgspec.Meta(tz=True, description="Admitted then or later.")
    ]
    until: (
        Annotated[
            datetime, msgspec.Meta(tz=True, description="And before that; null: now.")
        ]
        | None
    ) = None
    price_version: (
        Annotated[
            Reference,
            msgspec.Meta(description="A published price; null: of each admission."),
        ]
        | None
    ) = None


class PoolsOf(Strict, frozen=True, kw_only=True):
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


class ReasonsOf(Strict, frozen=True, kw_only=True):
    """How far to look back at refusals."""

    hours: Annotated[
        int, msgspec.Meta(description="How far to look back.", ge=1, le=24)
    ] = 1
