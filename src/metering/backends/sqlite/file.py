"""The file of a limits database: how it is opened, locked, begun and left."""

import contextlib
import fcntl
import os
import random
import sqlite3
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from metering.backends.sqlite import sql
from metering.backends.sqlite.checks import Check
from metering.backends.sqlite.page import Hands, Page, Wanted
from metering.errors import ConfigurationError, StorageError

__all__ = ["LimitsFile", "path_of"]

_SCHEME = "sqlite:///"
_SQLITE_MIN = (3, 37, 0)
_RETRY_S = 0.0005
_MS_PER_S = 1000
_LOG_BYTES = 4 * 1024 * 1024
_LOG_WAIT_MS = 50

# NORMAL: a commit waits for no disk, only a checkpoint does, in the thread. A power cut
# may take the latest commits away, but leaves the file whole, which OFF would not.
_SET_UP = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
PRAGMA wal_autocheckpoint = 0;
"""

_left_behind: list[sqlite3.Connection] = []
"""Connections of a parent process. A child must neither use nor close them: closing
the last one would clear away the log that the parent is still writing."""


def path_of(url_or_path: str | Path) -> Path:
    """Return the file that a URL such as `sqlite:///limits.db`, or a path, names.

    Raises:
        ConfigurationError: It names another database, one in memory, or a folder.
    """
    path = str(url_or_path).removeprefix(_SCHEME)
    other = not path or "://" in path or ":memory:" in path
    if other or path.startswith("sqlite:") or Path(path).is_dir():
        raise ConfigurationError(
            f"{url_or_path!r} is not a file for limits. Write a path or"
            ' "sqlite:///path/limits.db"; MemoryLimitStore keeps them in memory.'
        )
    if sqlite3.sqlite_version_info < _SQLITE_MIN:
        raise ConfigurationError(
            f"Limits in a file need SQLite 3.37 or later, and this Python has"
            f" {sqlite3.sqlite_version}. Use another build of Python."
        )
    return Path(path)


class LimitsFile:
    """One process's way into the file; used by one thread at a time.

    Beside the file lies another, `….open`, on which each process that has it open keeps
    a shared lock. Who finds nobody there begins a new epoch. That is so after a restart
    of the whole service, and after a power cut, which may have taken the latest commits
    away: ledgered budgets of former epochs are not known any more, and are seeded from
    the ledger again.

    Args:
        path: The file; its folder is made if absent.
        busy_timeout_ms: How long to wait for another's lock.
    """

    def __init__(self, path: Path, busy_timeout_ms: int) -> None:
        self.path = path
        self._busy_timeout_ms = busy_timeout_ms
        self._connection: sqlite3.Connection | None = None
        self._open_fd = -1
        self._epoch = 0
        self._hands = Hands()

    def answer(self, checks: Sequence[Check[object]]) -> None:
        """Answer all checks in one transaction; each is all or none by itself.

        Raises:
            StorageError: Nothing was decided or changed.
        """
        with self._storage_errors():
            connection = self._connection or self._open()
            self._begin(connection)
            try:
                self._decide(connection, checks)
                connection.execute("COMMIT")
            except BaseException:
                # SQLite may have rolled it back already.
                with contextlib.suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
                raise

    def _decide(
        self, connection: sqlite3.Connection, checks: Sequence[Check[object]]
    ) -> None:
        wanted, now_us = Wanted(), 0
        for check in checks:
            check.want(wanted)
            now_us = max(now_us, check.now_us)
        page = Page(connection, self._epoch, wanted, now_us)
        for check in checks:
            check.answer = check.decide(page)
        page.write()
        page.drop_dead(self._hands)

    def shorten_log(self) -> None:
        """Bring the write-ahead log into the file once it is longer than 4 MB.

        SQLite does so by itself, but begins the log anew only when nobody else is at
        it: among busy processes that moment does not come, and the log grows for ever.
        """
        connection = self._connection
        # What goes wrong here goes wrong for the next checks too, and is told to them.
        with contextlib.suppress(sqlite3.Error, OSError):
            log = self.path.with_name(f"{self.path.name}-wal")
            if connection is None or log.stat().st_size < _LOG_BYTES:
                return
            # Most of it without the write lock, the rest with it.
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
            connection.execute(f"PRAGMA busy_timeout = {_LOG_WAIT_MS}")
            try:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            finally:
                connection.execute("PRAGMA busy_timeout = 0")

    def close(self) -> None:
        """Close the file; the next check opens it again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
        if self._open_fd >= 0:
            os.close(self._open_fd)
            self._open_fd = -1

    def leave(self) -> None:
        """Forget the parent's connection in a forked child, without closing it."""
        if self._connection is not None:
            _left_behind.append(self._connection)
            self._connection = None
        self.close()

    def _begin(self, connection: sqlite3.Connection) -> None:
        """Take the write lock; SQLite's own waiting sleeps up to 100 ms at once."""
        deadline_s = time.monotonic() + self._busy_timeout_ms / _MS_PER_S
        while True:
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if not _is_busy(error) or time.monotonic() >= deadline_s:
                    raise
                # Processes that retry in step would meet again.
                time.sleep(_RETRY_S * random.uniform(0.5, 1.5))  # noqa: S311 - no secret
            else:
                return

    def _open(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(
            self.path,
            timeout=self._busy_timeout_ms / _MS_PER_S,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            self._open_fd = self._enter(connection)
            (self._epoch,) = connection.execute("SELECT epoch FROM epochs").fetchone()
            connection.execute("PRAGMA busy_timeout = 0")  # `_begin` waits
        except BaseException:
            connection.close()
            self.close()
            raise
        self._connection = connection
        return connection

    def _enter(self, connection: sqlite3.Connection) -> int:
        """Set the connection up, and the file if nobody else has it open."""
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        fd = os.open(self.path.with_name(f"{self.path.name}.open"), flags, 0o600)
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                is_first = True
            except BlockingIOError:
                fcntl.flock(fd, fcntl.LOCK_SH)  # once the first has set it up
                is_first = False
            if is_first:
                self._require_ours(connection)
            connection.executescript(_SET_UP)
            if is_first:
                connection.execute("UPDATE epochs SET epoch = epoch + 1")
                fcntl.flock(fd, fcntl.LOCK_SH)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def _require_ours(self, connection: sqlite3.Connection) -> None:
        """Make the tables in an empty file; refuse any other that is not ours."""
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        (found,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if not tables and not found:
            connection.executescript(sql.SCHEMA)
        elif (found, version) != (sql.APPLICATION_ID, sql.VERSION):
            what = (
                f"limits of version {version}"
                if found == sql.APPLICATION_ID
                else "a database of something else"
            )
            raise StorageError(
                f"{self.path} holds {what}. Name a file of its own for the limits, or"
                " delete this one if nothing else needs it: limits begin anew, and what"
                " was spent is read from the ledger."
            )

    @contextlib.contextmanager
    def _storage_errors(self) -> Iterator[None]:
        """Turn what the driver raises into a `StorageError` that says what to do."""
        try:
            yield
        except sqlite3.OperationalError as error:
            if _is_busy(error):
                raise StorageError(
                    f"The limits in {self.path} were locked by another for more than"
                    f" {self._busy_timeout_ms} ms, so nothing was decided. See what"
                    " keeps a transaction open on the file."
                ) from error
            self.close()
            raise StorageError(
                f"The limits in {self.path} failed: {error}. Nothing was decided; see"
                " that the file and its folder can be written and the disk has room."
            ) from error
        except sqlite3.DatabaseError as error:
            if isinstance(error, _OF_ONE_CHECK):
                raise
            self.close()
            raise StorageError(
                f"The limits in {self.path} cannot be used: {error}. If it is no limits"
                " database, name another file; if it is damaged, stop the service and"
                " delete it: limits begin anew, and what was spent is read from the"
                " ledger."
            ) from error
        except OSError as error:
            raise StorageError(
                f"The limits in {self.path} cannot be opened: {error}. Name a file in a"
                " folder that can be written."
            ) from error


_OF_ONE_CHECK = (
    sqlite3.IntegrityError,
    sqlite3.DataError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
)
"""Errors of a value, not of the file."""


def _is_busy(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorname", "").startswith("SQLITE_BUSY")
