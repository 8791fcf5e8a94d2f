"""What a service does from time to time, whether or not it is called."""

from collections.abc import Awaitable, Callable, Mapping

import anyio

from metering.background import Background
from metering.log import Log

__all__ = ["EVERY_S", "Chore", "Upkeep"]

EVERY_S = 900.0
"""How long a service waits before its chores, and between them."""

Chore = Callable[[], Awaitable[object]]

_log = Log()


class Upkeep:
    """Does some chores over and over, in the event loop that is in use.

    Several processes may do the same ones, so each must be harmless when repeated. One
    that fails, as when the storage is away, is left until the next time.

    Args:
        chores: What to do, by name.
        every_s: How long to wait before, in seconds.
    """

    def __init__(
        self, chores: Mapping[str, Chore], *, every_s: float = EVERY_S
    ) -> None:
        self._chores = chores
        self._every_s = every_s
        self._background = Background(self._run)

    def start(self) -> None:
        """Begin, unless it is being done."""
        self._background.ensure()

    def stop(self) -> None:
        """Do no more."""
        self._background.stop()

    async def _run(self) -> None:
        while True:
            await anyio.sleep(self._every_s)
            for name, chore in self._chores.items():
                try:
                    await chore()
                except Exception as error:  # noqa: BLE001 - a ledger may raise anything
                    _log.warning("chore_left", chore=name, error=str(error))
