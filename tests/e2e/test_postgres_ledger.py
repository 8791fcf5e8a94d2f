"""Two hosts with one ledger in PostgreSQL: what one does, the other knows."""

from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import replace

import httpx
import pytest

from metering import Metering
from metering.backends.sql import SqlLedger
from metering.config import plan_from_preset
from metering.errors import ConfigurationError
from metering.testing import FakeModel, ManualClock

pytestmark = [pytest.mark.anyio, pytest.mark.slow_start, pytest.mark.timeout(60)]

CALL = {
    "model": "zai-org/GLM-4.7",
    "messages": [{"role": "user", "content": "a b c"}],
}


def host(name, url, tmp_path):
    """Return a metering of the preset, with a journal of its own."""
    plan = replace(plan_from_preset("friendli"), data=str(tmp_path / name), ledger=url)
    return Metering(plan, clock=ManualClock())


@asynccontextmanager
async def running(meter):
    """Run a host; return it and a client of it."""
    transport = httpx.ASGITransport(meter.wrap(FakeModel()))
    async with httpx.AsyncClient(transport=transport, base_url="http://t") as client:
        await meter.start()
        try:
            yield meter, client
        finally:
            await meter.stop()


async def ask(client, key):
    """Call the model."""
    return await client.post(
        "/v1/chat/completions", json=CALL, headers={"authorization": f"Bearer {key}"}
    )


async def test_a_key_of_one_host_calls_on_the_other(postgres_url, tmp_path):
    """And each host's charges are in the one ledger, together."""
    async with AsyncExitStack() as stack:
        hosts = [
            await stack.enter_async_context(running(host(name, postgres_url, tmp_path)))
            for name in ("a", "b")
        ]
        (first, _), (second, _) = hosts
        await first.accounts.create("acme")
        await second.accounts.set_payment_method("acme", on_file=True)
        key = await first.accounts.issue_key("acme")
        statuses = [(await ask(client, key)).status_code for _, client in hosts * 2]

    with closing(SqlLedger(postgres_url, tiers=first.plan.tiers)) as ledger:
        (total,) = ledger.totals("acme", "2026-01")
    assert [200] * 4 == statuses
    assert 4 == total.calls


async def test_a_start_without_tables_names_the_command(postgres, tmp_path):
    """Before a call is served, and nothing is made there."""
    meter = host("a", postgres.empty(), tmp_path)

    with pytest.raises(ConfigurationError, match="metering migrate"):
        await meter.start()
    await meter.stop()
