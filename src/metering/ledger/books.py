"""Double entry: each movement of money goes from one account of the books to another.

| account of the books | kept for | its balance |
|---|---|---|
| `cash` | all | what was paid, less what went back |
| `receivable:A` | each account | what it used or got back, and has not paid |
| `credit_paid:A`, `credit_promo:A` | each account | what its grants have left, < 0 |
| `revenue` | all | what calls cost, below 0 |
| `promo_expense` | all | promotional credit given, less what expired |
| `breakage` | all | paid credit that expired unused, below 0 |
| `rounding`, `writeoff` | all | what invoices round, what is not pursued |

A balance is debits less credits, so that those of all accounts together are 0.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import Literal

import msgspec

from metering.ledger.credit import CreditGrant
from metering.ledger.payments import Payment

__all__ = [
    "BREAKAGE",
    "CASH",
    "PROMO_EXPENSE",
    "REVENUE",
    "ROUNDING",
    "WRITEOFF",
    "Transfer",
    "TransferCode",
    "balances_p",
    "credit_of",
    "debt_repaid",
    "expired",
    "granted",
    "paid",
    "receivable_of",
]

CASH = "cash"
REVENUE = "revenue"
PROMO_EXPENSE = "promo_expense"
BREAKAGE = "breakage"
ROUNDING = "rounding"
WRITEOFF = "writeoff"

TransferCode = Literal[
    "usage",
    "overrun",
    "grant",
    "invoice",
    "credit_purchase",
    "early_payment",
    "refund",
    "chargeback",
    "debt_repaid",
    "expiry",
    "correction",
    "rounding",
    "writeoff",
]
"""Why an amount moved. `overrun`: usage that credit alone should have paid and could
not; `debt_repaid`: credit that came later paid it."""


class Transfer(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An amount that moves from the account that is credited to the one debited.

    Attributes:
        code: Why.
        debit: Account of the books whose balance rises.
        credit: Account of the books whose balance falls.
        amount_p: Pico-dollars, above 0.
        account_id: Whose money it is.
        source: Id of the grant, payment or invoice; the period of what is billed later.
        at_ns: When what is booked happened; of a batch of calls, when its last ended.
    """

    code: TransferCode
    debit: str
    credit: str
    amount_p: int
    account_id: str
    source: str
    at_ns: int


def receivable_of(account_id: str) -> str:
    """Return the account of the books for what an account owes."""
    return f"receivable:{account_id}"


def credit_of(account_id: str, kind: Literal["promo", "paid"]) -> str:
    """Return the account of the books for credit that an account has left."""
    return f"credit_{kind}:{account_id}"


def balances_p(transfers: Iterable[Transfer]) -> dict[str, int]:
    """Return debits less credits of every account of the books that was moved."""
    sums_p: defaultdict[str, int] = defaultdict(int)
    for transfer in transfers:
        sums_p[transfer.debit] += transfer.amount_p
        sums_p[transfer.credit] -= transfer.amount_p
    return dict(sums_p)


def granted(grant: CreditGrant) -> Transfer:
    """Return what giving credit books; credit that was bought is booked as paid."""
    return Transfer(
        code="grant",
        debit=PROMO_EXPENSE if grant.kind == "promo" else CASH,
        credit=credit_of(grant.account_id, grant.kind),
        amount_p=grant.amount_p,
        account_id=grant.account_id,
        source=grant.id,
        at_ns=grant.effective_ns,
    )


def expired(grant: CreditGrant, amount_p: int, at_ns: int) -> Transfer:
    """Return what the end of credit books that nobody drew."""
    return Transfer(
        code="expiry",
        debit=credit_of(grant.account_id, grant.kind),
        credit=PROMO_EXPENSE if grant.kind == "promo" else BREAKAGE,
        amount_p=amount_p,
        account_id=grant.account_id,
        source=grant.id,
        at_ns=at_ns,
    )


def debt_repaid(grant: CreditGrant, amount_p: int, at_ns: int) -> Transfer:
    """Return what new credit books that pays for calls which ran over the old."""
    return Transfer(
        code="debt_repaid",
        debit=credit_of(grant.account_id, grant.kind),
        credit=receivable_of(grant.account_id),
        amount_p=amount_p,
        account_id=grant.account_id,
        source=grant.id,
        at_ns=at_ns,
    )


def paid(payment: Payment, credit_p: int) -> list[Transfer]:
    """Return what a payment books, or one that takes another back.

    Args:
        payment: The payment.
        credit_p: What of it became credit, or was unused credit taken back; the rest
            settles what was owed, or is owed again.
    """
    parts_p = {
        credit_of(payment.account_id, "paid"): credit_p,
        receivable_of(payment.account_id): payment.amount_p - credit_p,
    }
    return [
        Transfer(
            code=payment.kind,
            debit=other if payment.takes_back else CASH,
            credit=CASH if payment.takes_back else other,
            amount_p=part_p,
            account_id=payment.account_id,
            source=payment.reference,
            at_ns=payment.at_ns,
        )
        for other, part_p in parts_p.items()
        if part_p
    ]
