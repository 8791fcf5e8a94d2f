"""A metered server in a process of its own, to be killed. Run with: DATA LISTENER_FD.

It notes each call that it has admitted. A call whose header `x-hold-at` is N stands
still before its Nth message, for ever.
"""

import os
import socket
import sys
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path

import anyio
import uvicorn

from metering import Metering
from metering.asgi.context import call_of
from metering.config import plan_from_preset
from metering.testing.clock import ManualClock
from metering.testing.model import FakeModel

hold_at: ContextVar[int] = ContextVar("hold_at")


async def hold(chunk):
    """Stand still where the call is told to."""
    if chunk == hold_at.get():
        await anyio.sleep_forever()


class Noting:
    """The fake model; first the id of the call is written to a file, at once."""

    def __init__(self, path):
        self.model = FakeModel(output_tokens=1000, pause=hold)
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    async def __call__(self, scope, receive, send):
        """Note the call, and serve it."""
        call = call_of(scope)
        if call is not None:
            os.write(self._fd, f"{call.id}\n".encode())
            hold_at.set(int(dict(scope["headers"]).get(b"x-hold-at", b"-1")))
        await self.model(scope, receive, send)


def main(data, listener_fd):
    """Serve until killed."""
    plan = replace(plan_from_preset("friendli"), data=str(data))
    # A clock that stands still: no checkpoint but those after so many chunks.
    meter = Metering(plan, clock=ManualClock())
    app = meter.wrap(Noting(data / "admitted"))
    config = uvicorn.Config(app, lifespan="on", log_level="warning")
    uvicorn.Server(config).run([socket.socket(fileno=listener_fd)])


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
