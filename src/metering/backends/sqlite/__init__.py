"""Limits in an SQLite file, for the processes of one host; no server is needed."""

from metering.backends.sqlite.store import SqliteLimitStore

__all__ = ["SqliteLimitStore"]
