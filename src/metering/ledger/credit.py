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
    "ScopedCredit",
    "checked_credit_reference",
    "checked_priority",
    "credit_ceiling_p",
    "draw_credit",
]

SIGN_UP = "sign-up"
"""Id of the credit that an account is created with."""

OF_PAYMENT = "payment:"
"""What the id of credit that came with a payment begins with."""

_PRIORITY_MAX = 100


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
        withdrawn_p: Pico-dollars taken back with the payment that bought them; what was
            drawn of them before is debt.
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
    withdrawn_p: int = 0

    @property
    def left_p(self) -> int:
        """Pico-dollars that are neither drawn, booked as expired nor taken back."""
        return max(0, self._allowed_p - self.consumed_p)

    @property
    def _allowed_p(self) -> int:
        return self.amount_p - self.expired_p - self.withdrawn_p

    def pays_for(self, model: str) -> bool:
        """Whether calls of a model may draw on it."""
        return self.models is None or model in self.models

    def allowed_p(self, now_ns: int) -> int:
        """Return what may be drawn of it in all, as far as is known at an instant."""
        if self.open_at(now_ns):
            return self._allowed_p
        return min(self.consumed_p, self.amount_p - self.withdrawn_p)

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
    if reference == SIGN_UP or reference.startswith(
        (OF_PAYMENT, "invoice:", "correction:")
    ):
        raise ConfigurationError(
            f"The reference {reference!r} is that of credit which comes by itself, at"
            " sign-up or with a payment. Give this credit another."
        )
    return reference


def checked_priority(priority: object) -> int:
    """Return *priority* if credit may have it.

    Raises:
        ConfigurationError: It is not an int from 0 to 100.
    """
    if type(priority) is int and 0 <= priority <= _PRIORITY_MAX:
        return priority
    raise ConfigurationError(
        f"Credit cannot have the priority {priority!r}. Give an int from 0, which is"
        f" drawn first, to {_PRIORITY_MAX}."
    )


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


class ScopedCredit(msgspec.Struct, frozen=True, gc=False):
    """What is left of credit that pays for some models only."""

    models: tuple[str, ...]
    left_p: int


class CreditState(msgspec.Struct, frozen=True, gc=False):
    """Credit of an account as its gate sees it.

    Attributes:
        ceiling_p: All that may be spent since the first grant.
        used_p: All that was drawn, and debt of calls that ran over it.
        changes_ns: The next instant at which the ceiling changes by itself, or None.
        scoped: What of the ceiling is for some models only.
    """

    ceiling_p: int = 0
    used_p: int = 0
    changes_ns: int | None = None
    scoped: tuple[ScopedCredit, ...] = ()

    def ceiling_of_p(self, model: str) -> int:
        """Return up to what calls of a model may go, all models' spending counted.

        It is exact when it is read. What is then spent of credit for other models
        counts against it, too, until it is read again: it never admits too much.
        """
        return self.ceiling_p - sum(
            part.left_p for part in self.scoped if model not in part.models
        )


def draw_credit(
    grants: Iterable[CreditGrant], charge_p: int, admitted_ns: int, model: str
) -> tuple[tuple[Draw, ...], int]:
    """Split a charge over the grants that pay for its model, open at its admission.

    Order: priority, then what is for the fewest models, the one that expires first,
    promotional before paid, then the oldest, then the id; a total order, so that every
    store draws alike. What is for few models goes first, so that it does not lie idle
    while a call of another model, admitted on the rest, finds that drawn.

    Returns:
        The draws, and the rest that no grant covers.
    """
    usable = [
        grant
        for grant in grants
        if grant.left_p and grant.open_at(admitted_ns) and grant.pays_for(model)
    ]
    usable.sort(
        key=lambda g: (
            g.priority,
            g.models is None,
            len(g.models or ()),
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
        part = min(charge_p, grant.left_p)
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
    edges: list[int] = []
    scoped: list[ScopedCredit] = []
    for grant in grants:
        used += grant.consumed_p
        ceiling += grant.allowed_p(now_ns)
        if grant.open_at(now_ns) and grant.models is not None and grant.left_p:
            scoped.append(ScopedCredit(grant.models, grant.left_p))
        edges += (
            edge
            for edge in (grant.effective_ns, grant.expires_ns)
            if edge is not None and edge > now_ns
        )
    changes = min(edges, default=None)
    return CreditState(ceiling, used + debt_p, changes, tuple(scoped))
