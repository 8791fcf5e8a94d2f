"""Usage of all accounts by day is as the ledger has it, past days a little later."""

import pytest
from msgspec.structs import replace

from metering.clock import NS_PER_S
from metering.console.past_days import KEPT_BY_AGE_NS, KEPT_MAX, PastDays

pytestmark = pytest.mark.anyio

DAY_NS = 86_400 * NS_PER_S
MONTH = ("2026-01-01", "2026-01-31")


class Counted:
    """A ledger, and what it was asked."""

    def __init__(self, ledger):
        self.ledger, self.asked = ledger, []

    def days_of_all(self, first_day, last_day, *, model=None):
        self.asked.append((first_day, last_day, model))
        return self.ledger.days_of_all(first_day, last_day, model=model)


@pytest.fixture
async def posted(open_console):
    """A service on 15 January 2026, and what posts a call some days before."""
    async with open_console() as console:
        await console.chat(await console.account("acme", tier=3))
        await console.flush()
        ((event,),) = [[e.event for e in console.ledger.events("acme")]]

        def post(days_ago, number=0):
            at_ns = console.clock() - days_ago * DAY_NS
            console.ledger.post(
                [
                    replace(
                        event,
                        id=f"{days_ago}-{number}",
                        admitted_ns=at_ns,
                        ended_ns=at_ns,
                    )
                ]
            )

        yield console, post


async def test_it_says_what_the_ledger_says(posted):
    console, post = posted
    days = PastDays(console.ledger, console.clock)
    for days_ago in (0, 1, 2, 3, 7, 8, 13):
        post(days_ago)

    for first, last in (
        MONTH,
        ("2026-01-14", "2026-01-31"),
        ("2026-01-01", "2026-01-12"),
        ("2026-01-13", "2026-01-13"),
        ("2026-01-07", "2026-01-08"),
        ("2026-01-08", "2026-01-14"),
        ("2026-02-01", "2026-02-28"),
    ):
        for model in (None, "no-such-model"):
            expected = console.ledger.days_of_all(first, last, model=model)
            assert expected == days.read(first, last, model=model)
    assert 7 == len(days.read(*MONTH))


async def test_a_call_of_today_is_there_at_once(posted):
    console, post = posted
    days = PastDays(console.ledger, console.clock)
    days.read(*MONTH)
    post(0)

    assert console.ledger.days_of_all(*MONTH) == days.read(*MONTH)


async def test_days_that_are_over_are_read_again_the_later_the_older_they_are(posted):
    console, post = posted
    for days_ago, kept_ns in KEPT_BY_AGE_NS.items():
        days = PastDays(console.ledger, console.clock)
        days.read(*MONTH)
        post(days_ago)

        console.clock.advance(ns=kept_ns - 1)
        assert console.ledger.days_of_all(*MONTH) != days.read(*MONTH)
        console.clock.advance(ns=1)
        assert console.ledger.days_of_all(*MONTH) == days.read(*MONTH)


async def test_what_is_kept_is_bounded(posted):
    console, _ = posted
    ledger = Counted(console.ledger)
    days = PastDays(ledger, console.clock)
    for number in range(KEPT_MAX + 1):
        days.read("2026-01-01", "2026-01-02", model=f"m{number}")
    ledger.asked.clear()

    days.read("2026-01-01", "2026-01-02", model="m1")
    assert [] == ledger.asked
    days.read("2026-01-01", "2026-01-02", model="m0")
    assert [("2026-01-01", "2026-01-02", "m0")] == ledger.asked
