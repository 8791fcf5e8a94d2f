"""One of several metered servers on one data home. Run with: LISTENER_FD.

The environment says where limits and data are. Each answer takes half a second, so
that calls of all servers run at once.
"""

import os
import socket
import sys
from dataclasses import replace

import anyio
import uvicorn

from metering import Metering
from metering.config import OutageSettings, plan_from_preset, with_environment
from metering.testing.model import FakeModel


async def pause(chunk):
    """Take half a second before the first message."""
    if chunk == 0:
        await anyio.sleep(0.5)


def main(listener_fd):
    """Serve until told to end."""
    # A machine that runs tests may be busy: a late answer is no outage here.
    patient = OutageSettings(deadline_ms=10_000)
    plan = replace(plan_from_preset("friendli"), outage=patient)
    meter = Metering(with_environment(plan, os.environ))
    app = meter.wrap(FakeModel(output_tokens=64, pause=pause))
    config = uvicorn.Config(app, lifespan="on", log_level="warning")
    uvicorn.Server(config).run([socket.socket(fileno=listener_fd)])


if __name__ == "__main__":
    main(int(sys.argv[1]))
