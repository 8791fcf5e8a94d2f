"""What is off in a ledger is found: which figure, whose, and by how much."""

import sqlite3
from contextlib import closing
from shutil import copy
from typing import Any

import psycopg
import pytest

from metering.backends.sql import SqlLedger, verify
from metering.clock import NS_PER_S
from metering.ledger import Revision
from metering.ledger.verification import CHECKS
from metering.money import PICO
from metering.pricing import PriceVersion, Rate
from metering.testing.contracts.samples import (
    PLAN,
    at,
    key_of,
    open_account,
    paid,
    promo,
    taken_back,
    used,
)
from metering.usage import Usage

GLM = "zai-org/GLM-4.7"
PRICE = PriceVersion(
    model=GLM,
    kind="token",
    rates={"input_tokens": Rate(600_000), "output_tokens": Rate(2_200_000)},
)
DOLLARS = 1_000_000 * PICO
FEBRUARY_NS = at("2026-02-20T00:00")
LATER_NS = at("2026-03-20T00:00")


@pytest.fixture(params=["sqlite", "postgres"])
def url(request, tmp_path):
    """Address of an empty ledger, in each kind of database."""
    if request.param == "sqlite":
        return str(tmp_path / "ledger.db")
    return request.getfixturevalue("postgres_url")


def alter(url, statement):
    """Change rows behind the ledger's back."""
    if url.startswith("postgres"):
        with psycopg.connect(url) as connection:
            connection.execute(statement)
        return
    with closing(sqlite3.connect(url, isolation_level=None)) as connection:
        connection.execute(statement)


def fill(ledger):
    """Post all that a ledger can have: each table has rows that sums depend on."""
    ledger.publish([PRICE], now_ns=0)
    open_account(ledger, "acme")
    open_account(ledger, "trial", payment_method=False)
    ledger.add_key(key_of("acme"))
    ledger.grant_credit(promo(3 * PICO, "acme", expires_ns=at("2026-02-10T00:00")))
    ledger.grant_credit(promo(2 * PICO, "trial"))
    ledger.record_payment(paid(20 * PICO, "credit_purchase", "pi_1"))
    priced: dict[str, Any] = {"price_version": PRICE.id}
    ledger.post(
        [
            used("01", PICO, key_id="key-acme-1", **priced),
            used("02", 4 * PICO, key_id="key-acme-1", **priced),
            used("03", 30 * PICO, **priced),
            used("04", 3 * PICO, "trial", funding="credit", **priced),
            used("05", PICO, "nobody", **priced),
            used("06", 0, price_version="", flags=("unpriced",)),
            used("07", PICO, price_version="of old", flags=("agreed_price",)),
        ]
    )
    ledger.record_payment(paid(10 * PICO, "early_payment", "pi_2"))
    ledger.record_payment(taken_back(5 * PICO, of="pi_1"))
    ledger.grant_credit(promo(PICO // 2, "trial", id="more"))
    ledger.expire_credit(ended_by_ns=FEBRUARY_NS, now_ns=FEBRUARY_NS)
    ledger.correct([Revision(event_id="02", reason="twice")], now_ns=FEBRUARY_NS)
    ledger.close_period("acme", "2026-01", now_ns=FEBRUARY_NS, grace_ns=NS_PER_S)
    cheaper = Revision(
        event_id="01", reason="rerated", amount_p=PICO // 4, price_version=PRICE.id
    )
    ledger.correct([cheaper], now_ns=LATER_NS)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A ledger with rows in every table."""
    path = tmp_path_factory.mktemp("filled") / "ledger.db"
    with closing(SqlLedger(path, tiers=PLAN)) as ledger:
        fill(ledger)
    return path


@pytest.fixture
def filled(file, tmp_path):
    """The address of a copy of it."""
    return str(copy(file, tmp_path))


def found(url):
    """Return what is off: the claim, whose it is and where, and by how much."""
    return [(f.check, f.account_id, f.place, f.off_p) for f in verify(url).findings]


PERIOD = ("acme", "period 2026-01")
KEY = ("acme", "key key-acme-1, period 2026-01")
PROMO = ("acme", "grant promo")
ALL = ("acme", "")
DAYS = ("acme", f"period 2026-01, model {GLM}")

ALTERED = {
    "UPDATE usage_events SET charge_p = charge_p + 7 WHERE id = '01'": [
        ("event_paid", "acme", "event 01", 7),
        ("period_spent", *PERIOD, -7),
        ("key_spent", *KEY, -7),
        ("revenue", *ALL, -7),
        ("days", *DAYS, -7),
    ],
    "UPDATE usage_events SET price_version = 'unheard of' WHERE id = '03'": [
        ("price", "acme", f"model {GLM}, price unheard of", 30 * PICO)
    ],
    "UPDATE usage_events SET rest_p = rest_p + 3 WHERE id = '04'": [
        ("event_paid", "trial", "event 04", -3),
        ("debt", "trial", "", -3),
    ],
    "UPDATE draws SET amount_p = amount_p - 5 WHERE event_id = '01' AND position = 0": [
        ("event_paid", "acme", "event 01", 5),
        ("grant_drawn", *PROMO, 5),
    ],
    "UPDATE periods SET spent_p = spent_p + 1"
    " WHERE account_id = 'acme' AND period = '2026-01'": [("period_spent", *PERIOD, 1)],
    "UPDATE periods SET corrected_p = 0 WHERE account_id = 'acme'": [
        ("period_corrected", "acme", "period 2026-03", 3 * PICO // 4)
    ],
    "DELETE FROM key_periods": [("key_spent", *KEY, -PICO)],
    "UPDATE credit_grants SET consumed_p = amount_p - 100"
    " WHERE account_id = 'trial' AND id = 'more'": [
        ("grant_drawn", "trial", "grant more", -100),
        ("credit_left", "trial", "in the books credit_promo:trial", -100),
    ],
    "UPDATE credit_grants SET expired_p = amount_p"
    " WHERE account_id = 'trial' AND id = 'promo'": [
        ("grant_overdrawn", "trial", "grant promo", 2 * PICO)
    ],
    "UPDATE accounts SET debt_p = 12 WHERE id = 'trial'": [
        ("debt", "trial", "", 12 - PICO // 2)
    ],
    "UPDATE accounts SET lifetime_paid_p = lifetime_paid_p + 1 WHERE id = 'acme'": [
        ("lifetime_paid", *ALL, 1)
    ],
    "UPDATE payments SET amount_p = amount_p + 9 WHERE reference = 're_1'": [
        ("lifetime_paid", *ALL, 9),
        ("cash", *ALL, 9),
    ],
    "UPDATE periods SET early_paid_p = early_paid_p - 3"
    " WHERE account_id = 'acme' AND period = '2026-01'": [("early_paid", *ALL, -3)],
    "UPDATE transfers SET amount_p = amount_p - 2"
    " WHERE code = 'overrun' AND account_id = 'trial'": [("revenue", "trial", "", -2)],
    "UPDATE transfers SET debit = 'receivable:acme'"
    " WHERE code = 'overrun' AND account_id = 'trial'": [
        ("books", "trial", "transfer 8", PICO)
    ],
    "UPDATE corrections SET amount_p = amount_p - 1 WHERE id = '02:1'": [
        ("correction_paid", "acme", "correction 02:1", -1),
        ("period_spent", *PERIOD, 1),
        ("key_spent", *KEY, 1),
        ("revenue", *ALL, 1),
    ],
    "UPDATE correction_draws SET amount_p = amount_p + 1"
    " WHERE correction_id = '01:1'": [
        ("correction_paid", "acme", "correction 01:1", -1),
        ("grant_drawn", *PROMO, -1),
    ],
    "UPDATE invoices SET residual_p = residual_p + 8": [("invoice", *PERIOD, -8)],
    "UPDATE usage_days SET charge_p = charge_p - 4 WHERE account_id = 'nobody'": [
        ("days", "nobody", f"period 2026-01, model {GLM}", -4)
    ],
    "UPDATE usage_days SET calls = calls + 2 WHERE account_id = 'trial'": [
        ("days", "trial", f"period 2026-01, model {GLM}, calls +2", 0)
    ],
    "DELETE FROM price_versions": [
        ("price", name, f"model {GLM}, price {PRICE.id}", charged_p)
        for name, charged_p in (
            ("acme", 35 * PICO),
            ("nobody", PICO),
            ("trial", 3 * PICO),
        )
    ],
}
"""What is done behind the ledger's back, and what is then off."""


def test_a_ledger_that_was_only_posted_to_agrees(filled):
    """Each check is made, of every call, and finds nothing."""
    checks = []
    seen = verify(filled, on_check=checks.append)

    assert (7, 40 * PICO, (), ()) == (
        seen.events,
        seen.charged_p,
        seen.findings,
        seen.more,
    )
    assert list(CHECKS) == checks


def test_an_empty_ledger_agrees(url):
    """There is nothing to be off."""
    SqlLedger(url, tiers=PLAN).period("acme", "2026-01")

    assert (0, 0, ()) == (
        (seen := verify(url)).events,
        seen.transfers,
        seen.findings,
    )


@pytest.mark.parametrize(("statement", "expected"), ALTERED.items())
def test_a_row_that_was_altered_is_found(filled, statement, expected):
    """What it should be is known from the other rows; nothing else is said."""
    alter(filled, statement)

    assert expected == found(filled)


def test_sums_beyond_64_bits_are_compared(url):
    """Three months of $9,000,000 each are no error, and one p$ too much is found."""
    dear: dict[str, Any] = {"charge_p": 9 * DOLLARS, "price_version": PRICE.id}
    with closing(SqlLedger(url, tiers=PLAN)) as ledger:
        ledger.publish([PRICE], now_ns=0)
        open_account(ledger)
        for month in range(1, 4):
            when_ns = at(f"2026-0{month}-15T00:00")
            ledger.post([used(f"{month}", **dear, admitted_ns=when_ns)])
    before = found(url)
    alter(url, "UPDATE transfers SET amount_p = amount_p + 1 WHERE id = 2")

    assert ([], [("revenue", "acme", "", 1)]) == (before, found(url))


def test_days_beyond_64_bits_are_compared(url):
    """What is off by a carry is off by all of it, and each period is told by itself."""
    huge: dict[str, Any] = {"usage": Usage(images=2**63 - 1)}
    with closing(SqlLedger(url, tiers=PLAN)) as ledger:
        ledger.post([used(f"{n}", 0, **huge) for n in range(3)])
        ledger.post([used("4", 0, admitted_ns=FEBRUARY_NS, **huge)])
    before = found(url)
    carry = f"period 2026-01, model {GLM}, images +{4 * 10**18}"
    alter(
        url,
        "UPDATE usage_days SET images_carry = images_carry + 1"
        " WHERE period = '2026-01'",
    )

    assert ([], [("days", "acme", carry, 0)]) == (before, found(url))


def test_a_day_that_is_gone_is_found(filled):
    """As the whole of what its calls used and cost."""
    alter(filled, "DELETE FROM usage_days WHERE account_id = 'nobody'")

    told = "calls -1, input_tokens -10, output_tokens -5, requests -1"
    place = f"period 2026-01, model {GLM}, {told}"
    assert [("days", "nobody", place, -PICO)] == found(filled)


def test_of_many_findings_the_first_are_told(filled):
    """That there are more is said, and of which check."""
    alter(filled, "UPDATE accounts SET lifetime_paid_p = lifetime_paid_p + 1")
    seen = verify(filled, findings_max=1)

    assert ((("acme", 1),), ("lifetime_paid",)) == (
        tuple((f.account_id, f.off_p) for f in seen.findings),
        seen.more,
    )


def test_postgres_finds_the_same(filled, postgres_url):
    """All of that at once: both databases say the same, of every check."""
    with closing(SqlLedger(postgres_url, tiers=PLAN)) as ledger:
        fill(ledger)
    whole = found(postgres_url)
    for statement in ALTERED:
        alter(filled, statement)
        alter(postgres_url, statement)
    seen = found(postgres_url)

    assert ([], set(CHECKS)) == (whole, {check for check, *_ in seen})
    assert found(filled) == seen
