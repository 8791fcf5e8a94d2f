"""The tables with which the demo ends: calls and charges, refusals, tiers, records."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.markup import escape
from rich.table import Table

from metering.accounts import Account, Tier
from metering.demo.script import Refused
from metering.ledger import CreditState
from metering.money import format_usd
from metering.pricing import PriceBook
from metering.stores import UsageTotal

__all__ = [
    "Statement",
    "charges_table",
    "records",
    "refusals_table",
    "statement_document",
    "tiers_table",
]

_MS_PER_S = 1000


@dataclass(frozen=True)
class Statement:
    """One account at the end, as the ledger has it."""

    account: Account
    before: Tier
    after: Tier
    credit: CreditState
    totals: Sequence[UsageTotal]


def statement_document(statement: Statement) -> dict[str, object]:
    """Return what JSON has of an account."""
    credit = statement.credit
    return {
        "account": statement.account.id,
        "tier_before": statement.before.name,
        "tier": statement.after.name,
        "lifetime_paid_usd": format_usd(statement.account.lifetime_paid_p),
        "credit_left_usd": format_usd(credit.ceiling_p - credit.used_p),
        "usage": [
            {
                "model": total.model,
                "calls": total.calls,
                "input_tokens": total.usage.input_total,
                "output_tokens": total.usage.output_total,
                "compute_ms": total.usage.compute_ms,
                "charge_usd": format_usd(total.charge_p),
            }
            for total in statement.totals
        ],
    }


def charges_table(
    statements: Iterable[Statement], prices: PriceBook, now_ns: int
) -> Table:
    """Return what each account used of each model, and was charged.

    Args:
        statements: The accounts.
        prices: How models are billed.
        now_ns: At which instant.
    """
    table = _table("What was used (tokens in and out, seconds), and what it cost")
    for column in ("account", "model", "billed"):
        table.add_column(column, no_wrap=True)
    for column in ("calls", "in", "out", "seconds", "charge"):
        table.add_column(column, justify="right", no_wrap=True)
    sum_p = 0
    for statement in statements:
        name = statement.account.id
        for total in statement.totals:
            kind, usage = _kind(prices, total.model, now_ns), total.usage
            timed = kind == "time"
            table.add_row(
                name,
                total.model.rpartition("/")[2],
                kind,
                str(total.calls),
                str(usage.input_total),
                str(usage.output_total),
                f"{usage.compute_ms / _MS_PER_S:.3f}" if timed else "",
                f"${format_usd(total.charge_p)}",
            )
            name = ""
            sum_p += total.charge_p
        table.add_section()
    table.add_row("all", "", "", "", "", "", "", f"${format_usd(sum_p)}")
    return table


def refusals_table(refusals: Iterable[Refused]) -> Table:
    """Return who was refused, and in which words."""
    table = _table("What was refused, in the words that the client was told")
    for column in ("who", "status", "code"):
        table.add_column(column, no_wrap=True)
    table.add_column("message")
    for refused in refusals:
        table.add_row(refused.who, str(refused.status), refused.code, refused.message)
    return table


def tiers_table(statements: Iterable[Statement]) -> Table:
    """Return the tier of each account before and after, and what it may do now."""
    table = _table("Who is in which tier")
    for column in ("account", "before", "after"):
        table.add_column(column, no_wrap=True)
    for column in ("calls/min", "output cap", "paid so far", "credit left"):
        table.add_column(column, justify="right", no_wrap=True)
    for statement in statements:
        after, credit = statement.after, statement.credit
        table.add_row(
            statement.account.id,
            statement.before.name,
            after.name,
            _calls_a_minute(after),
            f"{after.output_tokens_max:,}",
            f"${format_usd(statement.account.lifetime_paid_p)}",
            f"${format_usd(credit.ceiling_p - credit.used_p)}",
        )
    return table


def records(data: Path) -> list[str]:
    """Return where the records lie, as lines: a path is to be copied whole."""
    lines = ["[bold]Where the records are[/bold]", ""]
    for name, said in (
        ("ledger.db", "accounts, hashed keys, payments, credit, every call's charge"),
        ("journal/", "each call as it ended, until it is in the ledger"),
        ("demo.log", "what the operator is told: refusals, faults, changes"),
    ):
        lines += [f"  {escape(str(data / name))}", f"      {said}"]
    return lines


def _calls_a_minute(tier: Tier) -> str:
    if "paid" in tier.adaptive:
        return "adaptive"
    return f"{tier.requests['paid'][0].amount:,}"


def _kind(prices: PriceBook, model: str, now_ns: int) -> str:
    priced = prices.model(model)
    price = None if priced is None else priced.at(now_ns)
    return "unpriced" if price is None else price.kind


def _table(title: str) -> Table:
    return Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        header_style="dim",
        padding=(0, 1, 0, 0),  # it is to fit into 80 columns
    )
