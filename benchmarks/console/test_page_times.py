"""How long each page of the console takes at 10,000 accounts and a million calls.

Run from the root of the repository, with METERING_SEEDED naming a ledger that
`python -m benchmarks.console.seed` has written; without it one is written first:

    pytest benchmarks/console/test_page_times.py -o addopts= --import-mode=importlib

Over HTTP, from a server in a thread beside the one that asks. Who looks: the account
that has made one call in ten, a usual account, and an operator, who also looks at the
first of them.
"""

import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from anyio.from_thread import start_blocking_portal
from benchmarks.console.seed import BUSY, QUIET, SECRETS, seed
from starlette.applications import Starlette

from metering import Metering
from metering.config import plan_from_preset
from metering.console.pages.table import PAGES

pytestmark = pytest.mark.timeout(900)

OPERATOR = "an-operator-signs-in-by-this-token-alone"
ROUNDS = 40
GOAL_MS = 200
ASKED: dict[str, tuple[dict[str, str], ...]] = {
    "/home": ({}, {"show": "tokens"}),
    "/accounts": ({}, {"order": "spent"}, {"tier": "3", "order": "spent"}),
    "/platform": ({}, {"over": "day"}, {"over": "week"}),
    "/requests": ({}, {"model": "zai-org/GLM-4.7"}),
}
"""What is asked of a page, each by itself, where that makes a difference."""

_TOKEN = re.compile(r'name="form_token" value="([0-9a-f]+)"')


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    named = os.environ.get("METERING_SEEDED")
    if named is not None:
        return Path(named)
    path = tmp_path_factory.mktemp("seeded") / "ledger.db"
    seed(path)
    return path


@contextmanager
def served(meter: Metering) -> Iterator[str]:
    """Run a server with the console, until the block ends."""
    app = Starlette()
    app.mount("/console", meter.console(operator_token=OPERATOR))
    server = uvicorn.Server(uvicorn.Config(meter.wrap(app), log_level="warning"))
    with (
        # Of one that does not say TCP, asyncio delays small packets: 40 ms an answer.
        socket.socket(proto=socket.IPPROTO_TCP) as listener,
        start_blocking_portal() as portal,
    ):
        listener.bind(("127.0.0.1", 0))
        running = portal.start_task_soon(server.serve, [listener])
        try:
            yield "http://127.0.0.1:{1}/console".format(*listener.getsockname())
        finally:
            server.should_exit = True
            running.result()


def sign_in(root: str, secret: str) -> httpx.Client:
    """Return a client that is signed in."""
    client = httpx.Client(base_url=root, timeout=60)
    (token,) = _TOKEN.findall(client.get("/login").text)
    form = {"form_token": token, "secret": secret}
    signed_in = client.post("/login", data=form)
    assert signed_in.status_code == 303, signed_in.text
    return client


def questions(meter: Metering) -> list[tuple[str, str, dict[str, str]]]:
    """Return who asks for which page, and what."""
    found = []
    for who, account in (("busiest", BUSY), ("usual", QUIET), ("operator", BUSY)):
        (invoice, *_) = meter.ledger.invoices(account, limit=1)
        (key, *_) = meter.ledger.keys(account)
        needed = {
            "/invoice": {"id": invoice.id},
            "/invoice/file": {"id": invoice.id},
            "/keys/revoke": {"id": key.id},
        }
        for page in PAGES:
            if page.owner == "operator" and who != "operator":
                continue
            of = {"account": account} if who == "operator" and page.of_account else {}
            of = of | needed.get(page.path, {})
            every = ASKED.get(page.path, ({},))
            found += [(who, page.path, of | asked) for asked in every]
    return found


def test_pages(ledger: Path, tmp_path: Path, tell: Any) -> None:
    plan = replace(
        plan_from_preset("friendli"), data=str(tmp_path), ledger=f"sqlite:///{ledger}"
    )
    meter = Metering(plan)
    took_ms: dict[tuple[str, str, str], list[float]] = {}
    with (
        served(meter) as root,
        closing(sign_in(root, SECRETS[BUSY])) as busiest,
        closing(sign_in(root, SECRETS[QUIET])) as usual,
        closing(sign_in(root, OPERATOR)) as operator,
    ):
        clients = {"busiest": busiest, "usual": usual, "operator": operator}
        asked = questions(meter)
        for _ in range(ROUNDS):
            for who, path, query in asked:
                began_s = time.perf_counter()
                answer = clients[who].get(path, params=query)
                ms = (time.perf_counter() - began_s) * 1000
                assert answer.status_code == 200, answer.text
                told = "&".join(
                    f"{name}={value}"
                    for name, value in query.items()
                    if name not in {"account", "id"}
                )
                took_ms.setdefault((who, path, told), []).append(ms)

    for (who, path, told), all_ms in sorted(took_ms.items()):
        p95_ms = sorted(all_ms)[int(len(all_ms) * 0.95)]
        name = f"{path}{f'?{told}' if told else ''}, p95, {who}"
        tell(name, p95_ms, "ms", value_max=GOAL_MS)
