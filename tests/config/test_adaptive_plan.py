"""Adaptive tiers in a plan: who is of which class, which models share a pool."""

from typing import Any

import pytest

from metering.config import agreed_overrides, load_plan
from metering.config.plan import Plan
from metering.errors import ConfigurationError

PLAN = """
[plan]
name = "p"

{adaptive}

[[tiers]]
level = 0
name = "Spare"
output_tokens_max = "4K"
requests = {{ paid = "{paid}", free = "adaptive" }}

[[tiers]]
level = 1
name = "Low"
payment_method = true
output_tokens_max = "4K"
requests = {{ paid = "100/minute" }}

[[tiers]]
level = 2
name = "High"
lifetime_spend = "50"
output_tokens_max = "4K"

[[models]]
name = "small"
aliases = ["tiny"]
prices = [{{ kind = "token", input = "1", output = "1" }}]

[[models]]
name = "large"
prices = [{{ kind = "token", input = "1", output = "1" }}]
"""


def plan(adaptive: str = "", paid: str = "adaptive") -> Plan:
    return load_plan(PLAN.format(adaptive=adaptive, paid=paid), source="p.toml")


def settings(adaptive: str = "", paid: str = "adaptive") -> Any:
    return plan(adaptive, paid).adaptive


def test_without_a_table_the_defaults_hold_and_each_model_has_a_pool() -> None:
    adaptive = settings()

    assert (0.5, 60.0) == (adaptive.pool.floor_rpm, adaptive.pool.ceiling_rpm)
    assert {"small": "small", "large": "large"} == adaptive.pools
    assert {} == adaptive.gauges


def test_tiers_that_pay_are_touched_in_their_order_and_the_highest_never_waits() -> (
    None
):
    """What was agreed with an account of the lowest counts as the lowest that pays."""
    adaptive = settings("[adaptive]\nwait_max_s = 2")
    classes = adaptive.pool.classes

    assert {0: 1, 1: 1, 2: 2} == adaptive.classes
    assert [80, 1000, 8000] == [klass.delay_ns // 10**6 for klass in classes]
    assert [2, 2, 0] == [klass.wait_max_ns // 10**9 for klass in classes]


def test_a_tier_may_be_adaptive_for_some_models_and_have_a_rate_for_others() -> None:
    """Its calls under the rate are of a class that pays."""
    lowest = plan(paid="10/minute").tiers.tiers[0]

    assert {"free"} == lowest.adaptive
    assert ["paid"] == list(lowest.requests)
    assert {0: 1, 1: 2, 2: 3} == settings(paid="10/minute").classes


def test_models_share_a_pool_and_its_gauges_where_the_plan_says_so() -> None:
    adaptive = settings(
        '[[adaptive.pools]]\nname = "h100"\nmodels = ["small", "large"]\n'
        'gauges = "http://127.0.0.1:8000/metrics"'
    )

    assert {"small": "h100", "large": "h100"} == adaptive.pools
    assert {"h100": "http://127.0.0.1:8000/metrics"} == adaptive.gauges


def pool(name: str, *models: str) -> str:
    return f'[[adaptive.pools]]\nname = "{name}"\nmodels = {[*models]}\n'


@pytest.mark.parametrize(
    ("adaptive", "path", "why"),
    [
        ("[adaptive]\nfloor_rpm = 61", "adaptive", "floor not above the ceiling"),
        ("[adaptive]\nwait_max_s = 61", "adaptive.wait_max_s", "0 to 60"),
        ("[adaptive]\nceiling_rpm = true", "adaptive.ceiling_rpm", "requests a minute"),
        (pool("a", "gpt"), "adaptive.pools[0].models[0]", "no such model"),
        (pool("a", "tiny"), "adaptive.pools[0].models[0]", "alias: write 'small'"),
        (
            pool("a", "small") + pool("b", "small"),
            "adaptive.pools[1].models[0]",
            "in a pool already",
        ),
        (pool("a", "small") * 2, "adaptive.pools[1].name", "Another pool"),
        (pool("others", "small"), "adaptive.pools[0].name", "Another pool"),
        (pool("large", "small"), "adaptive.pools[0].name", "not in it is called so"),
        (pool("a"), "adaptive.pools[0].models", "names of models"),
        (
            pool("a", "small") + 'gauges = "ftp://h"',
            "adaptive.pools[0].gauges",
            "a URL, such as",
        ),
    ],
)
def test_what_cannot_be_is_named_with_its_place(
    adaptive: str, path: str, why: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        plan(adaptive)

    assert str(caught.value).startswith(f"p.toml: {path} ")
    assert why in str(caught.value)


def test_settings_without_an_adaptive_tier_are_refused() -> None:
    text = PLAN.format(adaptive="[adaptive]", paid="10/minute")
    with pytest.raises(ConfigurationError, match='"adaptive": leave it out'):
        load_plan(text.replace('"adaptive"', '"10/minute"'), source="p.toml")


def test_an_agreement_cannot_be_adaptive() -> None:
    """It is a contract, and tells a rate."""
    with pytest.raises(ConfigurationError, match="not a rate"):
        agreed_overrides("acme", {"requests": {"paid": "adaptive"}})
