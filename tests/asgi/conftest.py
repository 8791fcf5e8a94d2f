"""A whole metered app in memory: preset friendli, fake model, fake clock."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import httpx
import pytest

from metering import Metering
from metering.backends.sql import SqlLedger
from metering.billing import usage_limit_demand
from metering.clock import NS_PER_S
from metering.config import Plan, plan_from_preset
from metering.money import PICO
from metering.quota import RateQuota
from metering.testing.clock import ManualClock
from metering.testing.model import FakeModel

GLM = "zai-org/GLM-4.7"
LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
TIMED = "Qwen/Qwen3-32B"
FREE = "LGAI-EXAONE/K-EXAONE-236B-A23B"
CHAT = {"model": LLAMA, "messages": [{"role": "user", "content": "a b c"}]}


def preset() -> Plan:
    """Return the preset with a limit of tier 0 that stands still: 10 a minute."""
    plan = plan_from_preset("friendli")
    lowest, *others = plan.tiers.tiers
    ten = (RateQuota(10, 60 * NS_PER_S),)
    fixed = replace(lowest, adaptive=frozenset(), requests={"paid": ten, "free": ten})
    tiers = replace(plan.tiers, tiers=(fixed, *others))
    return replace(plan, adaptive=None, tiers=tiers)


@dataclass
class Service:
    """A metered app, and what a test looks at."""

    meter: Metering
    ledger: Any
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
        self, key: str, *, model: str = LLAMA, headers: Any = None, **body: Any
    ) -> httpx.Response:
        """Send a chat request."""
        body = {
            "model": model,
            "messages": [{"role": "user", "content": "a b c"}],
        } | body
        return await self.client.post(
            "/v1/chat/completions",
            json=body,
            headers={"authorization": f"Bearer {key}"} | (headers or {}),
        )

    async def events(self, account: str) -> list[Any]:
        """Return the account's posted events, newest first."""
        await self.flush()
        return [c.event for c in self.ledger.events(account, limit=1000)]

    async def in_use_p(self, account: str, limit_p: int = 50 * PICO) -> int:
        """Return what of its monthly limit is spent and held just now."""
        demand = usage_limit_demand(account, "2026-01", limit_p, 0)
        (verdict,) = await self.meter.limit_store.peek([demand], now_ns=self.clock())
        return limit_p - verdict.remaining

    async def flush(self) -> None:
        """Post what is journalled."""
        assert self.meter._recorder.flush(10.0)


class Opener:
    """Runs services in one data home. Called with an app and fields of the plan."""

    def __init__(self, data: Path) -> None:
        self._data = data

    def plan(self, **fields: Any) -> Plan:
        """Return the preset with other fields."""
        return replace(preset(), **({"data": str(self._data)} | fields))

    @asynccontextmanager
    async def __call__(
        self,
        app: Any = None,
        *,
        ledger: Any = None,
        identify: Any = None,
        subjects: Any = None,
        dialects: Any = (),
        cold: Any = None,
        count_tokens: Any = None,
        observers: Any = (),
        clock: Any = None,
        **fields: Any,
    ) -> AsyncIterator[Service]:
        """Run a service around an app."""
        clock = clock or ManualClock()
        plan = self.plan(**fields)
        ledger = ledger or SqlLedger("sqlite://", tiers=plan.tiers)
        meter = Metering(
            plan,
            clock=clock,
            ledger=ledger,
            identify=identify,
            subjects=subjects,
            dialects=dialects,
            cold=cold,
            count_tokens=count_tokens,
            observers=observers,
        )
        model = app or FakeModel()
        transport = httpx.ASGITransport(meter.wrap(model))
        async with httpx.AsyncClient(
            transport=transport, base_url="http://t"
        ) as client:
            try:
                yield Service(meter, ledger, clock, model, client)
            finally:
                await meter.stop()


@pytest.fixture
def open_service(tmp_path: Path) -> Opener:
    """Return what runs services, each a context manager."""
    return Opener(tmp_path)


class HandWritten:
    """A server's side of one request: what the app receives, and what it sends.

    Args:
        key: API key; None for none.
        body: The request's JSON.
        leaves_at: Number of body messages after which the client hangs up; 0: at once,
            when the request is whole. `send` never returns from then on.
        breaks_at: Number of body messages of which the last raises OSError.
    """

    def __init__(
        self,
        key: str | None,
        body: Any = None,
        *,
        path: str = "/v1/chat/completions",
        leaves_at: int | None = None,
        breaks_at: int | None = None,
    ) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body or CHAT).encode()
        self.inbox: list[Any] = [{"type": "http.request", "body": content}]
        self.sent: list[Any] = []
        self.gone = anyio.Event()
        self.received = 0
        headers = [] if key is None else [(b"authorization", b"Bearer " + key.encode())]
        self.scope: dict[str, Any] = {
            "type": "http",
            "method": "POST",
            "path": path,
            "headers": headers,
        }
        self._leaves_at = leaves_at
        self._breaks_at = breaks_at
        if leaves_at == 0:
            self.gone.set()

    async def receive(self) -> Any:
        """Give the request, then nothing until the client leaves."""
        self.received += 1
        await anyio.lowlevel.checkpoint()
        if self.inbox:
            return self.inbox.pop(0)
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        """Take a message of the app."""
        await anyio.lowlevel.checkpoint()
        self.sent.append(message)
        if message["type"] != "http.response.body":
            return
        if len(self.bodies) == self._breaks_at:
            raise OSError("The connection is gone.")
        if len(self.bodies) == self._leaves_at:
            self.gone.set()
            await anyio.sleep_forever()

    @property
    def bodies(self) -> list[bytes]:
        """The body messages so far."""
        kind = "http.response.body"
        return [bytes(m.get("body", b"")) for m in self.sent if m["type"] == kind]

    @property
    def status(self) -> int:
        """The status of the response."""
        return self.sent[0]["status"]

    def json(self) -> Any:
        """Return the response's body."""
        return json.loads(b"".join(self.bodies))

    def header(self, name: bytes) -> bytes | None:
        """Return a header of the response."""
        return dict(self.sent[0]["headers"]).get(name)

    async def call(self, app: Any) -> None:
        """Send the request to an app."""
        await app(self.scope, self.receive, self.send)


@pytest.fixture
def hand_written() -> type[HandWritten]:
    """Return the class of requests that are driven message by message."""
    return HandWritten
