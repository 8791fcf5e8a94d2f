"""`metering keys`: the credentials of an account."""

import sys
from typing import Annotated

import typer

from metering.accounts import ApiKey
from metering.cli.accounts import AccountId
from metering.cli.command import command, group
from metering.cli.desk import Desk
from metering.cli.output import table
from metering.cli.values import dollars, when
from metering.clock import iso_utc
from metering.money import format_usd

__all__ = ["keys"]

keys = group("keys", "API keys of an account: issue, list, revoke.")


@command(keys, "issue")
async def issue(
    desk: Desk,
    account: AccountId,
    *,
    usage_limit: Annotated[
        str | None,
        typer.Option(help="Dollars per period that calls with it can cost."),
    ] = None,
) -> None:
    """Issue a key. It is shown here once; only its hash is stored."""
    issue_key = desk.opened.accounts.issue_key
    secret = await issue_key(account, usage_limit=usage_limit)
    desk.output.show({"account": account, "key": secret})
    desk.output.show_verbatim(secret)
    desk.output.note("It is not shown again: hand it on, or keep it, now.")


@command(keys, "list")
async def list_keys(desk: Desk, account: AccountId) -> None:
    """List an account's keys, oldest first, with the end of each secret."""
    await desk.opened.accounts.get(account)
    found = await desk.read(desk.ledger.keys, account)
    rows = [(k.id, f"…{k.hint}", when(k.created_ns), _remarks(k)) for k in found]
    desk.output.show(
        [_document(key) for key in found],
        table(f"Keys of {account}", ("key", "ends", "issued", ""), rows),
    )


@command(keys, "revoke")
async def revoke(
    desk: Desk,
    key: Annotated[
        str,
        typer.Argument(
            metavar="KEY",
            help="A key's id, or the key itself; - reads it from standard input, so"
            " that it is not in the history of the shell.",
        ),
    ],
) -> None:
    """Revoke a key permanently: calls with it are refused."""
    named = sys.stdin.readline().strip() if key == "-" else key
    revoked = await desk.opened.accounts.revoke_key(named)
    desk.output.show(
        _document(revoked),
        f"Key {revoked.id} of {revoked.account_id} (…{revoked.hint}) is revoked.",
    )
    desk.note_reach()


def _document(key: ApiKey) -> dict[str, object]:
    limit_p, revoked_ns = key.usage_limit_p, key.revoked_ns
    return {
        "id": key.id,
        "account": key.account_id,
        "hint": key.hint,
        "issued": iso_utc(key.created_ns),
        "usage_limit_usd": None if limit_p is None else format_usd(limit_p),
        "revoked": None if revoked_ns is None else iso_utc(revoked_ns),
    }


def _remarks(key: ApiKey) -> str:
    remarks = []
    if key.usage_limit_p is not None:
        remarks.append(f"up to {dollars(key.usage_limit_p)} a period")
    if key.revoked_ns is not None:
        remarks.append(f"revoked {when(key.revoked_ns)}")
    return ", ".join(remarks)
