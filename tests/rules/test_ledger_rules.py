"""The ledger's rules: periods tile time, credit is drawn in order, payments count."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering.accounts import Account, Tier, TierBook
from metering.errors import ConfigurationError
from metering.ledger import (
    CreditGrant,
    CreditState,
    Draw,
    Payment,
    PeriodState,
    Settled,
    credit_ceiling_p,
    draw_credit,
    period_at,
    revised,
    settle_payment,
    take_back,
)
from metering.money import PICO, parse_usd

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DAY_NS = 86_400 * 10**9
MODEL = "zai-org/GLM-4.7"


def at(text):
    """An instant, such as "2026-02-09T23:59", in nanoseconds."""
    elapsed = datetime.fromisoformat(text).replace(tzinfo=UTC) - EPOCH
    return elapsed // timedelta(microseconds=1) * 1000


LAST_NS = at("2399-12-31T23:59:59")

# Periods


@given(st.integers(0, LAST_NS))
def test_each_instant_lies_in_exactly_one_period(instant_ns):
    """Half-open: the end of one is the start of the next."""
    period = period_at(instant_ns)
    assert period.start_ns <= instant_ns < period.end_ns
    assert period_at(period.start_ns) == period
    assert period_at(period.end_ns - 1) == period
    assert period_at(period.end_ns).start_ns == period.end_ns
    month = EPOCH + timedelta(microseconds=instant_ns // 1000)
    assert period.key == month.strftime("%Y-%m")


def test_four_centuries_of_periods_have_no_gap():
    """4,800 months from 1970 on, 97 leap years among the first 400."""
    period = period_at(0)
    keys = [period.key]
    while len(keys) < 4800:
        following = period_at(period.end_ns)
        assert following.start_ns == period.end_ns
        keys.append(following.key)
        period = following
    assert (keys[0], keys[-1]) == ("1970-01", "2369-12")
    assert keys == sorted(set(keys))
    assert period.end_ns == 146_097 * DAY_NS


@pytest.mark.parametrize(
    ("month", "days"),
    [
        ("2026-02", 28),
        ("2028-02", 29),
        ("2100-02", 28),
        ("2000-02", 29),
        ("2026-12", 31),
    ],
)
def test_a_month_has_its_days(month, days):
    """Leap years as the calendar has them."""
    period = period_at(at(f"{month}-15"))
    assert (period.key, period.end_ns - period.start_ns) == (month, days * DAY_NS)


# Credit


def grant(name, usd, **terms):
    terms = {"kind": "promo", "consumed_p": 0, **terms}
    return CreditGrant(id=name, account_id="acme", amount_p=parse_usd(usd), **terms)


PROMO = grant("promo", "5", priority=0, expires_ns=at("2026-02-10"))
PAID = grant("paid", "20", kind="paid")


def drawn(grants, usd, instant):
    draws, rest_p = draw_credit(grants, parse_usd(usd), at(instant), MODEL)
    return {draw.grant_id: draw.amount_p for draw in draws}, rest_p


def test_promotional_credit_pays_first_while_it_lasts():
    """$7.25 the day before it expires: $5 and $2.25; the day after, all from paid."""
    day_before = drawn([PAID, PROMO], "7.25", "2026-02-09")
    assert day_before == ({"promo": 5 * PICO, "paid": parse_usd("2.25")}, 0)
    assert drawn([PAID, PROMO], "7.25", "2026-02-11") == (
        {"paid": parse_usd("7.25")},
        0,
    )


def test_the_instant_of_admission_decides_what_may_pay():
    """Admitted a minute before the expiry, a call may settle after it."""
    assert drawn([PAID, PROMO], "2", "2026-02-09T23:59") == ({"promo": 2 * PICO}, 0)
    assert drawn([PAID, PROMO], "2", "2026-02-10T00:00") == ({"paid": 2 * PICO}, 0)


def test_grants_are_drawn_in_one_order():
    """Priority, expiry, promotional, age, id; what is over or to come is left out."""
    soon, late = at("2026-03-01"), at("2026-04-01")
    ordered = [
        grant("urgent", "1", priority=0, kind="paid"),
        grant("soon", "1", expires_ns=soon, kind="paid"),
        grant("late", "1", expires_ns=late),
        grant("late paid", "1", expires_ns=late, kind="paid"),
        grant("zero", "1", effective_ns=1),
        grant("one", "1", effective_ns=2),
        grant("two", "1", effective_ns=2),
        grant("paid", "1", kind="paid"),
        grant("last", "1", priority=51),
    ]
    closed = [
        grant("over", "1", priority=0, expires_ns=at("2026-02-01")),
        grant("to come", "1", priority=0, effective_ns=at("2026-02-02")),
        grant("used up", "1", priority=0, consumed_p=PICO),
    ]
    draws, rest_p = draw_credit(
        [*reversed(ordered), *closed], 10 * PICO, at("2026-02-01"), MODEL
    )
    assert draws == tuple(Draw(g.id, PICO) for g in ordered)
    assert rest_p == PICO


INSTANTS = st.integers(0, 9)
GRANTS = st.lists(
    st.builds(
        lambda amount, used, **terms: CreditGrant(
            account_id="acme", amount_p=amount, consumed_p=min(amount, used), **terms
        ),
        st.integers(1, 50),
        st.integers(0, 50),
        id=st.integers(0, 99).map(str),
        kind=st.sampled_from(["promo", "paid"]),
        priority=st.integers(0, 2),
        effective_ns=INSTANTS,
        expires_ns=st.none() | INSTANTS,
    ),
    max_size=6,
    unique_by=lambda grant: grant.id,
)


@given(GRANTS, st.randoms(), st.integers(0, 200), INSTANTS)
def test_draws_add_up_whatever_the_order_of_the_grants(
    grants, random, charge_p, now_ns
):
    """Every pico-dollar is drawn once, from credit that is there, or is the rest."""
    draws, rest_p = draw_credit(grants, charge_p, now_ns, MODEL)
    left_p = {g.id: g.amount_p - g.consumed_p for g in grants if g.open_at(now_ns)}
    assert sum(draw.amount_p for draw in draws) + rest_p == charge_p
    assert all(0 < draw.amount_p <= left_p[draw.grant_id] for draw in draws)
    assert rest_p == max(0, charge_p - sum(left_p.values()))
    shuffled = random.sample(grants, len(grants))
    assert draw_credit(shuffled, charge_p, now_ns, MODEL) == (draws, rest_p)


@given(GRANTS, st.integers(0, 100), INSTANTS)
def test_what_the_gate_sees_is_what_can_be_drawn(grants, debt_p, now_ns):
    """Ceiling less used is all that open grants have left, less the debt."""
    grants = [g for g in grants if g.effective_ns <= now_ns or not g.consumed_p]
    state = credit_ceiling_p(grants, debt_p, now_ns)
    draws, _ = draw_credit(grants, 10**6, now_ns, MODEL)
    left_p = sum(draw.amount_p for draw in draws)
    assert state.ceiling_p - state.used_p == left_p - debt_p


@given(GRANTS, INSTANTS, INSTANTS)
def test_the_ceiling_changes_by_itself_only_when_it_said(grants, now_ns, later_ns):
    """Until then it may be kept."""
    state = credit_ceiling_p(grants, 0, now_ns)
    if later_ns >= now_ns and (state.changes_ns is None or later_ns < state.changes_ns):
        assert credit_ceiling_p(grants, 0, later_ns) == state


def test_expired_credit_counts_with_what_was_drawn():
    """$2 of $5 used: before the expiry $3 are left, after it none."""
    used = msgspec.structs.replace(PROMO, consumed_p=2 * PICO)
    expiry_ns = at("2026-02-10")
    assert credit_ceiling_p([used, PAID], 0, expiry_ns - 1) == CreditState(
        25 * PICO, 2 * PICO, expiry_ns
    )
    assert credit_ceiling_p([used, PAID], 0, expiry_ns) == CreditState(
        22 * PICO, 2 * PICO, None
    )


# Payments

BOOK = TierBook(
    (
        Tier(level=0, name="free", output_tokens_max=1, funding="credit"),
        Tier(
            level=1,
            name="card",
            payment_method=True,
            output_tokens_max=1,
            usage_limit_p=50 * PICO,
        ),
        Tier(
            level=2,
            name="builder",
            lifetime_paid_min_p=50 * PICO,
            output_tokens_max=1,
            usage_limit_p=500 * PICO,
        ),
        Tier(
            level=3,
            name="scale",
            lifetime_paid_min_p=500 * PICO,
            output_tokens_max=1,
            usage_limit_p=5000 * PICO,
        ),
    )
)
CARD = Account(id="acme", created_ns=0, payment_method=True)


def payment(kind, usd, reference="pi_1"):
    return Payment(
        reference=reference,
        account_id="acme",
        kind=kind,
        amount_p=parse_usd(usd),
        at_ns=at("2026-02-20"),
    )


def test_paying_early_makes_the_whole_limit_free_again():
    """$48.50 spent and paid: $50 of room, the same tier; $1.50 of credit lift it."""
    spent = PeriodState(spent_p=parse_usd("48.50"))
    early = settle_payment(CARD, spent, payment("early_payment", "48.50"), BOOK)
    assert early.period == PeriodState(parse_usd("48.50"), parse_usd("48.50"), 1)
    assert early.grant is None
    assert BOOK.tier_of(early.account, 0).name == "card"
    bought = settle_payment(
        early.account, early.period, payment("credit_purchase", "1.50", "pi_2"), BOOK
    )
    assert bought.account.lifetime_paid_p == 50 * PICO
    assert BOOK.tier_of(bought.account, 0).name == "builder"
    assert bought.period == early.period


def test_what_is_paid_beyond_the_spend_becomes_credit():
    """$10 spent of which $4 is paid; $10 more free $6 and buy $4."""
    state = PeriodState(10 * PICO, 4 * PICO, 1)
    effect = settle_payment(CARD, state, payment("early_payment", "10"), BOOK)
    assert effect.period == PeriodState(10 * PICO, 10 * PICO, 2)
    assert effect.grant == CreditGrant(
        id="payment:pi_1",
        account_id="acme",
        kind="paid",
        amount_p=4 * PICO,
        effective_ns=at("2026-02-20"),
    )


@pytest.mark.parametrize("kind", ["invoice", "credit_purchase", "early_payment"])
def test_the_last_dollar_lifts_the_tier_at_once(kind):
    """$490 settled is tier 2; $9.999999999999 more is too; $10 more is tier 3."""
    account = msgspec.structs.replace(CARD, lifetime_paid_p=490 * PICO)
    after = [
        settle_payment(account, PeriodState(), payment(kind, usd), BOOK).account
        for usd in ("9.999999999999", "10")
    ]
    assert [BOOK.tier_of(each, 0).level for each in after] == [2, 3]
    assert [each.kept_tier for each in after] == [None, None]


@given(
    st.sampled_from(["invoice", "credit_purchase", "early_payment"]),
    st.integers(1, 100),
    st.integers(0, 100),
    st.integers(0, 100),
)
def test_every_pico_dollar_paid_is_counted_once(kind, paid_p, spent_p, early_p):
    """To the lifetime spend in full; to room, credit or an invoice, never to two."""
    before = PeriodState(spent_p, min(spent_p, early_p))
    money = msgspec.structs.replace(payment(kind, "1"), amount_p=paid_p)
    effect = settle_payment(CARD, before, money, BOOK)
    assert effect.account.lifetime_paid_p == paid_p
    freed_p = effect.period.early_paid_p - before.early_paid_p
    credit_p = effect.grant.amount_p if effect.grant else 0
    assert freed_p + credit_p == (0 if kind == "invoice" else paid_p)
    assert effect.period.early_paid_p <= effect.period.spent_p
    assert effect.period.epoch == before.epoch + (kind == "early_payment")


def taken_back(account, usd, bought, kind="refund", period=None, book=BOOK):
    """Take back of a purchase, and return what that changes."""
    made = payment(kind, usd, "re_1")
    paid = payment("credit_purchase", "20")
    settled = Settled(
        payment=paid, returned_p=0, period=period or PeriodState(), grant=bought
    )
    made = msgspec.structs.replace(made, refers_to=paid.reference)
    return take_back(account, settled, made, book)


@pytest.mark.parametrize(
    ("drawn", "back", "withdrawn", "credit", "left"),
    [
        ("0", "20", "20", "20", "0"),
        ("15", "4", "4", "4", "1"),
        ("15", "7", "7", "5", "0"),
        ("20", "20", "20", "0", "0"),
    ],
)
def test_what_is_taken_back_is_unused_credit_first(
    drawn, back, withdrawn, credit, left
):
    """Of $20 bought; what was drawn is taken back as debt, and none falls below 0."""
    paid = msgspec.structs.replace(PAID, consumed_p=parse_usd(drawn))
    rich = msgspec.structs.replace(CARD, lifetime_paid_p=20 * PICO)
    effect = taken_back(rich, back, paid)
    assert effect.grant.withdrawn_p == parse_usd(withdrawn)
    assert effect.grant.left_p == parse_usd(left)
    assert effect.credit_p == parse_usd(credit)
    assert effect.account.lifetime_paid_p == 20 * PICO - parse_usd(back)


@pytest.mark.parametrize(
    ("falls", "kept"),
    [
        ("period_end", (2, at("2026-03-01"))),
        ("immediate", (None, None)),
        ("never", (2, None)),
    ],
)
def test_a_tier_that_is_no_longer_paid_for_falls_by_policy(falls, kept):
    """$50 paid and $1 of it taken back on 20 February."""
    book = TierBook(BOOK.tiers, falls)
    rich = msgspec.structs.replace(CARD, lifetime_paid_p=50 * PICO)
    account = taken_back(rich, "1", None, book=book).account
    assert kept == (account.kept_tier, account.kept_until_ns)


def test_a_kept_tier_takes_its_payment_method():
    """It outlives what was paid, not the card."""
    carded = TierBook(
        (
            BOOK.tiers[0],
            Tier(
                level=2,
                name="both",
                lifetime_paid_min_p=50 * PICO,
                payment_method=True,
                output_tokens_max=1,
            ),
        )
    )
    kept = msgspec.structs.replace(CARD, kept_tier=2, kept_until_ns=7)
    without = msgspec.structs.replace(kept, payment_method=False)
    levels = [
        carded.tier_of(account, instant_ns).level
        for account, instant_ns in ((kept, 6), (kept, 7), (without, 6))
    ]
    assert [2, 0, 0] == levels


def test_a_pin_hides_a_tier_that_is_kept():
    """Unpinned before the month ends, the account has it still."""
    pinned = msgspec.structs.replace(CARD, lifetime_paid_p=500 * PICO, pin=1)
    account = taken_back(pinned, "1", None).account
    free = msgspec.structs.replace(account, pin=None)
    now_ns = at("2026-02-21")
    assert (1, 3) == (
        BOOK.tier_of(account, now_ns).level,
        BOOK.tier_of(free, now_ns).level,
    )


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"reference": ""}, "reference"),
        ({"amount_p": 0}, r"\$0"),
        ({"kind": "refund"}, "refers_to"),
    ],
)
def test_a_payment_that_cannot_count_is_refused(wrong, named):
    good = payment("invoice", "1")
    assert good.checked() is good
    with pytest.raises(ConfigurationError, match=named):
        msgspec.structs.replace(good, **wrong).checked()


# Versions


@pytest.mark.parametrize(
    ("before", "after", "epochs"),
    [
        ({}, {"payment_method": True}, 1),
        ({"payment_method": True}, {}, 1),
        ({"payment_method": True}, {"payment_method": True, "pin": 3}, 0),
        ({}, {"suspended": True}, 0),
        ({}, {"lifetime_paid_p": 50 * PICO}, 1),
        ({"pin": 0}, {"pin": 0, "payment_method": True}, 0),
    ],
)
def test_a_change_is_a_new_version_and_a_turn_of_funding_a_new_epoch(
    before, after, epochs
):
    """The gate's counter of credit starts anew only where it missed something."""
    old = Account(id="acme", created_ns=0, version=7, credit_epoch=3, **before)
    new = revised(old, Account(id="acme", created_ns=0, **after), BOOK, 0)
    assert (new.version, new.credit_epoch) == (8, 3 + epochs)
    assert new == msgspec.structs.replace(
        Account(id="acme", created_ns=0, **after), version=8, credit_epoch=3 + epochs
    )
