"""Commands in processes of their own reach a service that runs on the same data."""

import os
import subprocess
import sys
import time
from functools import partial

import httpx
import pytest
from anyio import to_thread

from metering import Metering
from metering.testing import FakeModel, ManualClock

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]

BODY = {"model": "zai-org/GLM-4.7", "messages": [{"role": "user", "content": "a b"}]}


@pytest.fixture
async def service(home):
    """A service that holds the data home alone, for its limits are in its memory."""
    clock = ManualClock(time.time_ns())
    meter = Metering.from_preset("friendli", clock=clock)
    await meter.start()
    await meter.accounts.create("acme")
    key = await meter.accounts.issue_key("acme")
    transport = httpx.ASGITransport(meter.wrap(FakeModel()))
    client = httpx.AsyncClient(transport=transport, base_url="http://test")

    async def call(with_key=key, *, after_s=0):
        clock.advance(seconds=after_s)
        headers = {"authorization": f"Bearer {with_key}"}
        path = "/v1/chat/completions"
        return await client.post(path, json=BODY, headers=headers)

    async def command(*arguments):
        run = partial(
            subprocess.run, cwd=home, capture_output=True, text=True, check=False
        )
        done = await to_thread.run_sync(
            partial(run, (sys.executable, "-m", "metering", *arguments), env=os.environ)
        )
        assert 0 == done.returncode, done.stderr
        return done.stdout

    async with client:
        yield call, command
    await meter.stop()


async def test_what_they_change_is_seen_a_second_later(service):
    """Suspended and resumed, a tier that was paid for, a key; no start in between."""
    call, command = service
    before = await call()
    await command("accounts", "suspend", "acme")
    suspended = await call(after_s=1)
    await command("accounts", "resume", "acme")
    await command(
        *("payments", "record", "acme", "50", "--reference=a", "--kind=credit_purchase")
    )
    key = (await command("keys", "issue", "acme")).strip()
    paid = await call(key, after_s=1)

    assert [200, 403, 200] == [a.status_code for a in (before, suspended, paid)]
    limits = [a.headers["x-ratelimit-limit-requests"] for a in (before, paid)]
    assert ["60", "1000"] == limits
