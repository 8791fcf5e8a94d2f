"""The limit that is published is the limit that is enforced."""

from hypothesis import example, given, settings
from hypothesis import strategies as st

from metering.adaptive import (
    REQUEST_COST,
    AccountBuckets,
    AdaptiveSettings,
    account_quota,
)
from metering.adaptive.published import PublishedLimit, two_digits
from metering.clock import NS_PER_MS, NS_PER_S

START_NS = 1_768_435_200 * NS_PER_S
limits = st.floats(0.5, 600).map(two_digits)


def buckets(**settings) -> AccountBuckets:
    return AccountBuckets(AdaptiveSettings(**settings))


def granted(bucket, account_id, limit_rpm, *, every_ns, seconds) -> int:
    """Let an account ask at equal distances, and count what it got."""
    instants = range(START_NS, START_NS + seconds * NS_PER_S, every_ns)
    return sum(bucket.take(account_id, limit_rpm, at).granted > 0 for at in instants)


@settings(max_examples=20)
@given(limit_rpm=st.sampled_from([0.5, 1.3, 7.8, 60.0]), name=st.text())
def test_who_asks_all_the_time_gets_the_burst_and_then_the_published_limit(
    limit_rpm, name
):
    quota = account_quota(name, limit_rpm)
    seconds = 120
    got = granted(buckets(), name, limit_rpm, every_ns=100 * NS_PER_MS, seconds=seconds)
    burst = (quota.burst or 0) / REQUEST_COST
    refilled = limit_rpm * seconds / 60
    assert burst + refilled - 2 <= got <= burst + refilled + 0.1
    assert max(1, 0.74 * limit_rpm) <= burst <= max(1, 1.26 * limit_rpm)


@settings(max_examples=40)
@given(limit_rpm=limits)
def test_a_refusal_takes_nothing_and_says_when_the_next_fits(limit_rpm):
    bucket = buckets()
    while bucket.take("a", limit_rpm, START_NS).granted:
        pass
    refusal = bucket.take("a", limit_rpm, START_NS)
    assert refusal == bucket.take("a", limit_rpm, START_NS)
    on_time_ns = START_NS + refusal.retry_after_ns
    assert not bucket.take("a", limit_rpm, on_time_ns - 1000).granted
    assert bucket.take("a", limit_rpm, on_time_ns).granted


@settings(max_examples=40)
@given(limit_rpm=limits, asked=st.integers(1, 5))
def test_what_is_given_back_can_be_taken_again(limit_rpm, asked):
    bucket = buckets()
    while bucket.take("a", limit_rpm, START_NS).granted:
        pass
    bucket.give_back("a", limit_rpm)
    bucket.give_back("unknown", limit_rpm)
    got = [bucket.take("a", limit_rpm, START_NS).granted > 0 for _ in range(asked)]
    assert [True] + [False] * (asked - 1) == got


@settings(max_examples=40)
@given(before_rpm=limits, after_rpm=limits)
@example(before_rpm=0.5, after_rpm=60.0)
def test_a_limit_that_moves_keeps_who_is_empty_empty_and_who_is_whole_whole(
    before_rpm, after_rpm
):
    bucket = buckets()
    while bucket.take("empty", before_rpm, START_NS).granted:
        pass
    refusal = bucket.take("empty", after_rpm, START_NS)
    if refusal.granted:
        return  # what was left, less than one request, is one request now
    assert refusal.retry_after_ns <= 60 * NS_PER_S / after_rpm + 1000
    assert bucket.take("whole", after_rpm, START_NS).granted


def test_accounts_do_not_run_dry_at_the_same_instant():
    """Their bursts differ, and each account's is always the same."""
    bursts = {account_quota(f"account-{n}", 10).burst for n in range(100)}
    assert len(bursts) > 80
    assert account_quota("a", 10) == account_quota("a", 10)


def test_the_accounts_remembered_are_bounded():
    bucket = buckets(accounts_max=2)
    for account_id in ("first", "second", "third"):
        while bucket.take(account_id, 1.0, START_NS).granted:
            pass
    assert not bucket.take("third", 1.0, START_NS).granted
    assert bucket.take("first", 1.0, START_NS).granted, "forgotten, so whole"


@given(rpm=st.floats(0.01, 1e9))
def test_a_published_limit_has_two_digits_and_is_never_above_the_law(rpm):
    told = two_digits(rpm)
    assert rpm * 0.9 <= told <= rpm * (1 + 1e-9)
    assert float(f"{told:.1e}") == told


@given(steps=st.lists(st.floats(0.5, 60.0), max_size=30))
def test_a_published_limit_follows_within_a_tenth_and_stays_in_range(steps):
    published = PublishedLimit(0.5, 60.0)
    for rpm in steps:
        before = published.rpm
        published.follow(rpm)
        assert 0.5 <= published.rpm <= 60.0
        assert abs(published.rpm - rpm) <= max(0.1 * published.rpm, 0.1 * rpm)
        if published.rpm != before:
            assert published.previous_rpm == before
            assert abs(rpm - before) >= 0.1 * before or rpm in {0.5, 60.0}
