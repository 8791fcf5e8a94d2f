"""Background work starts and stops with the server, whatever the app makes of it."""

import pytest
from starlette.applications import Starlette

from metering import Metering
from metering.backends.sql import SqlLedger
from metering.errors import ConfigurationError, StorageError

pytestmark = pytest.mark.anyio

STARTUP, SHUTDOWN = {"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    """Run every test here on both."""
    return request.param


class Server:
    """A server's side of a lifespan: a message, and what it is told in answer."""

    def __init__(self):
        self.scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}
        self.answers = []
        self.says = ""
        self._inbox = [STARTUP, SHUTDOWN]

    async def receive(self):
        """Give the next message."""
        return self._inbox.pop(0)

    async def send(self, message):
        """Take an answer."""
        self.answers.append(message["type"].removeprefix("lifespan."))
        self.says = message.get("message", "")

    async def run(self, app):
        """Run the lifespan of an app."""
        await app(self.scope, self.receive, self.send)


async def _is_running(service):
    """Whether the service holds its data home, so that nobody else may start there."""
    plan = service.meter.plan
    other = Metering(
        plan, clock=service.clock, ledger=SqlLedger("sqlite://", tiers=plan.tiers)
    )
    try:
        await other.start()
    except ConfigurationError:
        return True
    await other.stop()
    return False


async def test_it_runs_from_before_the_apps_start_to_after_its_shutdown(open_service):
    """The app may call its models in both; and a server may start it again."""
    found = []

    async def app(_scope, receive, send):
        for step in ("startup", "shutdown"):
            await receive()
            found.append(await _is_running(service))
            await send({"type": f"lifespan.{step}.complete"})

    async with open_service() as service:
        for _ in range(2):
            server = Server()
            await server.run(service.meter.wrap(app))

            assert ["startup.complete", "shutdown.complete"] == server.answers
            assert not await _is_running(service)
        assert [True] * 4 == found


async def test_what_was_charged_is_posted_by_the_end(open_service, hand_written):
    """A call between start and shutdown is in the ledger when the server goes."""

    async def app(scope, receive, send):
        if scope["type"] == "http":
            await service.model(scope, receive, send)
            return
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await client.call(wrapped)
        await receive()
        await send({"type": "lifespan.shutdown.complete"})

    async with open_service() as service:
        client = hand_written(await service.account("acme", tier=1))
        wrapped = service.meter.wrap(app)
        await Server().run(wrapped)
        charges = await service.meter.billing.charges("acme")

    assert [6_700_000] == [charged.event.charge_p for charged in charges]


@pytest.mark.parametrize("step", ["startup", "shutdown"])
async def test_an_app_that_fails_leaves_nothing_running(open_service, step):
    """The server is told as it would be, and whoever comes next may start."""

    async def app(_scope, receive, send):
        await receive()
        if step == "shutdown":
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": f"lifespan.{step}.failed", "message": "mine"})

    async with open_service() as service:
        server = Server()
        await server.run(service.meter.wrap(app))

        assert f"{step}.failed" == server.answers[-1]
        assert not await _is_running(service)


async def test_a_start_that_fails_is_told_to_the_server(open_service):
    """Untold, it would take the app for one without a lifespan, and serve."""

    class NoLedger(SqlLedger):
        def publish(self, versions, *, now_ns):
            raise StorageError(f"No database for {len(versions)} prices at {now_ns}.")

    ledger = NoLedger("sqlite://", tiers=open_service.plan().tiers)
    async with open_service(Starlette(), ledger=ledger) as service:
        server = Server()
        with pytest.raises(StorageError, match="No database"):
            await server.run(service.meter.wrap(service.model))

        assert ["startup.failed"] == server.answers
        assert "No database" in server.says
        assert not await _is_running(service)


async def test_an_app_without_a_lifespan_starts_with_its_first_call(
    open_service, hand_written
):
    """It raises, as such apps do, and the server serves all the same."""
    raised = AssertionError("http only")

    async def app(scope, receive, send):
        if scope["type"] != "http":
            raise raised
        await service.model(scope, receive, send)

    async with open_service() as service:
        key = await service.account("acme", tier=1)
        wrapped = service.meter.wrap(app)
        with pytest.raises(AssertionError) as caught:
            await Server().run(wrapped)
        before = await _is_running(service)
        client = hand_written(key)
        await client.call(wrapped)

        assert caught.value is raised
        assert (False, True) == (before, await _is_running(service))
        assert 200 == client.status


async def test_a_server_without_a_lifespan_starts_with_its_first_call(
    open_service, hand_written
):
    """As with `lifespan="off"`; a path that serves no model starts nothing."""
    async with open_service() as service:
        key = await service.account("acme", tier=1)
        found = []
        for path in ("/health", "/v1/chat/completions"):
            client = hand_written(key, path=path)
            await client.call(service.meter.wrap(service.model))
            found.append((client.status, await _is_running(service)))

    assert [(200, False), (200, True)] == found
