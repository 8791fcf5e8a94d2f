"""The tier piece: who calls, and what their tier allows."""

from starlette.types import ASGIApp, Receive, Scope, Send

from metering.asgi.admission import StaleAccountError
from metering.asgi.callers import known_caller, why_suspended
from metering.asgi.context import Call, call_of
from metering.asgi.parts import Parts
from metering.asgi.piece import Piece
from metering.asgi.refusal import Refusal
from metering.errors import ConfigurationError

__all__ = ["TierMiddleware"]


class TierMiddleware(Piece):
    """Finds the account of each call; refuses callers it does not know.

    Keys are taken from `Authorization: Bearer`, `x-api-key` or `api-key`, before the
    body is read. Needs `parts.resolver`.
    """

    name = "tier"

    def __init__(self, app: ASGIApp, parts: Parts) -> None:
        super().__init__(app, parts)
        if parts.resolver is None:
            raise ConfigurationError(
                "TierMiddleware needs a resolver: Parts(resolver=TierResolver(...))."
            )
        self._resolver = parts.resolver

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Resolve and hand on; once more if the account changed meanwhile."""
        try:
            await super().__call__(scope, receive, send)
        except StaleAccountError:
            call = call_of(scope)
            if call is None:
                raise
            call.start_over()
            plans = (self._plan_anew, *self.plans[1:])
            await self._attempt(call, scope, receive, send, plans)

    async def plan(self, call: Call, scope: Scope, receive: Receive) -> Refusal | None:  # noqa: ARG002 - the body is not needed
        """Find the account, or refuse."""
        if self.parts.ready is not None:
            await self.parts.ready()
        return await self._resolve(call, scope, fresh=False)

    async def _plan_anew(
        self,
        call: Call,
        scope: Scope,
        receive: Receive,  # noqa: ARG002 - the body is not needed
    ) -> Refusal | None:
        return await self._resolve(call, scope, fresh=True)

    async def _resolve(
        self, call: Call, scope: Scope, *, fresh: bool
    ) -> Refusal | None:
        caller = await known_caller(scope, self.parts, self._resolver, fresh=fresh)
        if isinstance(caller, Refusal):
            return caller
        call.caller = caller
        return why_suspended(caller)
