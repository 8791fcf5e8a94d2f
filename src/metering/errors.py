"""What can go wrong, as types. Expected refusals are values, never exceptions."""

import re

__all__ = [
    "AccountNotFoundError",
    "ConfigurationError",
    "JournalFullError",
    "LedgerError",
    "MeteringError",
    "StorageError",
    "UsageError",
    "without_credentials",
]

_CREDENTIALS = re.compile(r"(?<=://)\S*@")


class MeteringError(Exception):
    """The root of every error this library raises on purpose."""


class ConfigurationError(MeteringError, ValueError):
    """A value the library was given cannot be used; the text names it and the fix."""


class AccountNotFoundError(MeteringError, LookupError):
    """No account (or key) has the id that was named."""


class UsageError(MeteringError, ValueError):
    """A usage report that cannot be true, such as a negative count."""


class StorageError(MeteringError):
    """A store or the journal did not answer, or not in time."""


class JournalFullError(StorageError):
    """The journal cannot take another line, so nothing may be admitted."""


class LedgerError(MeteringError):
    """A record contradicts what the ledger has already posted under the same id."""


def without_credentials(text: str) -> str:
    """Return *text* as an error may show it: no user or password in its URLs."""
    return _CREDENTIALS.sub("***@", text)
