"""Corrections: charges taken back or made anew, as entries beside what was posted.

A charge is never edited. It is taken back by a correction of minus its amount, and made
anew, at another price, by a second one; so the two are a pair, and the event with all
its corrections is what it costs now.
"""

from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec
from msgspec.structs import replace

from metering.ledger import books
from metering.ledger.books import Transfer
from metering.ledger.credit import CreditGrant, Draw, draw_credit
from metering.ledger.periods import PeriodState
from metering.usage import UsageEvent

__all__ = [
    "OF_CORRECTION",
    "Correction",
    "CorrectionKind",
    "Revision",
    "Standing",
    "correction_transfers",
    "drawn",
    "moved_to_credit",
    "reduced",
    "revise",
    "standing_of",
]

OF_CORRECTION = "correction:"
"""What the id of credit begins with that a correction turned an early payment into."""

CorrectionKind = Literal["reversal", "repriced_from", "repriced_to"]
"""`reversal`: the call is charged nothing, for good. The other two are a pair: its
charge was taken back, and made anew at another price."""


class Correction(msgspec.Struct, frozen=True, kw_only=True):
    """One entry beside an event's charge.

    Attributes:
        id: The event's id and a number, which grows with each.
        event_id: Whose charge it corrects.
        account_id: Whose event that is.
        kind: What it does.
        amount_p: Pico-dollars; below 0 where it takes a charge back.
        draws: What of it credit paid, or got back (below 0), by grant.
        rest_p: What of it no credit paid or got back.
        price_version: The price by which the amount was charged.
        period: The event's period.
        booked_period: The period whose invoice tells it: the event's own, or the
            present one where that was invoiced before.
        reason: Why, in the operator's words.
        at_ns: When.
    """

    id: str
    event_id: str
    account_id: str
    kind: CorrectionKind
    amount_p: int
    draws: tuple[Draw, ...] = ()
    rest_p: int
    price_version: str
    period: str
    booked_period: str
    reason: str
    at_ns: int


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """What an event costs now, with all its corrections.

    Attributes:
        event: The event as it was posted.
        amount_p: What it costs now.
        draws: What credit paid of that, by grant.
        rest_p: What no credit paid.
        price_version: The price by which it is charged.
        corrections: How many there are.
        reversed: Whether it was taken back for good.
    """

    event: UsageEvent
    amount_p: int
    draws: tuple[Draw, ...]
    rest_p: int
    price_version: str
    corrections: int = 0
    reversed: bool = False


class Revision(msgspec.Struct, frozen=True, kw_only=True):
    """What a charge is to become.

    Attributes:
        event_id: Whose charge.
        reason: Why, in the operator's words.
        amount_p: What it is to cost; None: nothing, for good.
        price_version: The price by which that is.
    """

    event_id: str
    reason: str
    amount_p: int | None = None
    price_version: str = ""


def standing_of(
    event: UsageEvent,
    draws: Iterable[Draw],
    rest_p: int,
    corrections: Iterable[Correction],
) -> Standing:
    """Return what an event costs now.

    Args:
        event: The event.
        draws: What credit paid of its first charge.
        rest_p: What no credit paid of that.
        corrections: Its corrections, oldest first.
    """
    corrections = list(corrections)
    paid_p: dict[str, int] = {}
    for draw in (*draws, *(draw for each in corrections for draw in each.draws)):
        paid_p[draw.grant_id] = paid_p.get(draw.grant_id, 0) + draw.amount_p
    last = corrections[-1] if corrections else None
    return Standing(
        event=event,
        amount_p=event.charge_p + sum(each.amount_p for each in corrections),
        draws=tuple(Draw(name, part_p) for name, part_p in paid_p.items() if part_p),
        rest_p=rest_p + sum(each.rest_p for each in corrections),
        price_version=event.price_version if last is None else last.price_version,
        corrections=len(corrections),
        reversed=last is not None and last.kind == "reversal",
    )


def revise(
    standing: Standing,
    revision: Revision,
    grants: Iterable[CreditGrant],
    *,
    booked_period: str,
    now_ns: int,
) -> list[Correction]:
    """Return the corrections that make a charge what it is to be; none if it is that.

    What credit paid goes back to the grants it came from, whether they have ended
    meanwhile or not. A new charge draws on what was open when the call was admitted.

    Args:
        standing: What the event costs now.
        revision: What it is to cost.
        grants: The account's.
        booked_period: Whose invoice will tell it.
        now_ns: The present instant.
    """
    if standing.reversed or revision.amount_p == standing.amount_p:
        return []
    event = standing.event
    back = Correction(
        id=f"{event.id}:{standing.corrections + 1}",
        event_id=event.id,
        account_id=event.account_id,
        kind="reversal" if revision.amount_p is None else "repriced_from",
        amount_p=-standing.amount_p,
        draws=tuple(Draw(d.grant_id, -d.amount_p) for d in standing.draws),
        rest_p=-standing.rest_p,
        price_version=standing.price_version,
        period=event.period,
        booked_period=booked_period,
        reason=revision.reason,
        at_ns=now_ns,
    )
    if revision.amount_p is None:
        return [back]
    returned = {grant.id: grant for grant in grants}
    returned |= drawn(returned, back.draws)
    draws, rest_p = draw_credit(
        returned.values(), revision.amount_p, event.admitted_ns, event.model
    )
    anew = replace(
        back,
        id=f"{event.id}:{standing.corrections + 2}",
        kind="repriced_to",
        amount_p=revision.amount_p,
        draws=draws,
        rest_p=rest_p,
        price_version=revision.price_version,
    )
    return [back, anew]


def drawn(
    grants: Mapping[str, CreditGrant], draws: Iterable[Draw]
) -> dict[str, CreditGrant]:
    """Return the grants that draws change, as they are afterwards."""
    after: dict[str, CreditGrant] = {}
    for draw in draws:
        grant = after.get(draw.grant_id, grants[draw.grant_id])
        consumed_p = grant.consumed_p + draw.amount_p
        after[grant.id] = replace(grant, consumed_p=consumed_p)
    return after


def reduced(period: PeriodState, amount_p: int) -> tuple[PeriodState, int]:
    """Return a period in which so much less was spent, and what was paid too much.

    No more can have been paid early than was spent: the rest is to become credit.
    """
    spent_p = period.spent_p - amount_p
    excess_p = max(0, period.early_paid_p - spent_p)
    early_paid_p = period.early_paid_p - excess_p
    return PeriodState(spent_p, early_paid_p, period.epoch), excess_p


def correction_transfers(
    correction: Correction, grants: Mapping[str, CreditGrant]
) -> list[Transfer]:
    """Return what a correction books: a charge's legs, swapped where it takes it back.

    What goes back to credit that was itself taken back with its payment is nobody's to
    spend: it lowers what the account owes for having spent it.

    Args:
        correction: The correction.
        grants: The grants it draws on, as they were before.
    """
    account_id = correction.account_id
    sums_p: dict[str, int] = {books.receivable_of(account_id): correction.rest_p}
    for draw in correction.draws:
        before = grants[draw.grant_id]
        after = drawn(grants, [draw])[draw.grant_id]
        credit_p = before.left_p - after.left_p
        for name, part_p in (
            (books.credit_of(account_id, before.kind), credit_p),
            (books.receivable_of(account_id), draw.amount_p - credit_p),
        ):
            sums_p[name] = sums_p.get(name, 0) + part_p
    return [
        Transfer(
            code="correction",
            debit=name if part_p > 0 else books.REVENUE,
            credit=books.REVENUE if part_p > 0 else name,
            amount_p=abs(part_p),
            account_id=account_id,
            source=correction.id,
            at_ns=correction.at_ns,
        )
        for name, part_p in sums_p.items()
        if part_p
    ]


def moved_to_credit(grant: CreditGrant) -> Transfer:
    """Return what it books that money paid for what is not owed becomes credit."""
    return Transfer(
        code="correction",
        debit=books.receivable_of(grant.account_id),
        credit=books.credit_of(grant.account_id, "paid"),
        amount_p=grant.amount_p,
        account_id=grant.account_id,
        source=grant.id,
        at_ns=grant.effective_ns,
    )
