"""Accounts, events and a plan for the contracts of ledgers."""

from datetime import UTC, datetime
from typing import Any

from metering.accounts import Account, ApiKey, Tier, TierBook
from metering.clock import NS_PER_S
from metering.ledger import CreditGrant, Payment, PaymentKind, period_at
from metering.money import PICO
from metering.stores import Ledger
from metering.usage import Usage, UsageEvent

__all__ = [
    "PLAN",
    "at",
    "key_of",
    "open_account",
    "paid",
    "promo",
    "taken_back",
    "used",
]

PLAN = TierBook(
    (
        Tier(level=0, name="free", output_tokens_max=4_096, funding="credit"),
        Tier(
            level=1,
            name="starter",
            payment_method=True,
            output_tokens_max=16_384,
            usage_limit_p=50 * PICO,
        ),
        Tier(
            level=2,
            name="builder",
            lifetime_paid_min_p=50 * PICO,
            output_tokens_max=16_384,
            usage_limit_p=500 * PICO,
        ),
        Tier(
            level=5,
            name="agreed",
            lifetime_paid_min_p=None,
            output_tokens_max=131_072,
        ),
    )
)
"""The tiers that a ledger under contract must be made with."""


def at(text: str) -> int:
    """Return an instant (UTC), written like `2026-01-15T00:00`, in nanoseconds."""
    instant = datetime.fromisoformat(text).replace(tzinfo=UTC)
    return int(instant.timestamp()) * NS_PER_S


_JANUARY_NS = at("2026-01-15T00:00")


def open_account(
    ledger: Ledger, account_id: str = "acme", *, payment_method: bool = True
) -> Account:
    """Create an account: postpaid with a payment method, else on credit alone."""
    account = Account(
        id=account_id, created_ns=_JANUARY_NS, payment_method=payment_method
    )
    return ledger.create(account, None)


def key_of(account_id: str, number: int = 1) -> ApiKey:
    """Return a key for that account; each number is another key."""
    return ApiKey(
        id=f"key-{account_id}-{number}",
        account_id=account_id,
        hash=f"hash-{account_id}-{number}",
        hint="wxyz",
        created_ns=_JANUARY_NS,
    )


def promo(amount_p: int, account_id: str = "acme", **changes: Any) -> CreditGrant:
    """Return promotional credit."""
    members: dict[str, Any] = {"id": "promo", "kind": "promo"} | changes
    return CreditGrant(account_id=account_id, amount_p=amount_p, **members)


def paid(
    amount_p: int,
    kind: PaymentKind,
    reference: str = "pi_1",
    account_id: str = "acme",
    at_ns: int = _JANUARY_NS,
    *,
    refers_to: str | None = None,
) -> Payment:
    """Return a payment."""
    return Payment(
        reference=reference,
        account_id=account_id,
        kind=kind,
        amount_p=amount_p,
        at_ns=at_ns,
        refers_to=refers_to,
    )


def taken_back(
    amount_p: int,
    kind: PaymentKind = "refund",
    *,
    of: str | None = "pi_1",
    reference: str = "re_1",
    at_ns: int = _JANUARY_NS,
) -> Payment:
    """Return what takes a payment of `acme` back."""
    return Payment(
        reference=reference,
        account_id="acme",
        kind=kind,
        amount_p=amount_p,
        at_ns=at_ns,
        refers_to=of,
    )


def used(
    event_id: str,
    charge_p: int,
    account_id: str = "acme",
    *,
    admitted_ns: int = _JANUARY_NS,
    took_ns: int = NS_PER_S,
    **changes: Any,
) -> UsageEvent:
    """Return the event of a call that cost *charge_p*."""
    members: dict[str, Any] = {
        "tier": 1,
        "model": "zai-org/GLM-4.7",
        "dialect": "openai_chat",
        "price_version": "0123456789abcdef",
        "ending": "completed",
        "status": 200,
        "usage": Usage(input_tokens=10, output_tokens=5),
        "usage_source": "upstream",
    } | changes
    return UsageEvent(
        id=event_id,
        account_id=account_id,
        period=period_at(admitted_ns).key,
        admitted_ns=admitted_ns,
        ended_ns=admitted_ns + took_ns,
        charge_p=charge_p,
        **members,
    )
