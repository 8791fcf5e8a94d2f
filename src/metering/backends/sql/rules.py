"""Rules of accounts, payments, credit and prices, apart from any table."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

import msgspec
from msgspec.structs import replace

from metering.accounts import Account, ApiKey, TierBook
from metering.clock import iso_utc
from metering.errors import AccountNotFoundError, ConfigurationError, LedgerError
from metering.ledger import (
    CreditGrant,
    Payment,
    PaymentEffect,
    PeriodState,
    Settled,
    revised,
    settle_payment,
    take_back,
)
from metering.money import checked, format_usd
from metering.pricing import PriceBook, PricedModel, PriceVersion, refuse_changed_past
from metering.stores import AccountChange

__all__ = [
    "changed",
    "checked_account",
    "checked_grant",
    "known_credit",
    "known_key",
    "no_account",
    "no_key",
    "no_payment",
    "refuse_other_grant",
    "refuse_other_payment",
    "settled",
    "succeeding_prices",
    "taken_back",
    "too_many_keys",
]


def no_account(account_id: str) -> AccountNotFoundError:
    """Return the error that says so."""
    return AccountNotFoundError(f"There is no account {account_id!r}. Create it first.")


def no_key(key_id: str) -> AccountNotFoundError:
    """Return the error that says so."""
    return AccountNotFoundError(f"There is no key {key_id!r}. Keys are named by id.")


def known_key(key: ApiKey) -> LedgerError:
    """Return the error that says that a key cannot be added twice."""
    return LedgerError(
        f"Key {key.id!r} or its secret is known already. Issue a new secret and id."
    )


def too_many_keys(account_id: str, in_use_max: int) -> LedgerError:
    """Return the error that says that an account has enough keys."""
    return LedgerError(
        f"{account_id!r} has {in_use_max} keys in use, and may have no more. Revoke one"
        " that is not needed."
    )


def known_credit(grant: CreditGrant) -> LedgerError:
    """Return the error that says that a payment cannot buy this credit again."""
    return LedgerError(
        f"{grant.account_id!r} has credit {grant.id!r} already, and not from this"
        " payment. Grant credit under other ids than payments do."
    )


def no_payment(payment: Payment) -> LedgerError:
    """Return the error that says that what is taken back was never paid."""
    return LedgerError(
        f"The {payment.kind} {payment.reference!r} takes back"
        f" {payment.refers_to!r}, which {payment.account_id!r} has not paid. Name the"
        " reference of a payment of that account."
    )


def checked_account(account: Account, tiers: TierBook) -> Account:
    """Return the account if it can be created.

    Raises:
        ConfigurationError: It is pinned to a tier that does not exist, an amount is
            out of range, or its overrides cannot be kept to.
    """
    if account.pin is not None:
        tiers.by_level(account.pin)
    checked(account.lifetime_paid_p)
    account.overrides.checked()
    return account


def changed(
    account: Account, change: AccountChange, tiers: TierBook, now_ns: int
) -> Account:
    """Return the account's next version.

    A pin whose tier has left the plan does not stand in the way of other changes.

    Raises:
        ConfigurationError: The new pin is to a tier that does not exist, or the new
            overrides cannot be kept to.
    """
    members = {
        name: value
        for name in AccountChange.__struct_fields__
        if (value := getattr(change, name)) is not msgspec.UNSET
    }
    after = replace(account, **members)
    if after.pin is not None and after.pin != account.pin:
        tiers.by_level(after.pin)
    after.overrides.checked()
    return revised(account, after, tiers, now_ns)


def settled(
    account: Account, period: PeriodState, payment: Payment, tiers: TierBook
) -> PaymentEffect:
    """Return what the payment changes.

    Raises:
        ConfigurationError: The payment cannot be recorded, or with it the account has
            paid more than a cell may hold.
    """
    checked(payment.checked().amount_p)
    effect = settle_payment(account, period, payment, tiers)
    checked(effect.account.lifetime_paid_p)
    return effect


def taken_back(
    account: Account, settled: Settled, payment: Payment, tiers: TierBook
) -> PaymentEffect:
    """Return what it changes to take a payment back.

    Raises:
        ConfigurationError: It cannot be recorded.
        LedgerError: What it takes back is no payment of the account, or was less.
    """
    checked(payment.checked().amount_p)
    paid = settled.payment
    if paid.account_id != account.id or paid.takes_back:
        raise no_payment(payment)
    left_p = paid.amount_p - settled.returned_p
    if payment.amount_p > left_p:
        raise LedgerError(
            f"The {payment.kind} {payment.reference!r} of"
            f" ${format_usd(payment.amount_p)} is more than is left of payment"
            f" {paid.reference!r}: ${format_usd(left_p)} of"
            f" ${format_usd(paid.amount_p)}. Take back no more than was paid."
        )
    return take_back(account, settled, payment, tiers)


def refuse_other_payment(known: Payment, payment: Payment) -> None:
    """Refuse a payment under a known reference, unless it is the same one again.

    Raises:
        LedgerError: Account, kind, amount or what it refers to differ.
    """
    if replace(payment, at_ns=known.at_ns) != known:
        raise LedgerError(
            f"Payment {known.reference!r} is recorded as {_payment_in_words(known)}; it"
            f" cannot also be {_payment_in_words(payment)}. Give another payment a"
            " reference of its own."
        )


def _payment_in_words(payment: Payment) -> str:
    words = f"{payment.kind} of ${format_usd(payment.amount_p)}"
    if payment.refers_to is not None:
        words += f" for {payment.refers_to!r}"
    return f"{words} by {payment.account_id!r}"


def checked_grant(grant: CreditGrant, account_id: str) -> CreditGrant:
    """Return a grant if it can be added to that account.

    Raises:
        ConfigurationError: It is another account's, is not above $0, was drawn on
            already, or ends before it starts.
    """
    if grant.account_id != account_id:
        raise ConfigurationError(
            f"Credit {grant.id!r} belongs to {grant.account_id!r}, not {account_id!r}."
        )
    if grant.amount_p <= 0 or grant.left_p != grant.amount_p:
        raise ConfigurationError(
            f"Credit {grant.id!r} of ${format_usd(grant.amount_p)}, of which"
            f" ${format_usd(grant.left_p)} is left: grant more than $0, unused."
        )
    if grant.models is not None and not grant.models:
        raise ConfigurationError(
            f"Credit {grant.id!r} pays for no model. Name some, or None for any."
        )
    if grant.expires_ns is not None and grant.expires_ns <= grant.effective_ns:
        raise ConfigurationError(
            f"Credit {grant.id!r} ends at {iso_utc(grant.expires_ns)}, not after its"
            f" start at {iso_utc(grant.effective_ns)}. Let it end later."
        )
    checked(grant.amount_p)
    return grant


def refuse_other_grant(known: CreditGrant, grant: CreditGrant) -> None:
    """Refuse credit under a known id, unless it is the same once more.

    Raises:
        LedgerError: Amount, kind, end, priority or models differ.
    """
    if _terms(known) != _terms(grant):
        raise LedgerError(
            f"Credit {known.id!r} of {known.account_id!r} is {_in_words(known)}; it"
            f" cannot also be {_in_words(grant)}. Give other credit its own id."
        )


def _terms(grant: CreditGrant) -> tuple[object, ...]:
    return (
        grant.kind,
        grant.amount_p,
        grant.expires_ns,
        grant.priority,
        grant.models,
    )


def _in_words(grant: CreditGrant) -> str:
    words = f"${format_usd(grant.amount_p)} ({grant.kind}, priority {grant.priority})"
    if grant.models is not None:
        words += f" for {', '.join(grant.models)}"
    if grant.expires_ns is not None:
        words += f" until {iso_utc(grant.expires_ns)}"
    return words


def succeeding_prices(
    published: Sequence[PriceVersion], versions: Iterable[PriceVersion], now_ns: int
) -> tuple[list[PriceVersion], int]:
    """Return all prices after publishing, by model and start, and how many are new.

    A version may be given an end that lies ahead, and one that was never in force may
    be withdrawn; models that are not named keep their prices.

    Raises:
        ConfigurationError: A past instant would cost something else.
    """
    by_model: dict[str, list[PriceVersion]] = defaultdict(list)
    for version in versions:
        by_model[version.model].append(version)
    wanted = PriceBook(
        # The longest call bounds a hold and is no part of a price: any will do here.
        PricedModel(
            name=model, versions=_by_start(its), compute_ms_max=1, audio_ms_max=1
        )
        for model, its in by_model.items()
    )
    refuse_changed_past(published, wanted, now_ns)
    known = {(v.model, v.valid_from_ns, v.id) for v in published}
    added = [
        v for v in wanted.versions() if (v.model, v.valid_from_ns, v.id) not in known
    ]
    after = [v for v in published if v.model not in by_model] + wanted.versions()
    after.sort(key=lambda version: (version.model, version.valid_from_ns))
    return after, len(added)


def _by_start(versions: Iterable[PriceVersion]) -> tuple[PriceVersion, ...]:
    return tuple(sorted(versions, key=lambda version: version.valid_from_ns))
