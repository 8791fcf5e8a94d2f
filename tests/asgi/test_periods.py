"""Months of one's own, and keys with a limit of their own, through the whole stack."""

from datetime import UTC, datetime

import anyio
import pytest

from metering.backends.sql import SqlLedger
from metering.clock import NS_PER_S
from metering.errors import ConfigurationError
from metering.money import PICO
from metering.testing.clock import ManualClock
from metering.testing.model import FakeModel

pytestmark = pytest.mark.anyio

GLM = "zai-org/GLM-4.7"
CALL_P = 3 * 600_000 + 5 * 2_200_000
"""What a call costs that reads 3 tokens of GLM-4.7 and writes 5."""
JANUARY_ENDS = int(datetime(2026, 1, 31, 15, tzinfo=UTC).timestamp()) * NS_PER_S
"""In Seoul."""


def replying():
    return FakeModel(output_tokens=5)


async def _account(service, **calendar):
    await service.meter.accounts.create("acme", **calendar)
    await service.meter.accounts.set_payment_method("acme", on_file=True)
    return await service.meter.accounts.issue_key("acme")


async def test_scenario_14_a_call_belongs_to_the_month_it_was_admitted_in(open_service):
    """Admitted a millisecond before Seoul's February, it is January's for good."""
    clock = ManualClock(JANUARY_ENDS - 1_000_000)
    begun, end = anyio.Event(), anyio.Event()

    async def pause(chunk):
        if not chunk:
            begun.set()
            await end.wait()

    app = FakeModel(output_tokens=5, pause=pause)
    async with open_service(app, clock=clock) as service:
        key = await _account(service, time_zone="Asia/Seoul")
        async with anyio.create_task_group() as calls:
            calls.start_soon(lambda: service.chat(key, model=GLM))
            await begun.wait()
            clock.advance(seconds=1)
            end.set()
        await service.chat(key, model=GLM)
        periods = [event.period for event in await service.events("acme")]
        january = await service.meter.billing.period("acme", "2026-01")
        february = await service.meter.billing.period("acme")
        held_p = await service.in_use_p("acme") - january.spent_p

    assert ["2026-02", "2026-01"] == periods
    assert (CALL_P, CALL_P) == (january.spent_p, february.spent_p)
    assert 0 == held_p


async def test_the_plan_says_when_months_of_new_accounts_begin(open_service):
    """An anchor of 15: the period is named by the day it begins."""
    async with open_service(replying(), anchor_day=31) as service:
        key = await _account(service)
        await service.chat(key, model=GLM)
        (event,) = await service.events("acme")
        spent = await service.meter.billing.period("acme")
        usage = await service.meter.billing.usage("acme", "2025-12-31")
        days = await service.meter.billing.days("acme")

        assert "2025-12-31" == event.period
        assert (CALL_P, CALL_P) == (spent.spent_p, usage[0].charge_p)
        assert [(GLM, 1, CALL_P)] == [(d.model, d.calls, d.charge_p) for d in days]
        with pytest.raises(ConfigurationError, match="begin on day 31"):
            await service.meter.billing.period("acme", "2026-01")


async def test_a_402_says_when_the_accounts_own_month_ends(open_service):
    """Not when somebody else's does."""
    async with open_service(replying()) as service:
        key = await _account(service, time_zone="America/New_York", anchor_day=15)
        await service.meter.accounts.override("acme", usage_limit="0.001")
        refused = await service.chat(key, model=GLM, max_tokens=5)
        for _ in range(80):
            refused = await service.chat(key, model=GLM, max_tokens=5)

    # The clock stands at 2026-01-15T00:00Z, which in New York is still the 14th.
    assert 402 == refused.status_code
    assert "2026-01-15T05:00:00Z" == refused.json()["error"]["resets_at"]


async def test_an_early_payment_frees_the_month_that_runs(open_service):
    """The account's own, by its own clock."""
    clock = ManualClock(JANUARY_ENDS + NS_PER_S)
    async with open_service(replying(), clock=clock) as service:
        key = await _account(service, time_zone="Asia/Seoul")
        await service.chat(key, model=GLM)
        await service.flush()
        await service.meter.billing.record_payment(
            "acme", usd="0.0000128", reference="p1", kind="early_payment"
        )
        february = await service.meter.billing.period("acme", "2026-02")

    assert (CALL_P, CALL_P) == (february.spent_p, february.early_paid_p)


async def test_a_key_may_spend_no_more_than_its_own_limit(open_service):
    """Another key of the account may; the 402 says whose limit it is."""
    async with open_service(replying()) as service:
        await _account(service)
        capped = await service.meter.accounts.issue_key("acme", usage_limit="0.001")
        free = await service.meter.accounts.issue_key("acme")
        answers = [
            await service.chat(capped, model=GLM, max_tokens=5) for _ in range(80)
        ]
        other = await service.chat(free, model=GLM, max_tokens=5)

    admitted = [answer for answer in answers if answer.status_code == 200]
    refused = answers[-1]
    assert 0 < len(admitted) < 80
    assert len(admitted) * CALL_P <= 1_000_000_000
    assert (402, "usage_limit_reached") == (
        refused.status_code,
        refused.json()["error"]["code"],
    )
    assert "this key's limit" in refused.json()["error"]["message"]
    assert 200 == other.status_code


async def test_a_keys_limit_is_kept_over_a_restart(open_service, tmp_path):
    """What it spent is in the ledger and the journal."""
    path = tmp_path / "ledger.db"
    tiers = open_service.plan().tiers
    ledger = SqlLedger(path, tiers=tiers)
    async with open_service(replying(), ledger=ledger) as service:
        await _account(service)
        key = await service.meter.accounts.issue_key("acme", usage_limit="0.001")
        while (await service.chat(key, model=GLM, max_tokens=5)).status_code == 200:
            pass
        clock = service.clock
    ledger = SqlLedger(path, tiers=tiers)
    async with open_service(replying(), ledger=ledger, clock=clock) as again:
        refused = await again.chat(key, model=GLM, max_tokens=5)
        clock.advance(seconds=40 * 24 * 3600)
        next_month = await again.chat(key, model=GLM, max_tokens=5)

    assert (402, 200) == (refused.status_code, next_month.status_code)


@pytest.mark.parametrize("limit", ["-1", "much", "9000001"])
async def test_a_limit_that_cannot_be_is_refused(open_service, limit):
    """Before a key is issued."""
    async with open_service() as service:
        await _account(service)
        with pytest.raises(ConfigurationError):
            await service.meter.accounts.issue_key("acme", usage_limit=limit)


def test_pico_is_the_unit():
    """A guard of the figures above."""
    assert 12_800_000 == CALL_P
    assert PICO == 10**12
