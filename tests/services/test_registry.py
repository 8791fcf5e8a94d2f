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
from metering.accounts import Overrides, RateOverride, TokenPrices
from metering.backends.sql import SqlLedger
from metering.clock import NS_PER_S
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
        "friendli", clock=ManualClock(), ledger=SqlLedger("sqlite://", tiers=tiers)
    )
    yield meter
    await meter.stop()


async def test_sign_up_credit_comes_once(meter):
    """Created three times, an account has $5 of credit and is tier 0."""
    for _ in range(3):
        account = await meter.accounts.create("acme")

    assert 5 * PICO == (await meter.billing.credit("acme")).ceiling_p
    assert 0 == meter.accounts.tier_of(account).level


async def test_a_payment_method_keeps_the_credit(meter):
    """0 -> 1 -> 0: the tier follows, the credit stays."""
    await meter.accounts.create("acme")
    levels = []
    for on_file in (True, False):
        account = await meter.accounts.set_payment_method("acme", on_file=on_file)
        levels.append(meter.accounts.tier_of(account).level)

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
    assert 2 == meter.accounts.tier_of(account).level


async def test_a_grant_counts_once(meter):
    """Credit of one reference is given once; it is promotional and buys no tier."""
    await meter.accounts.create("acme")
    for _ in range(2):
        account = await meter.billing.grant_credit("acme", usd="100", reference="sorry")

    assert 105 * PICO == (await meter.billing.credit("acme")).ceiling_p
    assert 0 == meter.accounts.tier_of(account).level


async def test_a_pin_and_overrides_make_tier_5(meter):
    """By agreement: level 5, whatever was paid, with the values agreed."""
    await meter.accounts.create("acme")
    account = await meter.accounts.pin_tier("acme", 5)
    account = await meter.accounts.override(
        "acme", Overrides(output_tokens_max=131_072)
    )
    with pytest.raises(ConfigurationError, match="no tier 9"):
        await meter.accounts.pin_tier("acme", 9)

    assert 5 == meter.accounts.tier_of(account).level
    assert 131_072 == account.overrides.output_tokens_max


@pytest.mark.parametrize(
    "name",
    ["", "a b", "a:b", "{a}", "x" * 201, "a\x00b", "a\tb", "\x7f", "\ud800", 7, None],
)
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
    assert [
        "key_issued",
        "account_changed",
        "payment_recorded",
        "tier_changed",
        "key_revoked",
    ] == events
    assert ("pi_1", "500", True) == tuple(
        logs[2][name] for name in ("reference", "usd", "new")
    )
    assert ("Tier 1", "Tier 3") == (logs[3]["before"], logs[3]["now"])
    assert logs[0]["key"] == logs[4]["key"]
    assert key not in repr(logs)


def test_the_standard_library_logger_is_left_alone():
    """Importing metering configures no logging."""
    assert [] == logging.getLogger("metering").handlers


class TestCredit:
    """Credit is given once a reference, and each time a log tells."""

    @pytest.mark.parametrize(
        ("reference", "said"),
        [
            ("", "given twice"),
            (None, "given twice"),
            ("sign-up", "at sign-up or with a payment"),
            ("payment:pi_1", "at sign-up or with a payment"),
        ],
    )
    async def test_a_reference_is_its_own(self, meter, reference, said):
        """Else credit would silently not be given, or be given twice."""
        await meter.accounts.create("acme")

        with pytest.raises(ConfigurationError, match=said):
            await meter.billing.grant_credit("acme", usd="5", reference=reference)

    @pytest.mark.parametrize("other", [{"usd": "6"}, {"expires_ns": 2 * 10**18}])
    async def test_a_reference_that_is_known_is_told(self, meter, other):
        """The same again gives nothing more; with other terms it is an error."""
        await meter.accounts.create("acme")
        with capture_logs() as logs:
            for _ in range(2):
                await meter.billing.grant_credit("acme", usd="5", reference="c-1")
        with pytest.raises(LedgerError, match=r"'c-1'.*it cannot also be"):
            await meter.billing.grant_credit(
                "acme", **({"usd": "5", "reference": "c-1"} | other)
            )

        assert 10 * PICO == (await meter.billing.credit("acme")).ceiling_p
        assert [
            ("credit_granted", "c-1", "5", True),
            ("credit_granted", "c-1", "5", False),
        ] == [(log["event"], log["reference"], log["usd"], log["new"]) for log in logs]


class TestLookingUp:
    """What is asked of nobody, or for no month, is an error and not a zero."""

    @pytest.mark.parametrize("what", ["credit", "period", "usage", "charges"])
    async def test_an_account_that_is_not_there_is_said(self, meter, what):
        """A misspelt id is not an account that used nothing."""
        with pytest.raises(AccountNotFoundError, match="acmee"):
            await getattr(meter.billing, what)("acmee")

    @pytest.mark.parametrize("what", ["period", "usage"])
    @pytest.mark.parametrize("period", ["bogus", "2026-1", "2026-13", "", 202601])
    async def test_a_period_is_a_month(self, meter, what, period):
        """None alone means the present one."""
        await meter.accounts.create("acme")

        with pytest.raises(ConfigurationError, match="not a month"):
            await getattr(meter.billing, what)("acme", period)


GLM = "zai-org/GLM-4.7"


class TestOverride:
    """What was agreed with one account is written as a plan writes it."""

    async def test_terms_are_written_in_a_plans_notation(self, meter):
        """Dollars, counts and rates; what is not named is the tier's own."""
        await meter.accounts.create("acme")
        account = await meter.accounts.override(
            "acme",
            usage_limit="500",
            output_tokens_max="32K",
            requests={
                "paid": "2000/minute",
                "free": {"rate": "10/second", "burst": 2},
            },
            prices={GLM: {"input": "0.5", "output": 2}},
        )

        assert (
            Overrides(
                usage_limit_p=500 * PICO,
                output_tokens_max=32_768,
                requests={
                    "paid": RateOverride(2000, 60 * NS_PER_S, 2000),
                    "free": RateOverride(10, NS_PER_S, 2),
                },
                prices={GLM: TokenPrices(PICO // 2, 2 * PICO, 1_000_000)},
            )
            == account.overrides
        )
        assert account == await meter.accounts.get("acme")

    async def test_what_was_agreed_ends_with_nothing(self, meter):
        """Each call says all that is agreed; None is as good as left out."""
        await meter.accounts.create("acme")
        await meter.accounts.override("acme", usage_limit="500")

        account = await meter.accounts.override("acme", usage_limit=None)

        assert Overrides() == account.overrides

    @pytest.mark.parametrize(
        ("terms", "told"),
        [
            ({"usage_limit": 0.5}, r"usage_limit = 0\.5 .*float.*Allowed: dollars"),
            ({"usage_limit": "-5"}, r'usage_limit = "-5" .*Allowed: dollars'),
            ({"usage_limit": "lots"}, r'usage_limit = "lots"'),
            ({"output_tokens_max": 0}, r"output_tokens_max = 0 .*Allowed: 1 to"),
            ({"output_tokens_max": -1}, "output_tokens_max = -1"),
            ({"output_tokens_max": 1.5}, r"output_tokens_max = 1\.5"),
            ({"output_tokens_max": "32k"}, 'output_tokens_max = "32k"'),
            ({"requests": {"paid": "0/minute"}}, r'requests\.paid = "0/minute"'),
            ({"requests": {"paid": "fast"}}, r'requests\.paid = "fast" .*not a rate'),
            ({"requests": {"paid": "1/second; 9/day"}}, "several rates"),
            ({"requests": {"dear": "1/second"}}, r"requests\.dear is not a field"),
            ({"requests": {"paid": {"rate": "1/second"}}}, "burst is missing"),
            ({"requests": 5}, "requests = 5 .*not a table"),
            ({"prices": {GLM: {"input": 1}}}, r"prices\['zai-org/GLM-4\.7'\]: output"),
            ({"prices": {GLM: {"input": "-1", "output": 1}}}, 'input = "-1"'),
            ({"prices": {GLM: {"input": 1, "output": 0.1}}}, r"output = 0\.1"),
            ({"prices": {GLM: 3}}, r"GLM-4\.7'\].*not a table"),
            ({"prices": {"glm": {"input": 1, "output": 1}}}, "no such model"),
            ({"price": {}}, "price is not a field. Did you mean prices"),
        ],
    )
    async def test_what_cannot_be_is_refused(self, meter, terms, told):
        """The error names the account, the term, its value and what is allowed."""
        await meter.accounts.create("acme")

        with pytest.raises(ConfigurationError, match=f"(?s)'acme'.*{told}"):
            await meter.accounts.override("acme", **terms)

        assert Overrides() == (await meter.accounts.get("acme")).overrides

    @pytest.mark.parametrize(
        "overrides",
        [
            Overrides(prices={"no/such-model": TokenPrices(1, 1)}),
            Overrides(prices={GLM: TokenPrices(-1, 1)}),
        ],
    )
    async def test_an_exact_value_is_held_to_the_same(self, meter, overrides):
        """Also one that no plan could write."""
        await meter.accounts.create("acme")

        with pytest.raises(ConfigurationError, match=r"prices\["):
            await meter.accounts.override("acme", overrides)

    async def test_the_value_or_the_terms(self, meter):
        """Both at once would hide one."""
        with pytest.raises(ConfigurationError, match="not both"):
            await meter.accounts.override("acme", Overrides(), usage_limit="5")
