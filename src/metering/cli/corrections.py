"""`metering reverse` and `metering rerate`: charges that were wrong."""

from typing import Annotated

import typer

from metering.cli.desk import Desk
from metering.cli.output import facts, table
from metering.cli.values import amount, instant_ns
from metering.clock import system_clock
from metering.errors import ConfigurationError
from metering.money import PICO, format_usd, parse_usd
from metering.registry import Repriced

__all__ = ["rerate", "reverse"]

CONFIRMED_ABOVE_P = 100 * PICO
"""Above that the sum of a rerate has to be told by who applies it."""

_Reason = Annotated[str, typer.Option(help="Why; it is kept with each correction.")]

_WHY_KEPT = {
    "agreed": "charged by a price of their account's own",
    "policy": "not charged by what they used alone",
    "reversed": "taken back before",
    "unpriced": "admitted while no price was in force",
    "unowned": "of an account that was never created",
}


async def reverse(
    desk: Desk,
    event: Annotated[
        str, typer.Argument(metavar="EVENT", help="Id of the call: its x-usage-id.")
    ],
    reason: _Reason,
) -> None:
    """Reverse the charge of a call, permanently. Repeating it changes nothing."""
    standing = await desk.opened.corrections.reverse(event, reason=reason)
    charged = standing.event.charge_p
    desk.output.show(
        {
            "event": event,
            "account": standing.event.account_id,
            "period": standing.event.period,
            "charged_usd": format_usd(charged),
            "usd": format_usd(standing.amount_p),
        },
        f"{event} of {standing.event.account_id} costs nothing now. It was charged"
        f" {amount(charged)}.",
    )
    _note_reach(desk)


async def rerate(
    desk: Desk,
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="Its name in the plan.")
    ],
    since: Annotated[
        str,
        typer.Option("--from", metavar="INSTANT", help="Calls admitted then or later."),
    ],
    until: Annotated[
        str | None,
        typer.Option(
            "--to", metavar="INSTANT", help="Calls admitted before. Default: now."
        ),
    ] = None,
    *,
    price_version: Annotated[
        str | None,
        typer.Option(help="Id of a published price. Default: each call's own."),
    ] = None,
    reason: Annotated[
        str, typer.Option(help="Why; required to apply, kept with each correction.")
    ] = "",
    apply: Annotated[
        bool,
        typer.Option("--apply", help="Apply the changes. Default: only show them."),
    ] = False,
    confirm: Annotated[
        str | None,
        typer.Option(metavar="USD", help="The total change, required above $100."),
    ] = None,
) -> None:
    """Show what past calls of a model would cost at a published price, or apply it."""
    corrections = desk.opened.corrections
    since_ns = instant_ns(since)
    until_ns = system_clock() if until is None else instant_ns(until)
    found = await corrections.preview(
        model, since_ns, until_ns, price_version=price_version
    )
    if apply:
        _check_confirmed(found, confirm)
        with desk.output.progress() as progress:
            task = progress.add_task("Calls", total=found.calls)
            found = await corrections.rerate(
                model,
                since_ns,
                until_ns,
                reason=reason,
                price_version=price_version,
                on_batch=lambda so_far: progress.update(task, completed=so_far.calls),
            )
    _show(desk, found, applied=apply)
    if apply:
        _note_reach(desk)


def _check_confirmed(found: Repriced, confirm: str | None) -> None:
    at_stake_p = sum(abs(delta_p) for delta_p in found.by_account.values())
    if at_stake_p <= CONFIRMED_ABOVE_P:
        return
    if confirm is None or parse_usd(confirm) != found.delta_p:
        raise ConfigurationError(
            f"{len(found.by_account):,} accounts would be charged"
            f" {amount(at_stake_p)} more or less, {amount(found.delta_p)} in all. If"
            f" that is meant, say so: --confirm={format_usd(found.delta_p)}"
        )


def _show(desk: Desk, found: Repriced, *, applied: bool) -> None:
    by_account = sorted(found.by_account.items())
    desk.output.show(
        {
            "applied": applied,
            "calls": found.calls,
            "changed": found.changed,
            "kept": found.kept,
            "delta_usd": format_usd(found.delta_p),
            "accounts": {name: format_usd(p) for name, p in by_account},
        },
        table(
            "By account",
            ("account", "more or less>"),
            [(name, amount(delta_p)) for name, delta_p in by_account],
        ),
        facts(
            "Calls priced anew" if applied else "Calls to be priced anew",
            [
                ("calls", f"{found.calls:,}"),
                ("changed", f"{found.changed:,}"),
                *((_WHY_KEPT[why], f"{n:,}") for why, n in found.kept.items()),
                ("in all", amount(found.delta_p)),
            ],
        ),
    )
    if not applied:
        desk.output.note("Nothing is changed. To change it: --apply, with a --reason.")


def _note_reach(desk: Desk) -> None:
    """Say when a running service learns of room that was made."""
    limits = desk.opened.plan.limits_store or "memory://"
    if limits.startswith("memory:"):
        desk.output.note(
            "Limits are counted in the memory of a running service, which learns of"
            " what changed when it is started again. Where limits are shared ([storage]"
            " limits), it knows at once."
        )
