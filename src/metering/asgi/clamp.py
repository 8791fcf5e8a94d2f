"""The clamp piece: what a request may write."""

from starlette.types import ASGIApp, Receive, Scope

from metering.asgi.body import read_call
from metering.asgi.context import Call
from metering.asgi.lowering import lower
from metering.asgi.parts import Parts
from metering.asgi.piece import Piece
from metering.asgi.refusal import Refusal
from metering.facts import RequestFacts
from metering.resolved import Resolved

__all__ = ["ClampMiddleware"]


class ClampMiddleware(Piece):
    """Lowers the output asked for to the cap of the tier, or refuses what is above it.

    Which of the two, `parts.clamp` says.

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
            cap = self._cap_of(call.caller, call.facts)
        if cap is None:
            return None
        if self.parts.clamp == "strict":
            refusal = _asks_for_more(call.facts, cap)
            if refusal is not None:
                return refusal
        lower(call, call.facts, cap)
        return None

    def _cap_of(self, caller: Resolved, facts: RequestFacts) -> int:
        biller = self.parts.biller
        model = None if biller is None else biller.model(facts.model)
        if model is not None and model.reasoning:
            return caller.reasoning_output_tokens_max
        return caller.output_tokens_max


def _asks_for_more(facts: RequestFacts, cap: int) -> Refusal | None:
    """Return why a request above the cap is refused, and None for one within it.

    One that names no bound, or what servers take for none, asks for no amount.
    """
    named = (*facts.output_bounds, *facts.output_floors)
    field, asked = max(
        ((bound.field, bound.tokens or 0) for bound in named),
        key=lambda bound: bound[1],
        default=("", 0),
    )
    if asked <= cap:
        return None
    return Refusal(
        "request_exceeds_limit",
        f"{field} asks for {asked:,} output tokens; the account may have {cap:,} in one"
        f" output. Ask for at most {cap}.",
        details={"limit": cap, "asked": asked},
    )
