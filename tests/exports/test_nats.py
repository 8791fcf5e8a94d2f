"""Every call reaches a JetStream, at least once, on a real server."""

import asyncio
import json
from datetime import datetime

import msgspec
import nats
import pytest
from nats.js.api import DeliverPolicy
from structlog.testing import capture_logs

from metering.clock import system_clock
from metering.exports.cloudevents import cloud_event
from metering.exports.nats import NatsCarrier
from metering.stores import OutboxMessage
from metering.testing.contracts.samples import open_account, used
from metering.usage import Usage

SUBJECT = "shop.usage"

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def stream(nats_server):
    """A stream that takes what is published; a function that returns what it has."""

    async def add():
        client = await nats.connect(nats_server.url)
        await client.jetstream().add_stream(name="CALLS", subjects=[SUBJECT])
        await client.close()

    async def read(count):
        client = await nats.connect(nats_server.url)
        reading = await client.jetstream().subscribe(
            SUBJECT, ordered_consumer=True, deliver_policy=DeliverPolicy.ALL
        )
        found = [await reading.next_msg(timeout=30) for _ in range(count)]
        info = await client.jetstream().stream_info("CALLS")
        await client.close()
        return found, info.state.messages

    asyncio.run(add())
    return lambda count: asyncio.run(read(count))


@pytest.fixture
def carrier(nats_server):
    return NatsCarrier("stream", nats_server.url, SUBJECT, source="/shop")


def batch(first, count):
    return [used(f"e{n:05}", n) for n in range(first, first + count)]


def test_a_call_arrives_as_a_cloud_event(ledger, stream, sending, carrier):
    """Under the id of the call, which is also the one for deduplication."""
    open_account(ledger)
    with sending(carrier):
        ledger.post([used("e1", 1_700_000)])
        (message,), _ = stream(1)

    event = json.loads(message.data)
    data = event.pop("data")
    assert "e1" == message.headers["Nats-Msg-Id"]
    assert "application/cloudevents+json" == message.headers["Content-Type"]
    assert {
        "specversion": "1.0",
        "id": "e1",
        "source": "/shop",
        "type": "metering.usage.recorded",
        "subject": "acme",
        "time": "2026-01-15T00:00:01Z",
        "datacontenttype": "application/json",
    } == event
    assert ("acme", "0.0000017", 10) == (
        data["account"],
        data["charge_usd"],
        data["usage"]["input_tokens"],
    )


def test_a_server_killed_in_the_middle_loses_no_call(
    ledger, nats_server, stream, sending, carrier
):
    """3,000 calls are posted; it dies after the first thousand, and comes back."""
    carrier.patience = carrier.patience._replace(first_ns=0, longest_ns=0)
    open_account(ledger)
    with capture_logs() as logs, sending(carrier):
        ledger.post(batch(0, 1000))
        stream(500)
        nats_server.kill()
        ledger.post(batch(1000, 1000))
        nats_server.start()
        ledger.post(batch(2000, 1000))
        messages, kept = stream(3000)

    ids = [message.headers["Nats-Msg-Id"] for message in messages]
    assert [f"e{n:05}" for n in range(3000)] == sorted(ids)
    assert 3000 == kept
    assert [json.loads(message.data)["id"] for message in messages] == ids
    assert {"notices_not_sent", "notices_sent_again"} >= {e["event"] for e in logs}


def test_what_is_sent_again_is_dropped_by_the_stream(ledger, stream, sending, carrier):
    """A sender that never notes what it sent: the next one repeats all, for nothing."""
    outbox = ledger.outbox

    class Forgetful:
        take, failed = outbox.take, outbox.failed
        give_up, sweep = outbox.give_up, outbox.sweep

        def sent(self, messages):
            """Note nothing, as a process that was killed."""

    open_account(ledger)
    ledger.post(batch(0, 100))
    with sending(carrier, outbox=Forgetful()):
        stream(100)
    with sending(carrier, clock=lambda: system_clock() + 61_000_000_000):
        ledger.post(batch(100, 1))
        _, kept = stream(101)

    assert 101 == kept


def test_a_missing_stream_is_told_and_loses_nothing(ledger, sending, carrier, request):
    """Calls wait until there is one."""
    carrier.patience = carrier.patience._replace(first_ns=0, longest_ns=0)
    open_account(ledger)
    with capture_logs() as logs, sending(carrier):
        ledger.post(batch(0, 10))
        while not logs:
            ledger.period("acme", "2026-01")
        messages, _ = request.getfixturevalue("stream")(10)

    assert 10 == len(messages)
    assert "no stream of the server takes the subject" in logs[0]["reason"]


def test_an_event_keeps_its_data_as_they_are():
    """Nothing in them is read or written anew."""
    message = OutboxMessage(
        destination="stream",
        id="e1",
        kind="usage.recorded",
        account_id="acme",
        data=msgspec.json.encode({"usage": Usage(input_tokens=2**53 + 1)}),
        created_ns=1_700_000_000_123_456_789,
        attempts=1,
    )

    event = json.loads(cloud_event(message, "metering"))

    assert {"usage": {"input_tokens": 2**53 + 1}} == event["data"]
    assert 2023 == datetime.fromisoformat(event["time"]).year
