"""One limits file under several processes: together, killed, forked, on a full disk."""

import json
import re
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import ExitStack, closing, contextmanager

import pytest

from metering.backends.sqlite import SqliteLimitStore
from metering.clock import NS_PER_S
from metering.quota import BudgetQuota, Demand, RateQuota

pytestmark = pytest.mark.anyio

NOW = 1_768_435_200 * NS_PER_S
LEASE_NS = 30 * NS_PER_S
PATIENT_MS = 15_000
RATE = RateQuota(50, 3600 * NS_PER_S)
BUDGET = BudgetQuota(100)
SLOTS = BudgetQuota(8)
RUNNING = Demand("running", BudgetQuota(2**40), 3)

_START = f"""
import asyncio, json, os, resource, sys
from uuid import uuid4
from metering.backends.sqlite import SqliteLimitStore
from metering.errors import StorageError
from metering.quota import BudgetQuota, Demand, RateQuota

store = SqliteLimitStore(
    sys.argv[1], busy_timeout_ms={PATIENT_MS}, deadline_ms={PATIENT_MS}
)
requests = Demand("requests", RateQuota(50, 3600 * 10**9))
units = Demand("units", BudgetQuota(100), 1)
slot = Demand("slots", BudgetQuota(8))
running = Demand("running", BudgetQuota(2**40), 3)

async def take(demand):
    hold_id = uuid4().hex
    outcome = await store.acquire(
        [demand], hold_id=hold_id, lease_ns={LEASE_NS}, now_ns={NOW}
    )
    return hold_id if outcome.status == "admitted" else None

async def settle(hold_id, demand, cost):
    return await store.settle(hold_id, [demand], [cost], now_ns={NOW})

def ready():
    print("ready", flush=True)
    sys.stdin.readline()
"""

_TOGETHER = f"""{_START}
async def caller(admitted):
    for _ in range(20):
        for demand in (requests, units):
            if await take(demand):
                admitted.append(demand.key)
        if hold_id := await take(slot):
            admitted.append("slots")
            admitted.append(await settle(hold_id, slot, 0))

async def main():
    admitted = []
    await asyncio.gather(*(caller(admitted) for _ in range(10)))
    await store.aclose()
    print(json.dumps(admitted))

ready()
asyncio.run(main())
"""

_UNTIL_KILLED = f"""{_START}
async def caller():
    while True:
        hold_id = await take(running)
        await settle(hold_id, running, 1)

async def main():
    for _ in range(8):
        await take(slot)
    print("ready", flush=True)
    await asyncio.gather(*(caller() for _ in range(10)))

asyncio.run(main())
"""

_FORKED = f"""{_START}
async def admitted():
    return sum([await take(units) is not None for _ in range(30)])

before = asyncio.run(admitted())
parents = store._worker._file._connection
child = os.fork()
if child == 0:
    count = asyncio.run(admitted())
    print(count, store._worker._file._connection is parents, flush=True)
    os._exit(0)
after = asyncio.run(admitted())
os.waitpid(child, 0)
print(before, after, asyncio.run(admitted()), flush=True)
store.close()
"""

_FULL_DISK = f"""{_START}
async def fill():
    number = 0
    while True:
        number += 1
        demand = Demand(f"{{number}} of many " * 50, units.quota)
        await take(demand)

async def main():
    hold_id = await take(slot)
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, most))
    try:
        await fill()
    except StorageError as error:
        print(error, flush=True)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, most))
    refused = 0
    for _ in range(5):
        try:
            await settle(hold_id, slot, 0)
        except StorageError:
            refused += 1
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    await store.peek([slot], now_ns={NOW})
    print(refused, await settle(hold_id, slot, 0), flush=True)
    await store.aclose()

asyncio.run(main())
"""


@contextmanager
def child(script, path):
    """Run a script until it says that it is ready; kill it in the end."""
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


def run(script, path):
    ran = subprocess.run(
        [sys.executable, "-c", script, str(path)],
        capture_output=True,
        text=True,
        check=True,
    )
    return ran.stdout.splitlines()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "limits.db"


@pytest.fixture
def store(path):
    with closing(SqliteLimitStore(path, deadline_ms=PATIENT_MS)) as store:
        yield store


async def room(store, key, quota, now_ns=NOW):
    (verdict,) = await store.peek((Demand(key, quota, 0),), now_ns=now_ns)
    return verdict.remaining


async def test_four_processes_admit_exactly_what_one_would(path, store):
    """They start together, make the file together, and none goes beyond the amount."""
    with ExitStack() as processes:
        four = [processes.enter_context(child(_TOGETHER, path)) for _ in range(4)]
        for process in four:
            process.stdin.write("go\n")
            process.stdin.flush()
        answers = [json.loads(process.communicate()[0]) for process in four]

    admitted = Counter(name for answer in answers for name in answer)
    assert admitted["requests"] == 50
    assert admitted["units"] == 100
    assert admitted["settled"] == admitted["slots"] >= 8
    left = [
        await room(store, "requests", RATE),
        await room(store, "units", BUDGET),
        await room(store, "slots", SLOTS),
    ]
    assert left == [0, 0, 8]


async def test_what_a_killed_process_held_is_free_when_its_leases_end(path, store):
    """Killed in the midst of its transactions: whole ones count, others never were."""
    await store.sweep(now_ns=NOW)
    with child(_UNTIL_KILLED, path) as process:
        while await room(store, "running", RUNNING.quota) > 2**40 - 200:
            pass
        process.send_signal(signal.SIGKILL)
        process.wait()

    assert await room(store, "slots", SLOTS) == 0
    with closing(sqlite3.connect(path)) as connection:
        ((held, holds, settled, spent),) = connection.execute(
            "SELECT held, (SELECT count(*) FROM holds WHERE held LIKE '%running%'),"
            " (SELECT count(*) FROM settled), spent FROM budgets WHERE key = 'running'"
        ).fetchall()
    assert (held, settled) == (3 * holds, spent)
    assert await room(store, "slots", SLOTS, NOW + LEASE_NS - 1000) == 0
    over = NOW + LEASE_NS
    assert await store.sweep(now_ns=over) == holds + 8
    assert await room(store, "slots", SLOTS, over) == 8
    assert await room(store, "running", RUNNING.quota, over) == 2**40 - spent


def test_a_forked_child_begins_anew(path):
    """It shares the limits, not the connection; the parent goes on undisturbed."""
    in_child, in_parent = run(_FORKED, path)

    count, shared = in_child.split()
    before, after, left = (int(count) for count in in_parent.split())
    assert (before, before + after + left + int(count)) == (30, 100)
    assert shared == "False"


def test_a_full_disk_is_told_and_loses_no_settlement(path):
    """Once there is room, what could not be written is, and the file is whole."""
    told, answers = run(_FULL_DISK, path)

    assert re.match(r"The limits in \S+limits.db failed: .*disk", told)
    assert told.endswith("the disk has room.")
    assert answers == "5 repeated"
