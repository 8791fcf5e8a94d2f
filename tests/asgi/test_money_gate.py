"""Nobody spends more than they may: what is held and spent never passes the limit."""

import threading

import anyio
import anyio.from_thread
import anyio.lowlevel
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metering.accounts import Overrides, TokenPrices
from metering.backends.sql import SqlLedger
from metering.errors import StorageError
from metering.money import PICO
from metering.stores import AccountChange
from metering.testing.model import FakeModel

pytestmark = pytest.mark.anyio

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
LIMIT_P = PICO
OUTPUT_TOKENS = 64
TOKEN_P = PICO // 10 // OUTPUT_TOKENS
DEAR = Overrides(
    output_tokens_max=OUTPUT_TOKENS,
    usage_limit_p=LIMIT_P,
    prices={LLAMA: TokenPrices(0, TOKEN_P)},
)
"""A limit of $1.00; input is free, and 64 tokens of output cost $0.10 exactly."""


async def _dear(service, **changed):
    key = await service.account("acme", tier=1)
    fields = {f: getattr(DEAR, f) for f in DEAR.__struct_fields__} | changed
    await service.meter.accounts.override("acme", Overrides(**fields))
    return key


class Gate:
    """Holds the answers of a fake model until the test lets them go."""

    def __init__(self, **model):
        self.waiting = 0
        self._released = 0
        self._moved = anyio.Event()
        self.model = FakeModel(pause=self._pause, **model)

    async def _pause(self, chunk):
        if chunk:
            return
        turn, self.waiting = self.waiting, self.waiting + 1
        while turn >= self._released:
            await self._moved.wait()

    def release(self, calls):
        """Let so many more calls end, in the order of their arrival."""
        self._released += calls
        self._moved.set()
        self._moved = anyio.Event()


def _code(answer):
    return answer.json()["error"]["code"]


async def test_a_hundred_calls_at_once_admit_what_the_limit_holds(open_service):
    """Each may cost $0.10 of $1.00: ten run; ninety are told to come back."""
    gate = Gate()
    async with open_service(gate.model) as service:
        key = await _dear(service)
        answers, in_use = [], []

        async def call():
            answers.append(await service.chat(key))
            in_use.append(await service.in_use_p("acme", LIMIT_P))

        async with anyio.create_task_group() as tasks:
            for _ in range(100):
                tasks.start_soon(call)
            while len(answers) < 90 or gate.waiting < 10:
                await anyio.lowlevel.checkpoint()
            assert LIMIT_P == await service.in_use_p("acme", LIMIT_P)
            refused = list(answers)
            for _ in range(10):
                gate.release(1)
                await anyio.wait_all_tasks_blocked()
                in_use.append(await service.in_use_p("acme", LIMIT_P))
        late = await service.chat(key)

        assert [429] * 90 == [a.status_code for a in refused]
        assert {"budget_in_flight"} == {_code(a) for a in refused}
        assert {"30"} == {a.headers["retry-after"] for a in refused}
        assert [200] * 10 == [a.status_code for a in answers[90:]]
        assert 10 == len(service.model.calls)
        assert max(in_use) <= LIMIT_P
        events = await service.events("acme")
        assert [LIMIT_P // 10] * 10 == [event.charge_p for event in events]
        assert (402, "usage_limit_reached") == (late.status_code, _code(late))


async def test_a_stream_longer_than_its_lease_keeps_what_it_holds(open_service):
    """It holds $1.00 for an hour, and nobody called meanwhile to renew its lease."""
    gate = Gate()
    async with open_service(gate.model) as service:
        key = await _dear(service, output_tokens_max=640)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(service.chat, key)
            while not gate.waiting:
                await anyio.lowlevel.checkpoint()
            service.clock.advance(seconds=3600)
            with anyio.fail_after(5):
                other = await service.chat(key, max_tokens=1)
            held_p = await service.in_use_p("acme", LIMIT_P)
            gate.release(1)

        assert (429, "budget_in_flight") == (other.status_code, _code(other))
        assert LIMIT_P == held_p
        assert LIMIT_P // 10 == await service.in_use_p("acme", LIMIT_P)


async def test_a_call_that_is_too_dear_by_itself_is_not_to_be_retried(open_service):
    """641 tokens cost more than the whole $1.00: 400, and 640 would do."""
    async with open_service() as service:
        key = await _dear(service, output_tokens_max=1000)
        above = await service.chat(key, max_tokens=641)
        exact = await service.chat(key, max_tokens=640)

        assert (400, "request_exceeds_limit") == (above.status_code, _code(above))
        assert "640" == above.headers["x-affordable-output-tokens"]
        assert "false" == above.headers["x-should-retry"]
        assert 200 == exact.status_code


async def test_an_early_payment_makes_room_again(open_service):
    """$1.00 is spent; $0.50 paid early are five more calls, told twice or not."""
    async with open_service() as service:
        key = await _dear(service)
        first = [await service.chat(key) for _ in range(11)]
        await service.flush()
        for _ in range(2):
            await service.meter.billing.record_payment(
                "acme", usd="0.5", reference="pi_1", kind="early_payment"
            )
        more = [await service.chat(key) for _ in range(6)]

        assert [200] * 10 + [402] == [a.status_code for a in first]
        assert [200] * 5 + [402] == [a.status_code for a in more]


class PausedLedger(SqlLedger):
    """Runs something on the event loop just after its first payment is recorded."""

    meanwhile = None

    def record_payment(self, payment):
        """Record, and let others run before anybody is told."""
        recorded = super().record_payment(payment)
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            for _ in range(3):
                anyio.from_thread.run(meanwhile)
                meanwhile = anyio.wait_all_tasks_blocked
        return recorded


@pytest.mark.parametrize("other", ["a seed", "a payment"])
async def test_a_payment_frees_no_more_than_was_paid(open_service, other):
    """Whatever comes while it is recorded: a first call that seeds, a payment."""
    plan = open_service.plan()
    ledger = PausedLedger("sqlite://", tiers=plan.tiers)
    async with open_service(ledger=ledger) as service:
        key = await _dear(service)
        spent = [await service.chat(key) for _ in range(10)]
        await service.flush()
    async with open_service(ledger=ledger) as service:
        pay = service.meter.billing.record_payment
        if other == "a payment":
            assert 402 == (await service.chat(key)).status_code  # seeded before

        async def second():
            await pay("acme", usd="0.2", reference="pi_2", kind="early_payment")

        async with anyio.create_task_group() as tasks:

            async def meanwhile():
                if other == "a seed":
                    tasks.start_soon(service.chat, key)
                else:
                    tasks.start_soon(second)

            ledger.meanwhile = meanwhile
            await pay("acme", usd="0.3", reference="pi_1", kind="early_payment")
        if other == "a seed":
            await second()
        more = [await service.chat(key) for _ in range(6)]
        calls = len(service.model.calls)

    assert [200] * 10 == [a.status_code for a in spent]
    assert 5 == calls
    assert 402 == more[-1].status_code


class DeafLedger(SqlLedger):
    """A ledger that takes no charge."""

    def post(self, events):
        """Refuse."""
        raise StorageError(f"{len(events)} charges are not taken.")


@pytest.mark.parametrize("posted", [True, False])
async def test_a_restart_knows_what_was_spent(
    open_service, hand_written, tmp_path, monkeypatch, posted
):
    """$0.90 of $1.00, posted or still in the journal: room for $0.10 and no more."""
    monkeypatch.setattr("metering.lifecycle.STOP_S", 0.05)
    kind = SqlLedger if posted else DeafLedger
    path = tmp_path / "ledger.db"
    plan = open_service.plan()
    async with open_service(ledger=kind(path, tiers=plan.tiers)) as service:
        key = await _dear(service)
        before = [await service.chat(key) for _ in range(9)]
    ledger = SqlLedger(path, tiers=plan.tiers)
    async with open_service(ledger=ledger) as service:
        dear = hand_written(key, {"model": LLAMA, "messages": [], "n": 2})
        await dear.call(service.meter.wrap(service.model))
        in_use_p = await service.in_use_p("acme", LIMIT_P)
        last = await service.chat(key)
        none = await service.chat(key, max_tokens=1)
        total = sum(e.charge_p for e in await service.events("acme"))

    assert [200] * 9 == [a.status_code for a in before]
    assert (402, "usage_limit_reached") == (dear.status, dear.json()["error"]["code"])
    assert 9 * LIMIT_P // 10 == in_use_p
    assert (200, 402) == (last.status_code, none.status_code)
    assert LIMIT_P == total


async def test_a_suspended_account_is_refused_before_its_body_is_read(
    open_service, hand_written
):
    """At once, though its key was resolved before; and served again afterwards."""
    async with open_service() as service:
        key = await _dear(service)
        assert 200 == (await service.chat(key)).status_code
        await service.meter.accounts.suspend("acme")
        client = hand_written(key)
        await client.call(service.meter.wrap(service.model))
        await service.meter.accounts.suspend("acme", suspended=False)
        after = await service.chat(key)

        assert (403, "account_suspended") == (
            client.status,
            client.json()["error"]["code"],
        )
        assert 0 == client.received
        assert 200 == after.status_code


class CountingLedger(SqlLedger):
    """Counts how often a key is looked up, and may be held there."""

    reads = 0
    held = None

    def find_key(self, key_hash, *, now_ns):
        """Look up, and wait with the answer in hand."""
        self.reads += 1
        found = super().find_key(key_hash, now_ns=now_ns)
        held, self.held = self.held, None
        if held is not None:
            reached, go_on = held
            reached.set()
            go_on.wait(10)
        return found


async def test_an_old_snapshot_is_resolved_again_once(open_service):
    """Another process has changed the account: one more read, and the new tier."""
    ledger = CountingLedger("sqlite://", tiers=open_service.plan().tiers)
    async with open_service(ledger=ledger) as service:
        key = await service.account("acme", tier=1)
        before = await service.chat(key)
        account = ledger.change("acme", AccountChange(pin=2), now_ns=service.clock())
        await service.meter.limit_store.announce("acme", account.version)
        after = [await service.chat(key) for _ in range(3)]

        assert "100" == before.headers["x-ratelimit-limit-requests"]
        assert {"1000"} == {a.headers["x-ratelimit-limit-requests"] for a in after}
        assert 2 == ledger.reads
        assert 4 == len(await service.events("acme"))


async def test_an_account_that_keeps_changing_is_refused_for_now(open_service):
    """It is resolved again once and no oftener; the app sees nothing of it."""
    async with open_service() as service:
        key = await service.account("acme", tier=1)
        await service.meter.limit_store.announce("acme", 99)
        answer = await service.chat(key)

        assert (503, "storage_unavailable") == (answer.status_code, _code(answer))
        assert "1" == answer.headers["retry-after"]
        assert 0 == len(service.model.calls)
        assert 0 == await service.in_use_p("acme")


async def test_a_change_in_the_middle_of_a_read_is_not_missed(open_service):
    """The account is suspended while its key is on the way from the ledger: 403."""
    ledger = CountingLedger("sqlite://", tiers=open_service.plan().tiers)
    async with open_service(ledger=ledger) as service:
        key = await service.account("acme", tier=1)
        reached, go_on = threading.Event(), threading.Event()
        ledger.held = reached, go_on
        answers = []

        async def call():
            answers.append(await service.chat(key))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call)
            tasks.start_soon(call)
            await anyio.to_thread.run_sync(reached.wait, 10)
            await service.meter.accounts.suspend("acme")
            go_on.set()
        answers.append(await service.chat(key))

        assert [403] * 3 == [a.status_code for a in answers]
        assert 0 == len(service.model.calls)


async def test_a_new_key_and_a_revoked_one_are_seen_at_once(open_service):
    """Refused, issued, served, revoked, refused; the other key goes on."""
    async with open_service() as service:
        first = await service.account("acme", tier=1)
        second = await service.meter.accounts.issue_key("acme")
        served = [(await service.chat(k)).status_code for k in (first, second)]
        await service.meter.accounts.revoke_key(first)
        after = [(await service.chat(k)).status_code for k in (first, second)]

    assert ([200, 200], [401, 200]) == (served, after)


@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["call", "call", "release", "pay", "wait"]),
            st.integers(1, 400),
        ),
        max_size=40,
    )
)
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_no_order_of_calls_and_payments_overshoots(
    open_service, tmp_path_factory, steps
):
    """After each step: held and spent, less what was paid early, is at most $1.00."""
    gate = Gate(output_tokens=400)
    home = tmp_path_factory.mktemp("data")
    async with (
        open_service(gate.model, data=str(home)) as service,
        anyio.create_task_group() as tasks,
    ):
        key = await _dear(service, output_tokens_max=400)
        await service.meter.start()
        for number, (step, size) in enumerate(steps):
            if step == "call":
                tasks.start_soon(_chat, service, key, size)
            elif step == "release":
                gate.release(1 + size % 3)
            elif step == "pay":
                await service.flush()
                await service.meter.billing.record_payment(
                    "acme", usd="0.1", reference=f"pi_{number}", kind="early_payment"
                )
            else:
                service.clock.advance(seconds=size)
            await _idle()
            assert await service.in_use_p("acme", LIMIT_P) <= LIMIT_P
        gate.release(1000)
        await _idle()
        in_use_p = await service.in_use_p("acme", LIMIT_P)
        events = await service.events("acme")
        period = await service.meter.billing.period("acme")

        assert sum(e.charge_p for e in events) == period.spent_p
        assert in_use_p == max(0, period.spent_p - period.early_paid_p)


async def _chat(service, key, tokens):
    await service.chat(key, max_tokens=tokens)


async def _idle():
    for _ in range(3):
        await anyio.wait_all_tasks_blocked()
