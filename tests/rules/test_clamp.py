"""The clamp holds every output to the cap, and touches nothing that is within it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering.clamp import ClampPlan, plan_clamp, written_budget
from metering.facts import OutputBound, ReasoningBudget, RequestFacts

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


@given(
    cap=st.integers(1, 100_000),
    asked=st.integers(1025, 200_000),
    budget=st.integers(1024, 200_000),
)
def test_reasoning_stays_below_a_lowered_bound(
    cap: int, asked: int, budget: int
) -> None:
    """What a server would accept stays so, and an answer keeps its share."""
    thinking = ReasoningBudget("thinking", "budget_tokens", budget, 1024, b"off")
    plan = plan_clamp(facts(OutputBound(MAX, asked), reasoning=thinking), cap)
    allowed, left = plan.output_tokens_max, plan.reasoning_tokens

    if budget >= asked:  # refused, or never a part of the bound
        assert left is None
    elif left is None:
        assert budget < allowed
        assert budget == 1024 or allowed == asked
    elif left == 0:
        assert allowed <= 1024
    else:
        assert 1024 <= left < allowed
        assert left == 1024 or left * asked <= budget * allowed


@given(
    cap=st.integers(1, 100_000),
    asked=st.none() | st.integers(1, 200_000),
    budget=st.integers(0, 200_000),
)
def test_an_answer_keeps_its_share_where_any_budget_is_accepted(
    cap: int, asked: int | None, budget: int
) -> None:
    """At least half where no bound was named, else what the client itself left."""
    thinking = ReasoningBudget("thinking_token_budget", "", budget)
    bounds = () if asked is None else (OutputBound(MAX, asked),)
    plan = plan_clamp(facts(*bounds, reasoning=thinking), cap)
    allowed, left = plan.output_tokens_max, plan.reasoning_tokens
    thought = budget if left is None else left

    if asked is None:
        assert thought == min(budget, allowed // 2)
    elif budget >= asked:
        assert left is None
    else:
        assert (allowed - thought) * asked >= (asked - budget) * allowed
        assert left is None or left < budget


@pytest.mark.parametrize(
    ("tokens", "written"),
    [
        (2000, b'{"type":"enabled","n":2000,"display":"omitted"}'),
        (0, b"off"),
    ],
)
def test_a_budget_is_written_where_it_was(tokens: int, written: bytes) -> None:
    """All else of its member stays; without reasoning the member says just that."""
    member = b'{"type":"enabled","n":16000,"display":"omitted"}'
    budget = ReasoningBudget("thinking", "n", 16_000, 1024, b"off")

    assert written_budget(budget, member, tokens) == written


@pytest.mark.parametrize("tokens", [0, 2000])
def test_a_budget_that_is_a_count_is_written_as_one(tokens: int) -> None:
    """At the top level, or among members that are none of its business."""
    whole = ReasoningBudget("thinking_token_budget", "", 16_000)
    inner = ReasoningBudget("custom_params", "n", 16_000)

    assert written_budget(whole, b"16000", tokens) == b"%d" % tokens
    assert written_budget(inner, b'{"a":[1],"n":16000}', tokens) == (
        b'{"a":[1],"n":%d}' % tokens
    )
