"""A whole metered service of a plan that is written in the test, on a clock by hand."""

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from metering import Metering
from metering.clock import NS_PER_MS
from metering.config import load_plan
from metering.testing.clock import ManualClock
from metering.usage import UsageEvent


def instant_ns(text: str) -> int:
    """Return an instant that is written with its offset, to the millisecond."""
    return round(datetime.fromisoformat(text).timestamp() * 1000) * NS_PER_MS


class Answering:
    """An app that answers each call with a usage, and takes its time.

    Attributes:
        usage: The usage it tells, as on OpenAI's wire; None to tell none.
        metrics: What it tells of its time, as vLLM does; None to tell nothing.
        takes: What is done while it works, such as moving the clock.
    """

    def __init__(self) -> None:
        self.usage: Mapping[str, Any] | None = None
        self.metrics: Mapping[str, Any] | None = None
        self.takes: Callable[[], object] = lambda: None

    async def __call__(self, _scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        while (await receive()).get("more_body"):
            pass
        self.takes()
        told = {"choices": [], "usage": self.usage, "metrics": self.metrics}
        body = json.dumps({k: v for k, v in told.items() if v is not None}).encode()
        head = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": "http.response.body", "body": body})


@dataclass
class Service:
    """A metered app and its account `acme`."""

    meter: Metering
    clock: ManualClock
    app: Any
    client: httpx.AsyncClient
    key: str = field(default="", repr=False)

    async def call(self, model: str, **body: Any) -> httpx.Response:
        """Send a short chat request."""
        body = {"model": model, "messages": [{"role": "user", "content": "a"}]} | body
        return await self.client.post(
            "/v1/chat/completions",
            json=body,
            headers={"authorization": f"Bearer {self.key}"},
        )

    def events(self) -> list[UsageEvent]:
        """Return what was posted, newest first."""
        assert self.meter._recorder.flush(10.0)
        return [c.event for c in self.meter.ledger.events("acme", limit=1000)]


class Opener:
    """Runs services, each in a data home of its own."""

    def __init__(self, data: Path) -> None:
        self._data = data

    @asynccontextmanager
    async def __call__(
        self, plan: str, at: str, app: Any = None
    ) -> AsyncIterator[Service]:
        """Run the service of a plan's text from that instant on, around an app."""
        clock, app = ManualClock(instant_ns(at)), app or Answering()
        loaded = replace(load_plan(plan, source="test"), data=str(self._data))
        meter = Metering(loaded, clock=clock)
        transport = httpx.ASGITransport(meter.wrap(app))
        async with httpx.AsyncClient(
            transport=transport, base_url="http://t"
        ) as client:
            try:
                await meter.accounts.create("acme")
                key = await meter.accounts.issue_key("acme")
                yield Service(meter, clock, app, client, key)
            finally:
                await meter.stop()


@pytest.fixture
def open_service(tmp_path: Path) -> Opener:
    """Return what runs services, each a context manager."""
    return Opener(tmp_path)


@pytest.fixture
def answering() -> Answering:
    """Return an app to run a service around."""
    return Answering()


@pytest.fixture(scope="session")
def at() -> Callable[[str], int]:
    """Return the function that reads an instant."""
    return instant_ns
