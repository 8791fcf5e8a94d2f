"""A metered app with a console mounted inside it, in memory, and who signs in there."""

from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import httpx
import msgspec
import pytest
from starlette.applications import Starlette

from metering import Metering
from metering.backends.sql import SqlLedger
from metering.config import plan_from_preset
from metering.console.api.endpoints import ENDPOINTS
from metering.console.problems import Problem
from metering.testing.clock import ManualClock
from metering.testing.model import FakeModel

ANSWERS = {(each.method, each.path): each.answer for each in ENDPOINTS}
OPERATOR = "an-operator-signs-in-by-this-token-alone"


@dataclass
class Console:
    """A service, and its console as somebody sees it."""

    meter: Metering
    clock: ManualClock
    ledger: Any
    client: httpx.AsyncClient
    app: Any

    async def ask(self, method, path, *, by=OPERATOR, **request):
        """Ask the API something; what it answers must be what its document says."""
        headers = {} if by is None else {"authorization": f"Bearer {by}"}
        answer = await self.client.request(
            method, f"/console{path}", headers=headers, **request
        )
        told = ANSWERS[method, path] if answer.status_code == 200 else Problem
        read = msgspec.json.decode(answer.content, type=told)
        assert answer.content == msgspec.json.encode(read)
        return answer

    async def get(self, path, *, by=OPERATOR, **query):
        """Return what is there."""
        answer = await self.ask("GET", path, by=by, params=query)
        assert 200 == answer.status_code, answer.text
        return answer.json()

    async def send(self, method, path, *, by=OPERATOR, **body):
        """Return the answer to a body."""
        return await self.ask(method, path, by=by, json=body)

    async def account(self, name, *, tier=None):
        """Create an account and return a key of it."""
        await self.meter.accounts.create(name)
        if tier is not None:
            await self.meter.accounts.pin_tier(name, tier)
        return await self.meter.accounts.issue_key(name)

    async def chat(self, key, *, model="meta-llama/Llama-3.1-8B-Instruct"):
        """Make a metered call beside the console."""
        body = {"model": model, "messages": [{"role": "user", "content": "a b c"}]}
        answer = await self.client.post(
            "/v1/chat/completions",
            json=body,
            headers={"authorization": f"Bearer {key}"},
        )
        assert 200 == answer.status_code, answer.text

    async def flush(self):
        """Post what is journalled."""
        assert self.meter._recorder.flush(10.0)


@pytest.fixture
def open_console(tmp_path):
    """Return what runs a service with a console, a context manager."""

    @asynccontextmanager
    async def open_it(*, operator_token=OPERATOR, own=None, **changes):
        plan = replace(plan_from_preset("friendli"), data=str(tmp_path), **changes)
        clock, ledger = ManualClock(), SqlLedger("sqlite://", tiers=plan.tiers)
        meter = Metering(plan, clock=clock, ledger=ledger, **(own or {}))
        app = Starlette()
        app.mount("/console", meter.console(operator_token=operator_token))
        app.mount("/", FakeModel())
        stack = meter.wrap(app)
        transport = httpx.ASGITransport(stack)
        async with httpx.AsyncClient(transport=transport, base_url="http://t") as c:
            try:
                yield Console(meter, clock, ledger, c, stack)
            finally:
                await meter.stop()

    return open_it
