"""Acceptance scenarios of invoices and corrections, by their numbers."""

import csv
import io
import json
from contextlib import asynccontextmanager

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from metering.accounts import Account
from metering.billing import usage_limit_demand
from metering.clock import NS_PER_S
from metering.errors import ConfigurationError
from metering.exports import usage_rows, write_csv, write_jsonl
from metering.ledger import CENT_P, allotted_cents, books
from metering.money import PICO, parse_usd

pytestmark = pytest.mark.anyio

PLAN = """
[plan]
name = "scenarios"

[[tiers]]
level = 0
name = "free"
output_tokens_max = "4K"
funding = "credit"

[[tiers]]
level = 1
name = "starter"
payment_method = true
output_tokens_max = "4K"
usage_limit = "50"

[[tiers]]
level = 2
name = "builder"
lifetime_spend = "50"
output_tokens_max = "8K"
usage_limit = "500"

[[models]]
name = "GLM-4.7"
context_tokens_max = 2_000_000
prices = [
  { kind = "token", input = "0.6", output = "2.2", until = 2026-03-01T00:00:00Z },
  { kind = "token", input = "0.5", output = "2.0", from = 2026-03-01T00:00:00Z },
]
"""

JANUARY = "2026-01-15T00:00:00+00:00"
CLOSED = "2026-02-02T00:00:00+00:00"
LATER = "2026-02-20T00:00:00+00:00"
AFTER_FEBRUARY = "2026-03-02T00:00:00+00:00"
SCENARIO_1 = {"prompt_tokens": 1_234_567, "completion_tokens": 89_012}


@pytest.fixture
def open_postpaid(open_service, at):
    """Return what runs a service whose account pays by bill."""

    @asynccontextmanager
    async def opened(text=JANUARY):
        async with open_service(PLAN, text) as service:
            await service.meter.accounts.set_payment_method("acme", on_file=True)
            service.move = lambda text: service.clock.move_to(at(text))
            yield service

    return opened


async def charged(service, usage=SCENARIO_1):
    """Call once, and return the event."""
    service.app.usage = usage
    answer = await service.call("GLM-4.7")
    assert 200 == answer.status_code, answer.text
    return service.events()[0]


async def test_1_alone_on_an_invoice(open_postpaid):
    """$0.9365666 is $0.94, and the other $0.0034334 is booked to rounding."""
    async with open_postpaid() as service:
        event = await charged(service)
        service.move(CLOSED)
        invoice = await service.meter.billing.close("acme")
        balances = service.meter.ledger.balances_p()

    assert 936_566_600_000 == event.charge_p
    assert ("acme-2026-01", 94) == (invoice.id, invoice.total_cents)
    assert [(1, 1_234_567, 89_012)] == [
        (line.calls, line.usage.input_tokens, line.usage.output_tokens)
        for line in invoice.lines
    ]
    assert -3_433_400_000 == balances[books.ROUNDING]
    assert 94 * CENT_P == balances[books.receivable_of("acme")]
    assert 0 == sum(balances.values())


async def test_13_a_price_of_the_past_stays(open_postpaid, at):
    """$0.82 in February's last millisecond, $0.70 in March; rated again, the same."""
    usage = {"prompt_tokens": 1_000_000, "completion_tokens": 100_000}
    async with open_postpaid("2026-02-28T23:59:59.999+00:00") as service:
        await charged(service, usage)
        service.clock.advance(ns=NS_PER_S // 1000)
        await charged(service, usage)
        repriced = await service.meter.corrections.rerate(
            "GLM-4.7",
            at("2026-02-01T00:00:00+00:00"),
            service.clock() + 1,
            reason="by the book",
        )
        february, march = (
            service.meter.ledger.period("acme", period).spent_p
            for period in ("2026-02", "2026-03")
        )

    assert (parse_usd("0.82"), parse_usd("0.7")) == (february, march)
    assert (2, 0, 0) == (repriced.calls, repriced.changed, repriced.delta_p)


async def test_27_credit_goes_back_and_ends_again(open_postpaid, at):
    """Of $7.25 that were taken back $5 were promotional, and have ended meanwhile."""
    ends_ns = at("2026-02-10T00:00:00+00:00")
    async with open_postpaid("2026-02-09T00:00:00+00:00") as service:
        meter = service.meter
        await meter.billing.grant_credit(
            "acme", usd="5", reference="promo", priority=0, expires_ns=ends_ns
        )
        await meter.billing.record_payment(
            "acme", usd="20", reference="pi_1", kind="credit_purchase"
        )
        # $7.25 of 0.6 and 2.2 a million.
        event = await charged(
            service, {"prompt_tokens": 1_750_000, "completion_tokens": 2_818_182}
        )
        drawn = {g.id: g.consumed_p for g in meter.ledger.grants("acme")}
        service.move(LATER)
        await meter.corrections.reverse(event.id, reason="the answer was empty")
        credit = await meter.billing.credit("acme")
        grants = {g.id: g.left_p for g in meter.ledger.grants("acme")}
        expired = meter.ledger.expire_credit(
            ended_by_ns=ends_ns, now_ns=service.clock()
        )

    assert event.charge_p - 5 * PICO == drawn["payment:pi_1"]
    assert {"promo": 5 * PICO, "payment:pi_1": 20 * PICO} == grants
    assert 20 * PICO == credit.ceiling_p - credit.used_p
    assert 1 == expired


def test_32_lines_add_up_to_the_total():
    """Three times $0.015 are $0.05: 2, 2 and 1 cents, and not 6."""
    assert [2, 2, 1] == allotted_cents([15 * CENT_P // 10] * 3)


async def test_33_a_charge_that_was_invoiced_is_taken_back(open_postpaid):
    """February's invoice says so of January, whose own stays; exports add up."""
    async with open_postpaid() as service:
        meter = service.meter
        event = await charged(service)
        service.move(CLOSED)
        january = await meter.billing.close("acme")
        before = meter.ledger.events("acme")
        service.move(LATER)
        standing = await meter.corrections.reverse(event.id, reason="it was ours")
        again = await meter.corrections.reverse(event.id, reason="it was ours")
        service.move(AFTER_FEBRUARY)
        february = await meter.billing.close("acme")

        assert await meter.billing.invoice("acme-2026-01") == january
        assert meter.ledger.events("acme") == before
        rows = {
            period: list(usage_rows(meter.ledger, "acme", period))
            for period in ("2026-01", "2026-02")
        }
        state = meter.ledger.period("acme", "2026-01")

    assert (0, True) == (standing.amount_p, standing.reversed)
    assert standing == again
    correction, carried = february.lines
    assert ("correction", "2026-01") == (correction.kind, correction.period)
    assert (-936_566_600_000, -94) == (correction.amount_p, correction.cents)
    assert ("carried", 936_566_600_000) == (carried.kind, carried.amount_p)
    (row,) = rows["2026-02"]
    assert ("correction", "2026-01") == (row["class"], row["period"])
    assert "-0.9365666" == row["charge_usd"]
    for sums in (_sum_of_csv, _sum_of_jsonl):
        assert state.spent_p == sums(rows["2026-01"])
        assert -936_566_600_000 == sums(rows["2026-02"])


def _sum_of_csv(rows):
    written = io.StringIO()
    write_csv(rows, written)
    read = csv.DictReader(io.StringIO(written.getvalue()))
    return sum(parse_usd(row["charge_usd"]) for row in read)


def _sum_of_jsonl(rows):
    written = io.StringIO()
    write_jsonl(rows, written)
    lines = written.getvalue().splitlines()
    return sum(parse_usd(json.loads(line)["charge_usd"]) for line in lines)


async def test_a_paid_invoice_is_followed_by_the_next_tier(open_postpaid):
    """January is closed and paid: the next call has the next tier's cap."""
    async with open_postpaid() as service:
        meter = service.meter
        # $49.50 within the limit of $50, and one more call that runs over it.
        for _ in range(2):
            await charged(
                service, {"prompt_tokens": 0, "completion_tokens": 11_250_000}
            )
        await charged(service, {"prompt_tokens": 0, "completion_tokens": 227_273})
        refused = await service.call("GLM-4.7")
        service.move(CLOSED)
        invoice = await meter.billing.close("acme", "2026-01")
        before = await service.call("GLM-4.7")
        await meter.billing.record_payment(
            "acme",
            usd="50",
            reference="pi_1",
            kind="invoice",
            refers_to=invoice.id,
        )
        after = await service.call("GLM-4.7")
        paid = await meter.billing.invoice(invoice.id)

    assert 402 == refused.status_code
    assert 5000 == invoice.total_cents
    assert ("4096", "8192") == tuple(
        answer.headers["x-output-tokens-limit"] for answer in (before, after)
    )
    assert "pi_1" == paid.paid_by


@pytest.mark.parametrize("on_file", [True, False])
async def test_a_charge_taken_back_makes_room_at_once(open_postpaid, on_file):
    """In the month's limit, and in credit alone."""
    async with open_postpaid() as service:
        meter = service.meter
        await meter.accounts.set_payment_method("acme", on_file=on_file)
        if not on_file:
            await meter.billing.grant_credit("acme", usd="50", reference="trial")
        for tokens in (11_250_000, 11_250_000, 227_272):
            await charged(service, {"completion_tokens": tokens, "prompt_tokens": 0})
        refused = await service.call("GLM-4.7")
        await meter.corrections.reverse(service.events()[0].id, reason="ours")
        served = await service.call("GLM-4.7")

    assert [402, 200] == [refused.status_code, served.status_code]


async def test_a_reversal_frees_what_an_early_payment_had_not(open_postpaid):
    """The gate and the ledger agree on the room, to the pico-dollar."""
    async with open_postpaid() as service:
        meter = service.meter
        first = await charged(service)
        await charged(service)
        await meter.billing.record_payment(
            "acme", usd="1.5", reference="pi_1", kind="early_payment"
        )
        await meter.corrections.reverse(first.id, reason="ours")
        state = meter.ledger.period("acme", "2026-01")
        grants = meter.ledger.grants("acme")
        outcomes = [
            await meter.limit_store.acquire(
                [usage_limit_demand("acme", "2026-01", 50 * PICO, cost_p)],
                hold_id=f"probe-{cost_p}",
                lease_ns=NS_PER_S,
                now_ns=service.clock(),
            )
            for cost_p in (50 * PICO + 1, 50 * PICO)
        ]

    assert (936_566_600_000, 936_566_600_000) == (state.spent_p, state.early_paid_p)
    assert [15 * PICO // 10 - state.spent_p] == [grant.left_p for grant in grants]
    assert ["refused", "admitted"] == [outcome.status for outcome in outcomes]


async def test_a_price_that_was_wrong_is_mended(open_postpaid, at):
    """Preview first, then pairs of corrections; run again it finds nothing to do."""
    async with open_postpaid("2026-02-28T00:00:00+00:00") as service:
        meter = service.meter
        usage = {"prompt_tokens": 1_000_000, "completion_tokens": 100_000}
        await charged(service, usage)
        service.move(AFTER_FEBRUARY)
        await charged(service, usage)
        new = meter.plan.prices.model("GLM-4.7").versions[1].id
        asked = "GLM-4.7", at("2026-02-01T00:00:00+00:00"), service.clock() + 1
        told = []
        preview = await meter.corrections.preview(*asked, price_version=new)
        spent_p = meter.ledger.period("acme", "2026-02").spent_p
        done = await meter.corrections.rerate(
            *asked,
            reason="the page said so",
            price_version=new,
            on_batch=lambda so_far: told.append(so_far.calls),
        )
        again = await meter.corrections.preview(*asked, price_version=new)
        standing = meter.ledger.standing(service.events()[1].id)

    assert parse_usd("0.82") == spent_p
    assert preview == done
    assert (2, 1, {"acme": -parse_usd("0.12")}) == (
        done.calls,
        done.changed,
        done.by_account,
    )
    assert [2] == told
    assert 0 == again.changed == again.delta_p
    assert (parse_usd("0.7"), new, 2) == (
        standing.amount_p,
        standing.price_version,
        standing.corrections,
    )


async def test_a_price_that_was_never_published_is_refused(open_postpaid):
    """So that nobody is charged by what is written in no book."""
    async with open_postpaid() as service:
        await service.meter.start()

        with pytest.raises(ConfigurationError, match="ever published"):
            await service.meter.corrections.preview(
                "GLM-4.7", 0, service.clock(), price_version="0123456789abcdef"
            )


async def test_a_month_that_an_account_cannot_have_holds_up_no_other(open_postpaid):
    """Its calls were posted first, with months of another calendar; it is told of."""
    async with open_postpaid() as service:
        ledger = service.meter.ledger
        event = await charged(service)
        ledger.post([replace(event, id="aaa-1", account_id="aaa")])
        ledger.create(Account(id="aaa", created_ns=0, anchor_day=15), None)
        service.move(AFTER_FEBRUARY)
        with capture_logs() as logs:
            due = [each.id async for each in service.meter.billing.close_all()]

    assert ["acme-2026-01"] == due
    assert [("period_not_closed", "aaa")] == [
        (told["event"], told["account"]) for told in logs if "error" in told
    ]


async def test_all_that_is_due_is_closed(open_postpaid):
    """Each account's ended months, then nothing more; a late call makes one more."""
    async with open_postpaid() as service:
        meter = service.meter
        event = await charged(service)
        service.move("2026-02-01T23:59:59+00:00")
        early = [invoice.id async for invoice in meter.billing.close_all()]
        service.move(AFTER_FEBRUARY)
        due = [invoice.id async for invoice in meter.billing.close_all()]
        again = [invoice.id async for invoice in meter.billing.close_all()]
        meter.ledger.post([replace(event, id="late")])
        late = [invoice.id async for invoice in meter.billing.close_all()]
        listed = [invoice.id for invoice in await meter.billing.invoices("acme")]

    assert ([], ["acme-2026-01"], []) == (early, due, again)
    assert ["acme-2026-02"] == late
    assert ["acme-2026-01", "acme-2026-02"] == listed


async def test_a_month_is_not_closed_before_its_calls_are_in(open_postpaid):
    """`settle_h` says how long that is: a day unless the plan says otherwise."""
    async with open_postpaid() as service:
        service.move("2026-02-01T23:59:59+00:00")
        with pytest.raises(ConfigurationError, match="Close it then"):
            await service.meter.billing.close("acme", "2026-01")
