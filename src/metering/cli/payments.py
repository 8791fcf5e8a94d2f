"""`metering payments`: money received."""

from typing import Annotated, cast

import typer

from metering.cli.accounts import AccountId
from metering.cli.command import command, group
from metering.cli.desk import Desk
from metering.cli.output import table
from metering.cli.values import account_document, amount, when
from metering.clock import iso_utc
from metering.ledger import Payment, PaymentKind
from metering.money import format_usd

__all__ = ["payments"]

_MOVE_ROOM = ("early_payment", "refund", "chargeback")

payments = group("payments", "Money received: record, list.")


@command(payments, "record")
async def record(
    desk: Desk,
    account: AccountId,
    usd: Annotated[str, typer.Argument(metavar="USD", help='Dollars, such as "50".')],
    *,
    reference: Annotated[
        str, typer.Option(help="The payment processor's id; each counts once.")
    ],
    kind: Annotated[
        str,
        typer.Option(
            help="invoice, credit_purchase or early_payment; refund or chargeback."
        ),
    ],
    refers_to: Annotated[
        str | None,
        typer.Option(
            metavar="REFERENCE",
            help="The payment that was taken back, or the invoice that was paid.",
        ),
    ] = None,
) -> None:
    """Record a payment; each reference counts once. The tier may change with it."""
    meter = desk.opened
    before = meter.accounts.tier_of(await meter.accounts.get(account))
    paid = await meter.billing.record_payment(
        account,
        usd=usd,
        reference=reference,
        kind=cast("PaymentKind", kind),
        refers_to=refers_to,
    )
    tier = meter.accounts.tier_of(paid)
    moved = ""
    if tier.level != before.level:
        way = "up" if tier.level > before.level else "down"
        moved = f", {way} from {before.name}"
    desk.output.show(
        account_document(paid, tier) | {"reference": reference},
        f"{account} has paid {amount(paid.lifetime_paid_p)} so far, and is in"
        f" {tier.name}{moved}.",
    )
    desk.note_reach()
    in_memory = (meter.plan.limits_store or "memory://").startswith("memory:")
    if kind in _MOVE_ROOM and in_memory:
        desk.output.note(
            "But what room an early payment makes in a period's limit, until it is"
            " taken back, is counted in the memory of a running service, which learns"
            " of it when it is started again. Where limits are shared ([storage]"
            " limits), it is there at once."
        )


@command(payments, "list")
async def list_payments(desk: Desk, account: AccountId) -> None:
    """List the payments of an account, oldest first."""
    await desk.opened.accounts.get(account)
    found = await desk.read(desk.ledger.payments, account)
    rows = [
        (
            when(p.at_ns),
            p.reference,
            p.kind,
            p.refers_to or "",
            amount(-p.amount_p if p.takes_back else p.amount_p),
        )
        for p in found
    ]
    columns = ("at", "reference", "kind", "for", "amount>")
    desk.output.show(
        [_document(payment) for payment in found],
        table(f"Payments of {account}", columns, rows),
    )


def _document(payment: Payment) -> dict[str, object]:
    return {
        "reference": payment.reference,
        "account": payment.account_id,
        "kind": payment.kind,
        "usd": format_usd(payment.amount_p),
        "refers_to": payment.refers_to,
        "at": iso_utc(payment.at_ns),
    }
