"""Payments, and all that one changes: the account, its period, credit it bought."""

from typing import Literal

import msgspec

from metering.accounts import Account, TierBook
from metering.errors import ConfigurationError
from metering.ledger.credit import OF_PAYMENT, CreditGrant
from metering.ledger.periods import PeriodState
from metering.money import format_usd

__all__ = ["Payment", "PaymentEffect", "PaymentKind", "revised", "settle_payment"]

PaymentKind = Literal["invoice", "credit_purchase", "early_payment"]
"""`invoice`: a bill was paid. `credit_purchase`: credit was bought. `early_payment`:
this period's spend was paid before its end, which makes room again."""


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
            id=OF_PAYMENT + payment.reference,
            account_id=account.id,
            kind="paid",
            amount_p=credit_p,
            effective_ns=payment.at_ns,
        )
    paid = msgspec.structs.replace(
        account, lifetime_paid_p=account.lifetime_paid_p + payment.amount_p
    )
    after = revised(account, paid, tiers, payment.at_ns)
    return PaymentEffect(account=after, period=period, grant=grant)


def revised(before: Account, after: Account, tiers: TierBook, now_ns: int) -> Account:
    """Return *after* as the successor of *before*: a newer version of the account.

    Turning to or from credit alone starts a new credit epoch: the gate's counter of
    the old one did not see what was spent in between, and is seeded anew.
    """
    # Whose pin has left the plan may have turned with it, unseen.
    turned = tiers.lacks_pin_of(before) or (
        tiers.tier_of(before, now_ns).funding != tiers.tier_of(after, now_ns).funding
    )
    return msgspec.structs.replace(
        after,
        version=before.version + 1,
        credit_epoch=before.credit_epoch + turned,
    )
