"""Assigns the SQLite limit store to what it claims to be; mypy checks it."""

from metering.backends.sqlite import SqliteLimitStore
from metering.stores import AccountVersions, LimitStore


def sqlite_limits() -> tuple[LimitStore, AccountVersions]:
    """A host's limits, and where changes are announced to its processes."""
    store = SqliteLimitStore("limits.db")
    return store, store
