"""Alerts: how much of an allowance is used, and which thresholds that passes."""

from collections.abc import Iterable
from typing import Literal

import msgspec

from metering.accounts import Account, Tier
from metering.ledger.credit import CreditState
from metering.ledger.periods import PeriodState

__all__ = [
    "THRESHOLDS",
    "Alert",
    "AlertSubject",
    "Allowance",
    "alerts_of",
    "credit_allowance",
    "usage_allowance",
]

THRESHOLDS = (50, 80, 90, 100)
"""Per cent of an allowance at which an account is alerted, unless a plan says other."""

_ALL = 100

AlertSubject = Literal["usage_limit", "credit"]
"""What comes to its end: the limit of a period, or credit that no bill follows."""


class Allowance(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What an account may spend, and what it has spent of it.

    Attributes:
        account_id: Whose it is.
        subject: What it is.
        period: Its period; "" for credit, which has none.
        epoch: Another one where the account begins anew, as by an early payment.
        limit_p: All of it, in pico-dollars.
        used_p: What is used, in pico-dollars; may be more.
    """

    account_id: str
    subject: AlertSubject
    period: str
    epoch: int
    limit_p: int
    used_p: int


class Alert(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A threshold that an allowance has passed.

    Attributes:
        allowance: As it was then.
        threshold: Per cent, 1 to 100.
        at_ns: When the call ended that passed it.
        told: Whether it is sent; else a higher one is, that was passed with it.
    """

    allowance: Allowance
    threshold: int
    at_ns: int
    told: bool

    @property
    def reached(self) -> bool:
        """Whether nothing of the allowance is left."""
        return self.threshold >= _ALL


def usage_allowance(
    account: Account, tier: Tier, period: str, state: PeriodState
) -> Allowance | None:
    """Return the usage limit of a period; None where there is none.

    What was paid early is not used any more: it has made room again.
    """
    agreed_p = account.overrides.usage_limit_p
    limit_p = tier.usage_limit_p if agreed_p is None else agreed_p
    if limit_p is None:
        return None
    return Allowance(
        account_id=account.id,
        subject="usage_limit",
        period=period,
        epoch=state.epoch,
        limit_p=limit_p,
        used_p=state.spent_p - state.early_paid_p,
    )


def credit_allowance(
    account: Account, tier: Tier, credit: CreditState, used_before_p: int
) -> Allowance | None:
    """Return what there was of credit when some last came in, and what is used of it.

    Args:
        account: Whose it is.
        tier: Its tier just then.
        credit: All its credit.
        used_before_p: What of it was used before some last came in.

    Returns:
        None where a bill follows when the credit is used up.
    """
    if tier.funding != "credit":
        return None
    return Allowance(
        account_id=account.id,
        subject="credit",
        period="",
        epoch=used_before_p,
        limit_p=credit.ceiling_p - used_before_p,
        used_p=credit.used_p - used_before_p,
    )


def alerts_of(
    allowance: Allowance, thresholds: Iterable[int], at_ns: int
) -> list[Alert]:
    """Return an alert for each threshold that is passed by now, lowest first.

    They are fired once for each account, subject, period, epoch, limit and threshold;
    whoever keeps them drops those that were. The highest is the one to tell: where it
    was fired before, the others are no news. An allowance of nothing has no alerts.

    Args:
        allowance: What is used, and of what.
        thresholds: Per cent, 1 to 100.
        at_ns: When that was so.
    """
    if allowance.limit_p <= 0:
        return []
    share = allowance.used_p * _ALL
    passed = sorted(each for each in thresholds if share >= each * allowance.limit_p)
    return [
        Alert(allowance=allowance, threshold=each, at_ns=at_ns, told=each == passed[-1])
        for each in passed
    ]
