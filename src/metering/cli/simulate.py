"""`metering simulate`: past calls under another tier table or price book."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from metering.accounts import Account
from metering.cli.desk import Desk
from metering.cli.exported import Exported, read_export
from metering.cli.ledgered import read_ledger
from metering.cli.output import bullets, table
from metering.cli.replay import Replay, Tally, left_out
from metering.cli.values import amount
from metering.config import Plan
from metering.errors import AccountNotFoundError, ConfigurationError
from metering.money import format_usd

__all__ = ["simulate"]

_SHOWN_MAX = 40
_STEP = 1000


async def simulate(
    desk: Desk,
    export: Annotated[
        Path | None,
        typer.Argument(metavar="EXPORT", help="Past calls: JSON lines, or CSV (.csv)."),
    ] = None,
    *,
    against: Annotated[
        str, typer.Option(metavar="PLAN", help="The plan to try: a file or a preset.")
    ],
    period: Annotated[
        str | None,
        typer.Option(
            metavar="MONTH", help='The ledger\'s calls of it instead: "2026-01".'
        ),
    ] = None,
    tier: Annotated[
        int | None, typer.Option(help="Put every account in this tier.")
    ] = None,
    from_ledger: Annotated[
        bool,
        typer.Option("--from-ledger", help="Tiers by the payments in the ledger."),
    ] = False,
) -> None:
    """Replay calls under another plan: who would be refused, what would be billed.

    An account is judged in the tier that its first call names, unless an option says
    otherwise. Calls without a charge are first priced by the plan of --config. All of
    an export is held in memory, some 0.5 kB a call.
    """
    if tier is not None and from_ledger:
        raise ConfigurationError("Place accounts by --tier or --from-ledger: not both.")
    plan = desk.plan_of(against)
    calls = await _calls(desk, export, period)
    place = _by_export(plan)
    if tier is not None:
        level = plan.tiers.by_level(tier).level
        place = _in_tier(level)
    elif from_ledger:
        names = {call.account_id for call in calls}
        place = _as_ledgered({name: await _account(desk, name) for name in names})
    replay = Replay(plan, place)
    with desk.output.progress() as bar:
        task = bar.add_task("Replaying", total=len(calls))
        for number, call in enumerate(calls, start=1):
            await replay.add(call, _before_p(desk, call))
            if number % _STEP == 0:
                bar.update(task, completed=number)
    _show(desk, replay.tallies, list(left_out(plan)))


async def _calls(desk: Desk, export: Path | None, period: str | None) -> list[Exported]:
    """Return the calls to replay, in the order in which they began."""
    if export is not None and period is None:
        found = list(read_export(export))
    elif export is None and period is not None:
        read = desk.ledger
        found = await desk.read(lambda: list(read_ledger(read, period)))
    else:
        raise ConfigurationError(
            "Name what to replay: an EXPORT, or the --period of the ledger, such as"
            " 2026-01; one of the two."
        )
    return sorted(found, key=lambda call: call.admitted_ns)


def _in_tier(level: int) -> Callable[[Exported], Account]:
    return lambda call: Account(id=call.account_id, created_ns=0, pin=level)


def _as_ledgered(accounts: Mapping[str, Account]) -> Callable[[Exported], Account]:
    return lambda call: accounts[call.account_id]


def _by_export(plan: Plan) -> Callable[[Exported], Account]:
    levels = [tier.level for tier in plan.tiers.tiers]

    def place(call: Exported) -> Account:
        if call.tier not in levels:
            what = "names no tier" if call.tier is None else f"is of tier {call.tier}"
            raise ConfigurationError(
                f"The first call of {call.account_id!r} {what}, and {plan.name!r} has"
                f" the levels {', '.join(map(str, levels))}. Say how to place accounts:"
                " --tier LEVEL for all of them, or --from-ledger."
            )
        return Account(id=call.account_id, created_ns=0, pin=call.tier)

    return place


async def _account(desk: Desk, name: str) -> Account:
    try:
        return await desk.opened.accounts.get(name)
    except AccountNotFoundError:
        raise ConfigurationError(
            f"The ledger has no account {name!r}, of which the export has calls. Name"
            " the ledger that it is from by --data, or place accounts by --tier."
        ) from None


def _before_p(desk: Desk, call: Exported) -> int:
    if call.charge_p is not None:
        return call.charge_p
    model = desk.plan.prices.model(call.model)
    price = None if model is None else model.at(call.admitted_ns)
    return 0 if price is None else price.charge_p(call.usage)


def _show(desk: Desk, tallies: Mapping[str, Tally], missed: Sequence[str]) -> None:
    ordered = sorted(
        tallies.items(), key=lambda item: (-abs(_difference_p(item[1])), item[0])
    )
    whole = _sum(tallies.values())
    rows = [
        _row(name, tally) for name, tally in (*ordered[:_SHOWN_MAX], ("all", whole))
    ]
    columns = ("account", "calls>", "refused>", "cut>", "before>", "after>", "by>")
    refused = "Refused: none."
    if whole.refused:
        reasons = (f"{n:,} by {name}" for name, n in whole.refused.most_common())
        refused = (
            f"Refused: {', '.join(reasons)}. These calls cost"
            f" {amount(whole.refused_before_p)} before."
        )
    desk.output.show(
        {
            "all": _document("", whole),
            "accounts": [_document(name, tally) for name, tally in ordered],
            "not_replayed": list(missed),
        },
        table("What would be billed", columns, rows),
        refused,
        *([bullets("What is not replayed", missed)] if missed else []),
    )
    if len(ordered) > _SHOWN_MAX:
        desk.output.note(
            f"{len(ordered) - _SHOWN_MAX:,} accounts with smaller differences are not"
            " shown; --json has all."
        )


def _difference_p(tally: Tally) -> int:
    return tally.after_p - tally.before_p


def _sum(tallies: Iterable[Tally]) -> Tally:
    whole = Tally("")
    for tally in tallies:
        whole.calls += tally.calls
        whole.refused += tally.refused
        whole.cut += tally.cut
        whole.before_p += tally.before_p
        whole.refused_before_p += tally.refused_before_p
        whole.after_p += tally.after_p
    return whole


def _row(name: str, tally: Tally) -> tuple[object, ...]:
    return (
        name,
        f"{tally.calls:,}",
        f"{tally.refused.total():,}",
        f"{tally.cut:,}",
        amount(tally.before_p),
        amount(tally.after_p),
        amount(_difference_p(tally)),
    )


def _document(name: str, tally: Tally) -> dict[str, object]:
    named: dict[str, object] = {}
    if name:
        named = {"account": name, "tier": tally.tier}
    return named | {
        "calls": tally.calls,
        "refused": tally.refused.total(),
        "refused_by": dict(tally.refused),
        "cut": tally.cut,
        "before_usd": format_usd(tally.before_p),
        "refused_before_usd": format_usd(tally.refused_before_p),
        "after_usd": format_usd(tally.after_p),
        "difference_usd": format_usd(_difference_p(tally)),
    }
