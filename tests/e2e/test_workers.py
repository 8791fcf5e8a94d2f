"""Four processes of one host: each limit is one limit, to the unit."""

import os
import socket
import subprocess
import sys
from collections import Counter
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import anyio
import httpx
import pytest

from metering import Metering
from metering.accounts import Overrides, RateOverride, TokenPrices
from metering.config import OutageSettings, plan_from_preset
from metering.money import PICO

pytestmark = pytest.mark.anyio

SERVER = Path(__file__).with_name("worker_server.py")
WORKERS = 4
LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
DAY_NS = 86_400 * 10**9
DEAR = Overrides(
    output_tokens_max=64,
    usage_limit_p=PICO,
    prices={LLAMA: TokenPrices(0, PICO // 10 // 64)},
)
"""A limit of $1.00; 64 tokens of output cost $0.10 exactly."""
SIXTY = Overrides(requests={"paid": RateOverride(60, DAY_NS)})


@pytest.fixture(params=["sqlite", "redis"])
def workers(request, tmp_path):
    """Start four servers; return their addresses and the environment they have."""
    limits = f"sqlite:///{tmp_path / 'limits.db'}"
    if request.param == "redis":
        limits = request.getfixturevalue("redis_url")
    environ = os.environ | {"METERING_DATA": str(tmp_path), "METERING_LIMITS": limits}
    with ExitStack() as stack:
        urls = []
        for _ in range(WORKERS):
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            fd = listener.fileno()
            process = subprocess.Popen(
                [sys.executable, SERVER, str(fd)], pass_fds=[fd], env=environ
            )
            stack.callback(process.wait, 15)
            stack.callback(process.terminate)
            urls.append("http://127.0.0.1:{1}".format(*listener.getsockname()))
        plan = replace(
            plan_from_preset("friendli"),
            data=str(tmp_path),
            limits_store=limits,
            outage=OutageSettings(deadline_ms=10_000),
        )
        yield urls, plan


async def statuses(urls, key, *, calls):
    """Send so many calls at once, to one server after the other; count the statuses."""
    found = Counter()

    async def call(number):
        answer = await client.post(
            f"{urls[number % WORKERS]}/v1/chat/completions",
            json={"model": LLAMA, "messages": [], "max_tokens": 64},
        )
        found[answer.status_code] += 1

    headers = {"authorization": f"Bearer {key}"}
    limits = httpx.Limits(max_connections=calls)
    async with (
        httpx.AsyncClient(headers=headers, timeout=15, limits=limits) as client,
        anyio.create_task_group() as tasks,
    ):
        for number in range(calls):
            tasks.start_soon(call, number)
    return found


async def test_one_limit_for_all(workers):
    """60 requests of 200 at once, and 10 calls of $0.10 for a limit of $1.00."""
    urls, plan = workers
    operator = Metering(plan)
    keys = {}
    for name, overrides in (("dear", DEAR), ("many", SIXTY)):
        await operator.accounts.create(name)
        await operator.accounts.pin_tier(name, 4)
        await operator.accounts.override(name, overrides)
        keys[name] = await operator.accounts.issue_key(name)
    requests = await statuses(urls, keys["many"], calls=200)
    money = await statuses(urls, keys["dear"], calls=100)
    await operator.accounts.suspend("many")
    suspended = await statuses(urls, keys["many"], calls=4)
    await operator.stop()

    assert {200: 60, 429: 140} == requests
    assert {200: 10, 429: 90} == money
    assert {403: 4} == suspended
