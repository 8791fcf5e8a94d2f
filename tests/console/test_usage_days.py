"""Usage by day, as an account and an operator see it, through the whole stack."""

import pytest

pytestmark = pytest.mark.anyio

CHEAP = "meta-llama/Llama-3.1-8B-Instruct"
GLM = "zai-org/GLM-4.7"


async def test_usage_is_shown_by_day_and_model(open_console):
    """The rows of a period add up to what it has used, and one model may be asked."""
    async with open_console() as console:
        key = await console.account("acme", tier=3)
        for model in (GLM, CHEAP):
            await console.chat(key, model=model)
        await console.flush()
        console.clock.advance(seconds=86_400)
        await console.chat(key, model=GLM)
        await console.flush()

        shown = await console.get("/v1/usage/days", by=key)
        of_glm = await console.get("/v1/usage/days", by=key, model=GLM)
        used = await console.get("/v1/usage", by=key)

    rows = shown.pop("days")
    first, second = sorted({row["day"] for row in rows})
    assert [(first, CHEAP), (first, GLM), (second, GLM)] == [
        (row["day"], row["model"]) for row in rows
    ]
    assert [1, 1, 1] == [row["calls"] for row in rows]
    assert {
        "period": "2026-01",
        "start": "2026-01-01T00:00:00Z",
        "end": "2026-02-01T00:00:00Z",
        "first_day": "2026-01-01",
        "last_day": "2026-01-31",
    } == shown
    assert [row for row in rows if row["model"] == GLM] == of_glm["days"]
    tokens = sum(row["usage"]["input_tokens"] for row in rows)
    assert tokens == sum(model["usage"]["input_tokens"] for model in used["models"])
    assert rows[1]["charge_usd"] == rows[2]["charge_usd"] != "0"


async def test_days_are_of_the_accounts_own_period(open_console):
    """Also where its months begin on another day, in another zone."""
    async with open_console() as console:
        await console.meter.accounts.create(
            "acme", time_zone="Asia/Tokyo", anchor_day=15
        )

        shown = await console.get("/v1/usage/days", account="acme", period="2025-12-15")

    assert ("2025-12-15", "2025-12-14T15:00:00Z", "2025-12-15", "2026-01-14", []) == (
        tuple(shown[n] for n in ("period", "start", "first_day", "last_day", "days"))
    )


async def test_an_operator_sees_the_days_of_all_accounts_together(open_console):
    """In a month as the calendar has it; a key still sees its own alone."""
    async with open_console() as console:
        keys = [await console.account(name, tier=3) for name in ("acme", "other")]
        for key in (*keys, keys[0]):
            await console.chat(key)
        await console.flush()

        everybody = await console.get("/v1/usage/days")
        before = await console.get("/v1/usage/days", period="2025-12")
        own = await console.get("/v1/usage/days", by=keys[0])
        refused = await console.ask(
            "GET", "/v1/usage/days", by=keys[0], params={"account": "other"}
        )
        unknown = await console.ask(
            "GET", "/v1/usage/days", params={"period": "2026-01-15"}
        )

    assert [3] == [row["calls"] for row in everybody["days"]]
    assert [2] == [row["calls"] for row in own["days"]]
    assert ("2025-12-01", "2025-12-31", []) == (
        before["first_day"],
        before["last_day"],
        before["days"],
    )
    assert (403, 400) == (refused.status_code, unknown.status_code)
