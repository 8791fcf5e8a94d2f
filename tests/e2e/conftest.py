"""Real servers on real ports: in a thread, around a fake model and a fake clock."""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from anyio.from_thread import BlockingPortal, start_blocking_portal
from openai import AsyncOpenAI, OpenAI

from metering import Metering
from metering.clock import NS_PER_S
from metering.config import Plan, plan_from_preset
from metering.quota import RateQuota
from metering.testing.clock import ManualClock
from metering.testing.model import FakeModel
from metering.usage import UsageEvent

DEADLINE_S = 10.0
POLL_S = 0.005


def preset() -> Plan:
    """Return the preset with a limit of tier 0 that stands still: 10 a minute."""
    plan = plan_from_preset("friendli")
    lowest, *others = plan.tiers.tiers
    ten = (RateQuota(10, 60 * NS_PER_S),)
    fixed = replace(lowest, adaptive=frozenset(), requests={"paid": ten, "free": ten})
    tiers = replace(plan.tiers, tiers=(fixed, *others))
    return replace(plan, adaptive=None, tiers=tiers)


class Arrivals:
    """Counts the requests that reach the server, also those that it refuses."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.count = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Count and pass on."""
        self.count += scope["type"] == "http"
        await self.app(scope, receive, send)


@dataclass
class Service:
    """A metered model server that runs, its operator's hands, and its clients."""

    meter: Metering
    clock: ManualClock
    model: FakeModel
    arrivals: Arrivals
    url: str
    portal: BlockingPortal
    closing: ExitStack

    def account(self, name: str, *, tier: int) -> str:
        """Create an account of a tier and return a key of it."""
        accounts = self.meter.accounts
        self.portal.call(accounts.create, name)
        self.portal.call(accounts.pin_tier, name, tier)
        return self.portal.call(accounts.issue_key, name)

    def override(self, name: str, overrides: Any) -> None:
        """Agree on something else than the tier says."""
        self.portal.call(self.meter.accounts.override, name, overrides)

    def client(self, key: str, *, retries: int = 0) -> OpenAI:
        """Return a client; it is closed with the service."""
        made = OpenAI(api_key=key, base_url=f"{self.url}/v1", max_retries=retries)
        return self.closing.enter_context(made)

    def async_client(self, key: str) -> AsyncOpenAI:
        """Return a client, a context manager."""
        return AsyncOpenAI(api_key=key, base_url=f"{self.url}/v1", max_retries=0)

    def events(self, account: str, *, calls: int) -> list[UsageEvent]:
        """Return an account's posted events, oldest first, once there are so many."""
        read = partial(self.meter.billing.charges, account, limit=1000)
        charged = self.portal.call(read)
        deadline_s = time.monotonic() + DEADLINE_S
        while len(charged) < calls and time.monotonic() < deadline_s:
            time.sleep(POLL_S)
            charged = self.portal.call(read)
        return sorted((c.event for c in charged), key=lambda event: event.id)


@contextmanager
def serve(data: Path, model: FakeModel, fields: dict[str, Any]) -> Iterator[Service]:
    """Run a server until the block ends."""
    clock = ManualClock()
    plan = replace(preset(), data=str(data), **fields)
    meter = Metering(plan, clock=clock)
    arrivals = Arrivals(meter.wrap(model))
    server = uvicorn.Server(uvicorn.Config(arrivals, lifespan="on", log_config=None))
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        start_blocking_portal() as portal,
    ):
        url = "http://127.0.0.1:{1}".format(*listener.getsockname())
        running = portal.start_task_soon(server.serve, [listener])
        try:
            # Until it accepts them, connections wait in the listener's queue.
            with ExitStack() as closing:
                yield Service(meter, clock, model, arrivals, url, portal, closing)
        finally:
            server.should_exit = True
            running.result(DEADLINE_S)


@pytest.fixture
def run_service(tmp_path: Path) -> Iterator[Callable[..., Service]]:
    """Return what runs a service, given a fake model and fields of the plan."""
    with ExitStack() as services:
        yield lambda model=None, **fields: services.enter_context(
            serve(tmp_path, model or FakeModel(), fields)
        )
