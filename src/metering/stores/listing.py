"""What is kept, page by page, for who looks at it. Worker threads call it."""

from typing import Literal, Protocol

import msgspec

from metering.accounts import Account, ApiKey
from metering.ledger import Alert, CreditGrant, Payment

__all__ = ["AccountSpend", "AccountsWanted", "AlertPlace", "Listing"]

AlertPlace = tuple[int, str, str, str, int, int, int]
"""Where an alert stands among others: instant, account, subject, period, epoch, limit
and threshold."""


class AccountsWanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which accounts to list, and in which order.

    Attributes:
        prefix: How their ids begin.
        tier: The level of the tier they are in just then; None: any.
        suspended: Whether they are suspended; None: either.
        order: By `id`, or by what they `spent` in their present period, most first.
    """

    prefix: str = ""
    tier: int | None = None
    suspended: bool | None = None
    order: Literal["id", "spent"] = "id"


class AccountSpend(msgspec.Struct, frozen=True):
    """An account, and what it spent in the period it is in, in pico-dollars."""

    account: Account
    period: str
    spent_p: int


class Listing(Protocol):
    """Lists what a ledger keeps. Latest first means: by instant, then by id."""

    def accounts(
        self,
        wanted: AccountsWanted,
        *,
        now_ns: int,
        after: tuple[int, str] | None = None,
        limit: int,
    ) -> list[AccountSpend]:
        """Return accounts in the order that is wanted.

        Each account's own calendar says which period is the present one.

        Args:
            wanted: Which, and in which order; of equal spend by id.
            now_ns: The present instant.
            after: Spend and id of the account after which to go on; where the order is
                by id, the spend is not looked at. None: from the beginning.
            limit: How many at most.
        """
        ...

    def payments(
        self, account_id: str, *, before: tuple[int, str] | None = None, limit: int
    ) -> list[Payment]:
        """Return payments of an account, the latest first.

        Args:
            account_id: Whose.
            before: Instant and reference of the payment after which, in that order, to
                go on; None to begin with the latest.
            limit: How many at most.
        """
        ...

    def grants(
        self, account_id: str, *, before: tuple[int, str] | None = None, limit: int
    ) -> list[CreditGrant]:
        """Return credit of an account, what began last first; see `payments`."""
        ...

    def keys(
        self, account_id: str, *, before: tuple[int, str] | None = None, limit: int
    ) -> list[ApiKey]:
        """Return keys of an account, also revoked ones, latest first as `payments`."""
        ...

    def key(self, key_id: str) -> ApiKey | None:
        """Return a key by its id, also a revoked one, or None."""
        ...

    def alerts(
        self,
        account_id: str | None,
        *,
        before: AlertPlace | None = None,
        limit: int,
    ) -> list[Alert]:
        """Return what was told of allowances that came to their end, latest first.

        Args:
            account_id: Of which account; None: of all.
            before: The place after which, in that order, to go on; None to begin with
                the latest.
            limit: How many at most.
        """
        ...
