"""Acceptance scenarios of credit, payments and tiers, by their numbers: whole calls."""

import pytest

from metering.billing import usage_limit_demand
from metering.errors import ConfigurationError, LedgerError
from metering.ledger.books import BREAKAGE, PROMO_EXPENSE, credit_of, receivable_of
from metering.money import PICO, parse_usd
from metering.testing.contracts.samples import used

pytestmark = pytest.mark.anyio

PRICES = ("7.25", "48.50", "50", "5", "2", "1", "0.5")
PLAN = """
[plan]
name = "funding"

[[tiers]]
level = 0
name = "T0"
output_tokens_max = "4K"
funding = "credit"

[[tiers]]
level = 1
name = "T1"
payment_method = true
output_tokens_max = "16K"
usage_limit = "50"
requests = { paid = "100/minute" }

[[tiers]]
level = 2
name = "T2"
lifetime_spend = "50"
output_tokens_max = "16K"
usage_limit = "500"
requests = { paid = "1000/minute" }

[[tiers]]
level = 3
name = "T3"
lifetime_spend = "500"
output_tokens_max = "32K"
usage_limit = "5000"
requests = { paid = "5000/minute" }
""" + "".join(
    f"""
[[models]]
name = "usd-{usd}"
prices = [{{ kind = "request", per_request = "{usd}" }}]
"""
    for usd in PRICES
)
FREE_CREDIT = PLAN.replace("[[tiers]]", '[credit]\nsign_up = "5"\n\n[[tiers]]', 1)


def left_usd(service):
    """What each grant has left, in dollars."""
    grants = service.meter.ledger.grants("acme")
    return {grant.id: grant.left_p / PICO for grant in grants}


async def room_p(service, limit_usd, month="2026-02"):
    """What may yet be spent in a month, as the gate has it."""
    demand = usage_limit_demand("acme", month, parse_usd(limit_usd), 0)
    store = service.meter.limit_store
    (verdict,) = await store.peek([demand], now_ns=service.clock())
    return verdict.remaining


async def promo_and_paid(service, at):
    """Give $5 that ends on 10 February and is drawn first, and sell $20."""
    billing = service.meter.billing
    await billing.grant_credit(
        "acme",
        usd="5",
        reference="promo",
        priority=0,
        expires_ns=at("2026-02-10T00:00:00Z"),
    )
    await billing.record_payment(
        "acme", usd="20", reference="pi_1", kind="credit_purchase"
    )


async def test_scenario_20_a_settlement_told_three_times_is_one_charge(open_service):
    """And under its id another amount is a conflict: the first stands."""
    async with open_service(PLAN, "2026-02-09T00:00:00Z") as service:
        ledger = service.meter.ledger
        told = [ledger.post([used("e1", 5)]) for _ in range(3)]
        other = ledger.post([used("e1", 6)])

        assert [("e1",), (), ()] == [report.posted for report in told]
        assert ((), ("e1",)) == (other.posted, other.conflicts)
        assert 5 == ledger.period("acme", "2026-01").spent_p
        assert 5 == ledger.balances_p("acme")[receivable_of("acme")]


async def test_scenario_25_promotional_credit_is_drawn_first(open_service, at):
    """$7.25 on 9 February: promotional 0, bought 17.75."""
    async with open_service(PLAN, "2026-02-09T00:00:00Z") as service:
        await promo_and_paid(service, at)
        answer = await service.call("usd-7.25")
        service.events()

        assert 200 == answer.status_code
        assert {"promo": 0, "payment:pi_1": 17.75} == left_usd(service)


async def test_scenario_25_what_was_not_used_in_time_is_booked(open_service, at):
    """$7.25 on 11 February: $5 have expired, and 12.75 is left of what was bought."""
    async with open_service(PLAN, "2026-02-09T00:00:00Z") as service:
        await promo_and_paid(service, at)
        service.clock.advance(seconds=2 * 86_400)
        await service.call("usd-7.25")
        service.events()
        # It is midnight of the 11th: a day after the end.
        swept = [await service.meter.billing.expire_credit() for _ in range(2)]

        assert [1, 0] == swept
        assert {"promo": 0, "payment:pi_1": 12.75} == left_usd(service)
        promo = service.meter.ledger.grants("acme")[-1]
        assert ("promo", 5 * PICO) == (promo.id, promo.expired_p)
        balances = service.meter.ledger.balances_p("acme")
        assert 0 == balances[PROMO_EXPENSE] == balances[credit_of("acme", "promo")]
        assert BREAKAGE not in balances


async def test_scenario_26_a_call_that_began_in_time_is_paid_by_what_it_held(
    open_service, at, answering
):
    """Admitted at 23:59, ended at 00:04: promotional pays $2, $3 expire, paid stays."""
    async with open_service(PLAN, "2026-02-09T23:59:00Z", answering) as service:
        await promo_and_paid(service, at)
        answering.takes = lambda: service.clock.advance(seconds=300)
        await service.call("usd-2")
        swept_too_early = await service.meter.billing.expire_credit()
        service.events()
        service.clock.advance(seconds=86_400)
        swept = await service.meter.billing.expire_credit()

        assert (0, 1) == (swept_too_early, swept)
        assert {"promo": 0, "payment:pi_1": 20} == left_usd(service)
        promo = service.meter.ledger.grants("acme")[-1]
        assert (2 * PICO, 3 * PICO) == (promo.consumed_p, promo.expired_p)


async def test_scenario_28_paying_early_resets_the_month_and_credit_lifts(open_service):
    """$48.50 spent and paid: room $50 of $50. $1.50 of credit: tier 2, room $500."""
    async with open_service(PLAN, "2026-02-09T00:00:00Z") as service:
        pay, tier_of = (
            service.meter.billing.record_payment,
            service.meter.accounts.tier_of,
        )
        await service.meter.accounts.set_payment_method("acme", on_file=True)
        answer = await service.call("usd-48.50")
        service.events()
        before_p = await room_p(service, "50")
        early = await pay("acme", usd="48.50", reference="pi_1", kind="early_payment")
        period = await service.meter.billing.period("acme")
        after_p = await room_p(service, "50")
        lifted = await pay("acme", usd="1.50", reference="pi_2", kind="credit_purchase")

        assert 200 == answer.status_code
        assert (parse_usd("1.50"), 50 * PICO) == (before_p, after_p)
        assert (1, 1) == (period.epoch, tier_of(early).level)
        assert parse_usd("48.50") == early.lifetime_paid_p
        assert (50 * PICO, 2) == (lifted.lifetime_paid_p, tier_of(lifted).level)
        assert 500 * PICO == await room_p(service, "500")


async def test_scenario_29_tiers_rise_at_once_and_fall_with_the_period(open_service):
    """$490 is tier 2, $500 tier 3; $200 charged back is tier 2, but from March on."""
    async with open_service(PLAN, "2026-02-09T00:00:00Z") as service:
        pay, tier_of = (
            service.meter.billing.record_payment,
            service.meter.accounts.tier_of,
        )

        async def level(usd, reference, kind="invoice", refers_to=None):
            account = await pay(
                "acme", usd=usd, reference=reference, kind=kind, refers_to=refers_to
            )
            return account.lifetime_paid_p // PICO, tier_of(account).level

        steps = [
            await level("400", "pi_1"),
            await level("60", "re_1", "refund", "pi_1"),
            await level("150", "pi_2"),
            await level("10", "pi_3"),
            await level("200", "cb_1", "chargeback", "pi_1"),
            await level("200", "cb_1", "chargeback", "pi_1"),
            await level("10", "pi_3"),
        ]
        await service.meter.billing.grant_credit("acme", usd="100", reference="gift")
        gifted = await service.meter.accounts.get("acme")
        february = (await service.call("usd-1")).headers["x-ratelimit-limit-requests"]
        service.events()
        service.clock.advance(seconds=20 * 86_400 - 1)
        last = (await service.call("usd-1")).headers["x-ratelimit-limit-requests"]
        service.clock.advance(seconds=1)
        march = (await service.call("usd-1")).headers["x-ratelimit-limit-requests"]

        assert [(400, 2), (340, 2), (490, 2), (500, 3), *[(300, 3)] * 3] == steps
        assert 300 * PICO == gifted.lifetime_paid_p
        assert ["5000", "5000", "1000"] == [february, last, march]


@pytest.mark.parametrize(
    ("policy", "levels"), [("immediate", [2, 2]), ("never", [3, 3])]
)
async def test_scenario_29_a_tier_falls_by_policy(open_service, policy, levels):
    """At once, or never; by default it falls when the period ends."""
    plan = PLAN.replace(
        "[[tiers]]", f'[payments]\non_refund = "{policy}"\n\n[[tiers]]', 1
    )
    async with open_service(plan, "2026-02-09T00:00:00Z") as service:
        pay = service.meter.billing.record_payment
        await pay("acme", usd="500", reference="pi_1", kind="invoice")
        account = await pay(
            "acme", usd="200", reference="cb_1", kind="chargeback", refers_to="pi_1"
        )
        now = service.meter.accounts.tier_of(account).level
        service.clock.advance(seconds=366 * 86_400)

        assert levels == [now, service.meter.accounts.tier_of(account).level]


async def test_scenario_30_free_credit_then_a_payment_method(open_service):
    """$5 to spend: $2 and $2, the third is refused; on file, $1 of it is credit's."""
    async with open_service(FREE_CREDIT, "2026-02-09T00:00:00Z") as service:
        first = [await service.call("usd-2") for _ in range(3)]
        service.events()
        await service.meter.accounts.set_payment_method("acme", on_file=True)
        left = left_usd(service)
        then = await service.call("usd-2")
        service.events()
        await service.meter.accounts.set_payment_method("acme", on_file=False)
        last = await service.call("usd-1")

        refusal = last.json()["error"]["code"]
        assert [200, 200, 402] == [answer.status_code for answer in first]
        assert "insufficient_quota" == first[-1].json()["error"]["code"]
        assert {"sign-up": 1} == left
        assert 200 == then.status_code
        assert {"sign-up": 0} == left_usd(service)
        assert PICO == service.meter.ledger.balances_p("acme")[receivable_of("acme")]
        assert (402, "insufficient_quota") == (last.status_code, refusal)


async def test_credit_for_a_model_lets_in_its_calls_alone(open_service):
    """$1 for any and $2 for usd-2: usd-0.5 comes through twice, usd-2 once."""
    async with open_service(PLAN, "2026-02-09T00:00:00Z") as service:
        grant = service.meter.billing.grant_credit
        await grant("acme", usd="1", reference="any")
        await grant("acme", usd="2", reference="scoped", models=["usd-2"])
        codes = []
        for model in ("usd-2", "usd-2", "usd-0.5", "usd-0.5", "usd-0.5"):
            codes.append((await service.call(model)).status_code)
            service.events()
            service.clock.advance(seconds=31)  # a key is resolved anew

        assert [200, 402, 200, 200, 402] == codes
        assert {"any": 0, "scoped": 0} == left_usd(service)


async def test_what_is_not_known_to_be_right_is_never_admitted(open_service):
    """Before the key is read again, what usd-2 used is taken to be everybody's."""
    async with open_service(PLAN, "2026-02-09T00:00:00Z") as service:
        grant = service.meter.billing.grant_credit
        await grant("acme", usd="1", reference="any")
        await grant("acme", usd="2", reference="scoped", models=["usd-2"])
        served = await service.call("usd-2")
        service.events()
        doubted = await service.call("usd-0.5")
        service.clock.advance(seconds=31)
        known = await service.call("usd-0.5")

        codes = [answer.status_code for answer in (served, doubted, known)]
        assert [200, 402, 200] == codes


async def test_credit_is_given_only_for_models_of_the_plan(open_service):
    """Otherwise nobody could ever draw on it."""
    async with open_service(PLAN, "2026-02-09T00:00:00Z") as service:
        grant = service.meter.billing.grant_credit
        with pytest.raises(ConfigurationError, match="no such model"):
            await grant("acme", usd="1", reference="a", models=["usd-3"])
        with pytest.raises(ConfigurationError, match="priority 101"):
            await grant("acme", usd="1", reference="a", priority=101)
        assert {} == left_usd(service)


async def test_an_early_payment_that_is_refunded_closes_its_room(open_service):
    """At the gate, too: of $50 of room, $48.50 are gone again; told twice, once."""
    async with open_service(PLAN, "2026-02-09T00:00:00Z") as service:
        pay = service.meter.billing.record_payment
        await service.meter.accounts.set_payment_method("acme", on_file=True)
        await service.call("usd-48.50")
        service.events()
        await pay("acme", usd="48.50", reference="pi_1", kind="early_payment")
        for _ in range(2):
            await pay(
                "acme", usd="48.50", reference="re_1", kind="refund", refers_to="pi_1"
            )
        refused = await service.call("usd-2")

        assert parse_usd("1.50") == await room_p(service, "50")
        assert 402 == refused.status_code
        with pytest.raises(LedgerError, match="more than is left"):
            await pay(
                "acme", usd="1", reference="re_2", kind="refund", refers_to="pi_1"
            )


async def test_a_refund_of_last_month_closes_no_room_of_this_one(open_service):
    """Paid early in February, refunded in March: of March's $50, $48 are left."""
    async with open_service(PLAN, "2026-02-09T00:00:00Z") as service:
        pay = service.meter.billing.record_payment
        await service.meter.accounts.set_payment_method("acme", on_file=True)
        await service.call("usd-48.50")
        service.events()
        await pay("acme", usd="48.50", reference="pi_1", kind="early_payment")
        service.clock.advance(seconds=20 * 86_400)
        await service.call("usd-2")
        service.events()
        await pay(
            "acme", usd="48.50", reference="re_1", kind="refund", refers_to="pi_1"
        )

        assert 48 * PICO == await room_p(service, "50", "2026-03")
        assert parse_usd("1.50") == await room_p(service, "50", "2026-02")


async def test_credit_that_is_charged_back_is_spent_no_more(open_service):
    """$5 bought, $2 used, all charged back: no call until $2 and more are paid."""
    async with open_service(PLAN, "2026-02-09T00:00:00Z") as service:
        pay = service.meter.billing.record_payment
        await pay("acme", usd="5", reference="pi_1", kind="credit_purchase")
        codes = [(await service.call("usd-2")).status_code]
        service.events()
        await pay(
            "acme", usd="5", reference="cb_1", kind="chargeback", refers_to="pi_1"
        )
        codes.append((await service.call("usd-0.5")).status_code)
        await pay("acme", usd="2", reference="pi_2", kind="credit_purchase")
        codes.append((await service.call("usd-0.5")).status_code)
        await pay("acme", usd="0.5", reference="pi_3", kind="credit_purchase")
        codes += [(await service.call("usd-0.5")).status_code for _ in range(2)]

        assert [200, 402, 402, 200, 402] == codes
