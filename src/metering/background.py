"""A task in the background of whatever event loop runs, for services without one."""

import asyncio
from collections.abc import Awaitable, Callable

__all__ = ["Background", "spawn"]

Run = Callable[[], Awaitable[None]]


_spawned: set[asyncio.Task[None]] = set()
"""The event loop itself keeps only weak references to its tasks."""


def spawn(run: Run) -> None:
    """Run something in the event loop that is in use, whoever asked for it."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        import trio  # noqa: PLC0415 - whoever is here has it; others need not

        trio.lowlevel.spawn_system_task(run)
        return
    task = loop.create_task(_awaited(run))
    _spawned.add(task)
    task.add_done_callback(_spawned.discard)


async def _awaited(run: Run) -> None:
    await run()


class Background:
    """Keeps one task running in the event loop that is in use.

    A service may outlive a loop, as in tests that have one each: the task is begun
    anew in the next one.

    Args:
        run: What the task does. If it ends, it is begun anew when it is wanted again.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._task: asyncio.Task[None] | None = None
        self._trio_token: object = None

    def ensure(self) -> None:
        """Begin the task unless it runs in this loop."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self._ensure_in_trio()
            return
        task = self._task
        if task is None or task.done() or task.get_loop() is not loop:
            self._task = loop.create_task(_awaited(self._run))

    def stop(self) -> None:
        """Cancel the task, if it runs in an event loop of asyncio.

        A system task of Trio ends with its loop.
        """
        if self._task is not None and not self._task.get_loop().is_closed():
            self._task.cancel()
        self._task = None

    async def aclose(self) -> None:
        """Do as `stop` does, and return when the task has ended."""
        task = self._task
        self.stop()
        if task is not None and task.get_loop() is asyncio.get_running_loop():
            await asyncio.wait([task])

    def _ensure_in_trio(self) -> None:
        try:
            import trio  # noqa: PLC0415 - who runs it has it; others need not

            token = trio.lowlevel.current_trio_token()
        except (ImportError, RuntimeError):
            return  # no loop runs any more: whoever closes the service does the rest
        if token is not self._trio_token:
            trio.lowlevel.spawn_system_task(self._run_in_trio)
            self._trio_token = token

    async def _run_in_trio(self) -> None:
        try:
            await self._run()
        finally:
            self._trio_token = None
