"""`metering usage`: what was used in a period, by account and model."""

from typing import Annotated

import typer

from metering.cli.desk import Desk
from metering.cli.output import table
from metering.cli.values import amount
from metering.ledger import PeriodState
from metering.money import format_usd
from metering.stores import UsageTotal

__all__ = ["usage"]

_PAGE = 500
_MS_PER_S = 1000


async def usage(
    desk: Desk,
    account: Annotated[
        str | None, typer.Argument(metavar="ACCOUNT", help="Default: all accounts.")
    ] = None,
    period: Annotated[
        str | None, typer.Option(help='A month, such as "2026-01". Default: this one.')
    ] = None,
) -> None:
    """Show what was used in a period, by account and model, and what it cost."""
    named = [account] if account is not None else await _all(desk)
    documents: list[dict[str, object]] = []
    rows: list[tuple[object, ...]] = []
    sum_p = 0
    for name in named:
        totals = await desk.opened.billing.usage(name, period)
        spent = await desk.opened.billing.period(name, period)
        if account is None and not totals:
            continue
        documents.append(_document(name, totals, spent))
        rows += [_row(name if not at else "", t) for at, t in enumerate(totals)]
        sum_p += sum(total.charge_p for total in totals)
    columns = ("account", "model", "calls>", "in>", "out>", "seconds>", "charge>")
    desk.output.show(
        documents,
        table(f"Usage, {period or 'this period'}", columns, rows),
        f"Charged in all: {amount(sum_p)}.",
    )


async def _all(desk: Desk) -> list[str]:
    names: list[str] = []
    after = ""
    while page := await desk.read(desk.ledger.accounts, after=after, limit=_PAGE):
        names += [account.id for account in page]
        after = names[-1]
    return names


def _document(
    account: str, totals: list[UsageTotal], state: PeriodState
) -> dict[str, object]:
    return {
        "account": account,
        "spent_usd": format_usd(state.spent_p),
        "paid_early_usd": format_usd(state.early_paid_p),
        "models": [
            {
                "model": total.model,
                "calls": total.calls,
                "usage": total.usage,
                "charge_usd": format_usd(total.charge_p),
            }
            for total in totals
        ],
    }


def _row(account: str, total: UsageTotal) -> tuple[object, ...]:
    used = total.usage
    return (
        account,
        total.model,
        f"{total.calls:,}",
        f"{used.input_total:,}",
        f"{used.output_total:,}",
        f"{used.compute_ms / _MS_PER_S:,.3f}" if used.compute_ms else "",
        amount(total.charge_p),
    )
