"""Pure rules of the ledger: periods, credit, payments. Stores apply them atomically."""

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Literal

import msgspec

from metering.accounts import Account, TierBook
from metering.clock import NS_PER_S
from metering.errors import ConfigurationError
from metering.money import format_usd

__all__ = [
    "SIGN_UP",
    "Charge",
    "CreditGrant",
    "CreditState",
    "Draw",
    "Payment",
    "PaymentEffect",
    "PaymentKind",
    "Period",
    "PeriodState",
    "checked_credit_reference",
    "checked_period_key",
    "credit_ceiling_p",
    "draw_credit",
    "period_at",
    "revised",
    "settle_payment",
]

PaymentKind = Literal["invoice", "credit_purchase", "early_payment"]
"""`invoice`: a bill was paid. `credit_purchase`: credit was bought. `early_payment`:
this period's spend was paid before its end, which makes room again."""

SIGN_UP = "sign-up"
"""Id of the credit that an account is created with."""

_OF_PAYMENT = "payment:"
_PERIOD = re.compile("[0-9]{4}-(?:0[1-9]|1[0-2])")
_S_PER_DAY = 24 * 3600


class Period(msgspec.Struct, frozen=True, gc=False):
    """A billing month, half-open: `[start_ns, end_ns)` in UTC."""

    key: str
    start_ns: int
    end_ns: int


def period_at(instant_ns: int) -> Period:
    """Return the calendar month (UTC) that contains *instant_ns*."""
    return _period_of_day(instant_ns // NS_PER_S // _S_PER_DAY)


@lru_cache(maxsize=64)
def _period_of_day(day: int) -> Period:
    # Each call asks for it, and a month begins where a day does.
    at = datetime.fromtimestamp(day * _S_PER_DAY, UTC)
    start = datetime(at.year, at.month, 1, tzinfo=UTC)
    following = datetime(at.year + at.month // 12, at.month % 12 + 1, 1, tzinfo=UTC)
    return Period(
        f"{at.year:04d}-{at.month:02d}",
        int(start.timestamp()) * NS_PER_S,
        int(following.timestamp()) * NS_PER_S,
    )


def checked_period_key(key: object) -> str:
    """Return *key* if it names a period.

    Raises:
        ConfigurationError: It is not written like "2026-01".
    """
    if not isinstance(key, str) or not _PERIOD.fullmatch(key):
        raise ConfigurationError(
            f'Period {key!r} is not a month. Write it like "2026-01".'
        )
    return key


class PeriodState(msgspec.Struct, frozen=True, gc=False):
    """What an account spent in a period, and what of it was paid before its end.

    `epoch` grows with each early payment, so that alerts can fire again.
    """

    spent_p: int = 0
    early_paid_p: int = 0
    epoch: int = 0


class CreditGrant(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Credit given (`promo`) or bought (`paid`); used up, never edited.

    Attributes:
        id: Unique within the account, so that a grant made twice counts once.
        account_id: Whose it is.
        kind: `promo` or `paid`.
        amount_p: Pico-dollars granted.
        consumed_p: Pico-dollars drawn so far.
        priority: Lower is drawn first.
        effective_ns: First instant at which calls may draw on it.
        expires_ns: First instant at which new calls may not; None for never.
        models: The models it pays for; None for any.
        expired_p: Pico-dollars that nobody drew in time, once they are booked so.
    """

    id: str
    account_id: str
    kind: Literal["promo", "paid"]
    amount_p: int
    consumed_p: int = 0
    priority: int = 50
    effective_ns: int = 0
    expires_ns: int | None = None
    models: tuple[str, ...] | None = None
    expired_p: int = 0

    def open_at(self, instant_ns: int) -> bool:
        """Whether a call admitted at that instant may draw on it."""
        if instant_ns < self.effective_ns:
            return False
        return self.expires_ns is None or instant_ns < self.expires_ns


def checked_credit_reference(reference: object) -> str:
    """Return *reference* if credit may be granted under it.

    Raises:
        ConfigurationError: It is empty, or that of credit which comes by itself.
    """
    if not isinstance(reference, str) or not reference:
        raise ConfigurationError(
            f"Credit with the reference {reference!r} could be given twice. Give it a"
            " name of its own, such as a ticket's."
        )
    if reference == SIGN_UP or reference.startswith(_OF_PAYMENT):
        raise ConfigurationError(
            f"The reference {reference!r} is that of credit which comes by itself, at"
            " sign-up or with a payment. Give this credit another."
        )
    return reference


class Draw(msgspec.Struct, frozen=True, gc=False):
    """A part of a charge that a grant paid for."""

    grant_id: str
    amount_p: int


class Charge(msgspec.Struct, frozen=True, kw_only=True):
    """How one event was paid for.

    Attributes:
        event_id: The event's id.
        amount_p: Its whole price.
        draws: What credit paid.
        rest_p: What is left: owed by the next invoice, or debt on credit alone.
    """

    event_id: str
    amount_p: int
    draws: tuple[Draw, ...]
    rest_p: int


class CreditState(msgspec.Struct, frozen=True, gc=False):
    """Credit of an account as its gate sees it.

    Attributes:
        ceiling_p: All that may be spent since the first grant.
        used_p: All that was drawn, and debt of calls that ran over it.
        changes_ns: The next instant at which the ceiling changes by itself, or None.
    """

    ceiling_p: int = 0
    used_p: int = 0
    changes_ns: int | None = None


def draw_credit(
    grants: Iterable[CreditGrant], charge_p: int, admitted_ns: int
) -> tuple[tuple[Draw, ...], int]:
    """Split a charge over the grants open at its admission.

    Order: priority, then the one that expires first, promotional before paid, then
    the oldest, then the id; a total order, so that every store draws alike.

    Returns:
        The draws, and the rest that no grant covers.
    """
    usable = [g for g in grants if g.open_at(admitted_ns) and g.consumed_p < g.amount_p]
    usable.sort(
        key=lambda g: (
            g.priority,
            g.expires_ns is None,
            g.expires_ns or 0,
            g.kind == "paid",
            g.effective_ns,
            g.id,
        )
    )
    draws: list[Draw] = []
    for grant in usable:
        if not charge_p:
            break
        part = min(charge_p, grant.amount_p - grant.consumed_p)
        draws.append(Draw(grant.id, part))
        charge_p -= part
    return tuple(draws), charge_p


def credit_ceiling_p(
    grants: Iterable[CreditGrant], debt_p: int, now_ns: int
) -> CreditState:
    """Return the credit of an account: what its open grants allow, and what is used.

    An expired grant counts with what was drawn from it and nothing more.
    """
    ceiling = used = 0
    changes: int | None = None
    for grant in grants:
        used += grant.consumed_p
        if now_ns < grant.effective_ns:
            edge: int | None = grant.effective_ns
        elif grant.open_at(now_ns):
            ceiling += grant.amount_p
            edge = grant.expires_ns
        else:
            ceiling += grant.consumed_p
            edge = None
        if edge is not None and (changes is None or edge < changes):
            changes = edge
    return CreditState(ceiling, used + debt_p, changes)


class Payment(msgspec.Struct, frozen=True, kw_only=True):
    """Money received, once per reference.

    Attributes:
        reference: The payment processor's id; the same one twice is one payment.
        account_id: Who paid.
        kind: What for.
        amount_p: Pico-dollars, above 0.
        at_ns: When it was settled.
        refers_to: The invoice that was paid, or the payment that was taken back.
    """

    reference: str
    account_id: str
    kind: PaymentKind
    amount_p: int
    at_ns: int
    refers_to: str | None = None

    def checked(self) -> "Payment":
        """Return the payment if it can be recorded.

        Raises:
            ConfigurationError: The reference is empty or the amount is not above 0.
        """
        if not self.reference:
            raise ConfigurationError(
                "A payment needs the processor's reference, so that it counts once."
            )
        if self.amount_p <= 0:
            raise ConfigurationError(
                f"A payment of ${format_usd(self.amount_p)} is not above $0."
            )
        return self


class PaymentEffect(msgspec.Struct, frozen=True, kw_only=True):
    """What one payment changes: the account, its period, and credit it bought."""

    account: Account
    period: PeriodState
    grant: CreditGrant | None


def settle_payment(
    account: Account, period: PeriodState, payment: Payment, tiers: TierBook
) -> PaymentEffect:
    """Return what *payment* changes; to be applied in one transaction.

    Each kind counts towards the lifetime spend, so the tier may rise with it. An early
    payment frees as much of the limit as was spent and not yet paid; what is paid
    beyond that becomes credit, as does a credit purchase.
    """
    credit_p = payment.amount_p if payment.kind == "credit_purchase" else 0
    if payment.kind == "early_payment":
        freed_p = min(payment.amount_p, max(0, period.spent_p - period.early_paid_p))
        credit_p = payment.amount_p - freed_p
        period = PeriodState(
            period.spent_p, period.early_paid_p + freed_p, period.epoch + 1
        )
    grant = None
    if credit_p:
        grant = CreditGrant(
            id=_OF_PAYMENT + payment.reference,
            account_id=account.id,
            kind="paid",
            amount_p=credit_p,
            effective_ns=payment.at_ns,
        )
    paid = msgspec.structs.replace(
        account, lifetime_paid_p=account.lifetime_paid_p + payment.amount_p
    )
    return PaymentEffect(
        account=revised(account, paid, tiers), period=period, grant=grant
    )


def revised(before: Account, after: Account, tiers: TierBook) -> Account:
    """Return *after* as the successor of *before*: a newer version of the account.

    Turning to or from credit alone starts a new credit epoch: the gate's counter of
    the old one did not see what was spent in between, and is seeded anew.
    """
    # Whose pin has left the plan may have turned with it, unseen.
    turned = tiers.lacks_pin_of(before) or (
        tiers.tier_of(before).funding != tiers.tier_of(after).funding
    )
    return msgspec.structs.replace(
        after,
        version=before.version + 1,
        credit_epoch=before.credit_epoch + turned,
    )
