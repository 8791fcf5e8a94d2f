"""A whole metered app in memory: preset friendli, fake model, fake clock."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from metering import Metering
from metering.backends.ledger_memory import MemoryLedger
from metering.config import plan_from_preset
from metering.testing.clock import ManualClock
from metering.testing.model import FakeModel

GLM = "zai-org/GLM-4.7"
LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
TIMED = "Qwen/Qwen3-32B"
FREE = "LGAI-EXAONE/K-EXAONE-236B-A23B"


@dataclass
class Service:
    """A metered app, and what a test looks at."""

    meter: Metering
    ledger: MemoryLedger
    clock: ManualClock
    model: Any
    client: httpx.AsyncClient
    keys: dict[str, str] = field(default_factory=dict)

    async def account(self, name: str, *, tier: int = 0) -> str:
        """Create an account of a tier and return a key of it."""
        await self.meter.accounts.create(name)
        if tier == 1:
            await self.meter.accounts.set_payment_method(name, on_file=True)
        elif tier:
            await self.meter.accounts.pin_tier(name, tier)
        self.keys[name] = await self.meter.accounts.issue_key(name)
        return self.keys[name]

    async def chat(
        self, key: str, *, model: str = LLAMA, **body: Any
    ) -> httpx.Response:
        """Send a chat request."""
        body = {
            "model": model,
            "messages": [{"role": "user", "content": "a b c"}],
        } | body
        headers = {"authorization": f"Bearer {key}"}
        return await self.client.post(
            "/v1/chat/completions", json=body, headers=headers
        )

    async def events(self, account: str) -> list[Any]:
        """Return the account's posted events, newest first."""
        await self.flush()
        return [c.event for c in self.ledger.events(account, limit=1000)]

    async def flush(self) -> None:
        """Post what is journalled."""
        assert self.meter._shipper.flush(10.0)


Open = Callable[..., Any]


@pytest.fixture
def open_service(tmp_path: Path) -> Open:
    """Return a context manager that runs a service around an app."""

    @asynccontextmanager
    async def run(app: Any = None, **plan: Any) -> AsyncIterator[Service]:
        clock = ManualClock()
        base = plan_from_preset("friendli")
        fields = {name: getattr(base, name) for name in base.__dataclass_fields__}
        wanted = type(base)(**(fields | {"data": str(tmp_path)} | plan))
        ledger = MemoryLedger(wanted.tiers)
        meter = Metering(wanted, clock=clock, ledger=ledger)
        model = app or FakeModel()
        transport = httpx.ASGITransport(meter.wrap(model))
        async with httpx.AsyncClient(
            transport=transport, base_url="http://t"
        ) as client:
            try:
                yield Service(meter, ledger, clock, model, client)
            finally:
                await meter.stop()

    return run
