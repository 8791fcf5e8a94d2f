"""Lowering the output a request asks for to the cap of its tier. Pure."""

import msgspec

from metering.facts import OutputBound, RequestFacts

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
    a smaller one stays. A bound without a value is given the largest of the others, or
    the cap: it must not widen what the client named. Where there is no bound, the
    dialect's own field is written, with what its absence means if that is less. A
    floor above the cap is lowered to it.

    Args:
        facts: What the request asks for.
        output_tokens_max: The cap, at least 1.
    """
    if not facts.generates:
        return ClampPlan(0)
    cap = output_tokens_max
    floors = _lowered(facts.output_floors, cap, cap)
    if not facts.output_bounds:
        field, default = facts.output_field, facts.output_default
        allowed = cap if default is None or default > cap else default
        return ClampPlan(allowed, ((field, allowed), *floors) if field else floors)
    named = [b.tokens for b in facts.output_bounds if b.tokens is not None]
    largest = max(named, default=cap)
    allowed = min(largest, cap)
    changes = _lowered(facts.output_bounds, cap, allowed) + floors
    return ClampPlan(allowed, changes, largest if largest > cap else None)


def _lowered(
    bounds: tuple[OutputBound, ...], cap: int, tokens: int
) -> tuple[tuple[str, int], ...]:
    return tuple(
        (bound.field, tokens)
        for bound in bounds
        if bound.tokens is None or bound.tokens > cap
    )
