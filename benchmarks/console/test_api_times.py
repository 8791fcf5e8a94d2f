"""How long each answer of the HTTP API takes at 10,000 accounts and a million calls.

Run from the root of the repository, with METERING_SEEDED naming a ledger that
`python -m benchmarks.console.seed` has written; without it one is written first:

    pytest benchmarks/console/test_api_times.py -o addopts= --import-mode=importlib

Through the whole app in one process, without a socket. The account that asks has made
one call in ten; an operator asks for all accounts.
"""

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from benchmarks.console.seed import BUSY, SECRETS, seed
from starlette.applications import Starlette

from metering import Metering
from metering.config import plan_from_preset
from metering.console.api.endpoints import ENDPOINTS

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(900)]

OPERATOR = "an-operator-signs-in-by-this-token-alone"
ROUNDS = 40
GOAL_MS = 200
ASKED: dict[str, tuple[dict[str, Any], ...]] = {
    "/v1/invoice": ({"id": "-"},),
    "/v1/accounts": (
        *({}, {"limit": 200}, {"order": "spent"}, {"tier": 3, "order": "spent"}),
        {"prefix": "account-05", "order": "spent"},
    ),
    "/v1/charges": ({}, {"limit": 200}, {"model": "zai-org/GLM-4.7"}),
    "/v1/rerate": (),  # a look at all calls of a model, and as long as they are many
}
"""What is asked of an endpoint, each by itself; nothing, where none is named."""


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    named = os.environ.get("METERING_SEEDED")
    if named is not None:
        return Path(named)
    path = tmp_path_factory.mktemp("seeded") / "ledger.db"
    seed(path)
    return path


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_answers(ledger: Path, tmp_path: Path, tell: Any) -> None:
    plan = replace(
        plan_from_preset("friendli"), data=str(tmp_path), ledger=f"sqlite:///{ledger}"
    )
    meter = Metering(plan)
    app = Starlette()
    app.mount("/console", meter.console(operator_token=OPERATOR))
    questions = [
        (each.path, asked, who)
        for each in ENDPOINTS
        if each.method == "GET"
        for asked in ASKED.get(each.path, ({},))
        for who in ("operator",) * each.operator or ("account", "operator")
    ]
    took_ms: dict[tuple[str, str, str], list[float]] = {}
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://t/console"
    ) as client:
        for _ in range(ROUNDS):
            for path, asked, who in questions:
                named = dict(asked)
                if who == "operator" and "account" in _members(path):
                    named["account"] = BUSY
                by = OPERATOR if who == "operator" else SECRETS[BUSY]
                began_s = time.perf_counter()
                answer = await client.get(
                    path, params=named, headers={"authorization": f"Bearer {by}"}
                )
                ms = (time.perf_counter() - began_s) * 1000
                assert answer.status_code in {200, 404}, answer.text
                told = "&".join(f"{name}={value}" for name, value in asked.items())
                took_ms.setdefault((path, told, who), []).append(ms)
    await meter.stop()

    for (path, told, who), all_ms in took_ms.items():
        p95_ms = sorted(all_ms)[int(len(all_ms) * 0.95)]
        name = f"GET {path}{f'?{told}' if told else ''}, p95, {who}"
        tell(name, p95_ms, "ms", value_max=GOAL_MS)


def _members(path: str) -> tuple[str, ...]:
    (endpoint,) = (
        each for each in ENDPOINTS if (each.method, each.path) == ("GET", path)
    )
    return endpoint.query.__struct_fields__
