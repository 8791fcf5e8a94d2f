"""The folder of a service's records, and who else may use it."""

import fcntl
import os
from pathlib import Path

from metering.errors import ConfigurationError

__all__ = ["DataHome"]


class DataHome:
    """The folder of journal and ledger.

    Args:
        path: The folder; it is made when it is locked.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = -1

    def lock(self, *, alone: bool) -> None:
        """Keep the folder from others: all of them, or those that would be alone.

        Raises:
            ConfigurationError: It cannot be made, or others use it.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            fd = os.open(self.path / "process.lock", os.O_CREAT | os.O_RDWR, 0o600)
        except OSError as error:
            raise ConfigurationError(
                f"The data home {self.path} cannot be used: {error.strerror}. Name a"
                " folder on a local disk that can be made and written, by METERING_DATA"
                " or [storage] data."
            ) from error
        try:
            kind = fcntl.LOCK_EX if alone else fcntl.LOCK_SH
            fcntl.flock(fd, kind | fcntl.LOCK_NB)
        except OSError:
            os.close(fd)
            raise ConfigurationError(
                f"Another Metering uses the data home {self.path}, and limits kept in"
                " memory cannot be shared: each would grant them anew. Have one"
                " process, give each its own METERING_DATA, or keep the limits where"
                ' all find them: [storage] limits = "sqlite:///limits.db" or'
                ' "redis://HOST", and windows, if limits have any, such as'
                ' "redis://HOST".'
            ) from None
        self._fd = fd

    def unlock(self) -> None:
        """Leave the folder to others."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
