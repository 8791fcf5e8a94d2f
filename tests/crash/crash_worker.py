"""A metered server in a process that is killed at any instant, with bad luck besides.

Some settlements and postings fail before they are done, and some after: then they are
sent again, and must count once.
"""

import logging
import os
import random
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import replace

import anyio
import structlog
import uvicorn

from metering import Metering
from metering.asgi.context import call_of
from metering.backends.sql import SqlLedger
from metering.clock import NS_PER_S
from metering.config import JournalSettings, OutageSettings, plan_from_preset
from metering.errors import StorageError
from metering.testing.model import FakeModel

LOST = 0.02
"""How often a settlement or a posting fails, and how often only its answer is lost."""

OUTPUT_TOKENS = 40
LEASE_S = 3

_pauses: ContextVar[random.Random] = ContextVar("pauses")


def plan_of(data):
    """Return the plan of all that work on this data home."""
    plan = plan_from_preset("friendli")
    return replace(
        plan,
        data=str(data),
        limits_store=f"sqlite:///{data / 'limits.db'}",
        lease_ns=LEASE_S * NS_PER_S,
        outage=OutageSettings(deadline_ms=2_000),
        journal=JournalSettings(),
    )


class UnluckyLedger(SqlLedger):
    """Posts some batches twice, and loses some answers."""

    def post(self, events):
        """Post a batch; see `SqlLedger.post`."""
        _fail()
        report = super().post(events)
        if random.random() < LOST:  # noqa: S311 - no secret
            super().post(events)
        _fail()
        return report


class Noting:
    """The fake model; first the id of the call is written to a file, at once."""

    def __init__(self, path):
        self.model = FakeModel(output_tokens=OUTPUT_TOKENS, pause=_pause)
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    async def __call__(self, scope, receive, send):
        """Note the call, and serve it."""
        call = call_of(scope)
        if call is not None:
            with suppress(OSError):  # the disk is full, for this file as well
                os.write(self._fd, f"{call.id}\n".encode())
            _pauses.set(random.Random(call.id))  # noqa: S311 - no secret
        await self.model(scope, receive, send)


async def _pause(_chunk):
    await anyio.sleep(_pauses.get().choice((0, 0, 0.001, 0.01)))


def _fail():
    if random.random() < LOST:  # noqa: S311 - no secret
        raise StorageError("Bad luck: the answer was lost.")


def serve(listener, data):
    """Serve until killed."""
    random.seed(os.urandom(8))
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL)
    )
    plan = plan_of(data)
    meter = Metering(plan, ledger=UnluckyLedger(data / "ledger.db", tiers=plan.tiers))
    settle = meter.limit_store.settle

    async def unlucky_settle(*args, **kwargs):
        _fail()
        result = await settle(*args, **kwargs)
        _fail()
        return result

    meter.limit_store.settle = unlucky_settle
    app = meter.wrap(Noting(data / "admitted"))
    config = uvicorn.Config(
        app, lifespan="on", log_level="error", timeout_graceful_shutdown=5
    )
    uvicorn.Server(config).run([listener])
