"""Payments, and all that one changes: the account, its period, credit it bought."""

from typing import Literal

import msgspec
from msgspec.structs import replace

from metering.accounts import Account, TierBook
from metering.errors import ConfigurationError
from metering.ledger.credit import OF_PAYMENT, CreditGrant
from metering.ledger.periods import PeriodState, period_of
from metering.money import format_usd

__all__ = [
    "TAKEN_BACK",
    "Payment",
    "PaymentEffect",
    "PaymentKind",
    "Settled",
    "revised",
    "settle_payment",
    "take_back",
]

PaymentKind = Literal[
    "invoice", "credit_purchase", "early_payment", "refund", "chargeback"
]
"""`invoice`: a bill was paid. `credit_purchase`: credit was bought. `early_payment`:
this period's spend was paid before its end, which makes room again. `refund` and
`chargeback`: a payment was taken back, in part or whole, by us or by who paid."""

TAKEN_BACK: tuple[PaymentKind, ...] = ("refund", "chargeback")


class Payment(msgspec.Struct, frozen=True, kw_only=True):
    """Money received or given back, once per reference.

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

    @property
    def takes_back(self) -> bool:
        """Whether it takes another payment back."""
        return self.kind in TAKEN_BACK

    def checked(self) -> "Payment":
        """Return the payment if it can be recorded.

        Raises:
            ConfigurationError: The reference is empty, the amount is not above 0, or
                it does not say which payment it takes back.
        """
        if not self.reference:
            raise ConfigurationError(
                "A payment needs the processor's reference, so that it counts once."
            )
        if self.amount_p <= 0:
            raise ConfigurationError(
                f"A payment of ${format_usd(self.amount_p)} is not above $0."
            )
        if self.takes_back and not self.refers_to:
            raise ConfigurationError(
                f"The {self.kind} {self.reference!r} does not say which payment it"
                " takes back. Name that one's reference in refers_to."
            )
        return self


class PaymentEffect(msgspec.Struct, frozen=True, kw_only=True):
    """What one payment changes.

    Attributes:
        account: The account as it is then.
        period: The period in which an early payment made room, as it is then.
        grant: The credit that was bought, or is taken back, as it is then.
        credit_p: What became credit, or was still unused of credit taken back.
        moved: Credit taken back into which corrections had turned an early payment.
    """

    account: Account
    period: PeriodState
    grant: CreditGrant | None
    credit_p: int = 0
    moved: tuple[CreditGrant, ...] = ()


class Settled(msgspec.Struct, frozen=True, kw_only=True):
    """A payment that was made, as it stands before some of it is taken back.

    Attributes:
        payment: The payment.
        returned_p: What was taken back of it before.
        period: The period it was made in.
        grant: The credit it bought, if any.
        moved: All credit into which corrections turned early payments of the account.
    """

    payment: Payment
    returned_p: int
    period: PeriodState
    grant: CreditGrant | None
    moved: tuple[CreditGrant, ...] = ()


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
            id=OF_PAYMENT + payment.reference,
            account_id=account.id,
            kind="paid",
            amount_p=credit_p,
            effective_ns=payment.at_ns,
        )
    return PaymentEffect(
        account=_having_paid(account, payment.amount_p, tiers, payment.at_ns),
        period=period,
        grant=grant,
        credit_p=credit_p,
    )


def take_back(
    account: Account, settled: Settled, payment: Payment, tiers: TierBook
) -> PaymentEffect:
    """Return what a refund or chargeback changes; to be applied in one transaction.

    The lifetime spend falls by all of it. Credit that was bought goes first: what is
    unused is gone, and what was drawn is debt, which later credit has to make up for.
    Then goes the room that an early payment had made, and the credit into which
    corrections turned it since. The tier falls as the tier book says. Never is more
    taken back than was paid: who calls makes sure of that.
    """
    rest_p, grant, credit_p = payment.amount_p, settled.grant, 0
    if grant is not None:
        grant, rest_p, credit_p = _withdrawn(grant, rest_p)
    period = settled.period
    moved: list[CreditGrant] = []
    if settled.payment.kind == "early_payment":
        closed_p = min(rest_p, period.early_paid_p)
        rest_p -= closed_p
        early_paid_p = period.early_paid_p - closed_p
        period = PeriodState(period.spent_p, early_paid_p, period.epoch)
        for each in settled.moved:
            after, rest_p, unused_p = _withdrawn(each, rest_p)
            credit_p += unused_p
            if after != each:
                moved.append(after)
    return PaymentEffect(
        account=_having_paid(account, -payment.amount_p, tiers, payment.at_ns),
        period=period,
        grant=grant,
        credit_p=credit_p,
        moved=tuple(moved),
    )


def _withdrawn(grant: CreditGrant, amount_p: int) -> tuple[CreditGrant, int, int]:
    """Return credit of which an amount is taken back as far as there was so much.

    Beside it, what of the amount is left, and what was unused of what is taken back.
    """
    part_p = min(amount_p, grant.amount_p - grant.expired_p - grant.withdrawn_p)
    unused_p = min(part_p, grant.left_p)
    after = replace(grant, withdrawn_p=grant.withdrawn_p + part_p)
    return after, amount_p - part_p, unused_p


def _having_paid(
    account: Account, amount_p: int, tiers: TierBook, now_ns: int
) -> Account:
    """Return the account's next version, after a payment or what took one back."""
    paid = replace(
        account,
        lifetime_paid_p=account.lifetime_paid_p + amount_p,
        kept_tier=None,
        kept_until_ns=None,
    )
    # A pin hides what is kept, and may be gone before that ends.
    was = tiers.tier_of(replace(account, pin=None), now_ns)
    now = tiers.tier_of(replace(paid, pin=None), now_ns)
    if now.level < was.level and tiers.falls != "immediate":
        until_ns = None if tiers.falls == "never" else period_of(paid, now_ns).end_ns
        paid = replace(paid, kept_tier=was.level, kept_until_ns=until_ns)
    return revised(account, paid, tiers, now_ns)


def revised(before: Account, after: Account, tiers: TierBook, now_ns: int) -> Account:
    """Return *after* as the successor of *before*: a newer version of the account.

    Turning to or from credit alone starts a new credit epoch: the gate's counter of
    the old one did not see what was spent in between, and is seeded anew.
    """
    # Whose pin has left the plan may have turned with it, unseen.
    turned = tiers.lacks_pin_of(before) or (
        tiers.tier_of(before, now_ns).funding != tiers.tier_of(after, now_ns).funding
    )
    return replace(
        after,
        version=before.version + 1,
        credit_epoch=before.credit_epoch + turned,
    )
