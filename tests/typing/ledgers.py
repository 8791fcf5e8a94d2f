"""Assigns each ledger to each protocol it claims; mypy checks it, nobody runs it."""

from metering.accounts import TierBook
from metering.backends.sql import SqlLedger
from metering.stores import (
    AccountStore,
    Ledger,
    LedgerReader,
    LedgerWriter,
    PriceStore,
)

Claims = tuple[AccountStore, PriceStore, LedgerWriter, LedgerReader, Ledger]


def memory_ledger(tiers: TierBook) -> Claims:
    """Every store that one database can be."""
    ledger = SqlLedger("sqlite://", tiers=tiers)
    return ledger, ledger, ledger, ledger, ledger


def sql_ledger(tiers: TierBook) -> Claims:
    """The same, in a file."""
    ledger = SqlLedger("sqlite:///ledger.db", tiers=tiers)
    return ledger, ledger, ledger, ledger, ledger
