"""Whether all that a ledger keeps of an account agrees."""

from collections import Counter
from typing import Literal

from metering.ledger.books import CASH, PROMO_EXPENSE, REVENUE, credit_of
from metering.stores import Ledger
from metering.testing.contracts.samples import at

__all__ = ["check_account"]


def check_account(ledger: Ledger, name: str) -> None:
    """Check that whatever is kept of an account agrees with all the rest."""
    charges = ledger.events(name, limit=10_000)
    grants = ledger.grants(name)
    payments = ledger.payments(name)
    balances = Counter(ledger.balances_p(name))
    drawn: Counter[str] = Counter()
    spent: Counter[str] = Counter()
    for charged in charges:
        spent[charged.event.period] += charged.event.charge_p
        assert 0 <= charged.charge.rest_p
        for draw in charged.charge.draws:
            drawn[draw.grant_id] += draw.amount_p
        paid_p = sum(draw.amount_p for draw in charged.charge.draws)
        assert charged.event.charge_p == paid_p + charged.charge.rest_p
    for period, spent_p in spent.items():
        state = ledger.period(name, period)
        assert spent_p == state.spent_p
        assert 0 <= state.early_paid_p <= state.spent_p
    for grant in grants:
        assert drawn[grant.id] == grant.consumed_p <= grant.amount_p
        assert min(grant.expired_p, grant.withdrawn_p, grant.left_p) >= 0
    lifetime_p = sum(-p.amount_p if p.takes_back else p.amount_p for p in payments)
    debt_p = sum(
        charged.charge.rest_p
        for charged in charges
        if charged.event.funding == "credit"
    )
    never_ns = at("2100-01-01T00:00")
    assert lifetime_p == ledger.get(name).lifetime_paid_p >= 0
    assert sum(drawn.values()) + debt_p == ledger.credit(name, now_ns=never_ns).used_p
    assert 0 == sum(balances.values())
    assert lifetime_p == balances[CASH]
    assert -sum(spent.values()) == balances[REVENUE]
    kinds: tuple[Literal["promo", "paid"], ...] = ("promo", "paid")
    for kind in kinds:
        left_p = sum(grant.left_p for grant in grants if grant.kind == kind)
        assert -left_p == balances[credit_of(name, kind)]
    given_p = sum(g.amount_p - g.expired_p for g in grants if g.kind == "promo")
    assert given_p == balances[PROMO_EXPENSE]
