"""A metered server that ends when it is told to. Run with: DATA LISTENER_FD.

Its streams take a second or so each, or for ever where the client names `x-hold`.
"""

import socket
import sys
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path

import anyio
import uvicorn

from metering import Metering
from metering.config import plan_from_preset
from metering.testing.clock import ManualClock
from metering.testing.model import FakeModel

held: ContextVar[bool] = ContextVar("held")


async def pause(chunk):
    """Write slowly, and no more than three messages where the call is held."""
    await anyio.sleep(0.02)
    if held.get() and chunk == 3:
        await anyio.sleep_forever()


class Held:
    """The fake model, which knows which calls are held."""

    def __init__(self):
        self.model = FakeModel(output_tokens=64, pause=pause)

    async def __call__(self, scope, receive, send):
        """Serve a call."""
        held.set(b"x-hold" in dict(scope.get("headers", ())))
        await self.model(scope, receive, send)


def main(data, listener_fd):
    """Serve until told to end; then wait a little for what runs."""
    plan = replace(plan_from_preset("friendli"), data=str(data))
    # A clock that stands still, in the month that the test looks at.
    app = Metering(plan, clock=ManualClock()).wrap(Held())
    config = uvicorn.Config(
        app, lifespan="on", log_level="critical", timeout_graceful_shutdown=3
    )
    uvicorn.Server(config).run([socket.socket(fileno=listener_fd)])


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
