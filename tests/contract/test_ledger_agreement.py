"""Whatever is done to them, the ledger in SQLite and the one in PostgreSQL agree."""

from contextlib import closing

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from msgspec import UNSET

from metering.accounts import Account
from metering.backends.sql import SqlLedger
from metering.errors import MeteringError
from metering.ledger import CreditGrant
from metering.pricing import PriceVersion
from metering.stores import AccountChange
from metering.testing.contracts.samples import PLAN, at, key_of, paid, used

_JANUARY_NS = at("2026-01-15T00:00")
_FEBRUARY_NS = at("2026-02-15T00:00")

names = st.sampled_from(["acme", "other", "ghost"])
instants = st.sampled_from([_JANUARY_NS, _JANUARY_NS + 1, _FEBRUARY_NS])
amounts_p = st.integers(0, 12)

grants = st.builds(
    CreditGrant,
    id=st.sampled_from(["g1", "g2", "g3", "payment:pi_1"]),
    account_id=names,
    kind=st.sampled_from(["promo", "paid"]),
    amount_p=amounts_p,
    priority=st.sampled_from([0, 50]),
    effective_ns=st.sampled_from([0, _JANUARY_NS + 1]),
    expires_ns=st.none() | st.just(_FEBRUARY_NS),
)
events = st.builds(
    used,
    st.sampled_from([f"e{number}" for number in range(12)]),
    amounts_p,
    names,
    admitted_ns=instants,
    took_ns=st.integers(0, 2),
    ending=st.sampled_from(["completed", "recovered"]),
    funding=st.sampled_from(["credit", "postpaid"]),
    model=st.sampled_from(["a", "b"]),
)
payments = st.builds(
    paid,
    amounts_p,
    st.sampled_from(["invoice", "credit_purchase", "early_payment"]),
    st.sampled_from(["pi_1", "pi_2", "pi_3"]),
    names,
    instants,
)
changes = st.builds(
    AccountChange,
    payment_method=st.booleans() | st.just(UNSET),
    pin=st.sampled_from([None, 2, 4, UNSET]),
    suspended=st.booleans() | st.just(UNSET),
)
prices = st.builds(
    lambda model, kind, start, end: PriceVersion(
        model=model, kind=kind, valid_from_ns=start, valid_to_ns=end
    ),
    st.sampled_from(["a", "b"]),
    st.just("free"),
    st.sampled_from([0, _JANUARY_NS]),
    st.sampled_from([None, _FEBRUARY_NS]),
)
steps = st.one_of(
    st.builds(
        lambda name, credit: ("create", (Account(id=name, created_ns=1), credit), {}),
        names,
        st.none() | grants,
    ),
    st.tuples(
        st.just("change"),
        st.tuples(names, changes),
        st.builds(lambda now_ns: {"now_ns": now_ns}, instants),
    ),
    st.tuples(st.just("grant_credit"), st.tuples(grants), st.just({})),
    st.tuples(st.just("record_payment"), st.tuples(payments), st.just({})),
    st.tuples(st.just("post"), st.tuples(st.lists(events, max_size=6)), st.just({})),
    st.tuples(
        st.just("add_key"),
        st.tuples(st.builds(key_of, names, st.integers(1, 2))),
        st.just({}),
    ),
    st.builds(
        lambda name, now_ns: ("revoke_key", (f"key-{name}-1",), {"now_ns": now_ns}),
        names,
        instants,
    ),
    st.builds(
        lambda versions, now_ns: ("publish", (versions,), {"now_ns": now_ns}),
        st.lists(prices, max_size=2),
        instants,
    ),
)


pytestmark = pytest.mark.timeout(60)


@pytest.fixture(scope="module")
def in_postgres(postgres, empty_tables):
    """Return a function that gives a ledger with nothing in it."""
    url = postgres.migrated()

    def emptied():
        empty_tables(url)
        return ledger

    with closing(SqlLedger(url, tiers=PLAN)) as ledger:
        yield emptied


def answer(ledger, name, arguments, options):
    """Return what a method answers, or the error it raises and its sentence."""
    try:
        return getattr(ledger, name)(*arguments, **options)
    except MeteringError as error:
        return type(error), str(error)


def everything(ledger):
    """Return all that can be read."""
    return [
        ledger.accounts(),
        ledger.published(),
        ledger.days_of_all("2026-01-15", "2026-02-15"),
        *(
            (
                ledger.grants(name),
                ledger.events(name),
                ledger.events(name, period="2026-01", limit=2),
                [ledger.period(name, period) for period in ("2026-01", "2026-02")],
                [ledger.totals(name, period) for period in ("2026-01", "2026-02")],
                [ledger.days(name, period) for period in ("2026-01", "2026-02")],
                [
                    (
                        ledger.credit(name, now_ns=now_ns),
                        ledger.find_key(f"hash-{name}-1", now_ns=now_ns),
                    )
                    for now_ns in (_JANUARY_NS, _FEBRUARY_NS)
                ],
            )
            for name in ("acme", "other", "ghost")
        ),
    ]


@settings(
    max_examples=15,
    phases=(Phase.explicit, Phase.generate),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(script=st.lists(steps, max_size=12))
def test_both_answer_alike_and_hold_the_same(in_postgres, script):
    """Step by step the same answers and errors, and in the end the same to read."""
    sqlite, postgres = SqlLedger("sqlite://", tiers=PLAN), in_postgres()
    for step in script:
        assert answer(sqlite, *step) == answer(postgres, *step), step

    assert everything(sqlite) == everything(postgres)
