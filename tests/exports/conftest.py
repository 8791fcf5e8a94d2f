"""Receivers of webhooks and a server of NATS: real ones, that fail as told."""

import asyncio
import base64
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import uvicorn
from standardwebhooks import Webhook

from metering.backends.sql import SqlLedger
from metering.clock import system_clock
from metering.outbox import Sender
from metering.testing.contracts.notices import NOTICES
from metering.testing.contracts.samples import PLAN

PATIENCE_S = 10


class Receiver:
    """A server that verifies what it is sent, and answers as it is told.

    Attributes:
        answers: Statuses of the next answers, then always 204; a function is awaited.
        received: Id, data and status of each message, in order.
        at_once: The most requests that it ever had at the same time.
    """

    def __init__(self, secret):
        self._webhook = Webhook(secret)
        self._listener = socket.create_server(("127.0.0.1", 0))
        port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}/hooks?for=metering"
        self.answers = []
        self.received = []
        self.headers = {}
        self.at_once = self._present = 0
        self._changed = threading.Condition()

    async def __call__(self, scope, receive, send):
        assert scope["type"] == "http"
        body = b""
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        data = self._webhook.verify(body, headers)
        with self._changed:
            self._present += 1
            self.at_once = max(self.at_once, self._present)
            self._changed.notify_all()
        answer = self.answers.pop(0) if self.answers else 204
        try:
            status = answer if isinstance(answer, int) else await answer()
        finally:
            self._present -= 1
        with self._changed:
            self.received.append((headers["webhook-id"], data, status))
            self._changed.notify_all()
        head = [(k.encode(), v.encode()) for k, v in self.headers.items()]
        await send({"type": "http.response.start", "status": status, "headers": head})
        await send({"type": "http.response.body", "body": b""})

    def wait_for(self, count):
        """Return what was received, once there is so much."""
        self._wait_until(lambda: len(self.received) >= count)
        return list(self.received)

    def wait_for_at_once(self, count):
        """Wait until there have been so many requests at the same time."""
        self._wait_until(lambda: self.at_once >= count)

    def _wait_until(self, condition):
        with self._changed:
            assert self._changed.wait_for(condition, PATIENCE_S), self.received

    @contextmanager
    def serving(self):
        config = uvicorn.Config(self, lifespan="off", log_config=None)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([self._listener],))
        thread.start()
        try:
            yield self
        finally:
            server.should_exit = server.force_exit = True
            thread.join()
            self._listener.close()


def new_secret(number):
    return "whsec_" + base64.b64encode(bytes([number]) * 32).decode()


@pytest.fixture
def secret():
    return new_secret(1)


@pytest.fixture
def old_secret():
    return new_secret(2)


@pytest.fixture
def receiver(secret):
    with Receiver(secret).serving() as receiver:
        yield receiver


@pytest.fixture
def ledger(tmp_path):
    path = tmp_path / "ledger.db"
    with closing(SqlLedger(path, tiers=PLAN, notices=NOTICES)) as ledger:
        yield ledger


@pytest.fixture
def sending(ledger):
    """Return a context in which an outbox is sent; by default the ledger's."""

    @contextmanager
    def sending(*carriers, outbox=ledger.outbox, clock=system_clock):
        sender = Sender(outbox, carriers, clock=clock, look_s=0.01)
        sender.start()
        try:
            yield sender
        finally:
            sender.stop()

    return sending


class NatsServer:
    """A server with JetStream, of the wheel, that can be killed and started again."""

    def __init__(self, port, store):
        self.url = f"nats://127.0.0.1:{port}"
        self._port = port
        self._store = store
        self._process = None

    def start(self):
        program = Path(sys.executable).with_name("nats-server")
        arguments = ("-a", "127.0.0.1", "-p", str(self._port), "-js")
        with (self._store / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [program, *arguments, "-sd", self._store], stderr=log, stdout=log
            )
        deadline_s = time.monotonic() + PATIENCE_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", self._port)).close()
            except OSError:
                assert time.monotonic() < deadline_s, "the server does not listen"
                time.sleep(0.02)
            else:
                return

    def kill(self):
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None


@pytest.fixture
def nats_server(free_port, tmp_path):
    store = tmp_path / "jetstream"
    store.mkdir()
    server = NatsServer(free_port(), store)
    server.start()
    yield server
    server.kill()


@pytest.fixture
def never():
    """Answer to a request that is never answered."""

    async def never():
        await asyncio.Event().wait()

    return never
