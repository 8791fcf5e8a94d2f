"""Checks that the figures of a ledger agree, in one snapshot, while services run.

Each check is one statement: the figures that are written, and beside them the sums of
the rows that they are made of, joined by what both are of. The database adds up, and
hands over what does not agree; so memory stays small however many calls there are.
"""

from collections.abc import Callable
from pathlib import Path

from sqlalchemy import Column, Connection, func, select

from metering.backends.sql import schema
from metering.backends.sql.database import database_of
from metering.backends.sql.day_checks import differing_days
from metering.backends.sql.invariants import Found, differing_sums
from metering.backends.sql.oddities import row_checks
from metering.backends.sql.reading import exact_sum, joined_sum
from metering.ledger.verification import CheckName, Finding, Verification

__all__ = ["FINDINGS_MAX", "STATEMENT_MS", "verify"]

FINDINGS_MAX = 1000
"""Of each check so many findings are handed over at most."""

STATEMENT_MS = 3_600_000
"""How long one check may take: an hour."""


def verify(
    url_or_path: str | Path,
    *,
    findings_max: int = FINDINGS_MAX,
    on_check: Callable[[CheckName], None] = lambda _: None,
) -> Verification:
    """Check every figure of a ledger against the rows it is made of.

    It reads one snapshot, so calls may be posted meanwhile, and it writes nothing. A
    ledger in memory is only seen by its own process, and cannot be verified.

    Args:
        url_or_path: As for `SqlLedger`.
        findings_max: Findings of each check at most, at least 1.
        on_check: Told which check begins; it is for progress.

    Raises:
        ConfigurationError: The URL cannot be used, or the schema is another.
        StorageError: The database fails, or a check took more than an hour.
    """
    # One that is not there is to be noticed soon, though a check may then take long.
    usual = database_of(url_or_path)
    with usual.errors():
        usual.open().dispose()
    database = database_of(url_or_path, STATEMENT_MS)
    with database.errors():
        engine = database.open()
        try:
            with database.reader(engine).begin() as connection:
                return _verified(connection, findings_max, on_check)
        finally:
            engine.dispose()


def _verified(
    connection: Connection, findings_max: int, on_check: Callable[[CheckName], None]
) -> Verification:
    findings: list[Finding] = []
    more: list[CheckName] = []
    of_days: tuple[CheckName, Found] = ("days", differing_days)
    for name, found in (*differing_sums(), *row_checks(), of_days):
        on_check(name)
        some = found(connection, findings_max + 1)
        findings += some[:findings_max]
        if len(some) > findings_max:
            more.append(name)
    events, transfers = schema.usage_events.c, schema.transfers.c
    calls, charged_p = _total(connection, events.charge_p)
    moves, moved_p = _total(connection, transfers.amount_p)
    return Verification(
        events=calls,
        charged_p=charged_p,
        transfers=moves,
        moved_p=moved_p,
        findings=tuple(findings),
        more=tuple(more),
    )


def _total(connection: Connection, column: Column[int]) -> tuple[int, int]:
    """Return how many rows there are, and their sum."""
    row = connection.execute(select(func.count(), *exact_sum(column))).one()
    return row[0], joined_sum(row[1], row[2])
