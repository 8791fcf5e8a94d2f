"""What a call demands of the limits of a plan: of whose, and how much."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering.clock import NS_PER_S
from metering.errors import ConfigurationError
from metering.limit_rules import LimitRule, demands_of, units_used
from metering.quota import BudgetQuota, RateQuota
from metering.usage import Usage

MINUTE = RateQuota(1000, 60 * NS_PER_S)
DAY = RateQuota(9000, 86_400 * NS_PER_S)
CALL = {"account": "acme", "key": "k1", "model": "a/b", "everyone": ""}


def demands(rule, subjects=CALL, *, reads=100, writes=400):
    return list(demands_of(rule, subjects, input_tokens=reads, output_tokens=writes))


def rule(**fields):
    return LimitRule(**({"name": "daily", "quotas": (MINUTE,)} | fields))


@pytest.mark.parametrize(
    ("unit", "cost"),
    [("requests", 1), ("tokens", 500), ("input_tokens", 100), ("output_tokens", 400)],
)
def test_costs_what_its_unit_counts(unit, cost):
    (demand,) = demands(rule(unit=unit))

    assert (cost, unit, "daily") == (demand.cost, demand.unit, demand.name)


def test_a_bound_above_the_quota_takes_it_whole():
    """1,000 a minute: a call that may write 16,384 is let in, and settled later."""
    (demand,) = demands(rule(unit="tokens"), writes=16_384)

    assert 1000 == demand.cost


def test_an_input_above_the_quota_can_never_pass():
    (demand,) = demands(rule(unit="tokens"), reads=1001, writes=1)

    assert 1001 == demand.cost


def test_several_rates_are_several_quotas_of_one_limit():
    first, second = demands(rule(quotas=(MINUTE, DAY)))

    assert ("daily", "daily-86400s") == (first.name, second.name)
    assert first.key != second.key


@pytest.mark.parametrize(
    ("per", "key"),
    [
        (("account",), "{acme}:limit:daily:"),
        (("account", "model"), "{acme}:limit:daily:a/b"),
        (("key",), "{limit:daily:k1}"),
        (("everyone",), "{limit:daily:}"),
        (("ip", "account"), "{acme}:limit:daily:10.0.0.1"),
    ],
)
def test_each_combination_of_subjects_has_a_key_of_its_own(per, key):
    """All keys of one account share what the braces hold: a slot of a cluster."""
    (demand,) = demands(rule(per=per), CALL | {"ip": "10.0.0.1"})

    assert key == demand.key


def test_a_call_without_the_subject_is_not_limited():
    assert [] == demands(rule(per=("ip",)), CALL | {"ip": None})
    assert [] == demands(rule(per=("ip",)))


@pytest.mark.parametrize(
    "chosen", ["x\0y", "x\ny", "x\x7fy", "x\x85y", "\ud800", "模型", "{", "x" * 65]
)
def test_what_a_store_may_refuse_in_a_key_is_hashed(chosen):
    """A model's name is the client's to choose, and must not be an error of ours."""
    (demand,) = demands(rule(per=("account", "model")), CALL | {"model": chosen})

    account, _, part = demand.key.rpartition(":")
    assert "{acme}:limit:daily" == account
    assert 64 == len(bytes.fromhex(part)) * 2


@given(first=st.text(max_size=80), second=st.text(max_size=80))
def test_what_a_client_chooses_cannot_make_two_keys_one(first, second):
    """Whatever its length, and whatever braces and colons it holds."""
    keys = [
        demands(rule(per=("account", "ip")), CALL | {"ip": value})[0].key
        for value in (first, second)
    ]

    assert (first == second) == (keys[0] == keys[1])
    assert all(len(key) <= len("{acme}:limit:daily:") + 64 for key in keys)
    assert all(1 == key.count("{") == key.count("}") for key in keys)


def test_it_is_for_its_tiers_and_models_alone():
    some = rule(tiers=frozenset({0, 1}), models=frozenset({"a/b"}))

    assert rule().covers(None, "")
    assert some.covers(1, "a/b")
    assert not some.covers(2, "a/b")
    assert not some.covers(None, "a/b")
    assert not some.covers(0, "a/c")


def test_what_was_used_is_counted_by_unit():
    usage = Usage(input_tokens=5, cache_read_tokens=2, output_tokens=3)

    assert 10 == units_used("tokens", usage)
    assert 7 == units_used("input_tokens", usage)
    assert 3 == units_used("output_tokens", usage)
    assert 0 == units_used("running", usage)


@pytest.mark.parametrize(
    ("unit", "quotas", "wanted"),
    [
        ("running", (MINUTE,), "a number at once"),
        ("tokens", (BudgetQuota(8),), "takes rates"),
        ("requests", (), "takes rates"),
    ],
)
def test_a_unit_that_its_quota_cannot_count_is_refused(unit, quotas, wanted):
    with pytest.raises(ConfigurationError, match=wanted):
        rule(unit=unit, quotas=quotas)


def test_a_window_is_told_to_each_demand():
    window = rule(quotas=(MINUTE, DAY), window="moving")

    assert ["moving", "moving"] == [demand.window for demand in demands(window)]


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"unit": "tokens"}, "windows count requests alone"),
        ({"unit": "running", "quotas": (BudgetQuota(8),)}, "windows count requests"),
        ({"quotas": (RateQuota(9, 60 * NS_PER_S, 3),)}, "no burst of its own"),
        ({"quotas": (MINUTE, RateQuota(9, NS_PER_S // 2))}, "whole seconds"),
    ],
)
def test_a_window_counts_requests_in_whole_seconds_without_a_burst(fields, says):
    with pytest.raises(ConfigurationError, match=says):
        rule(window="fixed", **fields)
