"""Quotas: what is refused, for how long, and never a unit more than allowed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering.clock import NS_PER_S, NS_PER_US
from metering.errors import ConfigurationError
from metering.quota import (
    NEVER_NS,
    BudgetQuota,
    Demand,
    RateQuota,
    Verdict,
    binding,
    decide_budget,
    decide_rate,
)

DAY_US = 24 * 3600 * 10**6
MINUTE_NS = 60 * NS_PER_S
NOW_US = 1_768_435_200 * 10**6


@st.composite
def rates(draw, amount_max=20_000):
    """Rates of at most one unit a microsecond, and a burst of their own for some."""
    amount = draw(st.integers(1, amount_max))
    per_us = draw(st.integers(amount, DAY_US))
    burst = draw(st.none() | st.integers(1, amount_max))
    return RateQuota(amount, per_us * NS_PER_US, burst)


def backlogs(quota):
    """Dues from long past to as much debt again as the burst."""
    return st.integers(NOW_US - 10, NOW_US + 2 * quota.burst_us)


class Bucket:
    """A rate quota and its one instant."""

    def __init__(self, quota, due_us=0):
        self.quota, self.due_us = quota, due_us

    def take(self, cost, now_us):
        verdict, self.due_us = decide_rate(self.quota, self.due_us, cost, now_us)
        return verdict


def admitted(bucket, instants_us):
    return sum(bucket.take(1, now_us).granted for now_us in instants_us)


# Rates


@given(st.data(), rates())
def test_a_refusal_holds_until_exactly_the_time_it_names(data, quota):
    """A microsecond early it is one microsecond; on time the demand is granted."""
    due_us = data.draw(backlogs(quota))
    cost = data.draw(st.integers(0, quota.burst))
    refusal, unmoved_us = decide_rate(quota, due_us, cost, NOW_US)
    if not refusal.reason:
        return
    assert (refusal.reason, unmoved_us) == ("rate", due_us)
    on_time_us = NOW_US + refusal.retry_after_ns // NS_PER_US
    early, _ = decide_rate(quota, due_us, cost, on_time_us - 1)
    assert (early.reason, early.retry_after_ns) == ("rate", NS_PER_US)
    granted, _ = decide_rate(quota, due_us, cost, on_time_us)
    assert granted.granted == cost


@given(st.data(), rates())
def test_what_remains_can_be_taken_and_not_a_unit_more(data, quota):
    """Also after a refusal, and in debt."""
    due_us = data.draw(backlogs(quota))
    verdict, due_us = decide_rate(
        quota, due_us, data.draw(st.integers(0, quota.burst)), NOW_US
    )
    left = verdict.remaining
    assert decide_rate(quota, due_us, left + 1, NOW_US)[0].granted == 0
    if verdict.granted or left:
        assert decide_rate(quota, due_us, left, NOW_US)[0].granted == left


@given(st.data(), rates())
def test_a_quota_is_whole_again_when_it_said(data, quota):
    """Not a microsecond before."""
    due_us = data.draw(backlogs(quota))
    cost = data.draw(st.integers(0, quota.burst))
    state, due_us = decide_rate(quota, due_us, cost, NOW_US)
    whole_us = NOW_US + state.reset_after_ns // NS_PER_US
    for at_us, reset_after_ns in ((whole_us, 0), (whole_us - 1, NS_PER_US)):
        if at_us >= NOW_US:
            later, _ = decide_rate(quota, due_us, 0, at_us)
            assert later.reset_after_ns == reset_after_ns


@given(rates())
def test_the_burst_passes_whole_and_one_more_never_does(quota):
    """What is above the burst is impossible, and waiting would not help."""
    assert Bucket(quota).take(quota.burst, NOW_US).granted == quota.burst
    assert Bucket(quota).take(quota.burst + 1, NOW_US) == Verdict(
        0, quota.burst, NEVER_NS, 0, "impossible"
    )


def test_no_more_than_the_burst_is_said_to_remain():
    """Even where several units refill within one microsecond."""
    quota = RateQuota(10, 3 * NS_PER_US, burst=1)
    assert decide_rate(quota, 0, 0, NOW_US)[0].remaining == 1


@given(rates(), st.lists(st.integers(1, 500), max_size=40))
def test_pieces_never_pass_more_than_the_whole(quota, costs):
    """However the units are split, no more than the burst pass at once."""
    bucket = Bucket(quota)
    assert sum(bucket.take(cost, NOW_US).granted for cost in costs) <= quota.burst


@pytest.mark.parametrize(
    "amount", [1, 7, 60, 61, 100, 999, 1000, 5000, 7745, 10_000, 60_000]
)
def test_a_minutes_units_pass_one_by_one_and_no_more(amount):
    """Exactly, up to 7,745 a minute and wherever microseconds divide evenly."""
    bucket = Bucket(RateQuota(amount, MINUTE_NS))
    assert admitted(bucket, [NOW_US] * (amount + 10)) == amount


@pytest.mark.parametrize("amount", [1, 7, 60, 61, 1000])
def test_no_minute_admits_twice_the_amount(amount):
    """The worst stretch: a burst, then each unit as soon as it has refilled."""
    bucket, now_us, passed = Bucket(RateQuota(amount, MINUTE_NS)), NOW_US, 0
    while True:
        verdict = bucket.take(1, now_us)
        passed += verdict.granted
        now_us += verdict.retry_after_ns // NS_PER_US
        if now_us >= NOW_US + 60_000_000:
            break
    assert passed == 2 * amount - 1


@given(rates(), st.lists(st.tuples(st.integers(0, 10**9), st.integers(1, 50))))
def test_in_the_long_run_no_more_than_the_rate_and_a_burst(quota, asks):
    """Over any stretch, whatever is asked when."""
    bucket, now_us, passed = Bucket(quota), NOW_US, 0
    for pause_us, cost in asks:
        now_us += pause_us
        passed += bucket.take(cost, now_us).granted
        refilled = (now_us - NOW_US) * quota.amount // quota.per_us
        assert passed <= quota.burst + refilled + 1


@given(rates(), st.integers(1, 200))
def test_who_keeps_the_pace_is_never_refused(quota, units):
    """One unit each time that one has refilled."""
    bucket, pace_us = Bucket(quota), quota.span_us(1)
    asks = [NOW_US + at * pace_us for at in range(units)]
    assert admitted(bucket, asks) == units


def test_polls_slower_than_the_pace_all_pass():
    """60 a minute: each 1.9 s for ten minutes, all 316; each second, all 600."""
    quota = RateQuota(60, MINUTE_NS)
    slow = [NOW_US + at * 1_900_000 for at in range(316)]
    assert admitted(Bucket(quota), slow) == 316
    steady = [NOW_US + at * 1_000_000 for at in range(600)]
    assert admitted(Bucket(quota), steady) == 600


def test_a_thousand_refusals_move_nothing():
    """The wait after them is the wait before them."""
    bucket = Bucket(RateQuota(1, MINUTE_NS))
    bucket.take(1, NOW_US)
    refusals = [bucket.take(1, NOW_US) for _ in range(1000)]
    assert refusals == [Verdict(0, 0, MINUTE_NS, MINUTE_NS, "rate")] * 1000


def test_a_changed_amount_keeps_the_fraction_used():
    """A quarter of 60 used is a quarter of 120 used."""
    bucket = Bucket(RateQuota(60, MINUTE_NS))
    bucket.take(15, NOW_US)
    bucket.quota = RateQuota(120, MINUTE_NS)
    assert bucket.take(0, NOW_US).remaining == 90


# Budgets

AMOUNTS = st.integers(0, 2**63 - 1) | st.integers(0, 20)


@given(AMOUNTS, AMOUNTS, AMOUNTS, AMOUNTS, st.none() | AMOUNTS)
def test_a_budget_is_never_overshot(amount, spent, held, cost, cost_min):
    """What is granted fits, is enough, and is all that fits of what was asked."""
    least = cost if cost_min is None else min(cost, cost_min)
    verdict = decide_budget(BudgetQuota(amount), spent, held, cost, least)
    room = amount - spent - held
    if verdict.reason:
        assert least > room
        assert (verdict.granted, verdict.remaining) == (0, max(0, room))
        assert verdict.retry_after_ns == NEVER_NS
    else:
        assert least <= verdict.granted == min(cost, room)
        assert verdict.remaining == room - verdict.granted


@pytest.mark.parametrize(
    ("spent", "held", "cost", "cost_min", "expected"),
    [
        (0, 0, 100, None, Verdict(100, 0)),
        (0, 0, 101, None, Verdict(0, 100, NEVER_NS, 0, "impossible")),
        (0, 0, 101, 100, Verdict(100, 0)),
        (90, 0, 11, None, Verdict(0, 10, NEVER_NS, 0, "spent")),
        (90, 0, 11, 10, Verdict(10, 0)),
        (0, 90, 11, None, Verdict(0, 10, NEVER_NS, 0, "held")),
        (89, 10, 2, None, Verdict(0, 1, NEVER_NS, 0, "held")),
        (89, 10, 12, None, Verdict(0, 1, NEVER_NS, 0, "spent")),
        (1, 0, 100, None, Verdict(0, 99, NEVER_NS, 0, "spent")),
        (90, 5, 10, None, Verdict(0, 5, NEVER_NS, 0, "held")),
        (102, 0, 1, None, Verdict(0, 0, NEVER_NS, 0, "spent")),
        (100, 0, 0, None, Verdict(0, 0)),
    ],
)
def test_why_a_budget_refuses(spent, held, cost, cost_min, expected):
    """Held is worth waiting for, spent is not, impossible never was."""
    assert decide_budget(BudgetQuota(100), spent, held, cost, cost_min) == expected


# The refusal to tell of


def test_the_hardest_refusal_binds_then_the_longest():
    """Impossible before spent before held before rate; then who waits longest."""
    granted = Verdict(1, 5)
    soon, late = (Verdict(0, 0, wait, 0, "rate") for wait in (10, 20))
    held = Verdict(0, 0, 5, 0, "held")
    spent = Verdict(0, 0, NEVER_NS, 0, "spent")
    never = Verdict(0, 0, NEVER_NS, 0, "impossible")
    enforced, tried = (
        Demand("a", BudgetQuota(1)),
        Demand("b", BudgetQuota(1), shadow=True),
    )
    assert binding([enforced] * 3, (granted, soon, late)) == 2
    assert binding([enforced] * 3, (late, held, soon)) == 1
    assert binding([enforced] * 3, (held, late, spent)) == 2
    assert binding([enforced] * 3, (never, spent, held)) == 0
    assert binding([enforced] * 2, (late, late)) == 0
    assert binding([enforced] * 2, (granted, granted)) == -1
    assert binding([enforced, tried, enforced], (soon, never, granted)) == 0
    assert binding([tried, tried], (soon, never)) == -1


# What cannot be a quota or a demand


@pytest.mark.parametrize(
    ("amount", "per_ns", "burst", "named"),
    [
        (0, MINUTE_NS, None, "amount 0"),
        (-1, MINUTE_NS, None, "amount -1"),
        (True, MINUTE_NS, None, "amount True"),
        (1.5, MINUTE_NS, None, "amount 1.5"),
        (2**53 + 1, MINUTE_NS, None, "amount"),
        (1, MINUTE_NS, 0, "burst 0"),
        (1, 0, None, "per_ns 0"),
        (1, 1500, None, "per_ns 1500"),
        (1, 401 * DAY_US * 1000, None, "per_ns"),
    ],
)
def test_a_bad_rate_is_named(amount, per_ns, burst, named):
    with pytest.raises(ConfigurationError, match=named):
        RateQuota(amount, per_ns, burst)


@pytest.mark.parametrize("amount", [-1, 2**63, True, 1.0])
def test_a_bad_budget_is_named(amount):
    with pytest.raises(ConfigurationError, match=f"{amount!r}"):
        BudgetQuota(amount)
