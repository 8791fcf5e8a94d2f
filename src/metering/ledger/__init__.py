"""Pure rules of the ledger: periods, credit, payments. Stores apply them atomically."""

from metering.ledger.credit import (
    SIGN_UP,
    Charge,
    CreditGrant,
    CreditState,
    Draw,
    checked_credit_reference,
    credit_ceiling_p,
    draw_credit,
)
from metering.ledger.payments import (
    Payment,
    PaymentEffect,
    PaymentKind,
    revised,
    settle_payment,
)
from metering.ledger.periods import (
    Period,
    PeriodState,
    checked_anchor_day,
    checked_period_key,
    checked_time_zone,
    period_at,
    period_named,
    period_of,
)

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
    "checked_anchor_day",
    "checked_credit_reference",
    "checked_period_key",
    "checked_time_zone",
    "credit_ceiling_p",
    "draw_credit",
    "period_at",
    "period_named",
    "period_of",
    "revised",
    "settle_payment",
]
