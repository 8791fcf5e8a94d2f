"""Who looks sees which calls were refused and why, and what adaptive pools did."""

from dataclasses import replace

import httpx
import pytest
from starlette.applications import Starlette

from metering import Metering
from metering.accounts import Overrides
from metering.backends.sql import SqlLedger
from metering.config import plan_from_preset
from metering.money import PICO
from metering.testing import FakeModel, ManualClock

pytestmark = pytest.mark.anyio

GLM = "zai-org/GLM-4.7"
TIMED = "zai-org/GLM-4.6"
WORDS = "verysecretprompt"
OPERATOR = "an-operator-signs-in-by-this-token-alone"


async def ask(console, key, model=GLM):
    """Make a call, whatever becomes of it."""
    body = {"model": model, "messages": [{"role": "user", "content": WORDS}]}
    headers = {"authorization": f"Bearer {key}"}
    answer = await console.client.post(
        "/v1/chat/completions", json=body, headers=headers
    )
    return answer.status_code


def reasons(shown):
    return {
        (row["status"], row["code"], row["quota"], row["model"]): row["calls"]
        for row in shown["refusals"]
    }


async def test_refused_calls_are_told_with_their_reason_and_served_ones_are_not(
    open_console,
):
    async with open_console() as console:
        key = await console.account("acme", tier=1)
        await console.meter.accounts.override("acme", Overrides(usage_limit_p=PICO))
        served = await ask(console, key)
        for model in (TIMED, "no-such-model", "no-such-model", ""):
            await ask(console, key, model)
        for _ in range(101):
            await ask(console, key)
        await console.meter.accounts.override("acme", Overrides(usage_limit_p=1))
        console.clock.advance(seconds=60)
        await console.meter.accounts.suspend("acme")
        suspended = await ask(console, key)
        before = await console.get("/v1/refusals", account="acme")
        console.meter._historian.write()

        shown = await console.get("/v1/refusals", by=key)

    assert (200, 403) == (served, suspended)
    assert [] == before["refusals"]
    assert {
        (400, "request_exceeds_limit", "spend", TIMED): 1,
        (404, "model_not_priced", None, None): 2,
        (400, "model_missing", None, None): 1,
        (429, "rate_limit_exceeded", "requests", GLM): 2,
        (403, "account_suspended", None, None): 1,
    } == reasons(shown)
    assert {("acme", 1)} == {(row["account"], row["tier"]) for row in shown["refusals"]}
    latest = shown["refusals"][0]
    assert ("account_suspended", "2026-01-15T00:01:00Z", "2026-01-15T00:01:00Z") == (
        latest["code"],
        latest["minute"],
        latest["last"],
    )


async def test_money_that_is_used_up_is_a_reason(open_console):
    async with open_console() as console:
        key = await console.account("acme", tier=1)
        await console.meter.accounts.override("acme", Overrides(usage_limit_p=0))
        assert 402 == await ask(console, key)
        console.meter._historian.write()

        shown = await console.get("/v1/refusals", by=key)

    assert {(402, "usage_limit_reached", "spend", GLM): 1} == reasons(shown)


async def test_an_operator_sees_all_and_an_account_its_own(open_console):
    async with open_console() as console:
        keys = {name: await console.account(name, tier=1) for name in ("acme", "zeta")}
        for key in (*keys.values(), "nobody's", "nobody's"):
            await ask(console, key, "no-such-model")
        console.meter._historian.write()

        everybody = await console.get("/v1/refusals")
        one = await console.get("/v1/refusals", account="zeta")
        own = await console.get("/v1/refusals", by=keys["zeta"])
        other = await console.ask(
            "GET", "/v1/refusals", by=keys["zeta"], params={"account": "acme"}
        )

    assert {("acme", 404): 1, ("zeta", 404): 1, (None, 401): 2} == {
        (row["account"], row["status"]): row["calls"] for row in everybody["refusals"]
    }
    unknown = next(r for r in everybody["refusals"] if r["account"] is None)
    assert (None, None, None) == tuple(unknown[n] for n in ("model", "quota", "tier"))
    assert ["zeta"] == [row["account"] for row in one["refusals"]]
    assert one == own
    assert 403 == other.status_code


async def test_pages_of_refusals_join_up(open_console):
    async with open_console() as console:
        key = await console.account("acme", tier=1)
        for _ in range(5):
            await ask(console, key, "no-such-model")
            await ask(console, key, "")
            console.clock.advance(seconds=60)
        console.meter._historian.write()
        whole = (await console.get("/v1/refusals"))["refusals"]

        pages, cursor = [], {}
        while cursor is not None:
            page = await console.get("/v1/refusals", limit=3, **cursor)
            pages.append(page["refusals"])
            cursor = page["next"] and {"cursor": page["next"]}

    assert [3, 3, 3, 1] == [len(page) for page in pages]
    assert whole == [row for page in pages for row in page]


async def test_what_adaptive_pools_did_is_told_over_time(open_console):
    """A minute at a time up to six hours, half an hour for a week; nothing of idle."""
    async with open_console() as console:
        key = await console.account("acme")
        for _ in range(3):
            await console.chat(key, model=GLM)
            await console.flush()
            console.meter._historian.look()
            console.clock.advance(seconds=600)
        console.meter._historian.look()
        console.meter._historian.write()

        lately = await console.get("/v1/platform/history", hours=1)
        week = await console.get("/v1/platform/history", hours=168, pool=GLM)
        other = await console.get("/v1/platform/history", pool="no-such-pool")

    (pool,) = lately["pools"]
    assert (GLM, 60) == (pool["pool"], lately["step_s"])
    assert ["00:00", "00:10", "00:20"] == [p["at"][11:16] for p in pool["points"]]
    assert {("normal", "ceiling", 60.0, 60.0, 1)} == {
        (p["state"], *p["causes"], p["limit_rpm"], p["limit_rpm_min"], p["nodes"])
        for p in pool["points"]
    }
    (of_week,) = week["pools"]
    assert (1800, ["2026-01-15T00:00:00Z"]) == (
        week["step_s"],
        [point["at"] for point in of_week["points"]],
    )
    assert [] == other["pools"]


async def test_any_node_shows_what_all_have_refused_also_after_they_stopped(tmp_path):
    """Two nodes with one ledger; the last second of one is written as it stops."""
    plan = replace(plan_from_preset("friendli"), data=str(tmp_path / "one"))
    clock = ManualClock()
    path = tmp_path / "ledger.db"
    meters = [
        Metering(
            replace(plan, data=str(tmp_path / name)),
            clock=clock,
            ledger=SqlLedger(path, tiers=plan.tiers),
        )
        for name in ("one", "two")
    ]
    for meter in meters:
        transport = httpx.ASGITransport(meter.wrap(FakeModel()))
        async with httpx.AsyncClient(transport=transport, base_url="http://t") as c:
            await c.post("/v1/chat/completions", json={"model": GLM})
        if meter is meters[0]:
            await meter.stop()
    await meters[1].stop()

    app = Starlette()
    looking = Metering(
        replace(plan, data=str(tmp_path / "three")),
        clock=clock,
        ledger=SqlLedger(path, tiers=plan.tiers),
    )
    app.mount("/console", looking.console(operator_token=OPERATOR))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://t") as c:
        shown = await c.get(
            "/console/v1/refusals", headers={"authorization": f"Bearer {OPERATOR}"}
        )
    await looking.stop()

    assert [(None, "invalid_api_key", 2)] == [
        (row["account"], row["code"], row["calls"]) for row in shown.json()["refusals"]
    ]


async def test_neither_prompts_nor_keys_are_kept(open_console):
    async with open_console() as console:
        key = await console.account("acme", tier=1)
        for secret, model in ((key, "no-such-model"), (key, WORDS), ("mk-secret", "")):
            await ask(console, secret, model)
        console.meter._historian.write()

        kept = repr(console.ledger.history.refusals(None))

    assert 2 == kept.count("RefusalMinute("), "the calls with a key are one row"
    assert not [word for word in (WORDS, key, "secret", "no-such") if word in kept]


async def test_an_operator_sees_which_reasons_are_the_most_frequent(open_console):
    """Of all accounts together, and of the last hours alone."""
    async with open_console() as console:
        await ask(console, "no-such-key")
        console.clock.advance(seconds=2 * 3600)
        for name in ("acme", "zeta"):
            key = await console.account(name, tier=1)
            await ask(console, key, "no-such-model")
        await ask(console, "no-such-key")
        console.meter._historian.write()

        shown = await console.get("/v1/refusals/reasons")
        longer = await console.get("/v1/refusals/reasons", hours=3)

    assert "2026-01-15T01:00:00Z" == shown["since"]
    assert [("model_not_priced", None, 2, 2), ("invalid_api_key", None, 1, 1)] == [
        (row["code"], row["quota"], row["calls"], row["accounts"])
        for row in shown["reasons"]
    ]
    assert [2, 2] == [row["calls"] for row in longer["reasons"]]


async def test_what_was_refused_last_is_written_when_the_service_stops(open_console):
    async with open_console() as console:
        status = await ask(console, "sk-nobody-knows-it")
        await console.meter.stop()

        (row,) = console.ledger.history.refusals(None)
        assert (401, 1) == (status, row.calls) == (row.status, row.calls)
