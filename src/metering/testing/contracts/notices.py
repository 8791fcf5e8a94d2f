"""What a ledger promises of alerts, of other notices, and of the outbox they wait in.

```python
class TestMyNotices(NoticesContract):
    @pytest.fixture
    def ledger(self):
        with closing(MyLedger(tiers=PLAN, notices=NOTICES)) as ledger:
            yield ledger
```
"""

from threading import Barrier, Thread

import msgspec

from metering.clock import NS_PER_S
from metering.ledger import NOTICE_KINDS, USAGE_RECORDED, Notices, Subscription
from metering.money import PICO
from metering.stores import AccountChange, Ledger, OutboxMessage
from metering.testing.contracts.samples import at, open_account, paid, promo, used

__all__ = ["NOTICES", "NoticesContract", "told"]

_SHOP, _STREAM = "shop", "stream"

NOTICES = Notices(
    subscriptions=(
        Subscription(
            _SHOP, tuple(kind for kind in NOTICE_KINDS if kind != USAGE_RECORDED)
        ),
        Subscription(_STREAM, (USAGE_RECORDED,)),
    )
)
"""What a ledger under contract tells: its money to one, its calls to another."""

_JANUARY_NS = at("2026-01-15T00:00")
_LATER_NS = at("2026-06-01T00:00")


def told(ledger: Ledger, destination: str = _SHOP) -> list[OutboxMessage]:
    """Return what waits for a destination, and forget it."""
    messages = ledger.outbox.take(
        destination, limit=20_000, lease_ns=NS_PER_S, now_ns=_LATER_NS
    )
    ledger.outbox.sent(messages)
    return messages


def _in_short(messages: list[OutboxMessage]) -> list[tuple[str, int]]:
    data = ((each.kind, msgspec.json.decode(each.data)) for each in messages)
    return [(kind, each.get("threshold_percent", 0)) for kind, each in data]


class NoticesContract:
    """Runs on the fixture `ledger`: empty, made with `samples.PLAN` and `NOTICES`."""

    def test_each_threshold_is_told_once(self, ledger: Ledger) -> None:
        """Of $50: nothing at $24.99, 50 % at $25, and nothing again until $40."""
        open_account(ledger)
        ledger.post([used("e1", 2_499 * PICO // 100)])
        before = told(ledger)
        report = ledger.post([used("e2", PICO // 100)])
        at_half = told(ledger)
        ledger.post([used(f"e{n}", PICO // 100) for n in range(3, 100)])

        assert [] == before
        assert [("usage_limit.near", 50)] == _in_short(at_half)
        assert [50] == [alert.threshold for alert in report.alerts]
        assert [] == told(ledger)

    def test_the_highest_threshold_is_told_of_several(self, ledger: Ledger) -> None:
        """From nothing to 95 % in one batch; what it tells is exact."""
        open_account(ledger)
        ledger.post([used("e1", 40 * PICO), used("e2", 75 * PICO // 10)])

        (message,) = told(ledger)

        assert {
            "account": "acme",
            "period": "2026-01",
            "threshold_percent": 90,
            "limit_usd": "50",
            "used_usd": "47.5",
            "left_usd": "2.5",
        } == msgspec.json.decode(message.data)
        assert ("acme", _JANUARY_NS + NS_PER_S) == (
            message.account_id,
            message.created_ns,
        )

    def test_what_is_posted_again_alerts_nobody(self, ledger: Ledger) -> None:
        """Also where it is repeated within its batch."""
        open_account(ledger)
        event = used("e1", 30 * PICO)
        ledger.post([event, event])
        ledger.post([event])

        assert [("usage_limit.near", 50)] == _in_short(told(ledger))

    def test_a_new_month_begins_anew(self, ledger: Ledger) -> None:
        """And what comes late for the old one is not added to the new."""
        open_account(ledger)
        february_ns = at("2026-02-03T00:00")
        ledger.post([used("e1", 30 * PICO)])
        ledger.post([used("e2", 30 * PICO, admitted_ns=february_ns)])
        ledger.post([used("e3", 5 * PICO)])

        data = [msgspec.json.decode(each.data) for each in told(ledger)]
        assert [("2026-01", 50), ("2026-02", 50)] == [
            (each["period"], each["threshold_percent"]) for each in data
        ]

    def test_an_early_payment_rearms(self, ledger: Ledger) -> None:
        """Scenario 28's: $48.50 spent and paid, and 50 % is told again at $25 more."""
        open_account(ledger)
        ledger.post([used("e1", 485 * PICO // 10)])
        first = _in_short(told(ledger))
        ledger.record_payment(paid(485 * PICO // 10, "early_payment"))
        of_payment = _in_short(told(ledger))
        ledger.post([used("e2", 24 * PICO)])
        before = told(ledger)
        ledger.post([used("e3", PICO)])

        assert [("usage_limit.near", 90)] == first
        assert [("payment.recorded", 0)] == of_payment
        assert [] == before
        assert [("usage_limit.near", 50)] == _in_short(told(ledger))

    def test_a_part_paid_early_repeats_nothing(self, ledger: Ledger) -> None:
        """At $48 of $50, $10 paid: 76 % are used, and 80 % is what is told next."""
        open_account(ledger)
        ledger.post([used("e1", 48 * PICO)])
        ledger.record_payment(paid(10 * PICO, "early_payment"))
        told(ledger)
        ledger.post([used("e2", PICO)])
        before = told(ledger)
        ledger.post([used("e3", PICO)])

        assert [] == before
        assert [("usage_limit.near", 80)] == _in_short(told(ledger))

    def test_a_raised_limit_rearms(self, ledger: Ledger) -> None:
        """$45 were 90 % of $50; a purchase makes the limit $500, 50 % of it is $250."""
        open_account(ledger)
        ledger.post([used("e1", 45 * PICO)])
        ledger.record_payment(paid(50 * PICO, "credit_purchase"))
        told(ledger)
        ledger.post([used("e2", 204 * PICO)])
        before = told(ledger)
        ledger.post([used("e3", PICO)])

        assert [] == before
        assert [("usage_limit.near", 50)] == _in_short(told(ledger))

    def test_a_spent_limit_is_told_as_reached(self, ledger: Ledger) -> None:
        """At 100 %, and beyond it nothing more."""
        open_account(ledger)
        ledger.post([used("e1", 50 * PICO)])
        ledger.post([used("e2", 5 * PICO)])

        assert [("usage_limit.reached", 100)] == _in_short(told(ledger))

    def test_credit_that_no_bill_follows_is_told(self, ledger: Ledger) -> None:
        """$5 given: $4.20 used, then all; of $5 more, 80 % are told at $4 more."""
        open_account(ledger, payment_method=False)
        ledger.grant_credit(promo(5 * PICO))
        ledger.post([used("e1", 42 * PICO // 10, funding="credit")])
        low = told(ledger)
        ledger.post([used("e2", PICO, funding="credit")])
        used_up = told(ledger)
        ledger.grant_credit(promo(52 * PICO // 10, id="more"))
        ledger.post([used("e3", 39 * PICO // 10, funding="credit")])
        at_first = told(ledger)
        ledger.post([used("e4", PICO // 10, funding="credit")])

        assert [("credit.low", 80)] == _in_short(low)
        assert {
            "account": "acme",
            "threshold_percent": 80,
            "limit_usd": "5",
            "used_usd": "4.2",
            "left_usd": "0.8",
        } == msgspec.json.decode(low[0].data)
        assert [("credit.used_up", 100)] == _in_short(used_up)
        assert [("credit.low", 50)] == _in_short(at_first)
        (last,) = told(ledger)
        assert ("credit.low", "1") == (
            last.kind,
            msgspec.json.decode(last.data)["left_usd"],
        )

    def test_credit_that_ends_is_told_once(self, ledger: Ledger) -> None:
        """However many calls that were admitted before its end are posted after it."""
        open_account(ledger, payment_method=False)
        ledger.grant_credit(promo(5 * PICO, expires_ns=at("2026-01-15T00:00:01")))
        events = [used(f"e{n}", PICO, funding="credit") for n in range(4)]
        told = [
            ledger.post(
                [msgspec.structs.replace(event, ended_ns=at("2026-01-15T01:00") + n)]
            ).alerts
            for n, event in enumerate(events)
        ]

        assert [1, 0, 0, 0] == [len(alerts) for alerts in told]

    def test_who_pays_by_bill_hears_nothing_of_credit(self, ledger: Ledger) -> None:
        """A bill follows when it is used up."""
        open_account(ledger)
        ledger.grant_credit(promo(5 * PICO))
        ledger.post([used("e1", 5 * PICO)])

        assert [] == told(ledger)

    def test_writers_at_once_tell_once(self, ledger: Ledger) -> None:
        """Eight threads take an account from $22 to $30, a dollar each."""
        open_account(ledger)
        ledger.post([used("e0", 22 * PICO)])
        together = Barrier(8)

        def post(number: int) -> None:
            together.wait()
            ledger.post([used(f"e{number}", PICO)])

        threads = [Thread(target=post, args=(n,)) for n in range(1, 9)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert [("usage_limit.near", 50)] == _in_short(told(ledger))

    def test_a_payment_tells_of_itself_and_of_the_tier(self, ledger: Ledger) -> None:
        """Once, however often its reference comes."""
        open_account(ledger)
        payment = paid(50 * PICO, "credit_purchase")
        ledger.record_payment(payment)
        ledger.record_payment(payment)

        by_kind = {each.kind: msgspec.json.decode(each.data) for each in told(ledger)}

        assert {
            "payment.recorded": {
                "account": "acme",
                "reference": "pi_1",
                "kind": "credit_purchase",
                "amount_usd": "50",
            },
            "tier.changed": {
                "account": "acme",
                "before": {"level": 1, "name": "starter"},
                "after": {"level": 2, "name": "builder"},
            },
        } == by_kind

    def test_a_change_tells_of_the_tier_and_of_a_suspension(
        self, ledger: Ledger
    ) -> None:
        """Not of what stays as it was."""
        open_account(ledger, payment_method=False)
        for change in (
            AccountChange(payment_method=True),
            AccountChange(suspended=True),
            AccountChange(suspended=True),
            AccountChange(suspended=False),
        ):
            ledger.change("acme", change, now_ns=_JANUARY_NS)

        assert ["account.suspended", "tier.changed"] == sorted(
            each.kind for each in told(ledger)
        )

    def test_each_call_is_told_once_to_who_asks(self, ledger: Ledger) -> None:
        """Under the event's own id, with its charge as dollars."""
        open_account(ledger)
        events = [used(f"e{n}", 1_700_000) for n in range(1, 4)]
        ledger.post(events)
        ledger.post([*events, used("e4", 0)])

        messages = told(ledger, _STREAM)

        assert ["e1", "e2", "e3", "e4"] == [each.id for each in messages]
        data = msgspec.json.decode(messages[0].data)
        assert ("acme", "0.0000017", "2026-01-15T00:00:01Z") == (
            data["account"],
            data["charge_usd"],
            data["ended_at"],
        )

    def test_a_message_is_taken_by_one(self, ledger: Ledger) -> None:
        """Two senders at once: each message goes to one of them."""
        open_account(ledger)
        ledger.post([used(f"e{n:03}", 1) for n in range(200)])
        together = Barrier(4)
        taken: list[str] = []

        def take() -> None:
            together.wait()
            for _ in range(10):
                messages = ledger.outbox.take(
                    _STREAM, limit=10, lease_ns=60 * NS_PER_S, now_ns=_LATER_NS
                )
                taken.extend(each.id for each in messages)

        threads = [Thread(target=take) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert [f"e{n:03}" for n in range(200)] == sorted(taken)

    def test_who_dies_leaves_it_to_the_next(self, ledger: Ledger) -> None:
        """After the lease it is due again, under the same id; before it is not."""
        open_account(ledger)
        ledger.post([used("e1", 1)])
        lease_ns = 60 * NS_PER_S

        def take(now_ns: int) -> list[OutboxMessage]:
            return ledger.outbox.take(
                _STREAM, limit=10, lease_ns=lease_ns, now_ns=now_ns
            )

        (first,) = take(_LATER_NS)
        assert [] == take(_LATER_NS + lease_ns - 1)
        (second,) = take(_LATER_NS + lease_ns)
        ledger.outbox.failed([first], error="late", due_ns=_LATER_NS)

        assert (first.id, 1, 2) == (second.id, first.attempts, second.attempts)
        assert [] == take(_LATER_NS + lease_ns)
        ledger.outbox.sent([first])
        assert [] == take(_LATER_NS + 10 * lease_ns)

    def test_what_failed_waits_or_is_given_up(self, ledger: Ledger) -> None:
        """The rest waits on; what nobody sends any more is kept until it is swept."""
        open_account(ledger)
        ledger.post([used(f"e{n}", 1) for n in range(4)])
        outbox = ledger.outbox

        def take(now_ns: int) -> list[str]:
            messages = outbox.take(_STREAM, limit=9, lease_ns=1, now_ns=now_ns)
            return [each.id for each in messages]

        first, second, *_ = outbox.take(_STREAM, limit=2, lease_ns=1, now_ns=_LATER_NS)
        outbox.failed([first], error="it is away", due_ns=_LATER_NS + 100)
        outbox.failed([second], error="it is away", due_ns=None)

        assert ["e2", "e3"] == take(_LATER_NS + 50)
        assert ["e0", "e2", "e3"] == sorted(take(_LATER_NS + 100))
        assert 3 == outbox.waiting()[_STREAM]
        assert 3 == outbox.give_up(_STREAM, error="it is gone")
        assert _STREAM not in outbox.waiting()
        assert [] == take(_LATER_NS + NS_PER_S)
        assert 0 == outbox.sweep([_STREAM], before_ns=_JANUARY_NS)
        assert 4 == outbox.sweep([_STREAM], before_ns=_LATER_NS)

    def test_what_did_not_arrive_is_listed_and_tried_anew(self, ledger: Ledger) -> None:
        """The oldest first, with its error; only what was given up is tried anew."""
        open_account(ledger)
        events = [used(f"e{n}", 1, took_ns=n) for n in range(3)]
        ledger.post(events)
        outbox = ledger.outbox

        def states() -> list[tuple[str, bool, int, str]]:
            kept = outbox.kept(destination=_STREAM, limit=10)
            return [
                (each.id, each.given_up, each.attempts, each.error) for each in kept
            ]

        taken = outbox.take(_STREAM, limit=2, lease_ns=100, now_ns=_LATER_NS)
        outbox.failed(taken[:1], error="HTTP 500", due_ns=None)
        outbox.failed(taken[1:], error="HTTP 503", due_ns=_LATER_NS + 50)
        before = states()
        (waits,) = outbox.kept(given_up=False, limit=1)
        others = outbox.resend(destination=_SHOP, now_ns=_LATER_NS)
        unknown = outbox.resend(message_id="e1", now_ns=_LATER_NS)
        again = outbox.resend(message_id="e0", now_ns=_LATER_NS)

        assert [
            ("e0", True, 1, "HTTP 500"),
            ("e1", False, 1, "HTTP 503"),
            ("e2", False, 0, ""),
        ] == before
        assert ("e1", _STREAM, "usage.recorded", "acme", _LATER_NS + 50) == (
            waits.id,
            waits.destination,
            waits.kind,
            waits.account_id,
            waits.due_ns,
        )
        assert (0, 0, 1) == (others, unknown, again)
        assert ("e0", False, 0, "HTTP 500") == states()[0]
        assert [] == outbox.kept(given_up=True, limit=10)
        taken = outbox.take(_STREAM, limit=10, lease_ns=100, now_ns=_LATER_NS)
        assert ["e0", "e2"] == sorted(each.id for each in taken)

    def test_what_is_for_nobody_is_swept(self, ledger: Ledger) -> None:
        """A destination that left the plan; what waits for the others stays."""
        open_account(ledger)
        ledger.post([used("e1", 30 * PICO)])

        assert 1 == ledger.outbox.sweep([_SHOP], before_ns=_LATER_NS)
        assert [("usage_limit.near", 50)] == _in_short(told(ledger))
