"""Writing a lower bound into a request: its tier's cap, or what its hold pays for."""

from typing import Literal

import msgspec

from metering.asgi.context import Call
from metering.billing import affordable_output_tokens
from metering.clamp import plan_clamp, written_budget
from metering.facts import RequestFacts
from metering.quota import Verdict

__all__ = ["ClampMode", "fit", "least_output_tokens", "lower"]

ClampMode = Literal["cap", "strict", "fit"]
"""`cap`: what asks for more is lowered to the cap. `strict`: it is refused. `fit`: it
is lowered to the cap, and further to what the room that is left pays for."""

_OUTPUT_TOKENS_MIN = 16
"""An answer below it is not worth having; OpenAI's Responses refuse a lower bound."""


def lower(call: Call, facts: RequestFacts, output_tokens_max: int) -> None:
    """Plan to write what holds the call to so many tokens an output."""
    call.clamp = plan = plan_clamp(facts, output_tokens_max)
    for name, tokens in plan.changes:
        call.changes[name] = b"%d" % tokens
    budget, reasoning = facts.reasoning, plan.reasoning_tokens
    if budget is not None and reasoning is not None and call.members is not None:
        member = bytes(call.members[budget.field])
        call.changes[budget.field] = written_budget(budget, member, reasoning)


def least_output_tokens(call: Call, facts: RequestFacts) -> int | None:
    """Return how short each output may be cut at most; None where it cannot be cut.

    It cannot where it is not billed by its tokens, or where no bound can be written.
    """
    clamp, price = call.clamp, None if call.quote is None else call.quote.price
    if clamp is None or price is None or price.kind != "token":
        return None
    if not facts.generates or not (facts.output_bounds or facts.output_field):
        return None
    return min(clamp.output_tokens_max, _OUTPUT_TOKENS_MIN)


def fit(call: Call, verdicts: tuple[Verdict, ...]) -> None:
    """Lower the call to what the money that it was granted pays for.

    From here on it demands no more than that. Of several budgets the one that grants
    least counts.
    """
    for at, (demand, verdict) in enumerate(zip(call.demands, verdicts, strict=True)):
        if demand.cost_min is None or verdict.reason or call.facts is None:
            continue
        granted_p = verdict.granted
        if granted_p < call.hold_p:
            call.hold_p = granted_p
            tokens = affordable_output_tokens(call.quote, call.facts, granted_p)
            # Rounded down, where each part of the price is rounded up by itself: what
            # was demanded at least is paid for all the same.
            least = least_output_tokens(call, call.facts) or 0
            lower(call, call.facts, max(tokens, least))
        call.demands[at] = msgspec.structs.replace(
            demand, cost=granted_p, cost_min=None
        )
