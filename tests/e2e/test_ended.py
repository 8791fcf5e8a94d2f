"""SIGTERM while streams run: what ends in time is settled, and what is cut as well."""

import socket
import subprocess
import sys
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import anyio
import anyio.to_thread
import httpx
import pytest

from metering import Metering
from metering.config import plan_from_preset
from metering.journal import survey_journals
from metering.testing.clock import ManualClock

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]

SERVER = Path(__file__).with_name("ended_server.py")
STREAM = {
    "model": "meta-llama/Llama-3.1-8B-Instruct",
    "messages": [{"role": "user", "content": "a b c"}],
    "max_tokens": 64,
    "stream": True,
}
TOKEN_P = 100_000
WHOLE_P = (3 + 64) * TOKEN_P


async def test_scenario_40_sigterm_with_50_streams(tmp_path):
    """40 end in time and 10 are cut: 50 events, none left over, none posted again."""
    plan = replace(plan_from_preset("friendli"), data=str(tmp_path))
    meter = Metering(plan, clock=ManualClock())
    await meter.accounts.create("acme")
    await meter.accounts.pin_tier("acme", 4)
    key = await meter.accounts.issue_key("acme")
    begun, ended = [], Counter()

    async def stream(number):
        headers = {"x-hold": "1"} if number < 10 else {}
        with suppress(httpx.TransportError):
            async with client.stream(
                "POST", "/v1/chat/completions", json=STREAM, headers=headers
            ) as answer:
                async for line in answer.aiter_lines():
                    if number not in begun:
                        begun.append(number)
                    ended["whole"] += line == "data: [DONE]"

    with socket.create_server(("127.0.0.1", 0), backlog=100) as listener:
        fd = listener.fileno()
        url = "http://127.0.0.1:{1}".format(*listener.getsockname())
        process = subprocess.Popen(  # noqa: ASYNC220 - it does not wait
            [sys.executable, SERVER, tmp_path, str(fd)], pass_fds=[fd]
        )
    try:
        async with (
            httpx.AsyncClient(
                base_url=url, headers={"authorization": f"Bearer {key}"}, timeout=30
            ) as client,
            anyio.create_task_group() as tasks,
        ):
            for number in range(50):
                tasks.start_soon(stream, number)
            with anyio.fail_after(30):
                while len(begun) < 50:  # noqa: ASYNC110 - it looks at another process
                    await anyio.sleep(0.005)
            process.terminate()
        await anyio.to_thread.run_sync(process.wait, 30)
    finally:
        process.kill()
    left = survey_journals(tmp_path, meter.ledger.known)
    events = [c.event for c in meter.ledger.events("acme", limit=100)]
    spent_p = meter.ledger.period("acme", "2026-01").spent_p
    await meter.start()
    again = len(meter.ledger.events("acme", limit=100))
    await meter.stop()

    assert (40, [], 50) == (ended["whole"], left, again)
    charges = Counter((event.ending, event.charge_p) for event in events)
    assert 40 == charges.pop(("completed", WHOLE_P))
    assert 10 == charges.total()
    assert all(0 < charge_p < WHOLE_P for _, charge_p in charges)
    assert sum(event.charge_p for event in events) == spent_p
