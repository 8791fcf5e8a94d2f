"""Acceptance scenarios of calls that run at once, are left, or meet a fault."""

import errno
import json
from contextlib import suppress

import anyio
import anyio.lowlevel
import httpx
import msgspec
import pytest

from metering.accounts import Overrides
from metering.backends.memory import MemoryLimitStore
from metering.billing import usage_limit_demand
from metering.clock import NS_PER_S
from metering.dialects.known import DIALECT_BY_PATH
from metering.errors import StorageError
from metering.limiter import Limiter
from metering.local_share import LocalShare
from metering.money import PICO, parse_usd
from metering.testing.clock import ManualClock

pytestmark = pytest.mark.anyio

PLAN = """
[plan]
name = "scenarios"

[calls]
clamp = "{clamp}"
on_client_gone = "{gone}"

[[tiers]]
level = 0
name = "one"
output_tokens_max = "16K"
usage_limit = "50"
requests = {{ paid = "10000/minute", free = "60/minute" }}

[[models]]
name = "GLM-4.7"
prices = [{{ kind = "token", input = "0.6", output = "2.2" }}]
"""
PATH = "/v1/chat/completions"
GLM = "GLM-4.7"
START = "2026-01-15T00:00:00Z"
HOLD_P = 8_192 * 600_000 + 16_384 * 2_200_000
FIFTY_P = 50 * PICO


def plan(clamp="cap", gone="cancel"):
    """Return the plan's text."""
    return PLAN.format(clamp=clamp, gone=gone)


def of_8192_tokens(**body):
    """Return a request whose input may be 8,192 tokens, and no more."""
    body = {"model": GLM, "messages": [{"role": "user", "content": ""}]} | body
    wire = msgspec.json.encode(body)
    members = msgspec.json.decode(wire, type=dict[str, msgspec.Raw])
    bound = DIALECT_BY_PATH[PATH].read_request(members).input_tokens_max
    return body | {"messages": [{"role": "user", "content": "x" * (8_192 - bound)}]}


async def in_use_p(service, limit_p=FIFTY_P):
    """Return what of the limit is spent and held just now."""
    asked = usage_limit_demand("acme", "2026-01", limit_p, 0)
    store = service.meter.limit_store
    (verdict,) = await store.peek([asked], now_ns=service.clock())
    return limit_p - verdict.remaining


class Waiting:
    """An app whose answers wait until they may go, each with the same usage."""

    def __init__(self, usage):
        self.running = 0
        self.may_go = anyio.Event()
        self._body = json.dumps({"choices": [], "usage": usage}).encode()

    async def __call__(self, _scope, receive, send):
        await receive()
        self.running += 1
        await self.may_go.wait()
        head = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": "http.response.body", "body": self._body})


async def until(condition):
    """Return as soon as it is so."""
    with anyio.fail_after(15):
        while not condition():
            await anyio.lowlevel.checkpoint()


async def test_scenario_17_1220_calls_at_once_and_not_one_more(open_service):
    """$50 hold 1,220 of them; settled at $0.0017 each, $2.074 are spent, none held."""
    app = Waiting({"prompt_tokens": 1_000, "completion_tokens": 500})
    body = of_8192_tokens(max_tokens=16_384)
    statuses = []
    async with open_service(plan(), START, app) as service:

        async def call():
            answer = await service.call(**body)
            statuses.append(answer.status_code)

        async with anyio.create_task_group() as tasks:
            for _ in range(1_220):
                tasks.start_soon(call)
            await until(lambda: app.running == 1_220)
            held_p = await in_use_p(service)
            late = await service.call(**body)
            app.may_go.set()
        spent_p = await in_use_p(service)
        events = service.events()

        assert [200] * 1_220 == statuses
        assert (HOLD_P, 1_220 * HOLD_P) == (40_960_000_000, held_p)
        assert parse_usd("49.9712") == held_p
        assert (429, "budget_in_flight") == (
            late.status_code,
            late.json()["error"]["code"],
        )
        assert parse_usd("2.074") == spent_p
        assert 1_000 == len(events)  # as many as are listed at once
        assert spent_p == service.meter.ledger.period("acme", "2026-01").spent_p


async def test_scenario_19_the_output_is_cut_to_what_the_room_buys(open_service):
    """Of $0.0288, 8,192 tokens in leave 10,856 out: $0.0287984."""
    app = Waiting({"prompt_tokens": 8_192, "completion_tokens": 10_856})
    app.may_go.set()
    room_p = parse_usd("0.0288")
    async with open_service(plan(clamp="fit"), START, app) as service:
        await service.meter.accounts.override("acme", Overrides(usage_limit_p=room_p))
        answer = await service.call(**of_8192_tokens(max_tokens=16_384))
        (event,) = service.events()

        assert 200 == answer.status_code
        assert "10856" == answer.headers["x-output-tokens-limit"]
        assert parse_usd("0.0287984") == event.charge_p <= event.hold_p <= room_p


@pytest.mark.parametrize(("renewed", "ends"), [(True, "settled"), (False, "late")])
async def test_scenario_22_a_stream_of_700_s_and_a_lease_of_120(renewed, ends):
    """Renewed it is in time; cut off it is swept once, then charged; never below 0."""
    store, clock = MemoryLimitStore(), ManualClock()
    hold = usage_limit_demand("acme", "2026-01", PICO, PICO // 2)
    lease_ns = 120 * NS_PER_S
    left = []

    async def look():
        asked = usage_limit_demand("acme", "2026-01", PICO, 0)
        (verdict,) = await store.peek([asked], now_ns=clock())
        left.append(verdict.remaining)

    await store.seed(hold.key, 0, now_ns=clock())
    await store.acquire([hold], hold_id="h", lease_ns=lease_ns, now_ns=clock())
    for _ in range(17):
        clock.advance(seconds=40)
        if renewed:
            await store.renew("h", [hold], lease_ns=lease_ns, now_ns=clock())
        await store.sweep(now_ns=clock())
        await look()
    clock.advance(seconds=20)
    swept = await store.sweep(now_ns=clock())
    result = await store.settle("h", [hold], [PICO // 10], now_ns=clock())
    again = await store.settle("h", [hold], [PICO // 10], now_ns=clock())
    await look()

    assert (ends, "repeated", 0) == (result, again, swept)
    half, whole = PICO // 2, PICO
    assert [half] * 17 == left[:-1] if renewed else {half, whole} == set(left[:-1])
    assert PICO - PICO // 10 == left[-1]


class Streaming:
    """An app that tells its usage beside each of a thousand tokens."""

    async def __call__(self, _scope, receive, send):
        await receive()
        head = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        for written in range(1, 1_001):
            usage = {"prompt_tokens": 8_192, "completion_tokens": written}
            told = {"choices": [{"index": 0}], "usage": usage}
            event = b"data: " + json.dumps(told).encode() + b"\n\n"
            await send({"type": "http.response.body", "body": event, "more_body": True})
        await send({"type": "http.response.body", "body": b"data: [DONE]\n\n"})


async def leave_after(service, tokens, body):
    """Make a call whose client leaves after so many tokens, as a server tells it."""
    sent = [0]
    inbox = [{"type": "http.request", "body": msgspec.json.encode(body)}]

    async def receive():
        return inbox.pop() if inbox else {"type": "http.disconnect"}

    async def send(message):
        sent[0] += message["type"] == "http.response.body"
        if sent[0] >= tokens:
            raise OSError("The client has gone.")

    scope = {
        "type": "http",
        "method": "POST",
        "path": PATH,
        "headers": [(b"authorization", f"Bearer {service.key}".encode())],
    }
    with suppress(OSError):
        await service.meter.wrap(service.app)(scope, receive, send)


@pytest.mark.parametrize(
    ("gone", "ending", "output_tokens", "usd"),
    [
        ("cancel", "client_gone", 321, "0.0056214"),
        ("drain", "completed", 1_000, "0.0071152"),
    ],
)
async def test_scenario_23_a_client_leaves_after_321_tokens(
    open_service, gone, ending, output_tokens, usd
):
    """It pays for them; for all where the upstream bills on; nothing stays held."""
    body = of_8192_tokens(max_tokens=16_384, stream=True)
    async with open_service(plan(gone=gone), START, Streaming()) as service:
        await leave_after(service, 321, body)
        in_use = await in_use_p(service)
        (event,) = service.events()

        assert (ending, 8_192, output_tokens) == (
            event.ending,
            event.usage.input_tokens,
            event.usage.output_tokens,
        )
        assert (HOLD_P, parse_usd(usd)) == (event.hold_p, event.charge_p)
        assert event.charge_p == in_use


@pytest.mark.parametrize(
    ("usage", "charge_p", "flags"),
    [
        ({"prompt_tokens": 0, "completion_tokens": 0}, 0, ()),
        (None, 600_000, ("estimated",)),
        ({"prompt_tokens": -1_000, "completion_tokens": 5}, HOLD_P, ("quarantined",)),
    ],
)
async def test_scenario_24_usage_that_is_zero_absent_or_nonsense(
    open_service, answering, usage, charge_p, flags
):
    """0 is $0; what is absent is estimated; below 0 is charged what was held."""
    answering.usage = usage
    async with open_service(plan(), START, answering) as service:
        body = of_8192_tokens(max_tokens=16_384) if flags == ("quarantined",) else {}
        await service.call(**({"model": GLM} | body))
        (event,) = service.events()

        assert (charge_p, flags) == (event.charge_p, event.flags[-1:])
        assert charge_p == await in_use_p(service)


class Gone(MemoryLimitStore):
    """A store that never answers."""

    waits = True

    async def acquire(self, *_args, **_kwargs):
        """Fail."""
        raise StorageError("The store is away.")


@pytest.mark.parametrize(("money", "calls"), [("refuse", 0), ("local_share", 4 * 10)])
async def test_scenario_35_four_nodes_without_their_store(money, calls):
    """By default they spend nothing; with $1 for each of four, at most $4 together."""
    clock = ManualClock()
    hold = usage_limit_demand("acme", "2026-01", 4 * PICO, PICO // 10)
    admitted = 0
    for number in range(4):
        share = LocalShare(MemoryLimitStore(), nodes=4, money=money)
        node = Limiter(Gone(), clock=clock, spent_of=lambda *_: 0, share=share)
        for call in range(30):
            try:
                outcome = await node.admit([hold], hold_id=f"{number}-{call}")
            except StorageError:
                continue
            admitted += outcome.status == "admitted"
        await node.close(0.0)

    assert calls == admitted


async def test_scenario_38_what_the_app_tries_thrice_is_charged_once(open_service):
    """Two upstreams fail within one request, the third answers: one call, one event."""
    tries = []

    async def upstream():
        tries.append(len(tries))
        if len(tries) < 3:
            raise httpx.ConnectError("No upstream there.")
        return {"prompt_tokens": 1_000, "completion_tokens": 500}

    async def app(_scope, receive, send):
        await receive()
        usage = None
        while usage is None:
            try:
                usage = await upstream()
            except httpx.ConnectError:
                continue
        body = json.dumps({"choices": [], "usage": usage}).encode()
        head = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": "http.response.body", "body": body})

    async with open_service(plan(), START, app) as service:
        answer = await service.call(GLM, max_tokens=1_000)
        (event,) = service.events()

        assert (3, answer.headers["x-usage-id"]) == (len(tries), event.id)
        assert parse_usd("0.0017") == event.charge_p == await in_use_p(service)


async def test_scenario_39_a_full_disk_refuses_calls_and_charges_those_that_run(
    open_service,
):
    """503 for new ones; the one that runs ends as ever, and is charged what it used."""
    app = Waiting({"prompt_tokens": 1_000, "completion_tokens": 500})
    answers = []

    def full(_fd, _line):
        raise OSError(errno.ENOSPC, "No space left on device")

    async with open_service(plan(), START, app) as service:

        async def call():
            answers.append(await service.call(GLM, max_tokens=1_000))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call)
            await until(lambda: app.running == 1)
            writer = service.meter._recorder.journal._writer
            write, writer._write = writer._write, full
            refused = await service.call(GLM, max_tokens=1_000)
            app.may_go.set()
        in_use = await in_use_p(service)
        writer._write = write
        (event,) = service.events()

        assert (503, "journal_full") == (
            refused.status_code,
            refused.json()["error"]["code"],
        )
        assert [200] == [answer.status_code for answer in answers]
        assert parse_usd("0.0017") == event.charge_p == in_use
