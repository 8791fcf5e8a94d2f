"""`metering migrate`: the ledger's tables as this version needs them."""

from anyio import to_thread

from metering.cli.desk import Desk
from metering.errors import without_credentials

__all__ = ["migrate"]


async def migrate(desk: Desk) -> None:
    """Migrate the ledger's database to this version. Repeating it changes nothing.

    An SQLite file is also migrated whenever it is opened. PostgreSQL is migrated only
    by this command: run it once per version of the package, before services start.
    """
    # Help and completion have no use for SQLAlchemy, which takes a while to import.
    from metering.backends.sql import migrate as migrate_ledger  # noqa: PLC0415

    ledger = desk.ledger_url
    with desk.output.progress() as bar:
        bar.add_task("Migrating", total=None)
        await to_thread.run_sync(migrate_ledger, ledger)
    shown = without_credentials(ledger)
    desk.output.show(
        {"ledger": shown, "migrated": True},
        f"The ledger {shown} has the tables of this version.",
    )
