"""The operator's page of one account: what can be done with it."""

import secrets
from collections.abc import Sequence
from typing import Literal

from metering.console.api import plan, reading
from metering.console.api.asked import OwnedQuery
from metering.console.api.documents import AgreedRequests, AgreementShown
from metering.console.pages.acts import ACTS, ActName, Typed
from metering.console.pages.filling import FieldError
from metering.console.pages.page import Answer, Goto, Look, Wrong
from metering.console.pages.periods import choices
from metering.errors import ConfigurationError, LedgerError

__all__ = ["ManagePage", "act", "manage"]

_PERIODS = (("1", "second"), ("60", "minute"), ("3600", "hour"), ("86400", "day"))


class ManagePage(OwnedQuery, frozen=True, kw_only=True):
    """Whose page it is, and what was just done."""

    done: ActName | Literal["created"] | None = None


async def manage(look: Look, query: ManagePage) -> Answer:
    """Show an account as an operator has it, and the forms that change it."""
    services, viewer = look.services, look.viewer
    account = await reading.account(services, viewer, look.asked(OwnedQuery))
    book = await plan.tiers(services, viewer, look.asked(OwnedQuery))
    models = sorted(model.name for model in services.prices.models)
    return {
        "account": account,
        "done": query.done,
        "tiers": [("", "Follows from payments")]
        + [(tier.level, tier.name) for tier in book.tiers],
        "models": [("", "Any model"), *((name, name) for name in models)],
        "closable": choices(look.owner, look.now_ns)[1:],
        "agreed": _typed(account.agreed),
        "periods_of": _periods_of,
        # A name that nothing else has: whoever sends the form twice gives credit once.
        "reference": f"console-{secrets.token_hex(6)}",
        "typed": None,
        "wrong": {},
        "ask": None,
    }


async def act(look: Look, typed: Typed) -> Answer | Goto | Wrong:
    """Do what a form asks for, or ask whether it is meant."""
    services, doing = look.services, ACTS[typed.do]
    try:
        body = doing.body(look.owner, typed, services.prices)
        if typed.change:
            return {"typed": typed}
        if doing.ask is not None and not typed.confirmed:
            return {"typed": typed, "ask": doing.ask(body)}
        await doing.run(services, body)
    except FieldError as error:
        return Wrong({"typed": typed, "wrong": {error.field: str(error)}})
    except (ConfigurationError, LedgerError) as error:
        return Wrong({"typed": typed, "wrong": {"": str(error)}})
    return Goto("/account", {"done": typed.do})


def _typed(agreed: AgreementShown) -> Typed:
    """Return what is agreed as it would be typed."""
    paid, free = (agreed.requests.get(kind) for kind in ("paid", "free"))
    return Typed(
        do="agreement",
        usage_limit_usd=agreed.usage_limit_usd or "",
        output_tokens_max=_number(agreed.output_tokens_max),
        reasoning_output_tokens_max=_number(agreed.reasoning_output_tokens_max),
        paid_amount="" if paid is None else str(paid.amount),
        paid_per_s=_per_s(paid),
        paid_burst=_burst(paid),
        free_amount="" if free is None else str(free.amount),
        free_per_s=_per_s(free),
        free_burst=_burst(free),
        prices="\n".join(
            f"{name} {each.input_usd} {each.output_usd}"
            for name, each in agreed.prices.items()
        ),
    )


def _number(value: int | None) -> str:
    return "" if value is None else str(value)


def _per_s(rate: AgreedRequests | None) -> str:
    return "60" if rate is None else f"{rate.per_s:.12g}"


def _burst(rate: AgreedRequests | None) -> str:
    return "" if rate is None or rate.burst == rate.amount else str(rate.burst)


def _periods_of(chosen: str) -> Sequence[tuple[str, str]]:
    """Return the periods of a request limit, with the one that is chosen."""
    if chosen in dict(_PERIODS):
        return _PERIODS
    return (*_PERIODS, (chosen, f"{chosen} s"))
