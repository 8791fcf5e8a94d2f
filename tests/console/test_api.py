"""The JSON API as an account and an operator see it, through the whole stack."""

import pytest

from metering.asgi.doors import Doors
from metering.clock import NS_PER_S
from metering.console.api.endpoints import ENDPOINTS
from metering.console.pages.table import PAGES
from metering.console.services import checked_token
from metering.dialects.known import DIALECT_BY_PATH
from metering.errors import ConfigurationError, StorageError

pytestmark = pytest.mark.anyio

DAY_NS = 86_400 * NS_PER_S
CHEAP = "meta-llama/Llama-3.1-8B-Instruct"
GLM = "zai-org/GLM-4.7"
OWNED = [each.path for each in ENDPOINTS if not each.operator and each.method == "GET"]
OF_ALL = {"/v1/alerts", "/v1/prices", "/v1/refusals", "/v1/tiers", "/v1/usage/days"}
"""An operator who names nobody sees those of everybody, or the plan alone."""


async def test_an_account_sees_its_tier_the_next_one_its_spend_and_its_credit(
    open_console,
):
    async with open_console() as console:
        key = await console.account("acme")
        await console.chat(key)
        await console.flush()

        shown = await console.get("/v1/account", by=key)

        spent = shown["period"]["spent_usd"]
        assert 0 < float(spent) < 0.01
        assert {
            "tier": {"level": 0, "name": "Tier 0"},
            "next_tier": {
                "level": 1,
                "name": "Tier 1",
                "paid_usd": "0",
                "payment_method": True,
                "usage_limit_usd": "50",
            },
            "funding": "credit",
            "suspended": False,
            "pinned": None,
        }.items() <= shown.items()
        assert {
            "period": "2026-01",
            "start": "2026-01-01T00:00:00Z",
            "end": "2026-02-01T00:00:00Z",
            "spent_usd": spent,
            "early_paid_usd": "0",
            "limit_usd": None,
        } == shown["period"]
        assert ("5", spent) == (
            shown["credit"]["granted_usd"],
            shown["credit"]["used_usd"],
        )


async def test_the_highest_tier_that_paying_leads_to_has_no_next_one(open_console):
    async with open_console() as console:
        await console.account("acme", tier=5)

        assert (await console.get("/v1/account", account="acme"))["next_tier"] is None


async def test_usage_is_by_model_and_adds_up(open_console):
    async with open_console() as console:
        key = await console.account("acme", tier=3)
        for model in (GLM, GLM, "meta-llama/Llama-3.1-8B-Instruct"):
            await console.chat(key, model=model)
        await console.flush()

        shown = await console.get("/v1/usage", by=key)
        account = await console.get("/v1/account", by=key)

        assert [2, 1] == sorted((m["calls"] for m in shown["models"]), reverse=True)
        assert 3 == shown["calls"]
        assert account["period"]["spent_usd"] == shown["charge_usd"]
        assert {} != shown["models"][0]["usage"]
        before = await console.get("/v1/usage", by=key, period="2025-12")
        assert (0, "0", []) == (before["calls"], before["charge_usd"], before["models"])


async def test_limits_tell_what_is_used_and_what_remains(open_console):
    async with open_console() as console:
        key = await console.account("acme", tier=1)
        await console.chat(key)

        shown = await console.get("/v1/limits", by=key)

        paid = next(row for row in shown["requests"] if row["models"] == "paid")
        assert (100, 60.0, 100, 1, 99) == tuple(
            paid[name] for name in ("amount", "per_s", "burst", "used", "remaining")
        )
        assert [] == shown["adaptive"]
        again = await console.get("/v1/limits", by=key)
        assert shown == again, "looking takes nothing"


async def test_limits_that_are_adaptive_tell_what_set_them(open_console):
    async with open_console() as console:
        key = await console.account("acme")
        fresh = await console.get("/v1/limits", by=key)
        await console.chat(key, model=GLM)

        shown = await console.get("/v1/limits", by=key)

        assert [] == shown["requests"]
        of = {row["pool"]: row for row in shown["adaptive"]}
        before = {row["pool"]: row["remaining"] for row in fresh["adaptive"]}
        assert (before[GLM] - 1, 1) == (of[GLM]["remaining"], of[GLM]["used"])
        assert ("normal", "ceiling", 60.0) == tuple(
            of[GLM][name] for name in ("state", "cause", "limit_rpm")
        )
        pools = (await console.get("/v1/platform"))["pools"]
        text = next(pool["text"] for pool in pools if pool["pool"] == GLM)
        assert text.startswith("Everybody gets what they ask for.")


async def test_limits_of_a_store_that_is_away_are_unknown(open_console, monkeypatch):
    async with open_console() as console:
        await console.account("acme", tier=1)

        async def away(*_, **__):
            raise StorageError("It is away.")

        monkeypatch.setattr(console.meter.limit_store, "peek", away)
        shown = await console.get("/v1/limits", account="acme")

        assert {(None, None)} == {
            (row["used"], row["remaining"]) for row in shown["requests"]
        }


async def test_charges_come_page_by_page_the_latest_first(open_console):
    async with open_console() as console:
        key = await console.account("acme", tier=3)
        for number in range(5):
            await console.chat(key, model=GLM if number % 2 else CHEAP)
            console.clock.advance(seconds=1)
        await console.flush()

        async def ids(**query):
            found, cursor = [], {}
            while True:
                page = await console.get("/v1/charges", by=key, **query, **cursor)
                found.append([row["id"] for row in page["charges"]])
                if page["next"] is None:
                    return found
                cursor = {"cursor": page["next"]}

        every = [e.event.id for e in console.ledger.events("acme")]
        assert [every[:2], every[2:4], every[4:]] == await ids(limit=2)
        assert [every] == await ids(limit=5)
        assert [every] == await ids(period="2026-01")
        assert [[]] == await ids(period="2025-12")
        assert [[every[1], every[3]]] == await ids(model=GLM)


async def test_a_charge_that_is_taken_back_shows_what_it_was_and_is(open_console):
    async with open_console() as console:
        key = await console.account("acme", tier=3)
        await console.chat(key)
        await console.flush()
        (row,) = (await console.get("/v1/charges", by=key))["charges"]
        assert (row["charge_usd"], False) == (row["costs_usd"], row["reversed"])

        await console.meter.corrections.reverse(row["id"], reason="a test")

        (now,) = (await console.get("/v1/charges", by=key))["charges"]
        assert (row["charge_usd"], "0", True) == (
            now["charge_usd"],
            now["costs_usd"],
            now["reversed"],
        )


async def test_invoices_are_listed_and_shown_with_lines_in_cents_that_add_up(
    open_console,
):
    async with open_console() as console:
        key = await console.account("acme", tier=3)
        await console.chat(key)
        await console.flush()
        for month in ("2026-01", "2026-02"):
            console.clock.advance(ns=35 * DAY_NS)
            await console.meter.billing.close("acme", month)

        first = await console.get("/v1/invoices", by=key, limit=1)
        rest = await console.get("/v1/invoices", by=key, cursor=first["next"])
        shown = await console.get("/v1/invoice", by=key, id="acme-2026-01")

        assert ["acme-2026-01", "acme-2026-02"] == [
            row["id"] for row in first["invoices"] + rest["invoices"]
        ]
        assert rest["next"] is None
        assert first["invoices"][0] == shown["invoice"]
        assert "usage" == shown["lines"][0]["kind"]
        total = sum(float(line["shown_usd"]) for line in shown["lines"])
        assert shown["invoice"]["total_usd"] == f"{total:g}"


async def test_money_is_recorded_once_a_reference(open_console):
    async with open_console() as console:
        key = await console.account("acme")
        payment = {
            "account": "acme",
            "usd": "50",
            "reference": "pi_1",
            "kind": "credit_purchase",
        }
        credit = {
            "account": "acme",
            "usd": "7.5",
            "reference": "T-1",
            "expires": "2026-03-01T01:00:00+01:00",
        }

        for _ in range(2):
            paid = await console.send("POST", "/v1/payments", **payment)
            given = await console.send("POST", "/v1/credits", **credit)
            assert (200, 200) == (paid.status_code, given.status_code), given.text

        assert "50" == given.json()["lifetime_paid_usd"]
        assert [("pi_1", "50")] == [
            (row["reference"], row["usd"])
            for row in (await console.get("/v1/payments", by=key))["payments"]
        ]
        credits_ = (await console.get("/v1/credits", by=key))["credits"]
        assert {
            "sign-up": None,
            "payment:pi_1": None,
            "T-1": "2026-03-01T00:00:00Z",
        } == {row["reference"]: row["expires"] for row in credits_}
        other = await console.send("POST", "/v1/payments", **payment | {"usd": "51"})
        assert (409, "contradiction") == (other.status_code, other.json()["code"])


async def test_an_operator_creates_pins_and_lists_accounts(open_console):
    async with open_console() as console:
        for name in ("acme", "b/c?d", "zoe"):
            for _ in range(2):
                made = await console.send("POST", "/v1/accounts", id=name)
                assert (200, name) == (made.status_code, made.json()["id"])
        pinned = await console.send("PUT", "/v1/tier", account="b/c?d", level=4)
        assert 4 == pinned.json()["tier"]["level"]

        first = await console.get("/v1/accounts", limit=2)
        rest = await console.get("/v1/accounts", limit=2, cursor=first["next"])

        assert ["acme", "b/c?d", "zoe"] == [
            row["id"] for row in first["accounts"] + rest["accounts"]
        ]
        assert rest["next"] is None
        assert 4 == (await console.get("/v1/account", account="b/c?d"))["pinned"]
        free = await console.send("PUT", "/v1/tier", account="b/c?d", level=None)
        assert free.json()["pinned"] is None
        none = await console.send("PUT", "/v1/tier", account="acme", level=99)
        assert (400, True) == (none.status_code, "levels are" in none.json()["detail"])


async def test_a_key_is_issued_shown_once_and_revoked_for_good(open_console):
    async with open_console() as console:
        await console.account("acme")
        console.clock.advance(seconds=1)
        made = await console.send(
            "POST", "/v1/keys", account="acme", usage_limit_usd="3"
        )
        secret = made.json()["secret"]

        row = (await console.get("/v1/keys", by=secret))["keys"][0]
        assert (secret[-4:], "3", None) == (
            row["hint"],
            row["usage_limit_usd"],
            row["revoked"],
        )
        assert secret not in (await console.ask("GET", "/v1/keys", by=secret)).text
        for _ in range(2):
            gone = await console.ask("DELETE", "/v1/keys", params={"id": row["id"]})
            assert 200 == gone.status_code
            assert gone.json()["revoked"] is not None
        again = await console.ask("GET", "/v1/keys", by=secret)
        assert (401, "not_signed_in") == (again.status_code, again.json()["code"])


# Who sees what


async def test_an_invoice_of_another_is_not_found(open_console):
    async with open_console() as console:
        own = await console.account("acme", tier=3)
        await console.account("other")
        console.clock.advance(ns=35 * DAY_NS)
        await console.meter.billing.close("other", "2026-01")
        assert await console.get("/v1/invoice", account="other", id="other-2026-01")

        theirs = await console.ask(
            "GET", "/v1/invoice", by=own, params={"id": "other-2026-01"}
        )

        assert (404, "not_found") == (theirs.status_code, theirs.json()["code"])


@pytest.mark.parametrize("path", OWNED)
async def test_an_operator_names_the_account(open_console, path):
    async with open_console() as console:
        query = {"id": "acme-2026-01"} if path == "/v1/invoice" else {}
        nobody = await console.ask("GET", path, params=query)
        ghost = await console.ask("GET", path, params=query | {"account": "ghost"})

        alone = 200 if path in OF_ALL else 400
        assert (alone, 404) == (nobody.status_code, ghost.status_code), ghost.text


@pytest.mark.parametrize("token", [None, ""])
async def test_without_a_token_there_is_no_operator(open_console, token, monkeypatch):
    monkeypatch.delenv("METERING_OPERATOR_TOKEN", raising=False)
    async with open_console(operator_token=token) as console:
        for by in ("", "None"):
            answer = await console.ask("GET", "/v1/accounts", by=by)
            assert 401 == answer.status_code


async def test_the_token_comes_from_the_environment(open_console, monkeypatch):
    monkeypatch.setenv("METERING_OPERATOR_TOKEN", "e" * 40)
    async with open_console(operator_token=None) as console:
        assert [] == (await console.get("/v1/accounts", by="e" * 40))["accounts"]


@pytest.mark.parametrize("token", ["x" * 31, "a b" * 20, "é" * 40, "x" * 1025])
def test_a_token_that_could_be_guessed_or_sent_by_nobody_is_refused(token):
    with pytest.raises(ConfigurationError, match="METERING_OPERATOR_TOKEN"):
        checked_token(token)


async def test_a_suspended_account_still_sees_what_it_owes(open_console):
    async with open_console() as console:
        key = await console.account("acme")
        await console.meter.accounts.suspend("acme")

        assert (await console.get("/v1/account", by=key))["suspended"]


# What is wrong


@pytest.mark.parametrize(
    ("method", "path", "request_", "status", "told"),
    [
        ("GET", "/v1/nothing", {}, 404, "openapi.json"),
        ("PATCH", "/v1/account", {}, 405, "PATCH"),
        ("GET", "/v1/charges?account=acme&limit=201", {}, 400, "<= 200"),
        ("GET", "/v1/charges?account=acme&limit=0", {}, 400, ">= 1"),
        ("GET", "/v1/charges?account=acme&cursor=xyz", {}, 400, "first page"),
        ("GET", "/v1/charges?account=acme&page=2", {}, 400, "It may have: account"),
        ("GET", "/v1/usage?account=acme&account=b", {}, 400, "twice"),
        ("GET", "/v1/usage?account=acme&period=2026-13", {}, 400, "2026-13"),
        ("POST", "/v1/payments", {"content": b"{}"}, 415, "application/json"),
        ("POST", "/v1/accounts", {"json": {"id": "a:b"}}, 400, "colons"),
        ("POST", "/v1/accounts", {"json": {"id": "a", "x": 1}}, 400, "`x`"),
        ("POST", "/v1/accounts", {"json": {"id": "a" * 70_000}}, 413, "65,536"),
        ("POST", "/v1/keys", {"json": {"account": "ghost"}}, 404, "ghost"),
    ],
)
async def test_what_is_wrong_is_told_as_a_problem(
    open_console, method, path, request_, status, told
):
    async with open_console() as console:
        await console.account("acme")

        answer = await console.ask(method, path, **request_)

        problem = answer.json()
        assert (status, status) == (answer.status_code, problem["status"])
        assert "application/problem+json" == answer.headers["content-type"]
        assert told in problem["detail"]
        assert {"type", "title", "status", "detail", "code"} == set(problem)
        assert "no-store" == answer.headers["cache-control"]


async def test_a_ledger_that_is_away_is_a_problem_that_passes(
    open_console, monkeypatch
):
    async with open_console() as console:

        def away(*_, **__):
            raise StorageError("The ledger is away.")

        monkeypatch.setattr(console.ledger, "get", away)
        answer = await console.ask("GET", "/v1/account", params={"account": "acme"})

        assert (503, "1") == (answer.status_code, answer.headers["retry-after"])
        assert "storage_unavailable" == answer.json()["code"]


async def test_a_service_that_cannot_start_is_not_the_fault_of_a_request(open_console):
    async with open_console() as first, open_console() as second:
        assert await first.get("/v1/accounts")

        with pytest.raises(RuntimeError, match="data"):
            await second.ask("GET", "/v1/accounts")


# Beside the calls


def test_no_path_of_the_console_is_one_that_is_metered():
    doors = Doors(DIALECT_BY_PATH, bills=True, unmetered_refused=True)
    for prefix in ("", "/console", "/v1"):
        for path in (*(each.path for each in (*ENDPOINTS, *PAGES)), "/login"):
            scope = {"type": "http", "path": prefix + path, "root_path": ""}
            assert doors.dialect_of(scope) is None, scope["path"]


async def test_looking_at_the_console_is_not_metered(open_console):
    async with open_console() as console:
        key = await console.account("acme", tier=1)
        for path in OWNED:
            await console.ask("GET", path, by=key)
        await console.flush()

        assert [] == console.ledger.events("acme")
