"""Lowering the output a request asks for to the cap of its tier. Pure."""

import msgspec

from metering.facts import OutputBound, ReasoningBudget, RequestFacts

__all__ = ["ClampPlan", "plan_clamp", "written_budget"]

_members = msgspec.json.Decoder(dict[str, msgspec.Raw])


class ClampPlan(msgspec.Struct, frozen=True, gc=False):
    """What to write into a request, and what it may then write itself.

    Attributes:
        output_tokens_max: Most tokens that one output may have.
        changes: Members to write: field and value. Empty: leave the body as it is.
        clamped_from: What was asked for, where that was lowered; None where the
            request stayed as it was or had named no bound.
        reasoning_tokens: What of it reasoning may take: 0 for none at all, None where
            that part of the request stays as it is.
    """

    output_tokens_max: int
    changes: tuple[tuple[str, int], ...] = ()
    clamped_from: int | None = None
    reasoning_tokens: int | None = None


def plan_clamp(facts: RequestFacts, output_tokens_max: int) -> ClampPlan:
    """Return how to hold a request to *output_tokens_max* tokens an output.

    Every bound above the cap is lowered, for servers differ in which of two they obey;
    a smaller one stays. A bound without a value is given the largest of the others, or
    the cap: it must not widen what the client named. Where there is no bound, the
    dialect's own field is written, with what its absence means if that is less. A
    floor above the cap is lowered to it, and what is set aside for reasoning in
    proportion to the bound, so that an answer keeps its share.

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
        if not field:
            return ClampPlan(allowed, floors)
        changes = ((field, allowed), *floors)
        return ClampPlan(allowed, changes, None, _reasoning(facts, None, allowed))
    named = [b.tokens for b in facts.output_bounds if b.tokens is not None]
    largest = max(named, default=cap)
    allowed = min(largest, cap)
    return ClampPlan(
        allowed,
        _lowered(facts.output_bounds, cap, allowed) + floors,
        largest if largest > cap else None,
        _reasoning(facts, largest if named else None, allowed),
    )


def written_budget(budget: ReasoningBudget, member: bytes, tokens: int) -> bytes:
    """Return the member of a reasoning budget with another count, 0 for no reasoning.

    Args:
        budget: The budget.
        member: The member as it was sent: a JSON object, or the count.
        tokens: What reasoning may take.
    """
    if not tokens and budget.off:
        return budget.off
    if not budget.name:
        return b"%d" % tokens
    members = _members.decode(member)
    members[budget.name] = msgspec.Raw(b"%d" % tokens)
    return msgspec.json.encode(members)


def _reasoning(facts: RequestFacts, asked: int | None, allowed: int) -> int | None:
    """Return what reasoning may take of *allowed* tokens where *asked* were asked for.

    A budget above what was asked for is refused by the app or, where reasoning goes on
    between calls of tools, was never a part of it; either way it stays.
    """
    budget = facts.reasoning
    if budget is None or budget.tokens < budget.tokens_min:
        return None
    if asked is None:
        share = min(budget.tokens, allowed // 2)
    elif budget.tokens < asked:
        share = budget.tokens * allowed // asked
    else:
        return None
    share = max(share, budget.tokens_min)
    if share >= allowed:
        return 0
    return share if share < budget.tokens else None


def _lowered(
    bounds: tuple[OutputBound, ...], cap: int, tokens: int
) -> tuple[tuple[str, int], ...]:
    return tuple(
        (bound.field, tokens)
        for bound in bounds
        if bound.tokens is None or bound.tokens > cap
    )
