"""`metering alerts`: which accounts were told that an allowance comes to its end."""

from typing import Annotated

import typer

from metering.cli.desk import Desk
from metering.cli.output import table
from metering.cli.values import amount, when
from metering.clock import iso_utc
from metering.ledger import Alert
from metering.money import format_usd

__all__ = ["alerts"]


async def alerts(
    desk: Desk,
    account: Annotated[
        str | None, typer.Argument(metavar="ACCOUNT", help="Default: all accounts.")
    ] = None,
    *,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many at most.")] = (
        100
    ),
) -> None:
    """List alerts on usage limits and credit, latest first."""
    if account is not None:
        await desk.opened.accounts.get(account)
    found = await desk.read(desk.ledger.listing.alerts, account, limit=limit)
    rows = [
        (
            when(each.at_ns),
            each.allowance.account_id,
            each.allowance.subject.replace("_", " "),
            each.allowance.period,
            f"{each.threshold} %",
            amount(each.allowance.limit_p),
        )
        for each in found
    ]
    desk.output.show(
        [_document(each) for each in found],
        table("Alerts", ("at", "account", "of", "period", "passed>", "of all>"), rows),
    )
    if len(found) == limit:
        desk.output.note("There may be more: raise --limit, or name an account.")


def _document(alert: Alert) -> dict[str, object]:
    of = alert.allowance
    return {
        "account": of.account_id,
        "subject": of.subject,
        "period": of.period or None,
        "threshold": alert.threshold,
        "used_usd": format_usd(of.used_p),
        "limit_usd": format_usd(of.limit_p),
        "at": iso_utc(alert.at_ns),
    }
