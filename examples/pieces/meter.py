"""What each call used, without limits, accounts or money.

uvicorn meter:app
"""

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Mount
from starlette.types import ASGIApp, Receive, Scope, Send

from metering import MeterMiddleware, Parts
from metering.testing import FakeModel


class Told:
    """Prints the event of a call when it has ended; the meter is inside of it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        await self.app(scope, receive, send)
        call = scope.get("state", {}).get("metering")
        if call is not None and call.event is not None:
            usage = call.event.usage
            print(call.event.model, usage.input_tokens, usage.output_tokens)


app = Starlette(
    routes=[Mount("/", FakeModel(output_tokens=64))],  # your own app would stand here
    middleware=[Middleware(Told), Middleware(MeterMiddleware, Parts())],
)
