"""Notices reach a receiver of webhooks, whatever it does meanwhile."""

import asyncio
import signal
import subprocess
import sys
from threading import Event

import pytest
from standardwebhooks import Webhook
from structlog.testing import capture_logs

from metering.clock import NS_PER_S, system_clock
from metering.exports import webhooks
from metering.exports.webhooks import WebhookCarrier
from metering.money import PICO
from metering.outbox import Patience, Sender, pause_ns
from metering.testing.clock import ManualClock
from metering.testing.contracts.samples import open_account, used

DAY_NS = 86_400 * NS_PER_S
AT_ONCE = Patience(tries_max=10, first_ns=0, factor=1, longest_ns=0)


@pytest.fixture
def carrier(receiver, secret):
    return WebhookCarrier("shop", receiver.url, [secret], clock=system_clock)


@pytest.fixture
def hasty(carrier):
    """One that tries again at the next look."""
    carrier.patience = AT_ONCE
    return carrier


@pytest.fixture
def waiting(ledger):
    """Return what waits for the shop in a hundred days."""

    def waiting():
        far_ns = system_clock() + 100 * DAY_NS
        return ledger.outbox.take("shop", limit=100, lease_ns=1, now_ns=far_ns)

    return waiting


def alert(ledger, *, accounts=1):
    """Let accounts spend half of what they may: a notice each."""
    for number in range(accounts):
        name = f"account-{number}"
        open_account(ledger, name)
        ledger.post([used(f"e-{name}", 25 * PICO, name)])


def test_a_notice_is_signed_and_arrives_once(ledger, receiver, sending, carrier):
    """The receiver's own library verifies it; then nothing waits any more."""
    alert(ledger)
    with sending(carrier):
        ((message_id, body, status),) = receiver.wait_for(1)
        open_account(ledger, "other")
        ledger.post([used("e2", 30 * PICO, "other")])
        _, (_, second, _) = receiver.wait_for(2)

    assert status == 204
    assert len(message_id) == 36
    assert "usage_limit.near" == body["type"]
    assert "2026-01-15T00:00:01Z" == body["timestamp"]
    assert ("account-0", 50, "25") == (
        body["data"]["account"],
        body["data"]["threshold_percent"],
        body["data"]["left_usd"],
    )
    assert "other" == second["data"]["account"]


def test_scenario_31_a_webhook_retried_ten_times_keeps_one_id(
    ledger, receiver, sending, hasty, waiting
):
    """Nine failures and the tenth try: one id; a tenth failure gives it up."""
    receiver.answers = [500] * 9
    alert(ledger)
    with sending(hasty):
        received = receiver.wait_for(10)
    assert [500] * 9 + [204] == [status for _, _, status in received]
    assert 1 == len({message_id for message_id, _, _ in received})

    receiver.received.clear()
    receiver.answers = [503] * 10
    open_account(ledger, "other")
    with capture_logs() as logs, sending(hasty):
        ledger.post([used("e2", 30 * PICO, "other")])
        receiver.wait_for(10)
        open_account(ledger, "third")
        ledger.post([used("e3", 30 * PICO, "third")])
        received = receiver.wait_for(11)

    assert ["other"] * 10 + ["third"] == [
        body["data"]["account"] for _, body, _ in received
    ]
    assert [] == waiting()
    (given_up,) = [each for each in logs if each["event"] == "notice_given_up"]
    assert ("other", 10, "HTTP 503") == (
        given_up["account"],
        given_up["attempts"],
        given_up["reason"],
    )


@pytest.mark.parametrize("draw", [0.0, 0.5, 1.0])
def test_ten_tries_take_three_days(draw):
    """Pauses of 5 s to a day; each a tenth more or less, so that none come together."""
    pauses = [pause_ns(webhooks.PATIENCE, n, draw) / NS_PER_S for n in range(1, 10)]
    usual = [5, 25, 125, 625, 3_125, 15_625, 78_125, 86_400, 86_400]

    assert [each * (0.9 + 0.2 * draw) for each in usual] == pytest.approx(pauses)
    assert 2.8 < sum(pauses) / 86_400 < 3.5


@pytest.mark.parametrize(
    ("status", "headers", "least_s", "most_s"),
    [
        (500, {}, 4.5, 5.5),
        (429, {"retry-after": "60"}, 60, 60),
        (503, {"retry-after": "99999"}, 3_600, 3_600),
        (503, {"retry-after": "tomorrow"}, 4.5, 5.5),
    ],
)
def test_a_failed_notice_waits_for_its_time(
    ledger, receiver, sending, carrier, status, headers, least_s, most_s
):
    """About 5 s, or as long as the receiver asks for, up to an hour; on the clock."""
    clock = ManualClock(system_clock())
    receiver.answers, receiver.headers = [status], headers
    alert(ledger)
    with sending(carrier, clock=clock):
        ((message_id, _, _),) = receiver.wait_for(1)

    def due(after_s):
        now_ns = clock() + round(after_s * NS_PER_S)
        taken = ledger.outbox.take("shop", limit=9, lease_ns=0, now_ns=now_ns)
        return [each.id for each in taken]

    assert [] == due(least_s - 0.001)
    assert [message_id] == due(most_s + 0.001)


@pytest.mark.parametrize("status", [301, 400, 404, 500])
def test_anything_but_2xx_is_tried_again(ledger, receiver, sending, hasty, status):
    """Also a redirect, which is not followed."""
    receiver.answers = [status]
    receiver.headers = {"location": receiver.url + "&elsewhere=1"}
    alert(ledger)
    with sending(hasty):
        received = receiver.wait_for(2)

    assert [status, 204] == [each for _, _, each in received]


def test_a_receiver_that_is_gone_is_sent_no_more(
    ledger, receiver, sending, hasty, waiting
):
    """410 gives up what waits; others are not touched."""
    hasty.at_once = 1
    receiver.answers = [410] * 3
    alert(ledger, accounts=3)
    gone = Event()
    told = ledger.outbox.give_up

    class Noting:
        take, sent = ledger.outbox.take, ledger.outbox.sent
        failed, sweep = ledger.outbox.failed, ledger.outbox.sweep

        def give_up(self, destination, *, error):
            told(destination, error=error)
            gone.set()
            return 0

    with capture_logs() as logs, sending(hasty, outbox=Noting()):
        receiver.wait_for(1)
        assert gone.wait(10)

    assert [410] == [status for _, _, status in receiver.received]
    assert [] == waiting()
    assert ["destination_gone"] == [
        each["event"] for each in logs if each["log_level"] == "error"
    ]


def test_while_rotating_both_secrets_sign(ledger, receiver, sending, old_secret):
    """A receiver that still has the old one verifies it, too."""
    first = WebhookCarrier(
        "shop", receiver.url, ["whsec_" + "A" * 32, old_secret], clock=system_clock
    )
    receiver._webhook = Webhook(old_secret)
    alert(ledger)
    with sending(first):
        assert [204] == [status for _, _, status in receiver.wait_for(1)]


def test_a_slow_receiver_delays_no_posting_and_no_other(
    ledger, receiver, sending, carrier, never
):
    """Seven requests hang; posting goes on, and other notices pass beside them."""
    receiver.answers = [never] * 7
    alert(ledger, accounts=7)
    with sending(carrier):
        receiver.wait_for_at_once(7)
        for number in range(100):
            ledger.post([used(f"m{number}", 1, "account-0")])
        open_account(ledger, "last")
        ledger.post([used("last", 30 * PICO, "last")])
        received = receiver.wait_for(1)

    assert ["last"] == [body["data"]["account"] for _, body, _ in received]
    assert 8 == receiver.at_once


def test_no_more_than_so_many_are_sent_at_once(ledger, receiver, sending, carrier):
    """Of forty that are due, eight at a time; each arrives once."""
    alert(ledger, accounts=40)
    with sending(carrier):
        received = receiver.wait_for(40)

    assert 40 == len({message_id for message_id, _, _ in received})
    assert receiver.at_once <= 8


def test_a_try_is_given_up_in_time(
    ledger, receiver, sending, hasty, never, monkeypatch
):
    """A receiver that says nothing holds a notice for no longer than that."""
    monkeypatch.setattr("metering.outbox.SEND_S", 0.05)
    receiver.answers = [never]
    alert(ledger)
    with capture_logs() as logs, sending(hasty):
        received = receiver.wait_for(1)

    assert [204] == [status for _, _, status in received]
    failing = [each for each in logs if each["event"] == "notices_not_sent"]
    assert ["no answer within 0.05 s"] == [each["reason"] for each in failing]


def test_a_dead_receiver_is_told_in_the_log_once_without_its_url(
    ledger, sending, secret, waiting
):
    """It is tried again and again; then another process finds it waiting."""
    dead = WebhookCarrier(
        "shop", "http://127.0.0.1:9/?token=s3cret", [secret], clock=system_clock
    )
    dead.patience = AT_ONCE._replace(tries_max=None)
    alert(ledger, accounts=3)
    failed = Event()
    fail = ledger.outbox.failed

    class Noting:
        take, sent = ledger.outbox.take, ledger.outbox.sent
        give_up, sweep = ledger.outbox.give_up, ledger.outbox.sweep

        def failed(self, messages, *, error, due_ns):
            fail(messages, error=error, due_ns=due_ns)
            if messages[0].attempts == 3:
                failed.set()

    with capture_logs() as logs, sending(dead, outbox=Noting()):
        assert failed.wait(10)

    assert 1 == len([each for each in logs if each["event"] == "notices_not_sent"])
    assert "s3cret" not in str(logs)
    assert 3 == len(waiting())


_DYING = """
import os, sys, threading
from metering.backends.sql import SqlLedger
from metering.clock import system_clock
from metering.exports.webhooks import WebhookCarrier
from metering.outbox import Sender
from metering.testing.contracts.samples import PLAN

ledger = SqlLedger(sys.argv[1], tiers=PLAN)

class Dying:
    take = ledger.outbox.take
    sweep = ledger.outbox.sweep
    def sent(self, messages):
        os.kill(os.getpid(), 9)

carrier = WebhookCarrier("shop", sys.argv[2], [sys.argv[3]], clock=system_clock)
Sender(Dying(), [carrier], clock=system_clock, look_s=0.01).start()
threading.Event().wait()
"""


def test_who_dies_between_sending_and_noting_lets_it_be_sent_again_under_its_id(
    ledger, receiver, sending, secret, carrier, tmp_path
):
    """Twice, for at least once; the id tells the receiver that it is the same."""
    alert(ledger)
    path = str(tmp_path / "ledger.db")
    died = subprocess.run(
        [sys.executable, "-c", _DYING, path, receiver.url, secret], check=False
    )
    assert -signal.SIGKILL == died.returncode
    clock = ManualClock(system_clock() + 61 * NS_PER_S)
    with sending(carrier, clock=clock):
        first, second = receiver.wait_for(2)

    assert first[0] == second[0]


def test_two_senders_on_one_outbox_send_each_notice_once(
    ledger, receiver, sending, carrier, secret
):
    """What one has taken the other passes over, as long as that takes; as processes."""
    other = WebhookCarrier("shop", receiver.url, [secret], clock=system_clock)
    released = Event()

    async def held():
        await asyncio.to_thread(released.wait)
        return 204

    receiver.answers = [held] * 8
    alert(ledger, accounts=8)
    with sending(carrier), sending(other):
        receiver.wait_for_at_once(8)
        for number in range(8, 30):
            open_account(ledger, f"account-{number}")
            ledger.post([used(f"e{number}", 25 * PICO, f"account-{number}")])
        receiver.wait_for(22)
        released.set()
        received = receiver.wait_for(30)

    assert 30 == len(received) == len({message_id for message_id, _, _ in received})


def test_an_outbox_that_is_away_is_asked_again(ledger, receiver, sending, carrier):
    """The log tells it once, and when it is back."""
    failures = iter([True] * 3)
    outbox = ledger.outbox

    class Away:
        sent, failed = outbox.sent, outbox.failed
        give_up, sweep = outbox.give_up, outbox.sweep

        def take(self, *args, **kwargs):
            if next(failures, False):
                raise OSError("away")
            return outbox.take(*args, **kwargs)

    alert(ledger)
    with capture_logs() as logs, sending(carrier, outbox=Away()):
        receiver.wait_for(1)

    events = [each["event"] for each in logs]
    assert 1 == events.count("notices_not_sent")


def test_nothing_runs_where_nobody_is_told(ledger):
    """No thread, for no destination."""
    sender = Sender(ledger.outbox, [], clock=system_clock)
    sender.start()
    try:
        assert sender._thread is None
    finally:
        sender.stop()


_LEAVING = """
import sys, threading
from metering.clock import system_clock
from metering.exports.webhooks import WebhookCarrier
from metering.outbox import Sender

looked = threading.Event()

class Empty:
    def sweep(self, destinations, *, before_ns): pass
    def take(self, destination, *, limit, lease_ns, now_ns):
        looked.set()
        return []

carrier = WebhookCarrier("shop", sys.argv[1], [sys.argv[2]], clock=system_clock)
Sender(Empty(), [carrier], clock=system_clock).start()
looked.wait()
"""


def test_a_process_ends_that_never_stopped_its_sender(secret):
    """As a script does that forgets to: nothing waits for the sender."""
    script = [sys.executable, "-c", _LEAVING, "http://127.0.0.1:9", secret]

    assert 0 == subprocess.run(script, check=False, timeout=10).returncode
