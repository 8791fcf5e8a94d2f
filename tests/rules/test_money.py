"""Money is whole pico-dollars: read exactly, shown exactly, or refused."""

from decimal import Context, Decimal, localcontext
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering.errors import ConfigurationError
from metering.money import AMOUNT_MAX_P, PICO, checked, format_usd, parse_usd

amounts = st.integers(-AMOUNT_MAX_P, AMOUNT_MAX_P)
contexts = st.builds(
    Context,
    prec=st.integers(1, 6),
    Emax=st.integers(0, 3),
    Emin=st.integers(-3, 0),
    rounding=st.sampled_from(["ROUND_UP", "ROUND_DOWN", "ROUND_HALF_EVEN"]),
    # Either every signal raises, or none does.
    traps=st.sampled_from([[], list(Context().traps)]),
)


@given(amounts)
def test_what_is_shown_reads_back_as_itself(amount_p: int) -> None:
    assert amount_p == parse_usd(format_usd(amount_p))


@given(amounts)
def test_what_is_shown_is_exact(amount_p: int) -> None:
    assert Fraction(amount_p, PICO) == Fraction(format_usd(amount_p))


@given(amounts)
def test_nothing_needless_is_shown(amount_p: int) -> None:
    whole, _, fraction = format_usd(amount_p).partition(".")

    assert not fraction.endswith("0")
    assert whole == str(int(whole)) or whole == "-0"


@given(amounts, contexts)
def test_the_callers_decimal_context_has_no_effect(
    amount_p: int, context: Context
) -> None:
    text = format_usd(amount_p)
    amount = Decimal(text)

    with localcontext(context):
        assert (amount_p, amount_p) == (parse_usd(text), parse_usd(amount))


@given(st.text(max_size=20), contexts)
def test_any_text_is_an_exact_amount_or_refused(text: str, context: Context) -> None:
    with localcontext(context):
        try:
            amount_p = parse_usd(text)
        except ConfigurationError:
            return

    assert Fraction(Decimal(text)) == Fraction(amount_p, PICO)
    assert abs(amount_p) <= AMOUNT_MAX_P


@given(st.floats())
def test_a_float_is_refused(amount: float) -> None:
    with pytest.raises(ConfigurationError, match="cannot hold money exactly"):
        parse_usd(amount)  # type: ignore[arg-type] # the mistake under test


@pytest.mark.parametrize("amount", [True, None, b"1", [1], 1j])
def test_what_is_no_amount_is_refused(amount: object) -> None:
    with pytest.raises(ConfigurationError):
        parse_usd(amount)  # type: ignore[arg-type] # the mistake under test


@pytest.mark.parametrize(
    "amount", ["", "five", "$5", "1,000", "nan", "sNaN", "inf", "-Infinity", "0x10"]
)
def test_a_text_that_is_no_amount_is_refused(amount: str) -> None:
    with pytest.raises(ConfigurationError):
        parse_usd(amount)


@pytest.mark.parametrize(
    ("amount", "amount_p"),
    [
        ("0.6", 600_000_000_000),
        ("0.000000000001", 1),
        ("0.0000000000010", 1),
        ("-0.5", -500_000_000_000),
        ("1e-12", 1),
        ("-0", 0),
        (5, 5_000_000_000_000),
        (Decimal("2.2"), 2_200_000_000_000),
        ("9000000", AMOUNT_MAX_P),
    ],
)
def test_amounts_are_read_exactly(amount: str | int | Decimal, amount_p: int) -> None:
    assert amount_p == parse_usd(amount)


@pytest.mark.parametrize(
    "amount", ["0.0000000000001", "1.0000000000005", "1e-13", "1e-999999999999"]
)
def test_less_than_a_pico_dollar_is_refused_not_rounded(amount: str) -> None:
    with pytest.raises(ConfigurationError, match="finer than a pico-dollar"):
        parse_usd(amount)


@pytest.mark.parametrize(
    "amount", ["9000000.000000000001", "-9000001", "1e7", "1e999999999999", 10**30]
)
def test_more_than_a_cell_may_hold_is_refused(amount: str | int) -> None:
    with pytest.raises(ConfigurationError, match=r"\$9,000,000"):
        parse_usd(amount)


@given(amounts, st.integers(-223_372 * PICO, 223_372 * PICO))
def test_one_charge_more_than_allowed_still_fits_into_a_signed_64_bit_cell(
    cell_p: int, charge_p: int
) -> None:
    assert -(2**63) <= checked(cell_p) + charge_p < 2**63


@given(st.integers(AMOUNT_MAX_P + 1))
def test_a_cell_is_never_filled_above_its_limit(amount_p: int) -> None:
    for amount in (amount_p, -amount_p):
        with pytest.raises(ConfigurationError, match=r"\$9,000,000"):
            checked(amount)


@pytest.mark.parametrize("amount", ["1_000", "\u0661\u0662", "\uff15", "5\u00a0", "_"])
def test_digits_that_only_python_reads_are_refused(amount: str) -> None:
    """Nobody writes dollars so; they come from a mistake, or from another field."""
    with pytest.raises(ConfigurationError, match="not an amount of dollars"):
        parse_usd(amount)
