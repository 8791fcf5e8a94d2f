"""What users' own tests get from metering.testing, and what that costs the others."""

import subprocess
import sys

import anyio
import httpx
import pytest

from metering import testing
from metering.clock import NS_PER_S


def test_the_clock_stands_in_the_middle_of_january(metering_clock):
    assert 1_768_435_200 * NS_PER_S == metering_clock()
    assert metering_clock() == metering_clock()


@pytest.mark.parametrize("name", testing.__all__)
def test_each_public_name_is_there(name):
    assert name == getattr(testing, name).__name__


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'FakeBank'"):
        _ = testing.FakeBank


def test_loading_the_plugin_imports_nothing_else_of_ours():
    """Pytest loads it at every start, in projects that only have metering installed."""
    script = (
        "import sys, metering.testing.plugin;"
        "print(*sorted(m for m in sys.modules"
        " if m.startswith(('metering', 'hypothesis', 'sqlalchemy', 'starlette'))))"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert [
        "metering",
        "metering.testing",
        "metering.testing.plugin",
    ] == loaded.stdout.split()


async def _first_call(meter):
    await meter.accounts.create("acme")
    key = await meter.accounts.issue_key("acme")
    app = httpx.ASGITransport(meter.wrap(testing.FakeModel()))
    async with httpx.AsyncClient(transport=app, base_url="http://test") as client:
        return await client.post(
            "/v1/chat/completions",
            headers={"authorization": f"Bearer {key}"},
            json={"model": "zai-org/GLM-4.7", "messages": []},
        )


def test_the_metering_fixture_serves_a_call(metering, metering_clock):
    """Also in a test that is not asynchronous; it stands at the clock's instant."""
    answer = anyio.run(_first_call, metering)

    assert 200 == answer.status_code
    assert "60" == answer.headers["x-ratelimit-limit-requests"]
    account = anyio.run(metering.accounts.get, "acme")
    assert metering_clock() == account.created_ns
