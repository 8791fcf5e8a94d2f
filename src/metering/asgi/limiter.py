"""The limiter piece: one request's demand on the request quota of its caller."""

from starlette.types import ASGIApp, Receive, Scope

from metering.asgi.context import Call
from metering.asgi.parts import Parts
from metering.asgi.piece import Piece
from metering.asgi.refusal import Refusal
from metering.errors import ConfigurationError
from metering.quota import Demand, RateQuota

__all__ = ["LimiterMiddleware"]


class LimiterMiddleware(Piece):
    """Demands a request of the tier's quota for the model's class.

    Needs `parts.limiter`.

    Args:
        app: What to wrap.
        parts: What the pieces share.
        requests: Quota for all callers without a tier together; None: not limited.
    """

    name = "limiter"

    def __init__(
        self, app: ASGIApp, parts: Parts, *, requests: RateQuota | None = None
    ) -> None:
        super().__init__(app, parts)
        if parts.limiter is None:
            raise ConfigurationError(
                "LimiterMiddleware needs a limiter: Parts(limiter=Limiter(store, ...))."
            )
        self._shared: Demand | None = None
        if requests is not None:
            self._shared = Demand("{all}:rpm", requests, 1, None, "requests")

    async def plan(self, call: Call, scope: Scope, receive: Receive) -> Refusal | None:  # noqa: ARG002 - the body is not needed
        """Demand one request."""
        demand = self._shared
        if call.caller is not None:
            kind = "paid" if call.quote is None else call.quote.model_class
            demand = call.caller.requests.get(kind)
        if demand is not None:
            call.demands.insert(0, demand)
        return None
