"""Tiers rise with what was paid, a pin wins, and a key proves who calls."""

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering.accounts import (
    Account,
    RateOverride,
    Tier,
    TierBook,
    hash_key,
    new_secret,
)
from metering.errors import ConfigurationError
from metering.money import PICO
from metering.quota import RateQuota


def tier(
    level: int, least_usd: int | None = 0, *, payment_method: bool = False
) -> Tier:
    return Tier(
        level=level,
        name=f"tier {level}",
        lifetime_paid_min_p=None if least_usd is None else least_usd * PICO,
        payment_method=payment_method,
        output_tokens_max=1,
    )


BOOK = TierBook(
    (
        tier(0),
        tier(1, payment_method=True),
        tier(2, 50),
        tier(3, 500),
        tier(5, None),
    )
)


def account(
    paid_p: int = 0, *, payment_method: bool = False, pin: int | None = None
) -> Account:
    return Account(
        id="a",
        created_ns=0,
        lifetime_paid_p=paid_p,
        payment_method=payment_method,
        pin=pin,
    )


paid_amounts = st.integers(0, 1_000 * PICO)
ascending_books = st.lists(
    st.tuples(st.integers(0, 1000), st.booleans()), max_size=5
).map(
    lambda rows: TierBook(
        (
            tier(0),
            *(
                tier(level, usd, payment_method=needed)
                for level, (usd, needed) in enumerate(sorted(rows), 1)
            ),
        )
    )
)


@given(ascending_books, paid_amounts, paid_amounts, st.booleans())
def test_who_pays_more_is_never_in_a_lower_tier(
    book: TierBook,
    paid_p: int,
    more_p: int,
    payment_method: bool,  # noqa: FBT001 - drawn by Hypothesis
) -> None:
    before = book.tier_of(account(paid_p, payment_method=payment_method), 0)
    after = book.tier_of(account(paid_p + more_p, payment_method=payment_method), 0)

    assert before.level <= after.level


@given(ascending_books, paid_amounts)
def test_a_payment_method_never_costs_a_tier(book: TierBook, paid_p: int) -> None:
    without = book.tier_of(account(paid_p), 0)
    with_one = book.tier_of(account(paid_p, payment_method=True), 0)

    assert without.level <= with_one.level


@given(paid_amounts, st.booleans(), st.sampled_from([t.level for t in BOOK.tiers]))
def test_a_pin_wins_over_qualification(
    paid_p: int,
    payment_method: bool,  # noqa: FBT001 - drawn by Hypothesis
    pin: int,
) -> None:
    pinned = account(paid_p, payment_method=payment_method, pin=pin)

    assert pin == BOOK.tier_of(pinned, 0).level


@given(paid_amounts)
def test_a_tier_by_agreement_is_never_qualified_for(paid_p: int) -> None:
    assert BOOK.tier_of(account(paid_p, payment_method=True), 0).level < 5


@pytest.mark.parametrize(
    ("paid_p", "level"),
    [(0, 0), (50 * PICO - 1, 0), (50 * PICO, 2), (500 * PICO - 1, 2), (500 * PICO, 3)],
)
def test_a_threshold_counts_from_exactly_its_amount(paid_p: int, level: int) -> None:
    assert level == BOOK.tier_of(account(paid_p), 0).level


def test_a_pin_to_no_tier_counts_as_none() -> None:
    """A plan that drops a level does not cut off who was pinned to it."""
    pinned = account(pin=4)

    assert BOOK.tier_of(account(), 0) == BOOK.tier_of(pinned, 0)
    assert (True, False) == (BOOK.lacks_pin_of(pinned), BOOK.lacks_pin_of(account()))


def test_a_level_that_is_not_there_is_refused_and_the_tiers_are_named() -> None:
    """Whoever pins an account to it is told what there is."""
    with pytest.raises(ConfigurationError, match="no tier 4; the levels are"):
        BOOK.by_level(4)


def test_the_next_tier_is_the_next_that_can_be_reached_by_paying() -> None:
    above = [BOOK.next_above(BOOK.by_level(level)) for level in (0, 1, 2, 3, 5)]

    assert [t and t.level for t in above] == [1, 2, 3, None, None]


@pytest.mark.parametrize(
    ("tiers", "fault"),
    [
        ((), "at least one"),
        ((tier(0, 1),), "everyone must qualify"),
        ((tier(0, None),), "everyone must qualify"),
        ((tier(0, payment_method=True),), "everyone must qualify"),
        ((tier(0), tier(0, 1)), "not above"),
        ((tier(1), tier(0, 1)), "not above"),
        ((tier(0), tier(1, 50), tier(2, 49)), "less than a lower"),
        ((tier(0), tier(1, 50), tier(2, None), tier(3, 49)), "less than a lower"),
    ],
)
def test_tiers_that_do_not_rise_are_refused(
    tiers: tuple[Tier, ...], fault: str
) -> None:
    with pytest.raises(ConfigurationError, match=fault):
        TierBook(tiers)


def test_a_request_limit_agreed_with_an_account_is_a_quota() -> None:
    assert RateQuota(5, 10**9) == RateOverride(5, 10**9).quota()
    assert RateQuota(5, 10**9, burst=2) == RateOverride(5, 10**9, burst=2).quota()


def test_a_secret_has_256_random_bits_and_is_never_the_same() -> None:
    secrets = [new_secret() for _ in range(1_000)]
    bodies = {secret.removeprefix("mk-") for secret in secrets}

    assert all(secret.startswith("mk-") for secret in secrets)
    assert len(bodies) == 1_000
    # 43 characters of base64 hold 258 bits; 256 bits need no fewer.
    assert {len(body) for body in bodies} == {43}


@given(st.binary(max_size=64))
def test_a_key_is_stored_as_sha_256(secret: bytes) -> None:
    assert hashlib.sha256(secret).hexdigest() == hash_key(secret)


@given(st.binary(max_size=64), st.binary(min_size=1, max_size=64))
def test_under_a_pepper_it_is_stored_as_hmac_sha_256(
    secret: bytes, pepper: bytes
) -> None:
    expected = hmac.new(pepper, secret, hashlib.sha256).hexdigest()

    assert expected == hash_key(secret, pepper)
    assert expected != hash_key(secret)


def test_another_secret_or_another_pepper_is_another_hash() -> None:
    hashes = {hash_key(s, p) for s in (b"a", b"b") for p in (b"", b"p", b"q")}

    assert len(hashes) == 6
