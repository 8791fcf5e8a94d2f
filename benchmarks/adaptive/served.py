"""The server of the overload check: a fake model with few slots, the stack around it.

Run as `python -m benchmarks.adaptive.served FD [CONFIG]`. It prints the keys of its
accounts as one line of JSON, and serves on the socket that it was handed.
"""

import asyncio
import json
import logging
import socket
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import anyio
import structlog
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from metering import Metering
from metering.config import Plan, plan_from_file, plan_from_preset
from metering.testing.model import FakeModel

__all__ = ["FREE", "MODEL", "PAID", "SERVICE_S", "SLOTS"]

MODEL = "meta-llama/Llama-3.1-8B-Instruct"
PAID = tuple(f"paid-{k}" for k in range(2))
FREE = tuple(f"free-{k}" for k in range(20))
SLOTS = 8
SERVICE_S = 0.8
_FIRST_BYTE_S = 0.1
_OUTPUT_TOKENS = 4
_PAID_TIER = 3


class Slots:
    """Lets so many calls into an app at once; the others wait in the order they came.

    Args:
        app: What takes its time.
        slots: How many.
    """

    def __init__(self, app: ASGIApp, slots: int) -> None:
        self._app = app
        self._free = anyio.Semaphore(slots)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a call when its turn comes."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        async with self._free:
            await self._app(scope, receive, send)


async def compute(message: int) -> None:
    """Take a model's time: before the first message a prompt's, then an answer's."""
    if message == 0:
        await anyio.sleep(_FIRST_BYTE_S)
    elif message == 1:
        await anyio.sleep(SERVICE_S - _FIRST_BYTE_S)


async def keys_of(meter: Metering) -> dict[str, str]:
    """Create the accounts; return a key of each."""
    for name in (*PAID, *FREE):
        await meter.accounts.create(name)
    for name in PAID:
        await meter.accounts.pin_tier(name, _PAID_TIER)
    return {name: await meter.accounts.issue_key(name) for name in (*PAID, *FREE)}


async def serve(fd: int, plan: Plan) -> None:
    """Serve until the process is told to end."""
    # Its log goes where the keys are read, which nobody reads on.
    quiet = structlog.make_filtering_bound_logger(logging.ERROR)
    structlog.configure(wrapper_class=quiet)
    with tempfile.TemporaryDirectory() as home:
        meter = Metering(replace(plan, data=str(Path(home))))
        await meter.start()
        try:
            print(json.dumps(await keys_of(meter)), flush=True)
            model = FakeModel(output_tokens=_OUTPUT_TOKENS, pause=compute)
            app = meter.wrap(Slots(model, SLOTS))
            config = uvicorn.Config(
                app, access_log=False, log_level="error", timeout_keep_alive=60
            )
            await uvicorn.Server(config).serve([socket.socket(fileno=fd)])
        finally:
            await meter.stop()


if __name__ == "__main__":
    fd, *files = sys.argv[1:]
    chosen = plan_from_file(Path(files[0])) if files else plan_from_preset("friendli")
    asyncio.run(serve(int(fd), chosen))
