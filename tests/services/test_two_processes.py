"""An operator's script and a running server, on one ledger."""

import httpx
import pytest

from metering import Metering
from metering.testing import FakeModel, ManualClock

pytestmark = pytest.mark.anyio

CHAT = {
    "model": "meta-llama/Llama-3.1-8B-Instruct",
    "messages": [{"role": "user", "content": "a b c"}],
}


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def make_meter(tmp_path, monkeypatch, clock):
    """Make meterings of one data home, each with connections of its own."""
    monkeypatch.setenv("METERING_DATA", str(tmp_path))
    return lambda: Metering.from_preset("friendli", clock=clock)


async def test_a_key_revoked_by_a_script_is_refused_a_second_later(make_meter, clock):
    """The script uses accounts alone and starts nothing; nobody tells the server."""
    server, script = make_meter(), make_meter()
    await script.accounts.create("acme")
    key = await script.accounts.issue_key("acme")
    transport = httpx.ASGITransport(server.wrap(FakeModel()))
    statuses = []
    async with httpx.AsyncClient(transport=transport, base_url="http://t") as client:

        async def call():
            answer = await client.post(
                "/v1/chat/completions",
                json=CHAT,
                headers={"authorization": f"Bearer {key}"},
            )
            statuses.append(answer.status_code)

        await call()
        await script.accounts.revoke_key(key)
        clock.advance(seconds=1)
        await call()
        other = await script.accounts.issue_key("acme")
        key = other
        await call()
    await server.stop()
    await script.stop()

    assert [200, 401, 200] == statuses
