"""The five pieces around one app, in their order, with the background work's life."""

from collections.abc import Awaitable, Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from metering.asgi.adaptive import AdaptiveMiddleware
from metering.asgi.billing import BillingMiddleware
from metering.asgi.clamp import ClampMiddleware
from metering.asgi.coldstart import ColdStartMiddleware
from metering.asgi.limiter import LimiterMiddleware
from metering.asgi.meter import MeterMiddleware
from metering.asgi.parts import Parts
from metering.asgi.tier import TierMiddleware
from metering.coldstart import ColdStart

__all__ = ["Stack"]

Lifecycle = Callable[[], Awaitable[None]]

_ENDS = frozenset(
    {
        "lifespan.startup.failed",
        "lifespan.shutdown.complete",
        "lifespan.shutdown.failed",
    }
)


class Stack:
    """All five pieces around an app.

    Args:
        app: What to wrap.
        parts: What the pieces share.
        start: Starts the background work; awaited before the app's own start-up.
        cold: Warms models up, where they are not always warm; None: they are.
        stop: Ends it; awaited after the app's own shutdown, when no call runs, or
            when the app has failed to start.
    """

    def __init__(
        self,
        app: ASGIApp,
        parts: Parts,
        *,
        start: Lifecycle,
        stop: Lifecycle,
        cold: ColdStart | None = None,
    ) -> None:
        if parts.platform is not None:
            app = AdaptiveMiddleware(app, parts)
        if cold is not None:
            app = ColdStartMiddleware(app, parts, cold)
        metered = LimiterMiddleware(MeterMiddleware(app, parts), parts)
        billed = BillingMiddleware(metered, parts)
        self.app = TierMiddleware(ClampMiddleware(billed, parts), parts)
        self._start = start
        self._stop = stop

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on; start and stop with the server's lifespan, if it has one."""
        if scope["type"] != "lifespan":
            await self.app(scope, receive, send)
            return

        async def receive_started() -> Message:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await self._start_or_tell(send)
            return message

        async def send_stopped(message: Message) -> None:
            if message["type"] in _ENDS:
                await self._stop()
            await send(message)

        await self.app(scope, receive_started, send_stopped)

    async def _start_or_tell(self, send: Send) -> None:
        try:
            await self._start()
        except Exception as error:
            # A server that is told nothing takes the app for one without a lifespan,
            # and serves without having started it.
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            raise
