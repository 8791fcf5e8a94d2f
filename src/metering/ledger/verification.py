"""What a check of a whole ledger says: which sums agree, and which do not."""

from typing import Literal

import msgspec

__all__ = ["CHECKS", "CheckName", "Finding", "Verification"]

CheckName = Literal[
    "event_paid",
    "correction_paid",
    "period_spent",
    "period_corrected",
    "key_spent",
    "grant_drawn",
    "grant_overdrawn",
    "credit_left",
    "debt",
    "lifetime_paid",
    "early_paid",
    "cash",
    "revenue",
    "books",
    "price",
    "invoice",
    "days",
]

CHECKS: dict[CheckName, str] = {
    "event_paid": "what credit did not pay of a call is its charge less what was drawn",
    "correction_paid": "what credit did not pay of a correction is the rest of it",
    "period_spent": "what a period has spent is what its calls cost, corrected",
    "period_corrected": "what a period tells of earlier ones is what was corrected",
    "key_spent": "what a key has spent in a period is what its calls cost, corrected",
    "grant_drawn": "what is drawn of a grant is what calls and corrections drew",
    "grant_overdrawn": "no more is drawn of a grant and expired than it had",
    "credit_left": "the books have as credit what all grants have left",
    "debt": "what an account owes to credit is what its calls on credit lack",
    "lifetime_paid": "what an account has paid is its payments less what went back",
    "early_paid": "what periods were paid early is what was paid so and is no credit",
    "cash": "the books took in what was paid, less what went back",
    "revenue": "the books earned what calls cost, corrected",
    "books": "an amount moves between accounts of the books, of one owner",
    "price": "each charge was made by a price that is known",
    "invoice": "the total of an invoice is the sum of its lines, rounded as it says",
    "days": "what is told of days is what their calls used and cost, as posted",
}
"""What each check claims."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """Something that is off.

    Attributes:
        check: Which claim does not hold.
        table: Where the figure is written that is off.
        account_id: Whose; "" if that is not known.
        place: Which row of theirs: a period, a key, a grant, an event; "" if all.
        stated_p: What is written there, in pico-dollars.
        summed_p: What it should be, by the rows that it is made of.
    """

    check: CheckName
    table: str
    account_id: str
    place: str
    stated_p: int
    summed_p: int

    @property
    def off_p(self) -> int:
        """By how much what is written is too high, or too low where below 0."""
        return self.stated_p - self.summed_p


class Verification(msgspec.Struct, frozen=True, kw_only=True):
    """What all checks of a ledger found, in one snapshot of it.

    Attributes:
        events: How many calls it has.
        charged_p: What they cost together, as they were posted.
        transfers: How many movements of money it has.
        moved_p: What those moved; it is debited and credited alike.
        findings: What is off, check by check; at most so many of each as was asked for.
        more: Checks that found more than that.
    """

    events: int
    charged_p: int
    transfers: int
    moved_p: int
    findings: tuple[Finding, ...] = ()
    more: tuple[CheckName, ...] = ()
