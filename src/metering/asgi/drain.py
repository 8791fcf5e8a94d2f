"""Lets an app end what its client has left, for a while, so that its usage is exact."""

import math

import anyio
import anyio.lowlevel
from starlette.types import Message, Receive, Send

from metering.asgi.context import Call
from metering.asgi.parts import Parts
from metering.asgi.watch import Watch
from metering.clock import NS_PER_S

__all__ = ["DrainingWatch"]


class DrainingWatch(Watch):
    """A watch that withholds from the app that its client has gone.

    Until the bound has passed, what the app sends goes nowhere; then it is told, in the
    way the server told it. What it has ended by then is told at once.
    """

    __slots__ = ("_drain_s", "_due", "_ended", "_error", "_gone", "_sending")

    def __init__(self, call: Call, parts: Parts, receive: Receive, send: Send) -> None:
        super().__init__(call, parts, receive, send)
        self._direct = False
        self._drain_s = parts.drain_ns / NS_PER_S
        self._due = math.inf  # on the event loop's clock; until then nobody has gone
        self._ended = anyio.Event()
        self._gone: Message | None = None
        self._error: OSError | None = None
        self._sending: anyio.CancelScope | None = None

    async def receive(self) -> Message:
        """Return the app's next message, and that its client has gone only when due."""
        if self._gone is None:
            message = await super().receive()
            if not self.left or message["type"] != "http.disconnect":
                return message
            self._gone = message
            self._begin()
        # Who only looks, as Starlette's `is_disconnected`, is cancelled where it waits.
        if not self._ended.is_set() and anyio.current_time() < self._due:
            with anyio.CancelScope(deadline=self._due):
                await self._ended.wait()
        return self._gone

    async def send(self, message: Message) -> None:
        """Pass a message of the app on, or nowhere."""
        await super().send(message)
        last = not message.get("more_body", False)
        if last and message["type"] == "http.response.body":
            self._ended.set()

    async def _forward(self, message: Message) -> None:
        if self._due == math.inf:
            await self._forward_unless_gone(message)
        elif anyio.current_time() < self._due:
            await anyio.lowlevel.checkpoint()
        elif self._error is None:
            await super()._forward(message)
        else:
            raise self._error

    async def _forward_unless_gone(self, message: Message) -> None:
        try:
            with anyio.CancelScope() as self._sending:
                await super()._forward(message)
        except OSError as error:
            self._error = error
            self._begin()
        finally:
            self._sending = None

    def _begin(self) -> None:
        if self._due == math.inf:
            self._due = anyio.current_time() + self._drain_s
        if self._sending is not None:
            # Some servers never return from a send to a client that has gone.
            self._sending.cancel()
