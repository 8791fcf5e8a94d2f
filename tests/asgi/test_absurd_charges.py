"""One report that cannot be true, or a period that is full, harms one account alone."""

import json
from contextlib import closing

import pytest

from metering.accounts import Overrides
from metering.backends.sql import SqlLedger
from metering.config import plan_from_preset
from metering.money import AMOUNT_MAX_P, PICO

pytestmark = pytest.mark.anyio

GLM = "zai-org/GLM-4.7"


@pytest.fixture(params=["memory", "sql"])
def ledger(request, tmp_path):
    """Each ledger there is."""
    tiers = plan_from_preset("friendli").tiers
    if request.param == "memory":
        yield SqlLedger("sqlite://", tiers=tiers)
        return
    with closing(SqlLedger(tmp_path / "ledger.db", tiers=tiers)) as ledger:
        yield ledger


class Reporting:
    """An app that claims to have written as many tokens as it is told to."""

    def __init__(self):
        self.tokens = 5

    async def __call__(self, _scope, receive, send):
        while (await receive()).get("more_body"):
            pass
        usage = {"prompt_tokens": 7, "completion_tokens": self.tokens}
        body = json.dumps({"choices": [], "usage": usage}).encode()
        head = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": "http.response.body", "body": body})


async def test_a_charge_above_any_amount_is_quarantined(open_service, ledger):
    """2**53 tokens: the call is charged its hold, and everybody goes on."""
    app = Reporting()
    async with open_service(app, ledger=ledger) as service:
        acme = await service.account("acme", tier=1)
        beta = await service.account("beta", tier=1)
        app.tokens = 2**53
        await service.chat(acme, model=GLM)
        app.tokens = 5
        await service.chat(beta, model=GLM)
        (absurd,) = await service.events("acme")
        (other,) = await service.events("beta")

    assert absurd.hold_p == absurd.charge_p > 0
    assert ("estimated", "quarantined") == absurd.flags
    assert 7 * 600_000 + 5 * 2_200_000 == other.charge_p


@pytest.mark.parametrize("stream", [False, True])
async def test_a_full_period_stops_only_its_account(open_service, ledger, stream):
    """Two calls of $4.9M: the second is set aside, others go on, a restart works."""
    app = Reporting()
    async with open_service(app, ledger=ledger) as service:
        acme = await service.account("acme", tier=1)
        beta = await service.account("beta", tier=1)
        await service.meter.accounts.override(
            "acme", Overrides(usage_limit_p=AMOUNT_MAX_P)
        )
        app.tokens = 4_900_000 * PICO // 2_200_000
        for _ in range(2):
            await service.chat(acme, model=GLM, stream=stream)
        app.tokens = 5
        await service.chat(beta, model=GLM)
        acmes, betas = await service.events("acme"), await service.events("beta")
        home = service.meter.data
    async with open_service(app, ledger=ledger) as service:
        again = await service.chat(beta, model=GLM)
        posted = await service.events("beta")

    (line,) = (home / "journal" / "set-aside.jsonl").read_text().splitlines()
    assert (1, 1) == (len(acmes), len(betas))
    assert "acme" == json.loads(line)["event"]["account_id"]
    assert (200, 2) == (again.status_code, len(posted))
