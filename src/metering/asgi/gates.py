"""Gates: what an admitted call passes one after the other before it reaches the app."""

from collections.abc import Coroutine
from typing import Any, Protocol, TypeVar

import anyio
from starlette.types import Receive

from metering.asgi.refusal import Refusal

__all__ = ["Gate", "until_left"]

T = TypeVar("T")


class Gate(Protocol):
    """One call's way through something that may have it wait."""

    async def enter(self) -> Refusal | None:
        """Wait, and return None or why the call may not go on.

        Raises:
            ClientLeftError: There is nobody to answer any more.
        """
        ...

    def refused(self, refusal: Refusal) -> None:
        """The call was refused before it came here."""
        ...

    def leave(self) -> None:
        """The call that was let through has ended, however it did."""
        ...


async def until_left(waiting: Coroutine[Any, Any, T], receive: Receive) -> T | None:
    """Return what *waiting* returns, or None as soon as the client has left.

    The request must have been read: all that `receive` still brings is the client's
    leaving.
    """
    result: T | None = None
    async with anyio.create_task_group() as tasks:

        async def listen() -> None:
            message = await receive()
            if message["type"] == "http.disconnect":
                tasks.cancel_scope.cancel()

        tasks.start_soon(listen)
        result = await waiting
        tasks.cancel_scope.cancel()
    return result
