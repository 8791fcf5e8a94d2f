"""The clamp holds every output to the cap, and touches nothing that is within it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering.clamp import ClampPlan, plan_clamp
from metering.facts import OutputBound, RequestFacts

CAP = 4096


def facts(
    *bounds: OutputBound, floor: int | None = None, **more: object
) -> RequestFacts:
    given_floor = () if floor is None else (OutputBound("min_tokens", floor),)
    given = {"model": "m", "output_field": "max_tokens", **more}
    return RequestFacts(output_bounds=bounds, output_floors=given_floor, **given)


MAX = "max_tokens"
COMPLETION = "max_completion_tokens"


@pytest.mark.parametrize(
    ("asked", "plan"),
    [
        pytest.param(facts(), ClampPlan(CAP, ((MAX, CAP),)), id="absent is written"),
        pytest.param(
            facts(OutputBound(MAX, 32_000)),
            ClampPlan(CAP, ((MAX, CAP),), 32_000),
            id="larger is lowered",
        ),
        pytest.param(
            facts(OutputBound(MAX, 100)), ClampPlan(100), id="smaller is untouched"
        ),
        pytest.param(
            facts(OutputBound(MAX, CAP)), ClampPlan(CAP), id="the cap is within"
        ),
        pytest.param(facts(OutputBound(MAX, 0)), ClampPlan(0), id="zero is a bound"),
        pytest.param(
            facts(OutputBound(MAX, None)),
            ClampPlan(CAP, ((MAX, CAP),)),
            id="no bound is given the cap",
        ),
        pytest.param(
            facts(OutputBound(MAX, 100), OutputBound(COMPLETION, 9000)),
            ClampPlan(CAP, ((COMPLETION, CAP),), 9000),
            id="of two, each above is lowered",
        ),
        pytest.param(
            facts(OutputBound(MAX, None), OutputBound(COMPLETION, 100)),
            ClampPlan(100, ((MAX, 100),)),
            id="no bound does not widen the other",
        ),
        pytest.param(
            facts(output_field=""), ClampPlan(CAP), id="an invalid one is passed on"
        ),
        pytest.param(
            facts(OutputBound(COMPLETION, 9000), output_field=""),
            ClampPlan(CAP, ((COMPLETION, CAP),), 9000),
            id="beside an invalid one, another is lowered",
        ),
        pytest.param(
            facts(output_default=16), ClampPlan(16, ((MAX, 16),)), id="default written"
        ),
        pytest.param(
            facts(output_default=9000),
            ClampPlan(CAP, ((MAX, CAP),)),
            id="a default above the cap is the cap",
        ),
        pytest.param(
            facts(floor=5000),
            ClampPlan(CAP, ((MAX, CAP), ("min_tokens", CAP))),
            id="a floor above the cap is lowered",
        ),
        pytest.param(
            facts(OutputBound(MAX, 100), floor=50), ClampPlan(100), id="floor within"
        ),
        pytest.param(facts(generates=False), ClampPlan(0), id="nothing is generated"),
    ],
)
def test_plan(asked: RequestFacts, plan: ClampPlan) -> None:
    """Absent is written, larger is lowered, smaller and invalid are left alone."""
    assert plan_clamp(asked, CAP) == plan


counts = st.none() | st.integers(0, 2**31)


@given(
    bounds=st.lists(counts, max_size=3),
    floor=st.none() | st.integers(1, 2**31),
    cap=st.integers(1, 2**20),
    default=st.none() | st.integers(1, 100),
)
def test_nothing_above_the_cap_is_left_and_nothing_is_widened(
    bounds: list[int | None], floor: int | None, cap: int, default: int | None
) -> None:
    """After the plan every member is a number within the cap and within the plan."""
    given_bounds = [OutputBound(f"b{at}", tokens) for at, tokens in enumerate(bounds)]
    asked = facts(*given_bounds, floor=floor, output_default=default)

    plan = plan_clamp(asked, cap)

    after = {b.field: b.tokens for b in (*given_bounds, *asked.output_floors)}
    after.update(plan.changes)
    assert all(tokens is not None and tokens <= cap for tokens in after.values())
    limits = [tokens for field, tokens in after.items() if field != "min_tokens"]
    assert max(limits) == plan.output_tokens_max
    named = [tokens for tokens in bounds if tokens is not None]
    assert plan.output_tokens_max <= max(named, default=cap)
    assert plan.clamped_from == (max(named) if named and max(named) > cap else None)
