"""The clamp piece: what a request may write."""

from starlette.types import ASGIApp, Receive, Scope

from metering.asgi.body import read_call
from metering.asgi.context import Call
from metering.asgi.parts import Parts
from metering.asgi.piece import Piece
from metering.asgi.refusal import Refusal
from metering.clamp import plan_clamp, written_budget
from metering.facts import RequestFacts

__all__ = ["ClampMiddleware"]


class ClampMiddleware(Piece):
    """Lowers the output asked for to the cap of the tier.

    Args:
        app: What to wrap.
        parts: What the pieces share.
        output_tokens_max: Cap for callers without a tier; None leaves them alone.
    """

    name = "clamp"

    def __init__(
        self, app: ASGIApp, parts: Parts, *, output_tokens_max: int | None = None
    ) -> None:
        super().__init__(app, parts)
        self._output_tokens_max = output_tokens_max

    async def plan(self, call: Call, scope: Scope, receive: Receive) -> Refusal | None:
        """Plan what to write into the body."""
        refusal = await read_call(call, scope, receive, self.parts.body_bytes_max)
        if refusal is not None or call.facts is None:
            return refusal
        cap = self._output_tokens_max
        if call.caller is not None:
            cap = call.caller.output_tokens_max
        if cap is not None:
            _lower(call, call.facts, cap)
        return None


def _lower(call: Call, facts: RequestFacts, cap: int) -> None:
    call.clamp = plan = plan_clamp(facts, cap)
    for name, tokens in plan.changes:
        call.changes[name] = b"%d" % tokens
    budget, reasoning = facts.reasoning, plan.reasoning_tokens
    if budget is not None and reasoning is not None and call.members is not None:
        member = bytes(call.members[budget.field])
        call.changes[budget.field] = written_budget(budget, member, reasoning)
