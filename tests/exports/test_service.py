"""A whole service tells of what happens in it: a call through the stack, a payment."""

from dataclasses import replace

import httpx
import pytest
from structlog.testing import capture_logs

from metering import Metering
from metering.config import load_plan
from metering.testing import FakeModel

PLAN = """
[plan]
name = "shop"

[[tiers]]
level = 0
name = "Start"
output_tokens_max = "1K"
usage_limit = "0.01"

[[tiers]]
level = 1
name = "Business"
lifetime_spend = "10"
output_tokens_max = "1K"
usage_limit = "10"

[[models]]
name = "m"

[[models.prices]]
kind = "request"
per_request = "0.006"

[[webhooks]]
url = "{url}"
secret = "{secret}"
"""

pytestmark = pytest.mark.anyio


async def test_a_call_that_passes_a_threshold_and_a_payment_are_told(
    receiver, secret, tmp_path
):
    """Signed by the plan's secret; the alert is logged, too."""
    plan = load_plan(PLAN.format(url=receiver.url, secret=secret), source="shop.toml")
    meter = Metering(replace(plan, data=str(tmp_path)))
    app = meter.wrap(FakeModel())
    with capture_logs() as logs:
        await meter.start()
        await meter.accounts.create("acme")
        key = await meter.accounts.issue_key("acme")
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://a") as http:
            answer = await http.post(
                "/v1/chat/completions",
                headers={"authorization": f"Bearer {key}"},
                json={"model": "m", "messages": [{"role": "user", "content": "a"}]},
            )
        await meter.stop()
        await meter.start()
        await meter.billing.record_payment(
            "acme", usd="10", reference="pi_1", kind="credit_purchase"
        )
        told = receiver.wait_for(3)
        await meter.stop()

    assert 200 == answer.status_code
    by_kind = {body["type"]: body["data"] for _, body, _ in told}
    assert ["payment.recorded", "tier.changed", "usage_limit.near"] == sorted(by_kind)
    assert ("0.006", 50) == (
        by_kind["usage_limit.near"]["used_usd"],
        by_kind["usage_limit.near"]["threshold_percent"],
    )
    (alerted,) = [each for each in logs if each["event"] == "account_alerted"]
    assert ("warning", "usage_limit.near", "acme") == (
        alerted["log_level"],
        alerted["about"],
        alerted["account"],
    )
