"""What a ledger promises of invoices and of corrections. Worker threads call it."""

from collections.abc import Iterable, Sequence
from typing import Literal, Protocol

import msgspec

from metering.accounts import Account
from metering.ledger import Correction, Invoice, Revision, Standing

__all__ = [
    "BudgetFreed",
    "CorrectionReport",
    "CorrectionStore",
    "InvoiceStore",
    "UnbilledPeriod",
]


class UnbilledPeriod(msgspec.Struct, frozen=True):
    """A period of which not everything is on an invoice.

    Attributes:
        account_id: Whose it is.
        period: Its key.
        invoiced: Whether it has an invoice, and the rest came later.
    """

    account_id: str
    period: str
    invoiced: bool


class BudgetFreed(msgspec.Struct, frozen=True, kw_only=True):
    """What corrections freed of one budget; below 0 where they took from it.

    Attributes:
        account_id: Whose budget.
        kind: The account's limit of a period, its credit, or the limit of a key.
        key_id: The key; "" for the others.
        period: The period; "" for credit.
        amount_p: Pico-dollars.
    """

    account_id: str
    kind: Literal["spend", "credit", "key"]
    key_id: str = ""
    period: str = ""
    amount_p: int


class CorrectionReport(msgspec.Struct, frozen=True):
    """What corrections changed.

    Attributes:
        corrections: Those that were new.
        accounts: Whose they are, as they are now.
        freed: Of which budgets.
    """

    corrections: tuple[Correction, ...] = ()
    accounts: tuple[Account, ...] = ()
    freed: tuple[BudgetFreed, ...] = ()


class InvoiceStore(Protocol):
    """Closes periods and keeps their invoices."""

    def close_period(
        self, account_id: str, period: str, *, now_ns: int, grace_ns: int
    ) -> Invoice:
        """Make the invoice of a period, once; closed again, return the one there is.

        What is posted of the period from then on is told by the account's next invoice.

        Args:
            account_id: Whose period.
            period: Its key.
            now_ns: The present instant.
            grace_ns: How long after its end calls that began in it are waited for.

        Raises:
            AccountNotFoundError: There is no such account.
            ConfigurationError: The account has no such period, as it was created after
                it and nothing was used then, or it may not be closed yet.
        """
        ...

    def invoice(self, invoice_id: str) -> Invoice | None:
        """Return an invoice, or None if there is none of that id."""
        ...

    def invoices(
        self, account_id: str | None = None, *, after: str = "", limit: int = 100
    ) -> list[Invoice]:
        """Return invoices by id, after the one named, at most *limit*.

        Args:
            account_id: Whose; None for everybody's.
            after: The id after which to begin.
            limit: How many at most.
        """
        ...

    def unbilled(
        self, *, after: tuple[str, str] = ("", ""), limit: int = 100
    ) -> list[UnbilledPeriod]:
        """Return periods that are not wholly on an invoice, by account and period.

        Args:
            after: Account and period after which to begin.
            limit: How many at most.
        """
        ...


class CorrectionStore(Protocol):
    """Takes charges back and makes them anew. What was posted is never edited."""

    def correct(
        self, revisions: Sequence[Revision], *, now_ns: int
    ) -> CorrectionReport:
        """Make charges what they are to be, all in one transaction.

        One that is so already, or was taken back for good, stays as it is.

        Raises:
            AccountNotFoundError: Nobody owns a call.
            LedgerError: There is no event of an id.
        """
        ...

    def standing(self, event_id: str) -> Standing | None:
        """Return what an event costs now, or None if there is none of that id."""
        ...

    def standings_by_id(self, event_ids: Iterable[str]) -> list[Standing]:
        """Return what the events of these ids cost now, by id; of others nothing."""
        ...

    def standings(
        self, model: str, from_ns: int, to_ns: int, *, after: str = "", limit: int = 500
    ) -> list[Standing]:
        """Return what calls of a model cost now, by event id.

        Args:
            model: Its name in the price book.
            from_ns: Admitted at this instant or later.
            to_ns: Admitted before this one.
            after: The event id after which to begin.
            limit: How many at most.
        """
        ...

    def standings_of_period(
        self,
        account_id: str,
        period: str,
        *,
        after: tuple[int, str] = (-1, ""),
        limit: int = 500,
    ) -> list[Standing]:
        """Return what calls of a period cost now, in the order of their admission.

        Args:
            account_id: Whose.
            period: The key of the period in which they were admitted.
            after: Instant of the admission and event id after which to begin.
            limit: How many at most.
        """
        ...

    def corrections(
        self, account_id: str, booked_period: str, *, after: str = "", limit: int = 500
    ) -> list[Correction]:
        """Return corrections that the invoice of a period tells, by id."""
        ...
