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
import random
import sqlite3
import sys
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anyio
import httpx
import structlog
from anyio import to_thread
from crash_servers import Copies, Servers
from crash_sums import judged
from crash_worker import OUTPUT_TOKENS, plan_of

from metering import Metering
from metering.accounts import Overrides, RateOverride
from metering.clock import NS_PER_S

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
TOKEN_P = 100_000
WORDS = "a b c"
WHOLE_P = (3 + OUTPUT_TOKENS) * TOKEN_P
MANY = {"paid": RateOverride(10_000_000, 60 * NS_PER_S)}
CAPPED_P = 60 * WHOLE_P
CLIENTS = 16
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


async def rage(servers, copies, keys, seen, options):
    """Let clients call until the storm is over."""
    over, done = anyio.Event(), anyio.Event()
    limits = httpx.Limits(max_connections=CLIENTS, max_keepalive_connections=0)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(tend, servers, copies, over)
        async with (
            httpx.AsyncClient(timeout=20, limits=limits) as client,
            anyio.create_task_group() as callers,
        ):
            for _ in range(CLIENTS):
                callers.start_soon(call_on, client, servers.urls, keys, seen, done)
            await storm(servers, copies, options)
            done.set()
        over.set()


async def storm(servers, copies, options):
    """Kill, then lock the ledger, then fill the disk."""
    dice = random.Random(options.seed)  # noqa: S311 - no secret
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
    seen = Seen()
    meter = Metering(plan_of(data))  # never started: for accounts alone
    keys = await open_accounts(meter)
    copies = Copies(data)
    servers = Servers(data, options.workers)
    began_s = time.monotonic()
    try:
        await rage(servers, copies, keys, seen, options)
        servers.kill(0)  # nobody but who adopts it posts what it left
    finally:
        await to_thread.run_sync(servers.stop)
    copies.take()
    report: dict[str, Any] = {
        "seconds": round(time.monotonic() - began_s, 1),
        "kills": servers.kills,
        "starts": servers.starts,
        "answers": {str(k): n for k, n in sorted(seen.statuses.items())},
    }
    return report | await judged(data, copies, seen.whole, meter, cap_p=CAPPED_P)


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
