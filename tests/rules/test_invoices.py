"""Invoices add up to the cent, whatever is on them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering.errors import ConfigurationError
from metering.ledger import (
    CENT_P,
    Invoice,
    InvoiceLine,
    allotted_cents,
    balances_p,
    books,
    carried_over,
    checked_closing,
    draw_up,
    not_yet_billed,
    period_named,
    rounding_of,
)
from metering.usage import Usage

JANUARY = period_named("2026-01")
amounts_p = st.integers(-3 * CENT_P, 3 * CENT_P) | st.integers(-(10**18), 10**18)


def drawn_up(*lines: InvoiceLine) -> Invoice:
    return draw_up("acme", JANUARY, lines, JANUARY.end_ns)


def line(amount_p, kind="usage", credit_p=0, **more):
    more = {"period": "2026-01", "model": "m", "calls": 1} | more
    return InvoiceLine(kind=kind, amount_p=amount_p, credit_p=credit_p, **more)


@given(st.lists(amounts_p, max_size=12))
def test_cents_add_up_to_the_sum_rounded_half_up(amounts):
    """No line is a whole cent or more off, either way."""
    cents = allotted_cents(amounts)

    total, half = divmod(sum(amounts), CENT_P)
    assert sum(cents) == total + (2 * half >= CENT_P)
    for shown, exact_p in zip(cents, amounts, strict=True):
        assert abs(shown * CENT_P - exact_p) < CENT_P


@given(st.lists(amounts_p.map(abs), min_size=1, max_size=12), st.randoms())
def test_who_lost_most_gets_the_cent(amounts, random):
    """The order of lines decides between equals only."""
    shuffled = random.sample(amounts, len(amounts))

    assert sorted(zip(amounts, allotted_cents(amounts), strict=True)) == sorted(
        zip(shuffled, allotted_cents(shuffled), strict=True)
    )


@given(
    st.lists(
        st.tuples(amounts_p, st.integers(0, 10**15)).map(
            lambda both: line(both[0], credit_p=both[1])
        ),
        max_size=8,
    )
)
def test_what_is_due_is_the_lines_less_credit(lines):
    """To the p$ with what rounding did; never below $0; the rest is carried over."""
    invoice = drawn_up(*lines)

    due_p = sum(each.amount_p - each.credit_p for each in lines)
    assert sum(each.cents for each in invoice.lines) == invoice.total_cents >= 0
    assert sum(each.amount_p for each in invoice.lines) == max(0, due_p)
    assert invoice.total_p - invoice.residual_p == max(0, due_p)
    assert 2 * abs(invoice.residual_p) <= CENT_P
    grant = carried_over(invoice)
    assert (0 if grant is None else grant.amount_p) == max(0, -due_p)
    balance = balances_p(rounding_of(invoice)).get(books.receivable_of("acme"), 0)
    assert max(0, due_p) + balance == invoice.total_p


def test_credit_is_a_line_of_its_own():
    """After what was used; nothing is said where there is none."""
    invoice = drawn_up(line(5, credit_p=3), line(0, calls=0))

    assert [("usage", 5), ("credit", -3)] == [
        (each.kind, each.amount_p) for each in invoice.lines
    ]
    assert invoice.paid


def test_calls_that_cost_nothing_are_told():
    """With their quantities: a free model is used, too."""
    invoice = drawn_up(line(0, calls=2, usage=Usage(input_tokens=7, requests=2)))

    assert [(2, 0)] == [(each.calls, each.cents) for each in invoice.lines]


def test_what_was_billed_is_taken_off():
    """By model and price: calls, leaves, amounts, and what credit paid."""
    billed = [
        line(5, usage=Usage(input_tokens=2), credit_p=1),
        line(3, kind="late", usage=Usage(output_tokens=1)),
        line(9, model="other", usage=Usage()),
    ]
    now = line(
        20,
        kind="late",
        calls=5,
        usage=Usage(input_tokens=6, output_tokens=4, requests=5),
        credit_p=3,
    )

    rest = line(
        12,
        kind="late",
        calls=3,
        usage=Usage(input_tokens=4, output_tokens=3, requests=3),
        credit_p=2,
    )
    assert [rest] == not_yet_billed([now], billed)


def test_a_period_is_closed_from_its_end_and_the_grace_on():
    """Not one nanosecond before."""
    first = JANUARY.key
    assert checked_closing("acme", JANUARY, first, JANUARY.end_ns + 5, 5) == JANUARY
    with pytest.raises(ConfigurationError, match="'2026-01' of 'acme' ends at"):
        checked_closing("acme", JANUARY, first, JANUARY.end_ns + 4, 5)
