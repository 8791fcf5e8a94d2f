"""What a pool promises, whatever the platform does."""

import math

import pytest

from metering.adaptive import AdaptiveClass, AdaptivePool, AdaptiveSettings
from metering.clock import NS_PER_S
from metering.errors import ConfigurationError


def test_an_idle_platform_takes_a_call_at_the_ceiling(platform):
    _, verdict = platform.ask()
    assert ("go", "", 0) == (verdict.kind, verdict.reason, verdict.retry_after_ns)
    assert platform.limit() == 60.0


def test_a_call_that_finds_the_gate_shut_waits_until_a_first_byte(platform):
    """Nothing is known yet, so one call may await its first byte at a time."""
    first, _ = platform.ask()
    second, verdict = platform.ask()
    assert verdict.kind == "wait"
    assert platform.pool.poll(platform.now_ns).go == ()
    platform.pool.first_byte(first, platform.now_ns)
    assert platform.pool.poll(platform.now_ns).go == (second,)
    assert platform.pool.poll(platform.now_ns).go == (), "each is told once"


def test_who_waited_three_seconds_is_refused_with_a_time_to_come_back(platform):
    platform.ask()
    late, _ = platform.ask()
    platform.pass_time(2.9)
    assert platform.pool.poll(platform.now_ns).refused == ()
    platform.pass_time(0.1)
    released = platform.pool.poll(platform.now_ns)
    assert released.refused == (late,)
    assert released.retry_after_ns >= NS_PER_S


def test_nobody_is_refused_for_time_while_the_gate_is_open(platform):
    first, _ = platform.ask()
    waiter, _ = platform.ask()
    platform.now_ns += 4 * NS_PER_S
    platform.pool.first_byte(first, platform.now_ns)
    released = platform.pool.poll(platform.now_ns)
    assert ((waiter,), ()) == (released.go, released.refused)


def test_a_full_room_turns_away_the_newest_call_of_who_had_most(platform):
    platform.ask()
    greedy, _ = platform.ask(account="greedy")
    newest, _ = platform.ask(account="greedy")
    modest, verdict = platform.ask(account="modest")
    assert verdict.kind == "wait"
    assert platform.pool.poll(platform.now_ns).refused == (newest,)
    _, again = platform.ask(account="greedy")
    assert ("refused", "platform_busy") == (again.kind, again.reason)
    assert again.retry_after_ns >= NS_PER_S
    platform.pool.leave(greedy, platform.now_ns)
    platform.pool.leave(modest, platform.now_ns)
    assert platform.explain().waiting == 0


def test_a_client_that_leaves_the_room_leaves_no_trace(platform):
    first, _ = platform.ask()
    gone, _ = platform.ask(account="gone")
    stays, _ = platform.ask(account="stays")
    platform.pool.leave(gone, platform.now_ns)
    assert platform.explain().waiting == 1
    platform.pool.first_byte(first, platform.now_ns)
    assert platform.pool.poll(platform.now_ns).go == (stays,)
    platform.pool.finish(stays, platform.now_ns, status=200, output_tokens=1)
    platform.pool.finish(first, platform.now_ns, status=200, output_tokens=1)
    assert platform.explain().awaiting == 0


@pytest.mark.parametrize("told", ["leave", "finish"])
def test_a_client_that_left_between_release_and_poll_is_not_sent(platform, told):
    first, _ = platform.ask()
    gone, _ = platform.ask()
    platform.pool.first_byte(first, platform.now_ns)
    platform.pass_time(0.1)
    if told == "leave":
        platform.pool.leave(gone, platform.now_ns)
    else:
        platform.pool.finish(gone, platform.now_ns, status=499, output_tokens=0)
    assert platform.pool.poll(platform.now_ns).go == ()
    assert platform.explain().awaiting == 0


def test_every_end_of_a_call_takes_it_out_of_the_count(platform):
    for status in (200, 400, 429, 499, 500, 503, 504, 529):
        request_id, verdict = platform.ask(klass=2)
        assert verdict.kind == "go"
        platform.pool.finish(
            request_id, platform.now_ns, status=status, output_tokens=0
        )
        platform.pool.finish(
            request_id, platform.now_ns, status=status, output_tokens=0
        )
    assert platform.explain().awaiting == 0


def test_paid_calls_pass_while_free_ones_wait(platform):
    platform.until("refused")
    for klass in (1, 2):
        _, verdict = platform.ask(klass)
        assert verdict.kind == "go"


def test_paid_calls_are_held_lowest_class_first_and_only_when_the_queue_is_old(
    platform,
):
    for _ in range(30):
        platform.ask(klass=2)
    assert platform.ask(klass=1)[1].kind == "go", "long, but not yet old"
    platform.pass_time(3)
    assert platform.ask(klass=1)[1].kind == "wait"
    assert platform.explain().state == "shedding_paid"
    assert platform.ask(klass=2)[1].kind == "go"
    platform.pass_time(6)
    _, verdict = platform.ask(klass=2)
    assert ("refused", "platform_busy") == (verdict.kind, verdict.reason)


def hold_paid(platform) -> tuple[list[str], str, str]:
    """Let so many paid calls run for so long that a paid and a free one wait."""
    running = [platform.ask(klass=2)[0] for _ in range(30)]
    platform.pass_time(3)
    free, _ = platform.ask(klass=0)
    paid, verdict = platform.ask(klass=1)
    assert verdict.kind == "wait"
    return running, free, paid


def test_those_who_pay_leave_the_room_first(platform):
    running, free, paid = hold_paid(platform)
    for request_id in running:
        platform.answer(request_id)
    assert platform.pool.poll(platform.now_ns).go[0] == paid
    platform.answer(paid)
    assert platform.pool.poll(platform.now_ns).go in {(free,), ()}


def test_a_free_call_that_comes_does_not_go_before_a_paid_one_that_waits(platform):
    running, free, paid = hold_paid(platform)
    platform.pool.leave(free, platform.now_ns)
    for request_id in running:
        platform.answer(request_id)
    assert platform.ask(klass=0)[1].kind == "wait"
    assert platform.pool.poll(platform.now_ns).go == (paid,)


def test_a_paid_call_goes_whenever_a_free_one_may(platform):
    """What is seen says stop, the platform's own gauge says nobody is queued."""
    hold_paid(platform)
    platform.pass_time(12)
    assert platform.ask(klass=2)[1].kind == "refused"
    platform.pool.push_gauge(0, platform.now_ns)
    assert platform.ask(klass=2)[1].kind == "go"


def test_ten_minutes_without_need_make_it_forget_the_budget(platform):
    platform.overload(10)
    platform.pass_time(590)
    assert platform.explain().budget_per_s is not None
    platform.pass_time(20)
    assert platform.explain().budget_per_s is None


def test_only_class_0_has_a_limit_that_moves(platform):
    platform.overload(10)
    assert platform.limit() < 60.0
    assert math.inf == platform.pool.limit(1, platform.now_ns)
    assert math.inf == platform.pool.limit(2, platform.now_ns)


def test_a_pool_that_nobody_ticked_for_an_hour_is_as_good_as_new(platform):
    platform.overload(20)
    platform.now_ns += 3600 * NS_PER_S
    assert platform.limit() == 60.0
    assert platform.explain().state == "normal"


def test_four_times_overload_is_explained(platform):
    assert platform.explain().state == "normal"
    went, refused = platform.overload(30)
    assert went > 100
    assert refused > 0
    told = platform.explain()
    assert told.state == "busy"
    assert told.signal == "first_bytes"
    assert told.accounts == 50
    assert 2.5 < told.capacity_per_s < 10
    assert told.limit_rpm == platform.limit()
    words = str(told)
    assert "Class 0 gets what is spare, and some of its calls wait." in words
    assert f"may make {told.limit_rpm:g} requests a minute" in words
    assert "50 accounts share" in words


def test_the_limit_comes_down_to_about_an_equal_split_and_back(platform):
    """50 accounts and 5 calls a second: 6 a minute each."""
    platform.overload(40)
    assert 60 * 5 / 50 * 0.6 <= platform.limit() <= 60 * 5 / 50 * 1.2
    platform.pass_time(60)
    assert platform.limit() == 60.0


def test_the_pools_own_refusals_do_not_use_an_accounts_unit(platform):
    """`over` is for the account's limit; it counts as demand, never as passed."""
    platform.overload(5)
    before = platform.explain().waiting
    platform.pool.over("free-1", klass=0, now_ns=platform.now_ns)
    assert before == platform.explain().waiting


def test_an_upstream_that_refuses_is_called_at_the_pace_it_takes(platform):
    for _ in range(50):
        for _ in range(3):
            request_id, verdict = platform.ask(klass=1)
            assert verdict.kind == "go", "paid calls are not paced"
            platform.answer(request_id)
        request_id, _ = platform.ask(klass=1)
        platform.pool.finish(request_id, platform.now_ns, status=429, output_tokens=0)
        platform.pass_time(1)
    told = platform.explain()
    assert told.signal == "upstream_refusals"
    assert 1.5 <= told.pace_per_s <= 3.0
    platform.pass_time(3)
    for kind in ("go", "go", "wait"):
        request_id, verdict = platform.ask()
        platform.pool.first_byte(request_id, platform.now_ns)
        assert kind == verdict.kind, "the pace holds though no call awaits a first byte"


def test_a_gauge_is_used_while_it_is_fresh(platform):
    request_id, _ = platform.ask()
    platform.pool.push_gauge(40, platform.now_ns)
    platform.pool.first_byte(request_id, platform.now_ns)
    assert platform.explain().signal == "queue_gauge"
    assert platform.ask()[1].kind == "wait"
    platform.pool.push_gauge(0, platform.now_ns)
    assert len(platform.pool.poll(platform.now_ns).go) == 1
    platform.pass_time(5.1)
    assert platform.explain().signal == "first_bytes"


def test_plain_answers_are_bounded_by_running_calls(platform):
    verdicts = [platform.ask(streams=False)[1].kind for _ in range(12)]
    assert verdicts.count("go") == 8
    assert platform.explain().signal == "answer_times"


def test_a_share_of_the_platform_shrinks_with_its_nodes(platform):
    platform.overload(20)
    before = platform.explain()
    platform.pool.share_of(4)
    after = platform.explain()
    assert before.capacity_per_s / 4 == pytest.approx(after.capacity_per_s)
    assert before.budget_per_s / 4 == pytest.approx(after.budget_per_s)
    platform.pool.share_of(4)
    assert after.capacity_per_s == platform.explain().capacity_per_s
    platform.pool.share_of(1)
    assert before.capacity_per_s == pytest.approx(platform.explain().capacity_per_s)
    with pytest.raises(ConfigurationError, match="0 nodes cannot share"):
        platform.pool.share_of(0)


def test_what_is_remembered_is_bounded(make_platform):
    platform = make_platform(AdaptiveSettings(accounts_max=10, waiting_max=3))
    for account in range(100):
        platform.ask(account=f"account-{account}")
    told = platform.explain()
    assert told.accounts == 10
    assert told.waiting <= 3


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"classes": ()}, "name at least one class"),
        ({"floor_rpm": 0.0}, "floor_rpm 0.0"),
        ({"floor_rpm": 61.0}, "floor not above the ceiling"),
        ({"waiting_max": 0}, "waiting_max 0 must be above 0"),
        ({"burst_ns": 0}, "burst_ns 0 is not from"),
        ({"first_byte_target_ns": 0}, "first_byte_target_ns 0"),
        (
            {
                "classes": (
                    AdaptiveClass(delay_ns=2, wait_max_ns=0),
                    AdaptiveClass(delay_ns=1, wait_max_ns=0),
                )
            },
            "must not be stopped before",
        ),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(wrong, why):
    with pytest.raises(ConfigurationError, match=why):
        AdaptivePool(AdaptiveSettings(**wrong))
