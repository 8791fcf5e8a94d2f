"""What a batch of events changes, apart from any table."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from metering.errors import ConfigurationError
from metering.ledger import Charge, CreditGrant, Transfer, books, draw_credit
from metering.money import checked, format_usd
from metering.stores import PostReport
from metering.usage import UsageEvent

__all__ = [
    "UNOWNED",
    "Funding",
    "Standing",
    "as_owned",
    "booked",
    "first_of_each",
    "fund",
    "posted",
    "spent_by_period",
]

UNOWNED = "unknown_account"
"""Flag of an event whose account did not exist when it was posted."""


class Standing(NamedTuple):
    """What the ledger says of an id: the charge that stands, and how the call ended."""

    charge_p: int
    ending: str


class Funding(NamedTuple):
    """How the events of one account are paid for.

    Attributes:
        charges: One for each event, in the order they were applied.
        grants: The grants that were drawn on, as they are afterwards.
        debt_p: What credit alone should have paid and could not.
    """

    charges: list[Charge]
    grants: list[CreditGrant]
    debt_p: int


def first_of_each(events: Iterable[UsageEvent]) -> dict[str, UsageEvent]:
    """Return the events by id; of two with the same id, the first.

    Raises:
        ConfigurationError: An amount is negative or above what a cell may hold.
    """
    firsts: dict[str, UsageEvent] = {}
    for event in events:
        if event.charge_p < 0 or event.hold_p < 0:
            raise ConfigurationError(
                f"Event {event.id} costs ${format_usd(event.charge_p)} of"
                f" ${format_usd(event.hold_p)} held; no call costs less than $0."
            )
        checked(event.charge_p)
        checked(event.hold_p)
        firsts.setdefault(event.id, event)
    return firsts


def as_owned(event: UsageEvent, owners: Collection[str]) -> UsageEvent:
    """Return the event as it is kept: flagged if nobody owns its account."""
    if event.account_id in owners or UNOWNED in event.flags:
        return event
    return replace(event, flags=(*event.flags, UNOWNED))


def fund(events: Iterable[UsageEvent], grants: Iterable[CreditGrant]) -> Funding:
    """Split the charges of one account's new events over its grants.

    Events draw in the order in which they ended; the id decides between equals.
    """
    held = {grant.id: grant for grant in grants}
    drawn: dict[str, CreditGrant] = {}
    charges: list[Charge] = []
    debt_p = 0
    for event in sorted(events, key=lambda event: (event.ended_ns, event.id)):
        draws, rest_p = draw_credit(
            held.values(), event.charge_p, event.admitted_ns, event.model
        )
        for draw in draws:
            grant = held[draw.grant_id]
            grant = replace(grant, consumed_p=grant.consumed_p + draw.amount_p)
            held[grant.id] = drawn[grant.id] = grant
        if event.funding == "credit":
            debt_p += rest_p
        charges.append(
            Charge(
                event_id=event.id, amount_p=event.charge_p, draws=draws, rest_p=rest_p
            )
        )
    return Funding(charges, list(drawn.values()), debt_p)


def booked(
    events: Sequence[UsageEvent], fundings: Mapping[str, Funding]
) -> list[Transfer]:
    """Return what a batch books: one transfer for each account and what paid there."""
    grants = {(g.account_id, g.id): g for f in fundings.values() for g in f.grants}
    charges = {c.event_id: c for f in fundings.values() for c in f.charges}
    sums_p: defaultdict[tuple[books.TransferCode, str, str, str], int]
    sums_p = defaultdict(int)
    for event in events:
        account_id = event.account_id
        charge = charges.get(event.id)
        rest_p = event.charge_p if charge is None else charge.rest_p
        for draw in () if charge is None else charge.draws:
            debit = books.credit_of(account_id, grants[account_id, draw.grant_id].kind)
            sums_p["usage", debit, account_id, draw.grant_id] += draw.amount_p
        if rest_p:
            code: books.TransferCode = "usage"
            if event.funding == "credit":
                code = "overrun"
            debit = books.receivable_of(account_id)
            sums_p[code, debit, account_id, event.period] += rest_p
    at_ns = max((event.ended_ns for event in events), default=0)
    return [
        Transfer(
            code=code,
            debit=debit,
            credit=books.REVENUE,
            amount_p=amount_p,
            account_id=account_id,
            source=source,
            at_ns=at_ns,
        )
        for (code, debit, account_id, source), amount_p in sums_p.items()
    ]


def spent_by_period(events: Iterable[UsageEvent]) -> dict[tuple[str, str], int]:
    """Return what the events cost by account and period."""
    spent_p: dict[tuple[str, str], int] = defaultdict(int)
    for event in events:
        spent_p[event.account_id, event.period] += event.charge_p
    return spent_p


def posted(
    events: Sequence[UsageEvent],
    new: Collection[str],
    owners: Collection[str],
    standing: Mapping[str, Standing],
) -> PostReport:
    """Return what became of a batch.

    Args:
        events: The batch as it was handed in.
        new: Ids that were not known before.
        owners: Accounts that exist.
        standing: What stands now, for every id of the batch.
    """
    fresh = dict.fromkeys(event.id for event in events if event.id in new)
    unowned = (e.id for e in events if e.id in new and e.account_id not in owners)
    conflicts = (e.id for e in events if _contradicts(e, standing[e.id]))
    return PostReport(
        posted=tuple(fresh),
        conflicts=tuple(dict.fromkeys(conflicts)),
        unowned=tuple(dict.fromkeys(unowned)),
    )


def _contradicts(event: UsageEvent, standing: Standing) -> bool:
    # A recovered event is a guess from the journal; the call's own record beats it.
    guessed = event.ending == "recovered" and standing.ending != "recovered"
    return event.charge_p != standing.charge_p and not guessed
