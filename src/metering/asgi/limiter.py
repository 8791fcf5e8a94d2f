"""The limiter piece: what a call demands of its caller's tier and of the limits."""

from collections.abc import Iterator

from starlette.types import ASGIApp, Receive, Scope

from metering.asgi.body import read_call
from metering.asgi.context import Call
from metering.asgi.parts import Parts
from metering.asgi.piece import Piece
from metering.asgi.refusal import Refusal
from metering.asgi.subjects import FromBody
from metering.errors import ConfigurationError
from metering.facts import RequestFacts
from metering.limit_rules import demands_of
from metering.quota import Demand, RateQuota

__all__ = ["LimiterMiddleware"]


class LimiterMiddleware(Piece):
    """Demands a request of the tier's quota for the model's class, and of each limit.

    Needs `parts.limiter`; the limits are `parts.limits`.

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
        limits = parts.limits
        self._counts_tokens = any(rule.unit.endswith("tokens") for rule in limits)
        in_body = {"model"} | {
            name for name, of in parts.subjects.items() if isinstance(of, FromBody)
        }
        self._reads = self._counts_tokens or parts.platform is not None
        self._reads = self._reads or any(
            rule.models or in_body & set(rule.per) for rule in limits
        )
        self._shared: tuple[Demand, ...] = ()
        if requests is not None:
            self._shared = (Demand("{all}:rpm", requests, 1, None, "requests"),)

    async def plan(self, call: Call, scope: Scope, receive: Receive) -> Refusal | None:
        """Demand one request, and what the limits count."""
        demands = self._shared
        if call.caller is not None:
            kind = call.model_class
            demands = call.caller.requests.get(kind, ())
            if kind in call.caller.adaptive:
                demands = self._adaptive(call, call.caller.account.id)
        if self._reads:
            refusal = await read_call(call, scope, receive, self.parts.body_bytes_max)
            if refusal is not None:
                return refusal
        if self.parts.limits:
            demands = (*demands, *self._limits(call, scope))
        # Before those on money: where both refuse, a client hears of the longer one.
        call.demands[:0] = demands
        return None

    def _adaptive(self, call: Call, account_id: str) -> tuple[Demand, ...]:
        """Return a demand on what the platform can spare just now."""
        platform = self.parts.platform
        if platform is None or call.facts is None:
            return ()
        return (platform.upstream(call.model).demand(account_id),)

    def _limits(self, call: Call, scope: Scope) -> Iterator[Demand]:
        caller, facts, model = call.caller, call.facts, call.model
        subjects = {
            "account": None if caller is None else caller.account.id,
            "key": None if caller is None else caller.key_id or None,
            "model": model or None,
            "everyone": "",
        }
        members = call.members or {}
        subjects |= {
            name: of.of(members) if isinstance(of, FromBody) else of(scope)
            for name, of in self.parts.subjects.items()
        }
        input_tokens = output_tokens = 0
        if facts is not None and self._counts_tokens:
            input_tokens = call.estimate_input_tokens()
            output_tokens = _output_tokens_max(call, facts) * facts.outputs
        tier = None if caller is None else caller.tier.level
        for rule in self.parts.limits:
            if rule.covers(tier, model):
                if rule.unit.endswith("tokens") and facts is not None:
                    call.metered = True  # to be settled by what it did use
                yield from demands_of(
                    rule,
                    subjects,
                    input_tokens=input_tokens,
                    output_tokens=output_tokens,
                )


def _output_tokens_max(call: Call, facts: RequestFacts) -> int:
    """Return the most tokens that one output may have; 0 where nothing bounds it."""
    if call.clamp is not None:
        return call.clamp.output_tokens_max
    return max((bound.tokens or 0 for bound in facts.output_bounds), default=0)
