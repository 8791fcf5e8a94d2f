"""The billing piece: the price of a call is frozen, and its worst case demanded."""

from starlette.types import Receive, Scope

from metering.asgi.body import read_call
from metering.asgi.context import Call
from metering.asgi.piece import Piece
from metering.asgi.refusal import NAME_SHOWN_MAX, Refusal
from metering.billing import Biller
from metering.errors import ConfigurationError
from metering.ledger import period_at
from metering.money import AMOUNT_MAX_P, format_usd

__all__ = ["BillingMiddleware"]


class BillingMiddleware(Piece):
    """Prices each call, and demands room for the most it can cost.

    Alone it admits and records by itself. Needs `parts.biller` and `parts.limiter`,
    and an account on the call: put TierMiddleware outside it.
    """

    name = "billing"

    async def plan(self, call: Call, scope: Scope, receive: Receive) -> Refusal | None:
        """Freeze price and period, and demand the worst case."""
        biller = self.parts.biller
        if biller is None or self.parts.limiter is None or call.caller is None:
            raise ConfigurationError(
                "BillingMiddleware found no biller, no limiter or no account on the"
                " call. Give its Parts a biller and a limiter, and put TierMiddleware"
                " outside it; Metering.wrap does both."
            )
        refusal = await read_call(call, scope, receive, self.parts.body_bytes_max)
        if refusal is not None or call.members is None:
            return refusal
        return self._price(call, biller)

    def _price(self, call: Call, biller: Biller) -> Refusal | None:
        facts, caller = call.facts, call.caller
        name = "" if facts is None else facts.model
        quote = biller.quote(name, caller, call.now_ns)
        if facts is None or (quote.price is None and self.parts.unpriced_refused):
            return Refusal(
                "model_not_priced",
                f"The model {name[:NAME_SHOWN_MAX]!r} has no price now, and nothing is"
                " served unpriced. Name a model of the price list, or let the operator"
                " add its price.",
            )
        call.quote = quote
        call.period = period_at(call.now_ns)
        call.metered = True
        cap = 0 if call.clamp is None else call.clamp.output_tokens_max
        if call.clamp is None and facts.generates and quote.model is not None:
            cap = quote.model.context_tokens_max or 0
        hold_p = biller.worst_case_p(quote, facts, cap)
        if hold_p is None:
            return Refusal(
                "input_not_bounded",
                f"The input names content by reference, and model {name!r} has no"
                " context_tokens_max that would bound its cost. Send the content"
                " itself, or let the operator configure the context length.",
            )
        if hold_p > AMOUNT_MAX_P:
            return Refusal(
                "request_exceeds_limit",
                f"This call alone may cost ${format_usd(hold_p)}, more than any account"
                f" may: ${format_usd(AMOUNT_MAX_P)}. Ask for less output.",
            )
        call.hold_p = hold_p
        if caller is not None and hold_p:
            demand = biller.demand(caller, call.period, hold_p)
            if demand is not None:
                call.demands.append(demand)
        return None
