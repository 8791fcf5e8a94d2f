"""What an operator changes by forms: what they do, refuse, and ask about first."""

import pytest

from metering.accounts import Overrides, RateOverride, TokenPrices
from metering.clock import NS_PER_S
from metering.money import PICO, format_usd

pytestmark = pytest.mark.anyio

OPERATOR = "an-operator-signs-in-by-this-token-alone"
GLM = "zai-org/GLM-4.7"
PAYMENT = {
    "do": "payment",
    "kind": "credit_purchase",
    "usd": "60",
    "reference": "pi_1",
}
CREDIT = {"do": "credit", "usd": "12.5", "reference": "welcome"}


class Desk:
    """An operator before the page of an account."""

    def __init__(self, console, browser, seen):
        self.console, self.browser, self.seen = console, browser, seen
        self.ledger = console.ledger

    async def fill(self, **form):
        """Return the answer to a form of the account."""
        return await self.browser.fill("/account", form, account="acme")

    async def do(self, *, done, **form):
        """Have a form done, and return the page that says so."""
        answer = await self.fill(**form)
        assert 303 == answer.status_code, answer.text
        assert (
            f"/console/account?account=acme&done={done}" == (answer.headers["location"])
        )
        return await self.browser.see("/account", account="acme", done=done)

    async def refused(self, **form):
        """Return the page that says what is wrong with a form."""
        answer = await self.fill(**form)
        assert 422 == answer.status_code, answer.text
        return self.seen(answer.text)

    async def asked(self, **form):
        """Return the page that asks whether a form is meant."""
        answer = await self.fill(**form)
        assert 200 == answer.status_code, answer.text
        return self.seen(answer.text)

    @property
    def account(self):
        return self.ledger.get("acme")


@pytest.fixture
async def desk(open_console, browse, seen):
    """A service with an account, and an operator who is signed in."""
    async with (
        open_console() as console,
        browse(console, secret=OPERATOR) as browser,
    ):
        await console.account("acme")
        yield Desk(console, browser, seen)


def values(page):
    """Return what the fields of a page hold, and which are wrong."""
    fields = {field["id"]: field for field in page.all("input") if "id" in field}
    return (
        {name: field.get("value") for name, field in fields.items()},
        [name for name, field in fields.items() if "aria-invalid" in field],
    )


async def test_an_account_is_created_and_led_to(desk):
    made = await desk.browser.fill(
        "/accounts", {"id": "zeta", "time_zone": "Europe/Berlin", "anchor_day": "15"}
    )
    page = await desk.browser.client.get(made.headers["location"])

    created = desk.ledger.get("zeta")
    assert 303 == made.status_code
    assert ("Europe/Berlin", 15) == (created.time_zone, created.anchor_day)
    assert "Account created, with its sign-up credit." in page.text


@pytest.mark.parametrize(
    ("form", "field", "said"),
    [
        ({"id": "acme"}, "id", "An account 'acme' already exists."),
        ({"id": "two words"}, "id", "without spaces, braces or colons"),
        ({"id": ""}, "id", "Enter 1 to 200 characters"),
        ({"id": "z", "time_zone": "Mars"}, "time_zone", "'Mars'"),
        ({"id": "z", "anchor_day": "32"}, "anchor_day", "a day of the month"),
        ({"id": "z", "anchor_day": "x"}, "anchor_day", "a day of the month"),
    ],
)
async def test_what_is_wrong_with_a_new_account_is_said_beside_the_field(
    desk, form, field, said
):
    answer = await desk.browser.fill("/accounts", form)
    page = desk.seen(answer.text)

    typed, wrong = values(page)
    assert 422 == answer.status_code
    assert [field] == wrong
    assert said in page.text
    assert form.items() <= typed.items()
    assert ["acme"] == [each.id for each in desk.ledger.accounts()]


async def test_a_payment_is_asked_about_then_recorded_once(desk):
    asked = await desk.asked(**PAYMENT)
    before = desk.account.lifetime_paid_p

    for _ in range(2):
        done = await desk.do(**PAYMENT, confirmed="1", done="payment")

    assert "Record $60 for acme?" in asked.text
    assert "Kind Credit bought Reference pi_1" in asked.text
    sent = {
        field["name"]: field["value"]
        for field in asked.all("input")
        if field["name"] != "form_token"
    }
    assert PAYMENT == sent
    assert (0, 60 * PICO) == (before, desk.account.lifetime_paid_p)
    assert 1 == len(desk.ledger.payments("acme"))
    assert "Payment recorded." in done.text
    assert "Tier 2" in done.text


async def test_what_is_asked_about_can_be_changed_first(desk):
    page = await desk.asked(**PAYMENT, change="1")

    typed, wrong = values(page)
    assert ("60", "pi_1", []) == (typed["usd"], typed["reference"], wrong)
    assert [] == desk.ledger.payments("acme")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"usd": "5,0"}, "usd"),
        ({"usd": "-5"}, "usd"),
        ({"usd": ""}, "usd"),
        ({"usd": "1e3"}, "usd"),
        ({"reference": ""}, "reference"),
        ({"reference": "x" * 201}, "reference"),
        ({"refers_to": "x" * 201}, "refers_to"),
    ],
)
async def test_what_is_wrong_with_a_payment_is_said_beside_the_field(
    desk, change, field
):
    page = await desk.refused(**PAYMENT | change)

    typed, wrong = values(page)
    assert [field] == wrong
    expected = PAYMENT | change
    assert (expected["usd"], expected["reference"]) == (
        typed["usd"],
        typed["reference"],
    )
    assert [] == desk.ledger.payments("acme")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"usd": "61"}, "pi_1"),
        ({"usd": "0", "reference": "pi_2"}, "0"),
        (
            {"kind": "refund", "usd": "900", "refers_to": "pi_1", "reference": "r"},
            "more than is left",
        ),
        ({"kind": "refund", "reference": "r"}, "refund"),
    ],
)
async def test_a_payment_that_cannot_be_is_refused_with_the_reason(desk, change, said):
    await desk.do(**PAYMENT, confirmed="1", done="payment")

    page = await desk.refused(**PAYMENT | change, confirmed="1")

    (alert,) = [tag for tag in page.all("p") if tag.get("role") == "alert"]
    assert "autofocus" in alert
    assert said in page.text
    assert 60 * PICO == desk.account.lifetime_paid_p
    assert (PAYMENT | change)["usd"] == values(page)[0]["usd"]


async def test_credit_is_given_once_until_a_day_and_for_a_model(desk):
    form = CREDIT | {"expires": "2026-03-01", "model": GLM}
    asked = await desk.asked(**form)
    for _ in range(2):
        await desk.do(**form, confirmed="1", done="credit")

    assert "Ends 1 Mar 2026, 00:00 UTC" in asked.text
    assert f"Pays for {GLM}" in asked.text
    _, grant = sorted(desk.ledger.grants("acme"), key=lambda each: each.amount_p)
    assert ("welcome", "12.5", (GLM,), 1_772_323_200 * NS_PER_S) == (
        grant.id,
        format_usd(grant.amount_p),
        grant.models,
        grant.expires_ns,
    )


@pytest.mark.parametrize(
    ("change", "field"),
    [({"usd": "x"}, "credit-usd"), ({"expires": "soon"}, "expires")],
)
async def test_what_is_wrong_with_credit_is_said_beside_the_field(desk, change, field):
    page = await desk.refused(**CREDIT | change)

    assert [field] == values(page)[1]
    assert 1 == len(desk.ledger.grants("acme"))


async def test_each_form_for_credit_has_a_reference_of_its_own(desk):
    names = {
        values(await desk.browser.see("/account", account="acme"))[0][
            "credit-reference"
        ]
        for _ in range(2)
    }

    assert 2 == len(names)


async def test_a_tier_is_set_by_agreement_and_by_spend_again(desk):
    done = await desk.do(do="tier", level="5", done="tier")
    assert (5, True) == (desk.account.pin, "Tier 5 agreed" in done.text)

    await desk.do(do="tier", level="", done="tier")
    assert None is desk.account.pin

    assert "There is no tier 9" in (await desk.refused(do="tier", level="9")).text
    assert "Choose a tier." in (await desk.refused(do="tier", level="high")).text
    assert None is desk.account.pin


async def test_an_agreement_is_kept_shown_again_and_ended(desk):
    terms = {
        "usage_limit_usd": "1200.5",
        "output_tokens_max": "49152",
        "paid_amount": "3000",
        "paid_per_s": "60",
        "paid_burst": "50",
        "free_amount": "",
        "free_per_s": "60",
        "prices": f"{GLM} 0.5 1.9\r\n\r\n",
    }
    page = await desk.do(do="agreement", **terms, done="agreement")

    agreed = Overrides(
        usage_limit_p=1200_500_000_000_000,
        output_tokens_max=49_152,
        requests={"paid": RateOverride(3000, 60 * NS_PER_S, 50)},
        prices={GLM: TokenPrices(PICO // 2, 19 * PICO // 10, 1_000_000)},
    )
    assert agreed == desk.account.overrides
    typed, _ = values(page)
    assert ("1200.5", "49152", "3000", "50", "") == (
        typed["usage_limit_usd"],
        typed["output_tokens_max"],
        typed["paid_amount"],
        typed["paid_burst"],
        typed["free_amount"],
    )
    assert f"{GLM} 0.5 1.9" in page.text

    await desk.do(do="agreement", paid_per_s="60", done="agreement")
    assert Overrides() == desk.account.overrides


@pytest.mark.parametrize("per_s", [30, 2_592_000, 34_559_999])
async def test_a_limit_in_an_unusual_time_is_kept_as_it_is(desk, per_s):
    rare = Overrides(requests={"free": RateOverride(7, per_s * NS_PER_S)})
    await desk.console.meter.accounts.override("acme", rare)

    page = await desk.browser.see("/account", account="acme")

    chosen = [option["value"] for option in page.all("option") if "selected" in option]
    assert str(per_s) in chosen
    assert f"{per_s:,} s" in (await desk.browser.see("/limits", account="acme")).text
    form = {"free_amount": "7", "free_per_s": str(per_s)}
    await desk.do(do="agreement", **form, done="agreement")
    assert rare == desk.account.overrides


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ({"prices": f"{GLM} 1"}, "is not a price"),
        ({"prices": f"{GLM} 1 x"}, "has an invalid amount"),
        ({"prices": "no-such-model 1 2"}, "has no model 'no-such-model'"),
        ({"paid_amount": "many"}, "Enter a whole number of requests."),
        ({"paid_burst": "5"}, "Enter a whole number of requests."),
        ({"output_tokens_max": "0"}, "Enter a whole number of tokens"),
        ({"usage_limit_usd": "lots"}, "Enter an amount in dollars"),
    ],
)
async def test_an_agreement_that_cannot_be_changes_nothing(desk, form, said):
    page = await desk.refused(do="agreement", paid_per_s="60", **form)

    wrong = [
        field
        for field in page.all("input", "textarea")
        if "aria-invalid" in field and "autofocus" in field
    ]
    assert 1 == len(wrong)
    assert said in page.text
    assert Overrides() == desk.account.overrides


async def test_a_payment_method_is_noted_and_gone_again(desk):
    await desk.do(do="payment_method", on_file="true", done="payment_method")
    assert desk.account.payment_method

    await desk.do(do="payment_method", on_file="false", done="payment_method")
    assert not desk.account.payment_method


async def test_an_account_is_suspended_when_that_is_meant_and_resumed(desk):
    asked = await desk.asked(do="suspend")
    assert "Suspend acme?" in asked.text
    assert not desk.account.suspended

    done = await desk.do(do="suspend", confirmed="1", done="suspend")
    assert desk.account.suspended
    assert "State Suspended" in done.text

    await desk.do(do="resume", done="resume")
    assert not desk.account.suspended


async def test_a_period_is_closed_when_that_is_meant(desk):
    early = await desk.refused(do="close", period="2026-01", confirmed="1")
    assert "2026-01" in early.text
    desk.console.clock.advance(seconds=35 * 86_400)
    await desk.browser.sign_in(OPERATOR)

    asked = await desk.asked(do="close", period="2026-01")
    assert [] == desk.ledger.invoices("acme")
    for _ in range(2):
        await desk.do(do="close", period="2026-01", confirmed="1", done="close")

    assert "Close 2026-01 of acme?" in asked.text
    assert ["acme-2026-01"] == [each.id for each in desk.ledger.invoices("acme")]


async def test_a_form_that_no_page_has_is_refused(desk):
    for form in ({}, {"do": "delete"}, {"do": "suspend", "confirmed": "maybe"}):
        assert 400 == (await desk.fill(**form)).status_code
    assert not desk.account.suspended


async def test_the_account_of_the_page_is_the_one_that_is_changed(desk):
    """Whatever a form says besides."""
    await desk.console.account("zeta")

    await desk.do(
        do="suspend", confirmed="1", account="zeta", id="zeta", done="suspend"
    )

    assert (True, False) == (
        desk.account.suspended,
        desk.ledger.get("zeta").suspended,
    )


async def test_an_account_changes_nothing_by_these_forms(desk, browse):
    key = await desk.console.meter.accounts.issue_key("acme")
    async with browse(desk.console, secret=key) as customer:
        token = await customer.token("/")
        for query in ({}, {"account": "acme"}):
            form = PAYMENT | {"confirmed": "1", "form_token": token}
            answer = await customer.send("/account", form, query=query)

            assert 403 == answer.status_code
    assert [] == desk.ledger.payments("acme")
