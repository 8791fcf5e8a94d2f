"""The demo's server: FastAPI before a fake model, metered, on a real port."""

import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import uvicorn
from anyio.from_thread import BlockingPortal, start_blocking_portal
from fastapi import FastAPI

from metering.accounts import Account, Tier
from metering.clock import Clock, system_clock
from metering.config import plan_from_preset
from metering.demo.traffic import SmallModel
from metering.ledger import CreditState
from metering.metering import Metering
from metering.stores import UsageTotal
from metering.testing.model import FakeModel

__all__ = ["HOST", "START_NS", "Service", "clock_from", "serve"]

START_NS = 1_768_435_200 * 10**9
"""2026-01-15T00:00:00Z: the preset's free model is free until 2026-02-12."""

HOST = "127.0.0.1"
OUTPUT_TOKENS = 64
COMPUTE_MS = 287_341
"""What the fake model says of every call: long, so that $5 are soon used up."""

_READY_S = 15.0
_POSTED_S = 10.0
_POLL_S = 0.02


class Service:
    """A running server, and the hands of whoever operates it.

    Args:
        meter: What the operator works with.
        portal: The server's event loop, as seen from other threads.
        url: Where clients find the server.
        model: How fast its model is.
    """

    def __init__(
        self, meter: Metering, portal: BlockingPortal, url: str, model: SmallModel
    ) -> None:
        self.meter = meter
        self.url = url
        self.model = model
        self._portal = portal

    def create(self, account_id: str) -> str:
        """Create an account, and return a key of it."""
        self._portal.call(self.meter.accounts.create, account_id)
        return self._portal.call(self.meter.accounts.issue_key, account_id)

    def add_payment_method(self, account_id: str) -> None:
        """Note that a valid payment method is on file."""
        add = partial(self.meter.accounts.set_payment_method, account_id, on_file=True)
        self._portal.call(add)

    def sell_credit(self, account_id: str, *, usd: str) -> None:
        """Record that credit was bought and paid for."""
        record = partial(
            self.meter.billing.record_payment,
            account_id,
            usd=usd,
            reference=f"demo-{account_id}-{usd}",
            kind="credit_purchase",
        )
        self._portal.call(record)

    def account(self, account_id: str) -> Account:
        """Return an account as it is now."""
        return self._portal.call(self.meter.accounts.get, account_id)

    def tier(self, account_id: str) -> Tier:
        """Return the tier in which an account is now."""
        return self.meter.accounts.tier_of(self.account(account_id))

    def credit(self, account_id: str) -> CreditState:
        """Return what the ledger has of the account's credit."""
        return self._portal.call(self.meter.billing.credit, account_id)

    def totals(self, account_id: str, *, calls: int) -> list[UsageTotal]:
        """Return what the ledger has of the account's use, as soon as it has it all.

        Args:
            account_id: The account.
            calls: How many calls of it were served.

        Raises:
            TimeoutError: Some of them are not in the ledger after 10 s.
        """
        for _ in range(round(_POSTED_S / _POLL_S)):
            totals = self._portal.call(self.meter.billing.usage, account_id)
            if sum(total.calls for total in totals) == calls:
                return totals
            time.sleep(_POLL_S)
        raise TimeoutError(f"Of {account_id}, the ledger lacks some of {calls} calls.")

    @contextmanager
    def beside(self, work: Callable[[], Awaitable[None]]) -> Iterator[None]:
        """Do some work in the server's event loop, until the block ends."""
        doing = self._portal.start_task_soon(work)
        try:
            yield
        finally:
            doing.cancel()
            with suppress(CancelledError):
                doing.result()


@contextmanager
def serve(
    data: Path,
    *,
    start_ns: int = START_NS,
    operator_token: str | None = None,
    listener: socket.socket | None = None,
) -> Iterator[Service]:
    """Run the server in a thread of its own until the block ends.

    Args:
        data: The data home: its journal and its ledger are in there.
        start_ns: What its clock shows in the beginning.
        operator_token: What an operator signs in to its console by; None: it has none.
        listener: Where it listens, closed at the end; None: on a port that is free.

    Raises:
        TimeoutError: The server was not ready after 15 s.
    """
    plan = replace(plan_from_preset("friendli"), data=str(data))
    meter = Metering(plan, clock=clock_from(start_ns))
    app = FastAPI()
    if operator_token is not None:
        app.mount("/console", meter.console(operator_token=operator_token))
    model = SmallModel()
    writer = FakeModel(
        output_tokens=OUTPUT_TOKENS, compute_ms=COMPUTE_MS, pause=model.pause
    )
    app.mount("/", writer)
    app.add_middleware(meter.wrap)

    server = uvicorn.Server(uvicorn.Config(app, lifespan="on", log_level="warning"))
    with (
        listener or socket.create_server((HOST, 0)) as listening,
        start_blocking_portal() as portal,
    ):
        running = portal.start_task_soon(server.serve, [listening])
        try:
            _wait_until_started(server, running)
            host, port = listening.getsockname()
            yield Service(meter, portal, f"http://{host}:{port}", model)
        finally:
            server.should_exit = True
            running.result()


def _wait_until_started(server: uvicorn.Server, running: Future[None]) -> None:
    for _ in range(round(_READY_S / _POLL_S)):
        if server.started:
            return
        if running.done():
            break
        time.sleep(_POLL_S)
    raise TimeoutError("The demo's server did not start; what it said is above.")


def clock_from(start_ns: int) -> Clock:
    """Return a clock that shows *start_ns* now, and runs on from there."""
    shift_ns = start_ns - system_clock()
    return lambda: system_clock() + shift_ns
