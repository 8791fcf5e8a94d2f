"""A plan may drop a tier that accounts are pinned to."""

import pytest
from structlog.testing import capture_logs

from metering.accounts import TierBook
from metering.backends.sql import SqlLedger

pytestmark = pytest.mark.anyio


async def test_who_was_pinned_to_it_is_served_by_what_was_paid(open_service):
    """Each call is answered as by the highest tier they qualify for; a log tells."""
    plan = open_service.plan()
    ledger = SqlLedger("sqlite://", tiers=plan.tiers)
    async with open_service(ledger=ledger) as service:
        key = await service.account("acme", tier=5)
    fewer = TierBook(tuple(tier for tier in plan.tiers.tiers if tier.level < 5))
    ledger._tiers = fewer
    with capture_logs() as logs:
        async with open_service(ledger=ledger, tiers=fewer) as service:
            answer = await service.chat(key)
            await service.meter.billing.record_payment(
                "acme", usd="500", reference="pi_1", kind="invoice"
            )
            (event,) = await service.events("acme")

    told = [log for log in logs if log["event"] == "pinned_tier_missing"]
    assert (200, 0) == (answer.status_code, event.tier)
    assert [("acme", 5, "Tier 0")] == [
        (log["account"], log["pin"], log["served"]) for log in told
    ]
