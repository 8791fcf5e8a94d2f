"""Kills metered servers at any instant, again and again, and then does the sums.

Several servers share a data home, with limits and ledger in SQLite; clients call them
all the time, plainly and in streams, and some leave early. Servers are killed (SIGKILL)
and started again; then the ledger is locked for a while; then no file can grow, as on a
full disk. In the end every journal line that was ever written, read from copies that
nobody posts from, is compared with what is charged.
"""

import argparse
import json
import logging
import multiprocessing
import os
import random
import resource
import socket
import sqlite3
import sys
import time
from collections import Counter
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anyio
import httpx
import structlog
from anyio import to_thread
from crash_worker import LEASE_S, OUTPUT_TOKENS, plan_of, serve

from metering import Metering
from metering.accounts import Overrides, RateOverride
from metering.backends.sql import verify
from metering.billing import usage_limit_demand
from metering.clock import NS_PER_S, system_clock
from metering.journal import survey_journals
from metering.journal.lines import CLOSED
from metering.journal.segments import SegmentReader
from metering.ledger import period_of
from metering.money import PICO, format_usd
from metering.quota import BudgetQuota, Demand

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
TOKEN_P = 100_000
WORDS = "a b c"
WHOLE_P = (3 + OUTPUT_TOKENS) * TOKEN_P
MANY = {"paid": RateOverride(10_000_000, 60 * NS_PER_S)}
CAPPED_P = 60 * WHOLE_P
CLIENTS = 16
OLDEST = 0.7
"""How often the server is killed that runs for longest: others have just begun."""

PRELOADED = (
    "__main__",
    "crash_worker",
    "sqlalchemy.dialects.sqlite",
    "uvicorn.lifespan.on",
    "uvicorn.loops.auto",
    "uvicorn.protocols.http.auto",
    "uvicorn.protocols.websockets.auto",
)
"""What a server would spend its short life on importing."""

PATH = "/v1/chat/completions"


@dataclass
class Seen:
    """What clients saw.

    Attributes:
        statuses: Answers by status; 0 where the connection broke.
        whole: Charges that whole answers told, or must have, by id.
    """

    statuses: Counter = field(default_factory=Counter)
    whole: dict = field(default_factory=dict)


class Servers:
    """Processes that live and die; their listeners outlive them."""

    def __init__(self, data, count):
        self._data = data
        self._admitted = data / "admitted"
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(list(PRELOADED))
        self._listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
        self.urls = [
            "http://127.0.0.1:{1}".format(*o.getsockname()) for o in self._listeners
        ]
        self._processes = [None] * count
        self._born_s = [0.0] * count
        self.kills = self.starts = 0

    def tend(self):
        """Start those that are not running."""
        for at, process in enumerate(self._processes):
            if process is None or not process.is_alive():
                self._processes[at] = made = self._context.Process(
                    target=serve, args=(self._listeners[at], self._data, self._admitted)
                )
                made.start()
                self._born_s[at] = time.monotonic()
                self.starts += 1

    def kill_some(self, dice):
        """Kill any of them, but most often the one that has served for longest."""
        oldest = min(range(len(self._born_s)), key=self._born_s.__getitem__)
        at = oldest if dice.random() < OLDEST else dice.randrange(len(self._born_s))
        self.kill(at)

    def kill(self, at):
        """Kill one as `kill -9` does."""
        process = self._processes[at]
        if process.is_alive():
            process.kill()
            process.join()
            self.kills += 1

    def let_files_grow(self, *, grow):
        """Let no file of theirs grow any more, as on a full disk; or again."""
        for process in self._processes:
            if process.is_alive():
                _, hard = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
                soft = hard if grow else 1
                resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (soft, hard))

    def stop(self):
        """Have all of them end by themselves; kill who does not in time."""
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.join(20)
            if process.is_alive():
                process.kill()
                process.join()
        for listener in self._listeners:
            listener.close()


class Copies:
    """Second names for journal files: what is in them stays when they are deleted."""

    def __init__(self, data):
        self._journals = data / "journal"
        self._kept = data / "kept"
        self._kept.mkdir()

    def take(self):
        """Name the files that are there now."""
        for path in self._journals.glob("*/*.log"):
            with suppress(FileExistsError, FileNotFoundError):
                os.link(path, self._kept / f"{path.parent.name}-{path.name}")

    def events(self):
        """Return the event that each call must have: of its last line."""
        last = {}
        for path in sorted(self._kept.iterdir()):
            reader = SegmentReader(path)
            while (lines := reader.read(reader.size)) is not None:
                for line in lines:
                    known = last.get(line.id())
                    if known is None or known.kind != CLOSED:
                        last[line.id()] = line
        return {call_id: line.event() for call_id, line in last.items()}


async def open_accounts(meter):
    """Create the accounts; return their keys by name."""
    agreed = {
        "acme": Overrides(requests=MANY),
        "capped": Overrides(requests=MANY, usage_limit_p=CAPPED_P),
        "keyed": Overrides(requests=MANY),
        "trial": Overrides(requests=MANY),
    }
    keys = {}
    for name, overrides in agreed.items():
        await meter.accounts.create(name)
        if name != "trial":
            await meter.accounts.pin_tier(name, 4)
        await meter.accounts.override(name, overrides)
        limit = "0.002" if name == "keyed" else None
        keys[name] = await meter.accounts.issue_key(name, usage_limit=limit)
    return keys


async def call_on(client, urls, keys, seen, until):
    """Call one server after the other, in every way, until it is over."""
    dice = random.Random()  # noqa: S311 - no secret
    while not until.is_set():
        name = dice.choice(["acme", "acme", *keys])
        body = {
            "model": LLAMA,
            "messages": [{"role": "user", "content": WORDS}],
            "max_tokens": 64,
            "stream": dice.random() < 0.5,
        }
        headers = {"authorization": f"Bearer {keys[name]}"}
        leaves = dice.random() < 0.1
        try:
            async with client.stream(
                "POST", dice.choice(urls) + PATH, json=body, headers=headers
            ) as answer:
                seen.statuses[answer.status_code] += 1
                if answer.status_code != 200:
                    await answer.aread()
                    if answer.status_code == 503:
                        await anyio.sleep(0.05)
                    continue
                call_id = answer.headers["x-usage-id"]
                async for line in answer.aiter_lines():
                    if leaves:
                        break
                    if line == "data: [DONE]":
                        seen.whole[call_id] = WHOLE_P
                else:
                    cost = answer.headers.get("x-usage-cost-usd")
                    if cost is not None:
                        seen.whole[call_id] = cost
        except httpx.TransportError:
            seen.statuses[0] += 1


async def tend(servers, copies, until):
    """Start who is dead and copy what is written, all the time."""
    while not until.is_set():
        await to_thread.run_sync(servers.tend)
        await to_thread.run_sync(copies.take)
        await anyio.sleep(0.01)


async def storm(servers, copies, options, dice):
    """Kill, then lock the ledger, then fill the disk."""
    for _ in range(options.kills):
        await anyio.sleep(dice.random() * 2 * options.seconds / options.kills)
        copies.take()
        servers.kill_some(dice)
    copies.take()
    await anyio.sleep(1.5)
    other = sqlite3.connect(
        servers.ledger, timeout=30, isolation_level=None, check_same_thread=False
    )
    with closing(other):
        await to_thread.run_sync(other.execute, "BEGIN IMMEDIATE")
        await anyio.sleep(options.down)
    servers.let_files_grow(grow=False)
    await anyio.sleep(options.full)
    servers.let_files_grow(grow=True)
    await anyio.sleep(1.5)


async def run(data, options):
    """Run the storm; return the report."""
    seen, over = Seen(), anyio.Event()
    meter = Metering(plan_of(data))  # never started: for accounts alone
    keys = await open_accounts(meter)
    copies = Copies(data)
    servers = Servers(data, options.workers)
    servers.ledger = data / "ledger.db"
    dice = random.Random(options.seed)  # noqa: S311 - no secret
    began_s = time.monotonic()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(tend, servers, copies, over)
        limits = httpx.Limits(max_connections=CLIENTS, max_keepalive_connections=0)
        async with (
            httpx.AsyncClient(timeout=20, limits=limits) as client,
            anyio.create_task_group() as callers,
        ):
            done = anyio.Event()
            for _ in range(CLIENTS):
                callers.start_soon(call_on, client, servers.urls, keys, seen, done)
            await storm(servers, copies, options, dice)
            done.set()
        over.set()
    servers.kill(0)  # nobody but who adopts it posts what it left
    await to_thread.run_sync(servers.stop)
    copies.take()
    report: dict[str, Any] = {
        "seconds": round(time.monotonic() - began_s, 1),
        "kills": servers.kills,
        "starts": servers.starts,
        "answers": {str(k): n for k, n in sorted(seen.statuses.items())},
    }
    return report | await judged(data, copies, seen, meter)


async def judged(data, copies, seen, meter):
    """Adopt what is left, twice; then compare all there is."""
    for _ in range(2):
        adopter = Metering(plan_of(data))
        await adopter.start()
        await adopter.stop()
    await anyio.sleep(
        LEASE_S + 0.5
    )  # of calls that were killed before their first line
    journalled = copies.events()
    charged = {}
    for name in ("acme", "capped", "keyed", "trial"):
        for each in meter.ledger.events(name, limit=10_000_000):
            charged[each.event.id] = each.event.charge_p
    again = meter.ledger.post(list(journalled.values()))
    admitted = (data / "admitted").read_text().split()
    checked = await to_thread.run_sync(verify, data / "ledger.db")
    rooms = {name: await gate(meter, name) for name in ("acme", "capped", "keyed")}
    rooms["trial"] = await credit(meter)
    await meter.stop()
    told = {
        call_id: cost if isinstance(cost, str) else format_usd(cost)
        for call_id, cost in seen.whole.items()
    }
    faults = {
        "journalled and not charged": len(journalled.keys() - charged.keys()),
        "charged and not journalled": len(charged.keys() - journalled.keys()),
        "charged otherwise than journalled": sum(
            event.charge_p != charged.get(call_id)
            for call_id, event in journalled.items()
        ),
        "admitted and not charged": len(set(admitted) - charged.keys()),
        "admitted twice": len(admitted) - len(set(admitted)),
        "whole answers charged otherwise": sum(
            told[call_id] != format_usd(charged.get(call_id, -1)) for call_id in told
        ),
        "new by a second replay": len(again.posted),
        "conflicts of a second replay": len(again.conflicts),
        "journals left": len(survey_journals(data, meter.ledger.known)),
        "sum of the books": sum(meter.ledger.balances_p().values()),
        "findings of verify": len(checked.findings),
        "above the cap, p$": max(0, rooms["capped"]["spent_p"] - CAPPED_P),
        "gates that differ from the ledger": sum(
            each["gate_p"] != each["spent_p"] for each in rooms.values()
        ),
    }
    return {
        "journalled": len(journalled),
        "charged": len(charged),
        "charged_usd": format_usd(sum(charged.values())),
        "whole answers": len(told),
        "recovered": sum(e.ending == "recovered" for e in journalled.values()),
        "rooms": rooms,
        "faults": faults,
    }


async def gate(meter, name):
    """Return what an account has spent: as its gate sees it, and as the ledger does."""
    account = meter.ledger.get(name)
    now_ns = system_clock()
    key = period_of(account, now_ns).key
    asked = usage_limit_demand(name, key, PICO, 0)
    spent_p = meter.ledger.period(name, key).spent_p
    return await _compared(meter, asked, spent_p, now_ns)


async def credit(meter):
    """Return the same of the account that has credit alone."""
    account = meter.ledger.get("trial")
    now_ns = system_clock()
    key = f"{{trial}}:credit:{account.credit_epoch}"
    asked = Demand(key, BudgetQuota(PICO, ledgered=True), 0)
    used_p = meter.ledger.credit("trial", now_ns=now_ns).used_p
    return await _compared(meter, asked, used_p, now_ns)


async def _compared(meter, asked, spent_p, now_ns):
    # What is held counts against the room as well: nothing may be.
    await meter.limit_store.seed(asked.key, spent_p, now_ns=now_ns)
    (verdict,) = await meter.limit_store.peek([asked], now_ns=now_ns)
    return {"spent_p": spent_p, "gate_p": PICO - verdict.remaining}


def main():
    """Run a storm, print the report, and end with 1 if anything is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--kills", type=int, default=80)
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--down", type=float, default=60, help="seconds, of the ledger")
    parser.add_argument("--full", type=float, default=3, help="seconds, of the disk")
    parser.add_argument("--seed", type=int, default=None)
    options = parser.parse_args()
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR)
    )
    with TemporaryDirectory(prefix="metering-crash-") as folder:
        report = anyio.run(run, Path(folder), options)
    sys.stdout.write(json.dumps(report, indent=2) + "\n")
    sys.exit(any(report["faults"].values()))


if __name__ == "__main__":
    main()
