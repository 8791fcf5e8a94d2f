"""`metering credits`: credit given or bought, and what is left of it."""

from typing import Annotated

import typer

from metering.cli.accounts import AccountId
from metering.cli.command import command, group
from metering.cli.desk import Desk
from metering.cli.output import table
from metering.cli.values import amount, credit_document, instant_ns, when
from metering.clock import iso_utc
from metering.ledger import CreditGrant
from metering.money import format_usd

__all__ = ["credits_"]

credits_ = group("credits", "Credit of an account: grant, list.")


@command(credits_, "grant")
async def grant(
    desk: Desk,
    account: AccountId,
    usd: Annotated[str, typer.Argument(metavar="USD", help='Dollars, such as "5".')],
    *,
    reference: Annotated[
        str, typer.Option(help="Your own name for it, such as a ticket's; counts once.")
    ],
    expires: Annotated[
        str | None,
        typer.Option(
            metavar="INSTANT", help="New calls cannot draw on it from then on."
        ),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(help="A model it pays for. May be repeated. Default: any."),
    ] = None,
    priority: Annotated[
        int, typer.Option(min=0, max=100, help="Lower is used first.")
    ] = 50,
) -> None:
    """Give promotional credit; each reference counts once."""
    expires_ns = None if expires is None else instant_ns(expires)
    await desk.opened.billing.grant_credit(
        account,
        usd=usd,
        reference=reference,
        expires_ns=expires_ns,
        models=model or None,
        priority=priority,
    )
    credit = await desk.meter.billing.credit(account)
    desk.output.show(
        {"account": account, "credit": credit_document(credit)},
        f"{account} has {amount(credit.ceiling_p - credit.used_p)} of credit left.",
    )
    desk.note_reach()


@command(credits_, "list")
async def list_grants(desk: Desk, account: AccountId) -> None:
    """List the credit grants of an account, oldest first, and what is left."""
    credit = await desk.opened.billing.credit(account)
    found = await desk.read(desk.ledger.grants, account)
    rows = [
        (
            g.id,
            g.kind,
            amount(g.amount_p),
            amount(g.left_p),
            "never" if g.expires_ns is None else when(g.expires_ns),
            "any" if g.models is None else ", ".join(g.models),
        )
        for g in found
    ]
    columns = ("grant", "kind", "granted>", "not drawn>", "expires", "models")
    desk.output.show(
        {
            "account": account,
            "credit": credit_document(credit),
            "grants": [_document(each) for each in found],
        },
        table(f"Credit of {account}", columns, rows),
        f"Left now: {amount(credit.ceiling_p - credit.used_p)}.",
    )


def _document(grant: CreditGrant) -> dict[str, object]:
    expires_ns = grant.expires_ns
    return {
        "id": grant.id,
        "kind": grant.kind,
        "usd": format_usd(grant.amount_p),
        "drawn_usd": format_usd(grant.consumed_p),
        "expired_usd": format_usd(grant.expired_p),
        "taken_back_usd": format_usd(grant.withdrawn_p),
        "priority": grant.priority,
        "models": grant.models,
        "effective": iso_utc(grant.effective_ns),
        "expires": None if expires_ns is None else iso_utc(expires_ns),
    }
