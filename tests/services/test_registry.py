"""What an operator does, on a whole Metering without a server."""

import logging

import pytest
from structlog.testing import capture_logs

from metering import (
    AccountNotFoundError,
    ConfigurationError,
    LedgerError,
    Metering,
)
from metering.accounts import Overrides
from metering.backends.ledger_memory import MemoryLedger
from metering.config import plan_from_preset
from metering.money import PICO
from metering.testing import ManualClock

pytestmark = pytest.mark.anyio


@pytest.fixture
async def meter(tmp_path, monkeypatch):
    """A metering of the preset, with its ledger in memory."""
    monkeypatch.setenv("METERING_DATA", str(tmp_path))
    tiers = plan_from_preset("friendli").tiers
    meter = Metering.from_preset(
        "friendli", clock=ManualClock(), ledger=MemoryLedger(tiers)
    )
    yield meter
    await meter.stop()


async def test_sign_up_credit_comes_once(meter):
    """Created three times, an account has $5 of credit and is tier 0."""
    for _ in range(3):
        account = await meter.accounts.create("acme")

    assert 5 * PICO == (await meter.billing.credit("acme")).ceiling_p
    assert 0 == meter.plan.tiers.tier_of(account).level


async def test_a_payment_method_keeps_the_credit(meter):
    """0 -> 1 -> 0: the tier follows, the credit stays."""
    await meter.accounts.create("acme")
    levels = []
    for on_file in (True, False):
        account = await meter.accounts.set_payment_method("acme", on_file=on_file)
        levels.append(meter.plan.tiers.tier_of(account).level)

    assert [1, 0] == levels
    assert 5 * PICO == (await meter.billing.credit("acme")).ceiling_p


async def test_a_payment_counts_once(meter):
    """The same reference twice is one payment; with another amount, an error."""
    await meter.accounts.create("acme")
    for _ in range(2):
        account = await meter.billing.record_payment(
            "acme", usd="50", reference="pi_1", kind="invoice"
        )
    with pytest.raises(LedgerError, match="pi_1"):
        await meter.billing.record_payment(
            "acme", usd="51", reference="pi_1", kind="invoice"
        )

    assert 50 * PICO == account.lifetime_paid_p
    assert 2 == meter.plan.tiers.tier_of(account).level


async def test_a_grant_counts_once(meter):
    """Credit of one reference is given once; it is promotional and buys no tier."""
    await meter.accounts.create("acme")
    for _ in range(2):
        account = await meter.billing.grant_credit("acme", usd="100", reference="sorry")

    assert 105 * PICO == (await meter.billing.credit("acme")).ceiling_p
    assert 0 == meter.plan.tiers.tier_of(account).level


async def test_a_pin_and_overrides_make_tier_5(meter):
    """By agreement: level 5, whatever was paid, with the values agreed."""
    await meter.accounts.create("acme")
    account = await meter.accounts.pin_tier("acme", 5)
    account = await meter.accounts.override(
        "acme", Overrides(output_tokens_max=131_072)
    )
    with pytest.raises(ConfigurationError, match="no tier 9"):
        await meter.accounts.pin_tier("acme", 9)

    assert 5 == meter.plan.tiers.tier_of(account).level
    assert 131_072 == account.overrides.output_tokens_max


@pytest.mark.parametrize("name", ["", "a b", "a:b", "{a}", "x" * 201])
async def test_an_account_id_that_stores_cannot_hold_is_refused(meter, name):
    with pytest.raises(ConfigurationError, match="Account id"):
        await meter.accounts.create(name)


@pytest.mark.parametrize(
    ("kind", "usd", "said"),
    [
        ("gift", "1", "not one of: invoice, credit_purchase, early_payment"),
        ("invoice", "-1", "not above"),
        ("invoice", "ten", "'ten' is not an amount"),
    ],
)
async def test_a_payment_that_cannot_be_is_refused(meter, kind, usd, said):
    await meter.accounts.create("acme")
    with pytest.raises(ConfigurationError, match=said):
        await meter.billing.record_payment("acme", usd=usd, reference="r", kind=kind)


async def test_what_is_not_there_is_said(meter):
    """Accounts and keys that nobody made are errors with their names."""
    with pytest.raises(AccountNotFoundError, match="nobody"):
        await meter.accounts.get("nobody")
    with pytest.raises(AccountNotFoundError, match="nobody"):
        await meter.accounts.issue_key("nobody")
    with pytest.raises(AccountNotFoundError):
        await meter.accounts.revoke_key("mk-nobody")


async def test_changes_are_logged_and_secrets_are_not(meter):
    """State changes are events with ids; a key is never among them."""
    with capture_logs() as logs:
        await meter.accounts.create("acme")
        key = await meter.accounts.issue_key("acme")
        await meter.accounts.set_payment_method("acme", on_file=True)
        await meter.billing.record_payment(
            "acme", usd="500", reference="pi_1", kind="credit_purchase"
        )
        await meter.accounts.revoke_key(key)

    events = [line["event"] for line in logs]
    assert ["account_changed", "tier_changed"] == events
    assert ("Tier 1", "Tier 3") == (logs[1]["before"], logs[1]["now"])
    assert key not in repr(logs)


def test_the_standard_library_logger_is_left_alone():
    """Importing metering configures no logging."""
    assert [] == logging.getLogger("metering").handlers
