"""The billing piece: the price of a call is frozen, and its worst case demanded."""

import msgspec
from starlette.types import ASGIApp, Receive, Scope

from metering.asgi.body import read_call
from metering.asgi.context import Call
from metering.asgi.lowering import least_output_tokens
from metering.asgi.parts import Parts
from metering.asgi.piece import Piece
from metering.asgi.refusal import NAME_SHOWN_MAX, Refusal
from metering.billing import Quote
from metering.clamp import ClampPlan
from metering.errors import ConfigurationError
from metering.facts import RequestFacts
from metering.ledger import period_of
from metering.money import AMOUNT_MAX_P, format_usd
from metering.quota import Demand
from metering.resolved import Resolved

__all__ = ["BillingMiddleware"]


class BillingMiddleware(Piece):
    """Prices each call, and demands room for the most it can cost.

    Alone it admits and records by itself. Needs `parts.biller` and `parts.limiter`,
    and an account on the call: put TierMiddleware outside it. Without a clamp it takes
    the bound that the request names, or the model's context length; without a meter
    a stream that does not tell its usage is estimated.
    """

    name = "billing"

    def __init__(self, app: ASGIApp, parts: Parts) -> None:
        super().__init__(app, parts)
        if parts.biller is None or parts.limiter is None:
            raise ConfigurationError(
                "BillingMiddleware needs a biller and a limiter:"
                " Parts(biller=Biller(...), limiter=Limiter(store, ...))."
            )
        self._biller = parts.biller

    async def plan(self, call: Call, scope: Scope, receive: Receive) -> Refusal | None:
        """Freeze price and period, and demand the worst case."""
        if call.caller is None:
            raise ConfigurationError(
                "BillingMiddleware found no account on the call. Put TierMiddleware"
                " outside it; Metering.wrap does."
            )
        refusal = await read_call(call, scope, receive, self.parts.body_bytes_max)
        if refusal is not None or call.members is None:
            return refusal
        if self.parts.unmetered_refused and call.facts and call.facts.unmetered:
            return _not_metered(call.facts.unmetered)
        return self._price(call, call.caller)

    def _price(self, call: Call, caller: Resolved) -> Refusal | None:
        facts, biller = call.facts, self._biller
        if facts is None or not facts.model:
            # vLLM and llama-cpp-python answer with their default model, for nothing.
            return Refusal(
                "model_missing",
                'The request names no model. Name one of the price list: "model": "…".',
            )
        name = facts.model
        quote = biller.quote(name, caller, call.now_ns)
        if self.parts.unpriced_refused and not _prices(quote, facts):
            return _not_priced(name, quote)
        call.quote = quote
        call.period = period_of(caller.account, call.now_ns)
        call.metered = True
        cap = _output_tokens_max(call.clamp, facts, quote)
        if cap is None:
            return _output_not_bounded(name, facts)
        hold_p = biller.worst_case_p(quote, facts, cap)
        if hold_p is None:
            return Refusal(
                "input_not_bounded",
                "The input has content whose bytes do not bound its tokens, such as an"
                f" image, a file or audio, and model {name!r} has no context_tokens_max"
                " that would. Send text alone, or let the operator configure the"
                " context length.",
            )
        if hold_p > AMOUNT_MAX_P:
            return Refusal(
                "request_exceeds_limit",
                f"This call alone may cost ${format_usd(hold_p)}, more than any account"
                f" may: ${format_usd(AMOUNT_MAX_P)}. Ask for less.",
            )
        call.hold_p = hold_p
        if hold_p:
            demands = biller.demands(caller, call.period, quote, hold_p)
            if self.parts.clamp == "fit":
                demands = self._at_least(demands, call, facts, quote)
            call.demands += demands
        return None

    def _at_least(
        self, demands: list[Demand], call: Call, facts: RequestFacts, quote: Quote
    ) -> list[Demand]:
        """Say what the shortest answer worth having may cost, if it can be cut."""
        tokens = least_output_tokens(call, facts)
        if tokens is None:
            return demands
        least_p = self._biller.worst_case_p(quote, facts, tokens)
        return [msgspec.structs.replace(d, cost_min=least_p) for d in demands]


def _prices(quote: Quote, facts: RequestFacts) -> bool:
    """Whether there is a price, and the request has what it is a price of."""
    if quote.price is None:
        return False
    kind = quote.price.kind
    if kind == "audio":
        return facts.audio is not None
    return kind != "image" or facts.images > 0


def _not_priced(name: str, quote: Quote) -> Refusal:
    known = f"The model {name[:NAME_SHOWN_MAX]!r}"
    if quote.price is None:
        return Refusal(
            "model_not_priced",
            f"{known} has no price now, and nothing is served unpriced. Name a model of"
            " the price list, or let the operator add its price.",
        )
    return Refusal(
        "model_not_priced",
        f"{known} is priced by {quote.price.kind} alone, and this request has none."
        f" Send it where {quote.price.kind} belongs, or let the operator add a price of"
        " tokens.",
    )


def _output_not_bounded(name: str, facts: RequestFacts) -> Refusal:
    way_on = (
        "Let the operator configure context_tokens_max"
        if facts.output_unbounded
        else "Name max_tokens, or let the operator configure context_tokens_max or put"
        " ClampMiddleware outside BillingMiddleware"
    )
    return Refusal(
        "output_not_bounded",
        f"Nothing bounds what model {name!r} may write. {way_on}.",
    )


def _not_metered(member: str) -> Refusal:
    return Refusal(
        "route_not_metered",
        f"What a request runs with {member!r} is not metered here, and nothing is"
        f" served unmetered. Leave {member!r} out.",
    )


def _output_tokens_max(
    clamp: ClampPlan | None, facts: RequestFacts, quote: Quote
) -> int | None:
    """Return the most tokens one output may have; None where nothing bounds them."""
    if facts.output_unbounded and quote.price and quote.price.kind == "token":
        return None if quote.model is None else quote.model.context_tokens_max
    if clamp is not None:
        return clamp.output_tokens_max
    if not facts.generates or quote.price is None or quote.price.kind != "token":
        return 0
    context = None if quote.model is None else quote.model.context_tokens_max
    named = [b.tokens for b in facts.output_bounds if b.tokens is not None]
    if not named or len(named) < len(facts.output_bounds):
        return context
    return max(named) if context is None else min(max(named), context)
