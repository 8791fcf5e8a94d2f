"""`kill -9` of a server: what was admitted is charged, once, and is not lost."""

import shutil
import socket
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import anyio
import httpx
import pytest

from metering import Metering
from metering.accounts import Overrides, TokenPrices
from metering.backends.sql import SqlLedger
from metering.config import plan_from_preset
from metering.money import PICO
from metering.testing.clock import ManualClock

pytestmark = pytest.mark.anyio

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
STREAM = {
    "model": LLAMA,
    "messages": [{"role": "user", "content": "a b c"}],
    "stream": True,
}
CHAT = STREAM | {"max_tokens": 64, "stream": False}
PATH = "/v1/chat/completions"
SERVER = Path(__file__).with_name("killed_server.py")
CALL_P = 6_700_000  # 3 tokens in and 64 out, at $0.1 a million
TOKEN_P = 100_000
ESTIMATED = 2  # input tokens: a quarter of its five letters, as no server told
CHECKPOINT = 612  # a quarter of the 2,446 letters of the role's event and 511 words
DEADLINE_S = 15.0


class Home:
    """A data home, the server that lives and dies over it, and its operator."""

    def __init__(self, data):
        self.data = data
        self.plan = replace(plan_from_preset("friendli"), data=str(data))
        self.ledger = SqlLedger(str(data / "ledger.db"), tiers=self.plan.tiers)
        self.clock = ManualClock()
        # Never started: for accounts alone.
        self.meter = Metering(self.plan, clock=self.clock, ledger=self.ledger)
        self.key = ""
        self.url = ""
        self._process = None

    async def open_account(self, overrides=None):
        """Create the one account: many calls a minute, and what else was agreed."""
        accounts = self.meter.accounts
        await accounts.create("acme")
        await accounts.pin_tier("acme", 4)
        await accounts.override("acme", overrides or Overrides())
        self.key = await accounts.issue_key("acme")

    async def start(self):
        """Start a server on a new port, and return once it serves."""
        with socket.create_server(("127.0.0.1", 0), backlog=200) as listener:
            self.url = "http://127.0.0.1:{1}".format(*listener.getsockname())
            fd = listener.fileno()
            self._process = subprocess.Popen(  # noqa: ASYNC220 - it does not wait
                [sys.executable, SERVER, self.data, str(fd)], pass_fds=[fd]
            )
        async with self.client() as client:
            # Until the server accepts it, the connection waits in the queue.
            assert 200 == (await client.get("/health")).status_code

    def kill(self):
        """End the server as `kill -9` does, if there is one."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def client(self):
        """Return a client of the server that runs, with the account's key."""
        headers = {"authorization": f"Bearer {self.key}"}
        return httpx.AsyncClient(base_url=self.url, headers=headers, timeout=DEADLINE_S)

    @contextmanager
    def posting_stopped(self):
        """Keep the ledger from being written to: calls stay in the journal alone."""
        other = sqlite3.connect(self.data / "ledger.db", isolation_level=None)
        try:
            other.execute("BEGIN IMMEDIATE")
            yield
        finally:
            other.close()

    @property
    def admitted(self):
        """Ids of the calls that were admitted, by any server so far."""
        path = self.data / "admitted"
        return path.read_text().split() if path.exists() else []

    def events(self):
        """Return what the ledger has, by id."""
        charged = self.ledger.events("acme", limit=10_000)
        events = {c.event.id: c.event for c in charged}
        assert len(charged) == len(events)
        return events

    def totals(self):
        """Return calls, tokens, and charges by model, by period and by credit."""
        (total,) = self.ledger.totals("acme", "2026-01")
        return (
            total.calls,
            total.usage.output_tokens,
            total.charge_p,
            self.ledger.period("acme", "2026-01").spent_p,
            self.ledger.credit("acme", now_ns=self.clock()).used_p,
        )


@pytest.fixture
def home(tmp_path):
    """A data home; its last server is killed."""
    home = Home(tmp_path)
    yield home
    home.kill()
    home.ledger.close()


async def chats(home, count):
    """Make so many plain calls, twenty at a time; return their ids."""
    ids = []

    async def work():
        for _ in range(count // 20):
            answer = await client.post(PATH, json=CHAT)
            assert 200 == answer.status_code
            ids.append(answer.headers["x-usage-id"])

    async with home.client() as client, anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(work)
    return ids


async def until(condition):
    """Return as soon as it is so."""
    with anyio.fail_after(DEADLINE_S):
        while not condition():  # noqa: ASYNC110 - it looks at another process
            await anyio.sleep(0.01)


async def stand_still(client, body, hold_at, seen):
    """Make a call that the server holds; count its events, until the server dies."""
    held = client.stream("POST", PATH, json=body, headers={"x-hold-at": str(hold_at)})
    with suppress(httpx.TransportError):
        async with held as answer:
            async for line in answer.aiter_lines():
                seen["events"] += line.startswith("data:")


async def test_completed_calls_are_charged_once(home):
    """1,000 calls, of which half were not posted when the server was killed."""
    await home.open_account()
    await home.start()
    ids = await chats(home, 500)
    with home.posting_stopped():
        ids += await chats(home, 500)
        home.kill()

    await home.start()
    events = home.events()

    assert 1000 == len(set(ids))
    assert sorted(ids) == sorted(home.admitted) == sorted(events)
    assert {("completed", CALL_P)} == {(e.ending, e.charge_p) for e in events.values()}
    assert (1000, 64_000, 1000 * CALL_P, 1000 * CALL_P, 1000 * CALL_P) == home.totals()


async def test_running_calls_are_charged_once(home):
    """50 streams and 50 plain calls: their input, and output up to the checkpoint."""
    await home.open_account()
    await home.start()
    seen = Counter()
    async with home.client() as client, anyio.create_task_group() as tasks:
        for number in range(50):
            tasks.start_soon(stand_still, client, CHAT, 0, seen)
            hold_at = 600 if number < 10 else 3
            tasks.start_soon(stand_still, client, STREAM, hold_at, seen)
        await until(lambda: seen["events"] == 10 * 600 + 40 * 3)
        await until(lambda: len(home.admitted) == 100)
        home.kill()

    await home.start()
    events = home.events()

    assert sorted(home.admitted) == sorted(events)
    assert {"recovered": 100} == Counter(e.ending for e in events.values())
    assert {(ESTIMATED, 0): 90, (ESTIMATED, CHECKPOINT): 10} == Counter(
        (e.usage.input_tokens, e.usage.output_tokens) for e in events.values()
    )
    charged_p = (100 * ESTIMATED + 10 * CHECKPOINT) * TOKEN_P
    assert (100, 10 * CHECKPOINT, charged_p, charged_p, charged_p) == home.totals()


async def test_calls_are_charged_once_wherever_the_kill_strikes(home):
    """Whoever has a whole answer is charged for it; nobody is charged twice."""
    await home.open_account()
    await home.start()
    whole = {}

    async def stream():
        while True:
            async with client.stream(
                "POST", PATH, json=CHAT | {"stream": True}
            ) as answer:
                async for line in answer.aiter_lines():
                    if line == "data: [DONE]":
                        whole[answer.headers["x-usage-id"]] = CALL_P

    async def plain():
        while True:
            answer = await client.post(PATH, json=CHAT)
            whole[answer.headers["x-usage-id"]] = CALL_P

    async def until_killed(calls):
        with suppress(httpx.TransportError):
            await calls()

    async with home.client() as client, anyio.create_task_group() as tasks:
        for calls in [stream, plain] * 50:
            tasks.start_soon(until_killed, calls)
        await until(lambda: len(whole) >= 300)
        home.kill()

    await home.start()
    events = home.events()

    assert sorted(home.admitted) == sorted(events)
    assert whole == {call_id: events[call_id].charge_p for call_id in whole}
    assert {"completed"} == {events[call_id].ending for call_id in whole}


async def test_a_journal_replayed_three_times_changes_nothing(home):
    """Three servers find the same journal, each as if none had before it."""
    await home.open_account()
    await home.start()
    journal, kept = home.data / "journal", home.data / "kept"
    seen = Counter()
    async with home.client() as client, anyio.create_task_group() as tasks:
        with home.posting_stopped():
            await chats(home, 100)
            for _ in range(10):
                tasks.start_soon(stand_still, client, STREAM, 5, seen)
            await until(lambda: seen["events"] == 50)
            home.kill()
    (orphan,) = journal.iterdir()
    shutil.copytree(orphan, kept)

    totals = []
    for _ in range(3):
        shutil.copytree(kept, orphan, dirs_exist_ok=True)
        await home.start()
        assert not orphan.exists()
        totals.append(home.totals())
        home.kill()

    charged_p = 100 * CALL_P + 10 * ESTIMATED * TOKEN_P
    assert [(110, 6_400, charged_p, charged_p, charged_p)] * 3 == totals


async def test_what_was_spent_stays_spent(home):
    """With $0.90 of $1.00 spent, a restarted server has room for $0.10 exactly."""
    a_cent_a_token = {LLAMA: TokenPrices(0, PICO // 100)}
    await home.open_account(Overrides(usage_limit_p=PICO, prices=a_cent_a_token))
    await home.start()
    with home.posting_stopped():
        spent = [await tokens(home, 10) for _ in range(9)]
        home.kill()

    await home.start()
    after = [await tokens(home, count) for count in (11, 10, 1)]

    assert [(200, "0.1")] * 9 == spent
    refused = (402, "usage_limit_reached")
    assert [refused, (200, "0.1"), refused] == after


async def tokens(home, count):
    """Buy so many tokens; return the status, and the cost or the refusal's code."""
    async with home.client() as client:
        answer = await client.post(PATH, json=CHAT | {"max_tokens": count})
    cost = answer.headers.get("x-usage-cost-usd")
    return answer.status_code, cost or answer.json()["error"]["code"]
