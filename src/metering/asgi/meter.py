"""The meter piece: asks streams for their usage, and has the call recorded."""

from starlette.types import Receive, Scope

from metering.asgi.body import read_call
from metering.asgi.context import Call
from metering.asgi.piece import Piece
from metering.asgi.refusal import Refusal

__all__ = ["MeterMiddleware"]


class MeterMiddleware(Piece):
    """Reads what each call used from the response as it passes, and records it.

    Where a stream would not tell its usage, it is asked to, and what that adds is
    taken out again before the client sees it.
    """

    name = "meter"

    async def plan(self, call: Call, scope: Scope, receive: Receive) -> Refusal | None:
        """Plan to ask for usage."""
        refusal = await read_call(call, scope, receive, self.parts.body_bytes_max)
        if refusal is not None or call.facts is None or call.members is None:
            return refusal
        call.metered = True
        if call.facts.streams:
            asked = call.dialect.ask_usage(call.members)
            call.changes.update(asked)
            call.take_out_usage = bool(asked)
        return None
