"""What headers tell of limits: the tightest one, in numbers that clients can read."""

import http_sf
import pytest

from metering.asgi.headers import limit_headers
from metering.clock import NS_PER_S
from metering.quota import COUNT_MAX, BudgetQuota, Demand, RateQuota, Verdict

MINUTE_NS = 60 * NS_PER_S
SF_MAX = 10**15 - 1


def told(*pairs):
    demands = [Demand(name, quota, name=name) for name, quota, _ in pairs]
    verdicts = [Verdict(1, left, 0, left and 30 * NS_PER_S) for _, _, left in pairs]
    return dict(limit_headers(demands, verdicts))


def openai(headers):
    names = (b"x-ratelimit-limit-requests", b"x-ratelimit-remaining-requests")
    return tuple(int(headers[name]) for name in names)


def test_the_tightest_is_the_one_with_the_least_share_of_its_burst_left():
    """A whole burst of 10 is not tighter than half of 100."""
    headers = told(
        ("whole", RateQuota(100, MINUTE_NS, 10), 10),
        ("half", RateQuota(100, MINUTE_NS), 50),
    )

    assert (100, 50) == openai(headers)


@pytest.mark.parametrize(
    ("burst", "left", "expected"),
    [(50, 49, (50, 49)), (None, 9, (10, 9)), (4, 3, (10, 3))],
)
def test_what_remains_is_never_above_the_limit(burst, left, expected):
    """A burst above the amount is what may pass at once, so it is the limit told."""
    headers = told(("calls", RateQuota(10, MINUTE_NS, burst), left))

    assert expected == openai(headers)


@pytest.mark.parametrize("quota", [RateQuota(2**53, MINUTE_NS), BudgetQuota(COUNT_MAX)])
def test_what_a_structured_field_cannot_hold_is_told_as_its_largest(quota):
    """Of RFC 9651: integers have 15 digits, and a client may refuse the whole field."""
    headers = told(("vast", quota, quota.amount))

    for name, member in ((b"ratelimit-policy", "q"), (b"ratelimit", "r")):
        ((_, members),) = http_sf.parse(headers[name], tltype="list")
        assert SF_MAX == members[member]


def test_a_wait_that_a_structured_field_cannot_hold_is_told_as_its_largest():
    demand = Demand("slow", RateQuota(1, 400 * 24 * 3600 * NS_PER_S), name="slow")
    headers = dict(limit_headers([demand], [Verdict(0, 0, 0, 2**100)]))

    ((_, members),) = http_sf.parse(headers[b"ratelimit"], tltype="list")
    assert SF_MAX == members["t"]
