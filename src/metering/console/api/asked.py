"""What requests to the API say: members of their queries and of their bodies."""

import base64
import binascii
from datetime import datetime
from typing import Annotated, Self

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
from metering.errors import ConfigurationError
from metering.ledger import PaymentKind

__all__ = [
    "AccountsPage",
    "ChargesPage",
    "InvoicesPage",
    "KeyRevoked",
    "NewAccount",
    "NewCredit",
    "NewKey",
    "NewPayment",
    "Nothing",
    "OneInvoice",
    "OwnedQuery",
    "Place",
    "PoolsOf",
    "RefusalsPage",
    "RefusedPlace",
    "TierPin",
    "UsageDaysOf",
    "UsageOf",
]

_PAGE = 50

_Instant = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
_Named = Annotated[str, msgspec.Meta(pattern=PRINTABLE.replace("+", "*"))]

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
        max_length=4000,
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


class InvoicesPage(OwnedQuery, frozen=True, kw_only=True):
    """Which invoices, by id."""

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


class RefusalsPage(OwnedQuery, frozen=True, kw_only=True):
    """Which refusals, the latest first; an operator who names nobody sees all."""

    cursor: Cursor | None = None
    limit: PageSize = _PAGE


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


class _Placed(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    def cursor(self) -> str:
        """Return it as clients send it back."""
        return base64.urlsafe_b64encode(msgspec.json.encode(self)).decode()

    @classmethod
    def of(cls, cursor: str) -> Self:
        """Return the place that a cursor names.

        Raises:
            ConfigurationError: It was never given out.
        """
        try:
            written = base64.b64decode(cursor.encode(), altchars=b"-_", validate=True)
            return msgspec.json.decode(written, type=cls)
        except (binascii.Error, ValueError, msgspec.MsgspecError):
            raise ConfigurationError(
                f"cursor {cursor[:80]!r} is none. Send `next` of the page before as it"
                " was, or none for the first page."
            ) from None


class Place(_Placed, frozen=True):
    """Where a page of charges ended, as its cursor says it.

    Attributes:
        period: Of its last call.
        admitted_ns: When that was admitted.
        id: Its id.
    """

    period: PeriodKey
    admitted_ns: _Instant
    id: Reference


class RefusedPlace(_Placed, frozen=True):
    """Where a page of refusals ended, as its cursor says it; see `RefusalPlace`."""

    minute_ns: _Instant
    account_id: _Named
    model: _Named
    code: _Named
    quota: _Named
    tier: Annotated[int, msgspec.Meta(ge=-1, le=2**31)]
