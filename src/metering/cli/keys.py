"""`metering keys`: the credentials of an account."""

import sys
from typing import Annotated

import typer

from metering.accounts import ApiKey
from metering.cli.accounts import AccountId
from metering.cli.command import command, group
from metering.cli.desk import Desk
from metering.cli.output import table
from metering.clock import iso_utc

__all__ = ["keys"]

keys = group("keys", "API keys of an account: issue, list, revoke.")


@command(keys, "issue")
async def issue(desk: Desk, account: AccountId) -> None:
    """Issue a key. It is shown here once; only its hash is stored."""
    secret = await desk.opened.accounts.issue_key(account)
    desk.output.show({"account": account, "key": secret})
    desk.output.show_verbatim(secret)
    desk.output.note("It is not shown again: hand it on, or keep it, now.")


@command(keys, "list")
async def list_keys(desk: Desk, account: AccountId) -> None:
    """List the keys of an account, oldest first, by the end of each secret."""
    await desk.opened.accounts.get(account)
    found = await desk.read(desk.ledger.keys, account)
    rows = [(k.id, f"…{k.hint}", iso_utc(k.created_ns), _state(k)) for k in found]
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
    """Revoke a key, for good: calls with it are refused."""
    named = sys.stdin.readline().strip() if key == "-" else key
    revoked = await desk.opened.accounts.revoke_key(named)
    desk.output.show(
        _document(revoked),
        f"Key {revoked.id} of {revoked.account_id} (…{revoked.hint}) is revoked.",
    )
    desk.note_reach()


def _document(key: ApiKey) -> dict[str, object]:
    revoked_ns = key.revoked_ns
    return {
        "id": key.id,
        "account": key.account_id,
        "hint": key.hint,
        "issued": iso_utc(key.created_ns),
        "revoked": None if revoked_ns is None else iso_utc(revoked_ns),
    }


def _state(key: ApiKey) -> str:
    return "" if key.revoked_ns is None else f"revoked {iso_utc(key.revoked_ns)}"
