"""`metering journal`: calls on their way into the ledger, and those it refused."""

from collections.abc import Iterator, Sequence

from anyio import to_thread
from rich.console import RenderableType

from metering.cli.command import command, group
from metering.cli.desk import Desk
from metering.cli.exit_codes import FOUND
from metering.cli.output import bullets, table
from metering.cli.values import amount
from metering.journal import (
    JournalSurvey,
    RefusedEvent,
    SecondTry,
    SetAside,
    adopt_orphans,
    post_set_aside,
    set_aside_events,
    survey_journals,
)
from metering.money import format_usd
from metering.stores import PostReport
from metering.usage import UsageEvent

__all__ = ["journal"]

journal = group("journal", "Calls on their way into the ledger: show, post.")

_SHOWN_MAX = 10


@command(journal, "show")
async def show(desk: Desk) -> int:
    """Show calls not yet in the ledger, by process, and those the ledger refused.

    The exit code is 1 if anything was refused, or left by a process that has ended.
    """
    home, ledger = desk.opened.data, desk.ledger
    found = await to_thread.run_sync(survey_journals, home, ledger.known)
    refused = await to_thread.run_sync(lambda: list(set_aside_events(home)))
    rows = [
        (
            each.path.rpartition("/")[2],
            "runs" if each.alive else "has ended",
            f"{each.running:,}",
            f"{each.unposted:,}",
            amount(each.unposted_p),
        )
        for each in found
    ]
    columns = ("journal", "its process", "running>", "ended, not posted>", "cost>")
    desk.output.show(
        {
            "journals": [_document(each) for each in found],
            "set_aside": [_refused_document(each) for each in refused],
        },
        table(f"Journals in {home}", columns, rows),
        *_set_aside(refused),
    )
    left = [each for each in found if not each.alive]
    if refused or left:
        desk.output.note("To post it: metering journal post")
    return FOUND if refused or left else 0


@command(journal, "post")
async def post(desk: Desk) -> int:
    """Post calls left by ended processes, and retry those the ledger refused.

    Safe beside a running service. The exit code is 1 if something is still refused.
    """
    home, ledger = desk.opened.data, desk.ledger
    kept: list[RefusedEvent] = []
    aside = SetAside(home, ledger.post, on_refused=lambda each, _: kept.append(each))

    def post_left(events: Sequence[UsageEvent]) -> PostReport:
        report = aside.post(events)
        desk.meter.left_calls.settle(events)
        return report

    with desk.output.progress() as bar:
        task = bar.add_task("Posting", total=None)
        again = await to_thread.run_sync(
            lambda: post_set_aside(
                home, ledger.post, on_batch=lambda n: bar.advance(task, n)
            )
        )
        adopted = await to_thread.run_sync(adopt_orphans, home, post_left)
    refused = [*again.refused, *kept]
    desk.output.show(
        {
            "set_aside": _again_document(again),
            "left_by_ended_processes": {
                "journals": adopted.owners,
                "calls": adopted.closed + adopted.recovered,
                "posted": adopted.posted,
            },
            "refused": [_refused_document(each) for each in refused],
        },
        f"Of what was set aside, {again.posted:,} calls are posted now, and"
        f" {again.known:,} were already.",
        f"Of what {adopted.owners:,} ended processes left, {adopted.posted:,} calls are"
        " posted now.",
        *_set_aside(refused),
    )
    return FOUND if refused else 0


def _set_aside(refused: Sequence[RefusedEvent]) -> Iterator[RenderableType]:
    """Yield what is still refused, and why; the first of many."""
    if not refused:
        return
    lines = [
        f"{each.event.id} of {each.event.account_id},"
        f" {amount(each.event.charge_p)}: {each.reason}"
        for each in refused[:_SHOWN_MAX]
    ]
    if len(refused) > _SHOWN_MAX:
        lines.append(f"and {len(refused) - _SHOWN_MAX:,} more; --json has all")
    yield bullets(f"Refused by the ledger: {len(refused):,}", lines)


def _document(each: JournalSurvey) -> dict[str, object]:
    return {
        "path": each.path,
        "alive": each.alive,
        "bytes": each.size,
        "running": each.running,
        "unposted": each.unposted,
        "unposted_usd": format_usd(each.unposted_p),
    }


def _refused_document(each: RefusedEvent) -> dict[str, object]:
    return {
        "id": each.event.id,
        "account": each.event.account_id,
        "model": each.event.model,
        "charge_usd": format_usd(each.event.charge_p),
        "reason": each.reason,
    }


def _again_document(again: SecondTry) -> dict[str, int]:
    return {
        "posted": again.posted,
        "known": again.known,
        "refused": len(again.refused),
        "damaged": again.damaged,
    }
