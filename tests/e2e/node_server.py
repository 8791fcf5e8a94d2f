"""One of several metered nodes, each with a home of its own. Run with: LISTENER_FD.

The environment says where limits and ledger are, by how much this node's clock is off
(NODE_CLOCK_NS is added to it), and which file lets its answers go (NODE_GO).
"""

import os
import socket
import sys
import time
from dataclasses import replace

import anyio
import uvicorn

from metering import Metering
from metering.config import OutageSettings, plan_from_preset, with_environment
from metering.testing.model import FakeModel

GO = anyio.Path(os.environ["NODE_GO"])


async def pause(chunk):
    """Wait until all answers may go."""
    while chunk == 0 and not await GO.exists():  # noqa: ASYNC110 - it looks at a file
        await anyio.sleep(0.02)


def main(listener_fd):
    """Serve until told to end."""
    offset_ns = int(os.environ["NODE_CLOCK_NS"])
    # A machine that runs tests may be busy: a late answer is no outage here.
    patient = OutageSettings(deadline_ms=10_000)
    plan = replace(plan_from_preset("friendli"), outage=patient)
    meter = Metering(
        with_environment(plan, os.environ), clock=lambda: time.time_ns() + offset_ns
    )
    app = meter.wrap(FakeModel(output_tokens=500, pause=pause))
    config = uvicorn.Config(app, lifespan="on", log_level="warning")
    uvicorn.Server(config).run([socket.socket(fileno=listener_fd)])


if __name__ == "__main__":
    main(int(sys.argv[1]))
