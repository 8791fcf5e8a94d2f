"""Credit: grants, what a charge draws from them, and what an account may yet spend."""

from collections.abc import Iterable
from typing import Literal

import msgspec

from metering.errors import ConfigurationError

__all__ = [
    "OF_PAYMENT",
    "SIGN_UP",
    "Charge",
    "CreditGrant",
    "CreditState",
    "Draw",
    "checked_credit_reference",
    "credit_ceiling_p",
    "draw_credit",
]

SIGN_UP = "sign-up"
"""Id of the credit that an account is created with."""

OF_PAYMENT = "payment:"
"""What the id of credit that came with a payment begins with."""


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
    if reference == SIGN_UP or reference.startswith(OF_PAYMENT):
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
