"""Lowering the output a request asks for to the cap of its tier. Pure."""

import msgspec

from metering.facts import RequestFacts

__all__ = ["ClampPlan", "plan_clamp"]


class ClampPlan(msgspec.Struct, frozen=True, gc=False):
    """What to write into a request, and what it may then write itself.

    Attributes:
        output_tokens_max: Most tokens that one output may have.
        changes: Members to write: field and value. Empty: leave the body as it is.
        clamped_from: What was asked for, where that was lowered; None where the
            request stayed as it was or had named no bound.
    """

    output_tokens_max: int
    changes: tuple[tuple[str, int], ...] = ()
    clamped_from: int | None = None


def plan_clamp(facts: RequestFacts, output_tokens_max: int) -> ClampPlan:
    """Return how to hold a request to *output_tokens_max* tokens an output.

    Every bound above the cap is lowered, for servers differ in which of two they obey;
    a bound without a value is given the cap; a smaller one stays. Where there is none,
    the dialect's own field is written.

    Args:
        facts: What the request asks for.
        output_tokens_max: The cap, at least 1.
    """
    if not facts.generates:
        return ClampPlan(0)
    if not facts.output_bounds:
        return ClampPlan(output_tokens_max, ((facts.output_field, output_tokens_max),))
    changes: list[tuple[str, int]] = []
    asked = 0
    for bound in facts.output_bounds:
        if bound.tokens is None:
            changes.append((bound.field, output_tokens_max))
        elif bound.tokens > output_tokens_max:
            changes.append((bound.field, output_tokens_max))
            asked = max(asked, bound.tokens)
    largest = max(
        output_tokens_max if bound.tokens is None else bound.tokens
        for bound in facts.output_bounds
    )
    return ClampPlan(min(largest, output_tokens_max), tuple(changes), asked or None)
