"""`metering invoice`: months are closed, and written out."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec
import typer
from anyio import to_thread

from metering.cli.accounts import AccountId
from metering.cli.command import command, group
from metering.cli.desk import Desk
from metering.cli.output import facts, table
from metering.cli.values import amount, when
from metering.errors import ConfigurationError
from metering.exports import (
    invoice_csv,
    invoice_document,
    invoice_html,
    usage_rows,
    write_csv,
    write_jsonl,
)
from metering.ledger import CENT_P, Invoice, period_named

__all__ = ["invoice"]

invoice = group("invoice", "Invoices: close months, show, list, export.")

_Way = TypeVar("_Way")

InvoiceId = Annotated[
    str, typer.Argument(metavar="INVOICE", help='Its id, such as "acme-2026-01".')
]
_File = Annotated[Path, typer.Argument(metavar="FILE", help="The file to write.")]
_Period = Annotated[str, typer.Option(help='A month, such as "2026-01".')]


@command(invoice, "close")
async def close(
    desk: Desk,
    account: Annotated[
        str | None, typer.Argument(metavar="ACCOUNT", help="The account to invoice.")
    ] = None,
    *,
    period: Annotated[
        str | None,
        typer.Option(help='Such as "2026-01". Default: the last that can be closed.'),
    ] = None,
    every: Annotated[
        bool,
        typer.Option("--all", help="Every period that may be closed, of all accounts."),
    ] = False,
) -> None:
    """Create the invoice of a month that has ended, once."""
    if every == (account is not None) or (every and period is not None):
        raise ConfigurationError(
            "Close the month of one account, or --all that may be closed, without"
            " --period."
        )
    billing = desk.opened.billing
    if account is not None:
        _show(desk, await billing.close(account, period))
        return
    made: list[Invoice] = []
    with desk.output.progress() as bar:
        task = bar.add_task("Closing", total=None)
        async for one in billing.close_all():
            made.append(one)
            bar.advance(task)
    due_p = sum(one.total_p for one in made)
    _list(desk, made, f"Closed now: {len(made):,}. Due of these: {amount(due_p)}.")


@command(invoice, "show")
async def show(desk: Desk, invoice_id: InvoiceId) -> None:
    """Show an invoice line by line."""
    _show(desk, await desk.opened.billing.invoice(invoice_id))


@command(invoice, "list")
async def list_invoices(
    desk: Desk,
    account: Annotated[
        str | None, typer.Argument(metavar="ACCOUNT", help="Default: all accounts.")
    ] = None,
    *,
    after: Annotated[str, typer.Option(help="Start after this id.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many at most.")] = (
        100
    ),
) -> None:
    """List invoices by id, with the amount due."""
    found = await desk.opened.billing.invoices(account, after=after, limit=limit)
    due_p = sum(one.total_p for one in found if not one.paid)
    _list(desk, found, f"Not paid of these: {amount(due_p)}.")
    if len(found) == limit:
        desk.output.note(f"There may be more: --after {found[-1].id}")


@command(invoice, "export")
async def export(
    desk: Desk,
    invoice_id: InvoiceId,
    file: _File,
    seller: Annotated[
        str, typer.Option(help="The seller's name on a printable page.")
    ] = "",
) -> None:
    """Write an invoice to a file: .json, .csv, or .html for printing."""
    found = await desk.opened.billing.invoice(invoice_id)
    written: dict[str, Callable[[], str]] = {
        ".json": partial(_json, found),
        ".csv": partial(invoice_csv, found),
        ".html": partial(invoice_html, found, seller=seller),
    }
    text = _chosen(file, written)()
    await to_thread.run_sync(partial(file.write_text, text, encoding="utf-8"))
    desk.output.show(
        {"invoice": found.id, "file": str(file)}, f"{found.id} is in {file}."
    )


@command(invoice, "usage")
async def usage(desk: Desk, account: AccountId, file: _File, period: _Period) -> None:
    """Write a month's calls and corrections to a file: .csv or .jsonl."""
    write = _chosen(file, {".csv": write_csv, ".jsonl": write_jsonl})
    owner = await desk.opened.accounts.get(account)
    key = period_named(period, owner.time_zone, owner.anchor_day).key

    def written() -> None:
        with file.open("w", encoding="utf-8", newline="") as opened:
            write(usage_rows(desk.ledger, account, key), opened)

    await to_thread.run_sync(written)
    desk.output.show(
        {"account": account, "period": key, "file": str(file)},
        f"What {account} used in {key} is in {file}.",
    )


def _chosen(file: Path, ways: dict[str, _Way]) -> _Way:
    """Return the way to write that the file's name asks for."""
    way = ways.get(file.suffix.lower())
    if way is None:
        raise ConfigurationError(
            f"{str(file)!r} ends with none of {', '.join(ways)}: the end of its name"
            " says how it is written."
        )
    return way


def _json(found: Invoice) -> str:
    text = msgspec.json.format(msgspec.json.encode(invoice_document(found)), indent=2)
    return text.decode() + "\n"


def _show(desk: Desk, found: Invoice) -> None:
    rows = [
        (
            line.kind.replace("_", " "),
            line.period,
            line.model,
            f"{line.calls:,}" if line.calls else "",
            amount(line.amount_p),
            amount(line.cents * CENT_P),
        )
        for line in found.lines
    ]
    columns = ("", "period", "model", "calls>", "exact>", "shown>")
    desk.output.show(
        invoice_document(found),
        facts(
            f"Invoice {found.id}",
            [
                ("from", when(found.start_ns)),
                ("until before", when(found.end_ns)),
                ("due", amount(found.total_p)),
                ("status", _status(found)),
            ],
        ),
        table("Lines", columns, rows),
    )


def _list(desk: Desk, found: list[Invoice], summary: str) -> None:
    rows = [(one.id, amount(one.total_p), _status(one)) for one in found]
    desk.output.show(
        [invoice_document(one) for one in found],
        table("Invoices", ("invoice", "due>", "status"), rows),
        summary,
    )


def _status(found: Invoice) -> str:
    if found.paid_by is not None:
        return f"paid by {found.paid_by}"
    return "nothing is due" if found.paid else "to be paid"
