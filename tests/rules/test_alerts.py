"""Which thresholds of an allowance are passed, and which of them is told."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metering.accounts import Account, Overrides, Tier
from metering.ledger import (
    THRESHOLDS,
    Allowance,
    CreditState,
    PeriodState,
    alerts_of,
    credit_allowance,
    usage_allowance,
)
from metering.money import AMOUNT_MAX_P, PICO

ACCOUNT = Account(id="acme", created_ns=0)
TIER = Tier(level=1, name="starter", output_tokens_max=1, usage_limit_p=50 * PICO)
ON_CREDIT = Tier(level=0, name="free", output_tokens_max=1, funding="credit")

amounts_p = st.integers(0, AMOUNT_MAX_P)
thresholds = st.sets(st.integers(1, 100), max_size=5).map(tuple)


def of(used_p, limit_p=50 * PICO):
    return Allowance(
        account_id="acme",
        subject="usage_limit",
        period="2026-01",
        epoch=0,
        limit_p=limit_p,
        used_p=used_p,
    )


def passed(allowance, at=THRESHOLDS):
    return [(alert.threshold, alert.told) for alert in alerts_of(allowance, at, 0)]


@pytest.mark.parametrize(
    ("used_p", "expected"),
    [
        (25 * PICO - 1, []),
        (25 * PICO, [(50, True)]),
        (451 * PICO // 10, [(50, False), (80, False), (90, True)]),
        (50 * PICO - 1, [(50, False), (80, False), (90, True)]),
        (60 * PICO, [(50, False), (80, False), (90, False), (100, True)]),
    ],
)
def test_a_threshold_is_passed_to_the_pico_dollar(used_p, expected):
    """50 % of $50 is $25, not a pico-dollar less; the highest is told."""
    assert expected == passed(of(used_p))


def test_an_allowance_of_nothing_has_no_alerts():
    """Nor one that is below it, as credit that was taken back."""
    assert [] == passed(of(0, limit_p=0)) + passed(of(5, limit_p=-1))


@settings(max_examples=100)
@given(limit_p=amounts_p, spends_p=st.lists(amounts_p, max_size=8), at=thresholds)
def test_whatever_is_spent_in_whatever_order_each_is_told_at_most_once(
    limit_p, spends_p, at
):
    """Fired once each; all that the most ever spent has passed, and nothing else."""
    fired, told = set(), []
    for used_p in spends_p:
        for alert in alerts_of(of(used_p, limit_p), at, 0):
            if alert.threshold not in fired:
                fired.add(alert.threshold)
                told += [alert.threshold] if alert.told else []

    most_p = max(spends_p, default=0)
    assert {t for t in at if limit_p and most_p * 100 >= t * limit_p} == fired
    assert len(told) == len(set(told))
    assert sorted(told) == told
    assert max(fired, default=None) == max(told, default=None)


def test_what_was_paid_early_is_not_used():
    """Scenario 28: $48.50 spent and paid of $50: nothing is used, in another epoch."""
    paid_p = 485 * PICO // 10
    before = usage_allowance(ACCOUNT, TIER, "2026-01", PeriodState(paid_p))
    after = usage_allowance(ACCOUNT, TIER, "2026-01", PeriodState(paid_p, paid_p, 1))

    assert before is not None
    assert after is not None
    assert (paid_p, 0) == (before.used_p, before.epoch)
    assert (0, 1) == (after.used_p, after.epoch)


def test_an_agreed_limit_wins_over_the_tiers():
    """Also one of nothing; and where there is no limit there is no allowance."""
    for agreed_p in (80 * PICO, 0):
        agreed = Account(
            id="acme", created_ns=0, overrides=Overrides(usage_limit_p=agreed_p)
        )
        allowance = usage_allowance(agreed, TIER, "2026-01", PeriodState())
        assert allowance is not None
        assert agreed_p == allowance.limit_p
    assert usage_allowance(ACCOUNT, ON_CREDIT, "2026-01", PeriodState()) is None


def test_credit_counts_from_where_some_last_came_in():
    """$980 were used when $20 came: of those $20, $15 are used now."""
    credit = CreditState(ceiling_p=1_000 * PICO, used_p=995 * PICO)

    allowance = credit_allowance(ACCOUNT, ON_CREDIT, credit, 980 * PICO)

    assert allowance is not None
    assert (20 * PICO, 15 * PICO) == (allowance.limit_p, allowance.used_p)
    assert credit_allowance(ACCOUNT, TIER, credit, 0) is None
