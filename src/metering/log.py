"""Where all modules log: a log that cannot be written stops no call."""

from contextlib import suppress
from typing import Any

import structlog

__all__ = ["Log"]

_log = structlog.get_logger("metering")


class Log:
    """Logs events as the service has configured structlog.

    structlog's default prints, and a closed or full output raises; so may a processor
    of the service. None of that is worth a call, a charge or a background task.
    """

    __slots__ = ()

    def info(self, event: str, **fields: Any) -> None:
        """Log what an operator may want to know."""
        _write("info", event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        """Log what an operator should look at."""
        _write("warning", event, fields)

    def error(self, event: str, **fields: Any) -> None:
        """Log what an operator must look at."""
        _write("error", event, fields)


def _write(level: str, event: str, fields: dict[str, Any]) -> None:
    with suppress(Exception):  # there is nowhere left to say it
        getattr(_log, level)(event, **fields)
