"""Credit for some models: what the gate sees of it, and that it admits no more."""

from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from metering.ledger import CreditGrant, credit_ceiling_p, draw_credit

MODELS = "abc"
SCOPES = st.none() | st.sets(st.sampled_from(MODELS), min_size=1).map(
    lambda models: tuple(sorted(models))
)
GRANTS = st.lists(
    st.builds(
        lambda amount, used, back, **terms: CreditGrant(
            account_id="acme",
            kind="paid",
            amount_p=amount,
            consumed_p=min(amount, used),
            withdrawn_p=min(amount, back),
            **terms,
        ),
        st.integers(1, 20),
        st.integers(0, 20),
        st.sampled_from((0, 0, 0, 10)),
        id=st.integers(0, 99).map(str),
        priority=st.integers(0, 1),
        expires_ns=st.none() | st.integers(1, 9),
        models=SCOPES,
    ),
    max_size=5,
    unique_by=lambda grant: grant.id,
)
CALLS = st.lists(
    st.tuples(
        st.sampled_from(MODELS), st.integers(1, 15), st.booleans(), st.booleans()
    ),
    max_size=25,
)


@given(GRANTS, st.integers(0, 20), st.integers(0, 9), st.sampled_from(MODELS))
def test_what_the_gate_sees_of_a_model_is_what_it_can_draw(
    grants, debt_p, now_ns, model
):
    """Less the debt, and less what was drawn of credit that was then taken back."""
    state = credit_ceiling_p(grants, debt_p, now_ns)
    draws, _ = draw_credit(grants, 10**6, now_ns, model)
    over_p = sum(max(0, g.consumed_p + g.withdrawn_p - g.amount_p) for g in grants)
    room_p = state.ceiling_of_p(model) - state.used_p
    assert sum(draw.amount_p for draw in draws) - debt_p - over_p == room_p
    assert 0 <= state.ceiling_of_p(model) <= state.ceiling_p


def admit(grants, calls):
    """Admit calls by ceilings that may be old; return the grants then, and the debt."""
    held = {grant.id: replace(grant, expires_ns=None) for grant in grants}
    counter_p = sum(grant.consumed_p for grant in held.values())
    seen = dict.fromkeys(MODELS, credit_ceiling_p(held.values(), 0, 0))
    running, debt_p = [], 0

    def post():
        nonlocal debt_p
        while running:
            # Whatever ended last is posted first.
            model, cost_p = running.pop()
            draws, rest_p = draw_credit(held.values(), cost_p, 0, model)
            debt_p += rest_p
            for draw in draws:
                grant = held[draw.grant_id]
                held[draw.grant_id] = replace(
                    grant, consumed_p=grant.consumed_p + draw.amount_p
                )

    for model, cost_p, posts, reads in calls:
        if counter_p + cost_p <= seen[model].ceiling_of_p(model):
            counter_p += cost_p
            running.append((model, cost_p))
        if posts:
            post()
        if reads:
            seen[model] = credit_ceiling_p(held.values(), debt_p, 0)
    post()
    return held.values(), debt_p


@given(GRANTS, CALLS)
def test_no_order_of_calls_spends_more_than_was_given(grants, calls):
    """Of several models, with ceilings of any age: drawn and debt are at most all."""
    grants = [replace(grant, withdrawn_p=0) for grant in grants]
    after, debt_p = admit(grants, calls)
    assert sum(grant.consumed_p for grant in after) + debt_p <= sum(
        grant.amount_p for grant in after
    )


@given(st.lists(st.integers(0, 20), min_size=4, max_size=4), CALLS)
@example([0, 5, 5, 0], [("b", 5, False, False), ("a", 5, False, False)])
def test_where_scopes_do_not_cross_no_admitted_call_makes_debt(amounts, calls):
    """Credit for any, for a or b, for a and for c: what goes first is the narrowest."""
    scopes = (None, ("a", "b"), ("a",), ("c",))
    grants = [
        CreditGrant(
            id=str(at),
            account_id="acme",
            kind="promo",
            amount_p=amount,
            models=models,
        )
        for at, (amount, models) in enumerate(zip(amounts, scopes, strict=True))
        if amount
    ]
    _, debt_p = admit(grants, calls)
    assert debt_p == 0
