"""Where a page ended, and the cursor by which clients ask for the next one."""

import base64
import binascii
from typing import Annotated, Self

import msgspec

from metering.console.api.fields import PRINTABLE, PeriodKey, Reference
from metering.errors import ConfigurationError
from metering.ledger import AlertSubject

__all__ = [
    "CURSOR_LENGTH_MAX",
    "AlertPlaced",
    "CallPlaced",
    "PeriodPlaced",
    "Placed",
    "RefusalPlaced",
    "RowPlaced",
    "SpendPlaced",
]

CURSOR_LENGTH_MAX = 4000

Instant = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Named = Annotated[str, msgspec.Meta(pattern=PRINTABLE.replace("+", "*"))]
"""Text that may be empty."""


class Placed(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A place in a list."""

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


class CallPlaced(Placed, frozen=True):
    """Where a page of charges ended: period, admission and id of its last call."""

    period: PeriodKey
    admitted_ns: Instant
    id: Reference


class RefusalPlaced(Placed, frozen=True):
    """Where a page of refusals ended; see `RefusalPlace`."""

    minute_ns: Instant
    account_id: Named
    model: Named
    code: Named
    quota: Named
    tier: Annotated[int, msgspec.Meta(ge=-1, le=2**31)]


class RowPlaced(Placed, frozen=True):
    """Where a page of payments, credit or keys ended: instant and id of its last."""

    at_ns: Instant
    id: Reference


class SpendPlaced(Placed, frozen=True):
    """Where a page of accounts ended: spend and id of its last."""

    spent_p: Instant
    id: Reference


class PeriodPlaced(Placed, frozen=True):
    """Where a closing of periods stopped: account and key of the last one."""

    account_id: Reference
    period: PeriodKey


class AlertPlaced(Placed, frozen=True):
    """Where a page of alerts ended; see `AlertPlace`."""

    at_ns: Instant
    account_id: Named
    subject: AlertSubject
    period: Named
    epoch: Instant
    limit_p: Instant
    threshold: Annotated[int, msgspec.Meta(ge=0, le=100)]
