"""Invoices: what a period cost, who paid what of it, and cents that add up.

Amounts are exact until the end: only the total of an invoice is rounded to cents, half
up, and its lines are shown in cents that add up to it. What rounding leaves over is
booked, so that the books stay exact.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import msgspec
from msgspec.structs import replace

from metering.clock import iso_utc
from metering.errors import ConfigurationError, LedgerError
from metering.ledger import books
from metering.ledger.books import Transfer
from metering.ledger.credit import CreditGrant
from metering.ledger.payments import Payment
from metering.ledger.periods import Period
from metering.money import PICO, format_usd
from metering.usage import Usage

__all__ = [
    "CENT_P",
    "OF_INVOICE",
    "SETTLE_GRACE_NS",
    "Invoice",
    "InvoiceLine",
    "LineKind",
    "allotted_cents",
    "carried_over",
    "checked_closing",
    "checked_invoice_payment",
    "draw_up",
    "invoice_id",
    "not_yet_billed",
    "rounding_of",
]

CENT_P = PICO // 100
"""Pico-dollars in one cent."""

SETTLE_GRACE_NS = 24 * 3600 * 10**9
"""How long after its end a period stays open for calls that began in it, by default."""

OF_INVOICE = "invoice:"
"""What the id of credit begins with that an invoice is carried over to."""

LineKind = Literal["usage", "late", "correction", "credit", "early_payment", "carried"]
"""`usage`: calls of the period; `late`: of an earlier one whose invoice was made before
they were posted; `correction`: charges taken back or made anew; `credit`: what credit
paid, or has yet to make up for; `early_payment`: paid before the period's end;
`carried`: what was paid too much and is credit now."""


class InvoiceLine(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line; the amounts of all lines add up to what is due.

    Attributes:
        kind: What it is about.
        period: The period in which the calls began, or the payment was made.
        model: Name in the price book; "" where it is not about calls.
        price_version: Price by which the calls were charged.
        price_kind: What that counts; "agreed" for a price of this account's own.
        calls: How many calls.
        usage: What they used, by leaf; None for corrections, and where there are none.
        amount_p: Pico-dollars; below 0 where it lowers what is due.
        credit_p: What of the amount is credit's: drawn from it, or debt of calls that
            credit alone should have paid.
        cents: The amount as it is shown.
    """

    kind: LineKind
    period: str
    model: str = ""
    price_version: str = ""
    price_kind: str = ""
    calls: int = 0
    usage: Usage | None = None
    amount_p: int
    credit_p: int = 0
    cents: int = 0


class Invoice(msgspec.Struct, frozen=True, kw_only=True):
    """A closed period of an account. Never edited; only its payment is noted.

    Attributes:
        id: The account and the period.
        account_id: Who owes it.
        period: The period's key.
        start_ns: Its first instant.
        end_ns: The first instant after it.
        closed_ns: When the invoice was made.
        lines: What adds up to the total.
        total_cents: What is due, at least 0.
        residual_p: What rounding added to what is due; below 0 where it took away.
        paid_by: Reference of the payment that settled it, or None.
    """

    id: str
    account_id: str
    period: str
    start_ns: int
    end_ns: int
    closed_ns: int
    lines: tuple[InvoiceLine, ...]
    total_cents: int
    residual_p: int
    paid_by: str | None = None

    @property
    def total_p(self) -> int:
        """What is due, as whole cents in pico-dollars."""
        return self.total_cents * CENT_P

    @property
    def paid(self) -> bool:
        """Whether nothing is due any more."""
        return self.paid_by is not None or not self.total_cents

    def sum_p(self, *kinds: LineKind) -> int:
        """Return the exact sum of the lines of some kinds."""
        return sum(line.amount_p for line in self.lines if line.kind in kinds)


def invoice_id(account_id: str, period: str) -> str:
    """Return the id of the one invoice that an account has of a period."""
    return f"{account_id}-{period}"


def checked_closing(
    account_id: str, period: Period, first: str, now_ns: int, grace_ns: int
) -> Period:
    """Return a period if its invoice may be made.

    Args:
        account_id: Whose period.
        period: The period.
        first: The key of the account's first one.
        now_ns: The present instant.
        grace_ns: How long after its end calls that began in it are waited for.

    Raises:
        ConfigurationError: It is before the first, has not ended, or calls that began
            in it may still be posted.
    """
    if period.key < first:
        raise ConfigurationError(
            f"{account_id!r} had no period {period.key!r}: its first is {first!r}. Name"
            " that one or a later one."
        )
    due_ns = period.end_ns + grace_ns
    if now_ns >= due_ns:
        return period
    raise ConfigurationError(
        f"Period {period.key!r} of {account_id!r} ends at {iso_utc(period.end_ns)}, and"
        f" until {iso_utc(due_ns)} calls that began in it may still be posted. Close it"
        " then."
    )


def draw_up(
    account_id: str, period: Period, lines: Iterable[InvoiceLine], closed_ns: int
) -> Invoice:
    """Return the invoice of a period.

    Credit's part of the lines becomes a line of its own. Where more was paid than is
    due, the rest is carried over to credit and the total is 0.

    Args:
        account_id: Who owes it.
        period: The period.
        lines: Usage, corrections and early payments, without cents.
        closed_ns: The present instant.
    """
    lines = [line for line in lines if line.amount_p or line.calls]
    credit_p = sum(line.credit_p for line in lines)
    due_p = sum(line.amount_p for line in lines) - credit_p
    beside: dict[LineKind, int] = {"credit": -credit_p, "carried": max(0, -due_p)}
    lines += [
        InvoiceLine(kind=kind, period=period.key, amount_p=amount_p)
        for kind, amount_p in beside.items()
        if amount_p
    ]
    cents = allotted_cents([line.amount_p for line in lines])
    return Invoice(
        id=invoice_id(account_id, period.key),
        account_id=account_id,
        period=period.key,
        start_ns=period.start_ns,
        end_ns=period.end_ns,
        closed_ns=closed_ns,
        lines=tuple(
            replace(line, cents=shown) for line, shown in zip(lines, cents, strict=True)
        ),
        total_cents=sum(cents),
        residual_p=sum(cents) * CENT_P - max(0, due_p),
    )


def allotted_cents(amounts_p: Sequence[int]) -> list[int]:
    """Return amounts in cents that add up to their sum, which is rounded half up.

    Each is rounded down first; those that lost most by it get a cent more, the earlier
    of equals first, until the sum is right. None is a whole cent or more off.
    """
    cents = [amount_p // CENT_P for amount_p in amounts_p]
    lacking = (2 * sum(amounts_p) + CENT_P) // (2 * CENT_P) - sum(cents)
    by_loss = sorted(range(len(cents)), key=lambda at: -(amounts_p[at] % CENT_P))
    for at in by_loss[:lacking]:
        cents[at] += 1
    return cents


def not_yet_billed(
    now: Iterable[InvoiceLine], billed: Iterable[InvoiceLine]
) -> list[InvoiceLine]:
    """Return what has come to periods since they were billed, by model and price.

    Args:
        now: Their usage and early payments as the ledger has them.
        billed: Lines of earlier invoices about the same periods.
    """
    before: defaultdict[tuple[object, ...], list[InvoiceLine]] = defaultdict(list)
    for line in billed:
        before[_subject(line)].append(line)
    return [
        line if not earlier else _less(line, earlier)
        for line in now
        for earlier in (before.pop(_subject(line), []),)
    ]


def _subject(line: InvoiceLine) -> tuple[object, ...]:
    kind = "late" if line.kind == "usage" else line.kind
    return kind, line.period, line.model, line.price_version


def _less(line: InvoiceLine, earlier: Iterable[InvoiceLine]) -> InvoiceLine:
    """Return a line without what earlier ones say of the same."""
    used = Counter(_leaves(line))
    calls, amount_p, credit_p = line.calls, line.amount_p, line.credit_p
    for one in earlier:
        used.subtract(_leaves(one))
        calls -= one.calls
        amount_p -= one.amount_p
        credit_p -= one.credit_p
    return replace(
        line,
        calls=calls,
        usage=None if line.usage is None else Usage(**used),
        amount_p=amount_p,
        credit_p=credit_p,
    )


def _leaves(line: InvoiceLine) -> Mapping[str, int]:
    return {} if line.usage is None else msgspec.structs.asdict(line.usage)


def carried_over(invoice: Invoice) -> CreditGrant | None:
    """Return the credit that an invoice is carried over to, or None."""
    amount_p = invoice.sum_p("carried")
    if not amount_p:
        return None
    return CreditGrant(
        id=OF_INVOICE + invoice.id,
        account_id=invoice.account_id,
        kind="paid",
        amount_p=amount_p,
        effective_ns=invoice.closed_ns,
    )


def rounding_of(invoice: Invoice) -> list[Transfer]:
    """Return what an invoice books: the part of a cent that rounding left over."""
    if not invoice.residual_p:
        return []
    sides = [books.receivable_of(invoice.account_id), books.ROUNDING]
    if invoice.residual_p < 0:
        sides.reverse()
    debit, credit = sides
    return [
        Transfer(
            code="rounding",
            debit=debit,
            credit=credit,
            amount_p=abs(invoice.residual_p),
            account_id=invoice.account_id,
            source=invoice.id,
            at_ns=invoice.closed_ns,
        )
    ]


def checked_invoice_payment(invoice: Invoice | None, payment: Payment) -> Invoice:
    """Return the invoice that a payment settles.

    Raises:
        LedgerError: There is none of that id, it is another account's, it is paid
            already, or the payment is not of what is due.
    """
    if invoice is None or invoice.account_id != payment.account_id:
        raise LedgerError(
            f"{payment.account_id!r} has no invoice {payment.refers_to!r}. Invoices are"
            " made when a period is closed, and named by account and period."
        )
    if invoice.paid:
        by = f"paid by {invoice.paid_by!r}" if invoice.paid_by else "of nothing due"
        raise LedgerError(
            f"Invoice {invoice.id!r} is {by} already. Record other money as a"
            " credit_purchase, or give it back."
        )
    if payment.amount_p != invoice.total_p:
        raise LedgerError(
            f"Invoice {invoice.id!r} is of ${format_usd(invoice.total_p)}, and payment"
            f" {payment.reference!r} of ${format_usd(payment.amount_p)}. It is settled"
            " by one payment of that amount."
        )
    return invoice
