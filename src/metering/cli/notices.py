"""`metering notices`: messages that have not arrived, and those to be sent again."""

from typing import Annotated

import typer

from metering.cli.command import command, group
from metering.cli.desk import Desk
from metering.cli.exit_codes import FOUND
from metering.cli.output import table
from metering.cli.values import when
from metering.clock import iso_utc, system_clock
from metering.errors import ConfigurationError
from metering.stores import KeptMessage

__all__ = ["notices"]

notices = group("notices", "Webhooks and streams: what has not arrived, send again.")

Destination = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Only this destination. Default: all."),
]


@command(notices, "list")
async def list_notices(
    desk: Desk,
    *,
    destination: Destination = None,
    given_up: Annotated[
        bool, typer.Option("--given-up", help="Only messages that were given up.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many at most.")] = (
        100
    ),
) -> int:
    """List undelivered messages, oldest first, with the last error.

    A webhook is tried ten times over three days, and is kept for thirty. The exit code
    is 1 if any is listed that was given up.
    """
    found = await desk.read(
        desk.ledger.outbox.kept,
        destination=destination,
        given_up=True if given_up else None,
        limit=limit,
    )
    known = {each.destination for each in desk.plan.notices.notices.subscriptions}
    rows = [
        (
            "\n".join((_about(each), when(each.created_ns), each.destination)),
            _state(each, in_plan=each.destination in known),
        )
        for each in found
    ]
    columns = ("notice, when, where to", "state")
    desk.output.show(
        [_document(each, in_plan=each.destination in known) for each in found],
        table("Messages that have not arrived", columns, rows),
    )
    if len(found) == limit:
        desk.output.note("There may be more: raise --limit, or name a --destination.")
    lost = any(each.given_up for each in found)
    if lost:
        desk.output.note("To have it tried again: metering notices resend --all")
    return FOUND if lost else 0


@command(notices, "resend")
async def resend(
    desk: Desk,
    message: Annotated[
        str | None,
        typer.Argument(metavar="ID", help="One message, by its id in list --json."),
    ] = None,
    *,
    destination: Destination = None,
    every: Annotated[
        bool, typer.Option("--all", help="Everything that was given up.")
    ] = False,
) -> None:
    """Retry messages that were given up, with a full new series of attempts.

    Each keeps its id, so that a receiver can recognise duplicates.
    """
    if every == (message is not None or destination is not None):
        raise ConfigurationError(
            "Name the ID of one message, a --destination, or --all that was given up."
        )
    again = await desk.read(
        desk.ledger.outbox.resend,
        destination=destination,
        message_id=message,
        now_ns=system_clock(),
    )
    if message is not None and not again:
        raise ConfigurationError(
            f"No message {message!r} was given up. What was: metering notices list"
            " --given-up"
        )
    desk.output.show({"resent": again}, f"To be tried again: {again:,}.")
    if again:
        desk.output.note(
            "A running service sends it within a second; a destination that answered"
            " 410 (gone) is only asked again by a service that is started anew."
        )


def _about(each: KeptMessage) -> str:
    return f"{each.kind} of {each.account_id}"


def _state(each: KeptMessage, *, in_plan: bool) -> str:
    why = f": {each.error}" if each.error else ""
    tries = f"{each.attempts:,} {'try' if each.attempts == 1 else 'tries'}"
    if each.given_up:
        return f"given up after {tries}{why}"
    if not in_plan:
        return "waits, but the plan has no such destination"
    if not each.attempts:
        return f"waits{why}"
    return f"waits after {tries} until {when(each.due_ns)}{why}"


def _document(each: KeptMessage, *, in_plan: bool) -> dict[str, object]:
    return {
        "id": each.id,
        "destination": each.destination,
        "in_plan": in_plan,
        "kind": each.kind,
        "account": each.account_id,
        "happened": iso_utc(each.created_ns),
        "tries": each.attempts,
        "given_up": each.given_up,
        "due": None if each.given_up else iso_utc(each.due_ns),
        "error": each.error,
    }
