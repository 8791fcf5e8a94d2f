"""What an operator does with one account: what each form asks of the API."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Any, Literal
from zoneinfo import ZoneInfo

import msgspec

from metering.accounts import Account, ModelClass
from metering.console.api import books, operating
from metering.console.api.bodies import (
    Agreed,
    AgreedRate,
    AgreedTokens,
    NewCredit,
    NewPayment,
    PaymentMethod,
    PeriodClosed,
    Suspension,
    TierPin,
)
from metering.console.pages.filling import FieldError, filled
from metering.console.pages.showing import short_usd
from metering.console.pages.words import PAYMENTS
from metering.console.services import Services
from metering.pricing import PriceBook

__all__ = ["ACTS", "Act", "ActName", "Ask", "Typed"]

ActName = Literal[
    "suspend",
    "resume",
    "payment_method",
    "tier",
    "payment",
    "credit",
    "agreement",
    "close",
]

_PRICE_WORDS = 3


class Typed(msgspec.Struct, frozen=True, kw_only=True):
    """What was typed into one of the forms of an account; "" where it has no field.

    Attributes:
        do: Which form it is.
        confirmed: Whether it was asked for again, and meant.
        change: Whether it was asked for again, and is to be changed first.
    """

    do: ActName
    confirmed: bool = False
    change: bool = False
    on_file: bool = False
    level: str = ""
    kind: str = ""
    usd: str = ""
    reference: str = ""
    refers_to: str = ""
    expires: str = ""
    model: str = ""
    period: str = ""
    usage_limit_usd: str = ""
    output_tokens_max: str = ""
    reasoning_output_tokens_max: str = ""
    paid_amount: str = ""
    paid_per_s: str = ""
    paid_burst: str = ""
    free_amount: str = ""
    free_per_s: str = ""
    free_burst: str = ""
    prices: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What is asked before something is done that cannot be undone.

    Attributes:
        title: The question.
        text: What follows from it.
        facts: What was typed, by its name.
        button: What the button says that does it.
        danger: Whether it takes something away.
    """

    title: str
    text: str
    facts: tuple[tuple[str, str], ...] = ()
    button: str
    danger: bool = False


@dataclass(frozen=True, slots=True)
class Act:
    """A form of an account.

    Attributes:
        body: Returns what the API is asked; raises `FieldError`.
        run: Does it.
        ask: Returns what is to be confirmed; None: nothing is.
    """

    body: Callable[[Account, Typed, PriceBook], Any]
    run: Callable[[Services, Any], Awaitable[object]]
    ask: Callable[[Any], Ask] | None = None


def _suspension(account: Account, typed: Typed, _: PriceBook) -> Suspension:
    return Suspension(account=account.id, suspended=typed.do == "suspend")


def _ask_suspension(body: Suspension) -> Ask:
    return Ask(
        title=f"Suspend {body.account}?",
        text="New calls are refused until you resume the account. Calls in"
        " progress continue, and it still owes what it owes.",
        button="Suspend account",
        danger=True,
    )


def _payment_method(account: Account, typed: Typed, _: PriceBook) -> PaymentMethod:
    return PaymentMethod(account=account.id, on_file=typed.on_file)


def _tier(account: Account, typed: Typed, _: PriceBook) -> TierPin:
    level = None if typed.level == "" else typed.level
    return filled(TierPin, {"account": account.id, "level": level})


def _payment(account: Account, typed: Typed, _: PriceBook) -> NewPayment:
    names = ("usd", "reference", "kind", "refers_to")
    return filled(NewPayment, _named(account, typed, names))


def _ask_payment(body: NewPayment) -> Ask:
    facts = [("Kind", PAYMENTS[body.kind]), ("Reference", body.reference)]
    if body.refers_to is not None:
        facts.append(("Refers to", body.refers_to))
    return Ask(
        title=f"Record {short_usd(body.usd)} for {body.account}?",
        text="A recorded payment cannot be deleted. Its reference counts once, and it"
        " can change the tier.",
        facts=tuple(facts),
        button="Record payment",
    )


def _credit(account: Account, typed: Typed, _: PriceBook) -> NewCredit:
    body = filled(NewCredit, _named(account, typed, ("usd", "reference")))
    return msgspec.structs.replace(
        body,
        expires=_midnight(typed.expires, account.time_zone),
        models=(typed.model,) if typed.model else None,
    )


def _midnight(day: str, time_zone: str) -> datetime | None:
    """Return the beginning of a day; None where none was typed.

    Raises:
        FieldError: It is no day.
    """
    if not day:
        return None
    try:
        on = date.fromisoformat(day)
    except ValueError:
        raise FieldError("expires", "Enter a date, such as 2026-12-31.") from None
    return datetime.combine(on, time(), ZoneInfo(time_zone))


def _ask_credit(body: NewCredit) -> Ask:
    facts = [("Reference", body.reference)]
    if body.expires is not None:
        at = body.expires
        facts.append(("Ends", f"{at.day} {at:%b %Y}, {at:%H:%M} {at.tzname()}"))
    if body.models is not None:
        facts.append(("Pays for", ", ".join(body.models)))
    return Ask(
        title=f"Give {body.account} {short_usd(body.usd)} of credit?",
        text="Credit cannot be taken back; it lasts until it is used or expires. Its"
        " reference counts once.",
        facts=tuple(facts),
        button="Give credit",
    )


def _agreement(account: Account, typed: Typed, book: PriceBook) -> Agreed:
    names = ("usage_limit_usd", "output_tokens_max", "reasoning_output_tokens_max")
    body = filled(Agreed, _named(account, typed, names))
    rates: Mapping[ModelClass, tuple[str, str, str]] = {
        "paid": (typed.paid_amount, typed.paid_per_s, typed.paid_burst),
        "free": (typed.free_amount, typed.free_per_s, typed.free_burst),
    }
    requests = {
        kind: filled(
            AgreedRate,
            {"amount": amount, "per_s": per_s, "burst": burst},
            within=f"{kind}_",
        )
        for kind, (amount, per_s, burst) in rates.items()
        if amount or burst
    }
    return msgspec.structs.replace(
        body, requests=requests, prices=_prices(typed.prices, book)
    )


def _prices(lines: str, book: PriceBook) -> dict[str, AgreedTokens]:
    """Return prices that were typed as lines.

    Raises:
        FieldError: Names the line.
    """
    prices = {}
    for line in filter(None, map(str.strip, lines.splitlines())):
        words = line.split()
        if len(words) != _PRICE_WORDS:
            raise FieldError(
                "prices",
                f"{line!r} is not a price. Enter a model and two dollar amounts: per"
                " 1M input tokens and per 1M output tokens.",
            )
        name, *amounts = words
        model = book.model(name)
        if model is None:
            raise FieldError("prices", f"The price book has no model {name!r}.")
        told = {"input_usd": amounts[0], "output_usd": amounts[1]}
        try:
            prices[model.name] = filled(AgreedTokens, told)
        except FieldError:
            raise FieldError(
                "prices", f"{line!r} has an invalid amount. Use numbers such as 0.5."
            ) from None
    return prices


def _period(account: Account, typed: Typed, _: PriceBook) -> PeriodClosed:
    return filled(PeriodClosed, _named(account, typed, ("period",)))


def _ask_period(body: PeriodClosed) -> Ask:
    return Ask(
        title=f"Close {body.period or 'the last period'} of {body.account}?",
        text="This creates its invoice, which cannot be changed. Calls that arrive"
        " later go on the next invoice.",
        button="Close period",
    )


def _named(
    account: Account, typed: Typed, names: tuple[str, ...]
) -> Mapping[str, object]:
    return {"account": account.id, **{name: getattr(typed, name) for name in names}}


ACTS: Mapping[ActName, Act] = {
    "suspend": Act(_suspension, operating.suspend, _ask_suspension),
    "resume": Act(_suspension, operating.suspend),
    "payment_method": Act(_payment_method, operating.set_payment_method),
    "tier": Act(_tier, operating.pin_tier),
    "payment": Act(_payment, operating.record_payment, _ask_payment),
    "credit": Act(_credit, operating.grant_credit, _ask_credit),
    "agreement": Act(_agreement, operating.agree),
    "close": Act(_period, books.close_period, _ask_period),
}
"""The forms of an account by name."""
