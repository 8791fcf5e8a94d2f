"""`metering verify`: whether every figure of the ledger is the sum it should be."""

from collections.abc import Iterator, Sequence
from typing import Annotated

import typer
from anyio import to_thread
from rich.console import RenderableType

from metering.cli.desk import Desk
from metering.cli.exit_codes import FOUND
from metering.cli.output import bullets, facts, table
from metering.cli.values import amount
from metering.journal import JournalSurvey, set_aside_events, survey_journals
from metering.ledger.verification import CHECKS, CheckName, Finding, Verification
from metering.money import format_usd

__all__ = ["verify"]


async def verify(
    desk: Desk,
    findings: Annotated[
        int, typer.Option(min=1, help="How many findings to list per check.")
    ] = 100,
) -> int:
    """Check that every figure of the ledger is the sum of the rows it is made of.

    Safe beside a running service: it reads one snapshot and writes nothing. The exit
    code is 1 if something is off, or if calls are kept from the ledger.
    """
    # Help and completion have no use for SQLAlchemy, which takes a while to import.
    from metering.backends.sql import verify as verify_ledger  # noqa: PLC0415

    home, ledger = desk.opened.data, desk.ledger
    with desk.output.progress() as bar:
        task = bar.add_task("Checking", total=len(CHECKS))

        def begin(check: CheckName) -> None:
            bar.update(task, advance=1, description=CHECKS[check])

        seen = await to_thread.run_sync(
            lambda: verify_ledger(
                desk.ledger_url, findings_max=findings, on_check=begin
            )
        )
    journals = await to_thread.run_sync(survey_journals, home, ledger.known)
    aside_p = await to_thread.run_sync(
        lambda: [each.event.charge_p for each in set_aside_events(home)]
    )
    desk.output.show(
        _document(seen, journals, aside_p), *_readable(seen, journals, aside_p)
    )
    left = [each for each in journals if not each.alive]
    if left or aside_p:
        desk.output.note("What is kept from the ledger: metering journal show")
    return FOUND if seen.findings or left or aside_p else 0


def _readable(
    seen: Verification, journals: Sequence[JournalSurvey], aside_p: Sequence[int]
) -> Iterator[RenderableType]:
    unposted = sum(each.unposted for each in journals)
    unposted_p = sum(each.unposted_p for each in journals)
    yield facts(
        "The ledger",
        [
            ("calls", f"{seen.events:,}, charged {amount(seen.charged_p)}"),
            ("movements", f"{seen.transfers:,}, of {amount(seen.moved_p)}"),
            ("on their way", f"{unposted:,} calls, {amount(unposted_p)}"),
            ("set aside", f"{len(aside_p):,} calls, {amount(sum(aside_p))}"),
        ],
    )
    if not seen.findings:
        yield f"All {len(CHECKS)} checks agree."
        return
    rows = [
        (
            each.check,
            each.account_id,
            f"{each.table}, {each.place}" if each.place else each.table,
            amount(each.stated_p),
            amount(each.summed_p),
            amount(each.off_p),
        )
        for each in seen.findings
    ]
    columns = ("check", "account", "where", "written>", "by its rows>", "off>")
    yield table("What is off", columns, rows)
    claims = {each.check: CHECKS[each.check] for each in seen.findings}
    yield bullets(
        "It should be that", [f"{name}: {claim}." for name, claim in claims.items()]
    )
    if seen.more:
        yield f"There is more of: {', '.join(seen.more)}. --findings lists more."


def _document(
    seen: Verification, journals: Sequence[JournalSurvey], aside_p: Sequence[int]
) -> dict[str, object]:
    return {
        "events": seen.events,
        "charged_usd": format_usd(seen.charged_p),
        "transfers": seen.transfers,
        "moved_usd": format_usd(seen.moved_p),
        "checks": list(CHECKS),
        "findings": [_finding(each) for each in seen.findings],
        "more": list(seen.more),
        "unposted": sum(each.unposted for each in journals),
        "unposted_usd": format_usd(sum(each.unposted_p for each in journals)),
        "left_by_ended_processes": sum(not each.alive for each in journals),
        "set_aside": len(aside_p),
        "set_aside_usd": format_usd(sum(aside_p)),
    }


def _finding(each: Finding) -> dict[str, str]:
    return {
        "check": each.check,
        "table": each.table,
        "account": each.account_id,
        "place": each.place,
        "written_usd": format_usd(each.stated_p),
        "summed_usd": format_usd(each.summed_p),
        "off_usd": format_usd(each.off_p),
    }
