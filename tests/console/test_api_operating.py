"""What an operator sees and changes over HTTP; calls are held to it at once."""

from typing import Any

import pytest

from metering.clock import NS_PER_S, iso_utc
from metering.money import PICO
from metering.testing.contracts.samples import used

pytestmark = pytest.mark.anyio

DAY_NS = 86_400 * NS_PER_S
GLM = "zai-org/GLM-4.7"


async def pages(console, path, rows, **query):
    """Return all rows of a list, read page by page."""
    found, cursor = [], {}
    while True:
        page = await console.get(path, **query, **cursor)
        found += page[rows]
        if page["next"] is None:
            return found
        cursor = {"cursor": page["next"]}


async def call(console, key):
    body = {"model": GLM, "messages": [{"role": "user", "content": "a"}]}
    headers = {"authorization": f"Bearer {key}"}
    return await console.client.post("/v1/chat/completions", json=body, headers=headers)


async def test_accounts_are_listed_with_their_spend_and_limit(open_console):
    """By id or by spend, page by page, found by prefix, tier and suspension."""
    async with open_console() as console:
        for name, dollars in (("ann", 5), ("bob", 9), ("bea", 7), ("cy", 0)):
            await console.account(name, tier=2)
            await console.meter.accounts.pin_tier(name, 2 + (name == "bea"))
            console.ledger.post([used(f"e-{name}", dollars * PICO, name)])
        await console.send("PUT", "/v1/agreement", account="cy", usage_limit_usd="1.5")
        await console.send("PUT", "/v1/suspension", account="ann", suspended=True)

        async def ids(**query):
            rows = await pages(console, "/v1/accounts", "accounts", **query, limit=1)
            return [row["id"] for row in rows]

        by_id = await pages(console, "/v1/accounts", "accounts")
        assert [
            ("ann", "5", "500"),
            ("bea", "7", "5000"),
            ("bob", "9", "500"),
            ("cy", "0", "1.5"),
        ] == [(row["id"], row["spent_usd"], row["limit_usd"]) for row in by_id]
        assert {"2026-01"} == {row["period"] for row in by_id}
        assert ["ann", "bea", "bob", "cy"] == await ids()
        assert ["bob", "bea", "ann", "cy"] == await ids(order="spent")
        assert ["bob", "bea"] == await ids(order="spent", prefix="b")
        assert ["bea"] == await ids(tier=3)
        assert ["ann"] == await ids(suspended="true")
        assert ["bea", "bob"] == await ids(suspended="false", prefix="b")


async def test_a_suspended_account_is_refused_until_it_is_let_in(open_console):
    async with open_console() as console:
        key = await console.account("acme", tier=2)
        for suspended, status in ((True, 403), (True, 403), (False, 200)):
            answer = await console.send(
                "PUT", "/v1/suspension", account="acme", suspended=suspended
            )

            assert suspended is answer.json()["suspended"]
            assert status == (await call(console, key)).status_code


async def test_a_payment_method_leads_to_its_tier_and_its_loss_away(open_console):
    async with open_console() as console:
        await console.account("acme")
        levels = []
        for on_file in (True, True, False):
            answer = await console.send(
                "PUT", "/v1/payment-method", account="acme", on_file=on_file
            )
            levels.append((answer.json()["payment_method"], answer.json()["tier"]))

        assert [(True, 1), (True, 1), (False, 0)] == [
            (on_file, tier["level"]) for on_file, tier in levels
        ]


async def test_what_is_agreed_replaces_all_that_was_and_holds_at_once(open_console):
    async with open_console() as console:
        key = await console.account("acme", tier=2)
        agreed = {
            "usage_limit_usd": "750.5",
            "output_tokens_max": 100,
            "reasoning_output_tokens_max": 200,
            "requests": {"paid": {"amount": 2, "per_s": 60, "burst": 1}},
            "prices": {GLM: {"input_usd": "0.5", "output_usd": "2"}},
        }

        made = await console.send("PUT", "/v1/agreement", account="acme", **agreed)
        answers = [await call(console, key) for _ in range(2)]
        await console.flush()

        assert agreed == made.json()
        shown = await console.get("/v1/account", by=key)
        assert agreed == shown["agreed"]
        assert "750.5" == shown["period"]["limit_usd"]
        assert [200, 429] == [each.status_code for each in answers]
        (charge,) = (await console.get("/v1/charges", by=key))["charges"]
        assert ("agreed_price" in charge["flags"], 100) == (
            True,
            charge["output_tokens_max"],
        )
        other = {"requests": {"free": {"amount": 3, "per_s": 1}}}
        made = await console.send("PUT", "/v1/agreement", account="acme", **other)
        assert {
            "usage_limit_usd": None,
            "output_tokens_max": None,
            "reasoning_output_tokens_max": None,
            "requests": {"free": {"amount": 3, "per_s": 1.0, "burst": 3}},
            "prices": {},
        } == made.json()
        wrong = await console.send(
            "PUT",
            "/v1/agreement",
            account="acme",
            prices={"no-such-model": {"input_usd": "1", "output_usd": "1"}},
        )
        assert (400, True) == (
            wrong.status_code,
            "no such model" in wrong.json()["detail"],
        )


async def test_a_period_is_closed_once_and_not_before_its_end(open_console):
    async with open_console() as console:
        await console.account("acme", tier=2)
        console.ledger.post([used("e", 7 * PICO)])
        asked = {"account": "acme", "period": "2026-01"}

        early = await console.send("POST", "/v1/invoices", **asked)
        console.clock.advance(ns=35 * DAY_NS)
        made, again, last = [
            await console.send("POST", "/v1/invoices", **(asked | late))
            for late in ({}, {}, {"period": None})
        ]

        assert (400, "invalid_request") == (early.status_code, early.json()["code"])
        assert made.content == again.content == last.content
        assert ("acme-2026-01", "2") == tuple(  # $5 of it is free credit
            made.json()["invoice"][name] for name in ("id", "total_usd")
        )


async def test_all_that_is_due_is_closed_some_at_a_time(open_console):
    async with open_console() as console:
        names = ["a", "b", "c", "d", "e"]
        for name in names:
            await console.account(name, tier=2)
            console.ledger.post([used(f"e-{name}", PICO, name)])
        console.clock.advance(ns=35 * DAY_NS)
        console.ledger.post(
            [used("now", PICO, "c", admitted_ns=console.clock())]
        )  # of a period that runs

        async def close_all():
            made, looks, cursor = [], 0, None
            while looks == 0 or cursor is not None:
                answer = await console.send(
                    "POST", "/v1/invoices/due", cursor=cursor, limit=2
                )
                made += [row["id"] for row in answer.json()["invoices"]]
                cursor, looks = answer.json()["next"], looks + 1
            return made, looks

        assert ([f"{name}-2026-01" for name in names], 4) == await close_all()
        assert ([], 1) == await close_all(), "what runs is not due"


async def test_a_charge_is_taken_back_once(open_console):
    async with open_console() as console:
        key = await console.account("acme", tier=2)
        console.ledger.post([used("e", 7 * PICO)])

        for _ in range(2):
            answer = await console.send("POST", "/v1/reversals", id="e", reason="ours")
            row = answer.json()
            assert ("7", "0", True) == (
                row["charge_usd"],
                row["costs_usd"],
                row["reversed"],
            )
        none = await console.send("POST", "/v1/reversals", id="ghost", reason="x")

        assert (404, "not_found") == (none.status_code, none.json()["code"])
        assert "0" == (await console.get("/v1/account", by=key))["period"]["spent_usd"]


async def test_calls_are_priced_anew_as_the_preview_said(open_console):
    """Nothing changes before; a sum that is not the present one changes nothing."""
    async with open_console() as console:
        for name in ("acme", "other"):
            await console.account(name, tier=2)
        (price,) = (
            model["versions"][0]
            for model in (await console.get("/v1/prices"))["models"]
            if model["model"] == GLM
        )
        # 10 tokens in and 5 out come to 17 microdollars, which is not what was charged.
        unpriced: dict[str, Any] = {"price_version": "", "model": GLM}
        console.ledger.post(
            [
                used("a1", 0, **unpriced),
                used("a2", 0, **unpriced),
                used("b", 0, "other", **unpriced),
                used("c", 5, price_version=price["version"]),
            ]
        )
        calls = {
            "model": GLM,
            "since": "2026-01-01T00:00:00Z",
            "until": iso_utc(console.clock() + DAY_NS),
        }

        seen = await console.get("/v1/rerate", **calls)
        apply = {**calls, "reason": "no price was set"}
        other = await console.send("POST", "/v1/rerate", **apply, delta_usd="0.00005")
        before = (await console.get("/v1/usage", account="acme"))["charge_usd"]
        done = await console.send(
            "POST", "/v1/rerate", **apply, delta_usd=seen["delta_usd"]
        )
        after = (await console.get("/v1/account", account="acme"))["period"]
        again = await console.get("/v1/rerate", **calls)

        assert {
            "applied": False,
            "calls": 4,
            "changed": 3,
            "kept": {"policy": 1},
            "delta_usd": "0.000051",
            "accounts": 2,
            "most": [
                {"account": "acme", "delta_usd": "0.000034"},
                {"account": "other", "delta_usd": "0.000017"},
            ],
        } == seen
        assert (409, "contradiction") == (other.status_code, other.json()["code"])
        assert "0.000000000005" == before
        assert seen | {"applied": True} == done.json()
        assert "0.000034000005" == after["spent_usd"]
        assert (0, "0") == (again["changed"], again["delta_usd"])


async def test_too_many_calls_for_one_request_are_refused(open_console, monkeypatch):
    monkeypatch.setattr("metering.console.api.books.CALLS_MAX", 1)
    async with open_console() as console:
        await console.account("acme", tier=2)
        console.ledger.post([used("a", 1), used("b", 1)])
        console.clock.advance(seconds=1)

        answer = await console.ask(
            "GET",
            "/v1/rerate",
            params={"model": GLM, "since": "2026-01-01T00:00:00Z"},
        )

        assert (400, True) == (
            answer.status_code,
            "metering rerate" in answer.json()["detail"],
        )


async def test_alerts_are_told_to_their_account_and_all_to_an_operator(open_console):
    async with open_console() as console:
        keys = {name: await console.account(name, tier=2) for name in ("acme", "other")}
        console.ledger.post([used("e1", 260 * PICO)])
        later = console.clock() + NS_PER_S
        console.ledger.post([used("e2", 450 * PICO, "other", admitted_ns=later)])

        own = await pages(console, "/v1/alerts", "alerts", by=keys["acme"], limit=1)
        every = await pages(console, "/v1/alerts", "alerts", limit=1)

        assert [
            {
                "account": "acme",
                "subject": "usage_limit",
                "period": "2026-01",
                "threshold": 50,
                "used_usd": "260",
                "limit_usd": "500",
                "at": own[0]["at"],
            }
        ] == own
        assert [("other", 90), ("acme", 50)] == [
            (row["account"], row["threshold"]) for row in every
        ]


async def test_payments_credit_and_keys_come_page_by_page_the_newest_first(
    open_console,
):
    async with open_console() as console:
        key = await console.account("acme", tier=3)
        for number in range(3):
            console.clock.advance(seconds=1)
            await console.meter.accounts.issue_key("acme")
            await console.meter.billing.record_payment(
                "acme", usd="1", reference=f"pi{number}", kind="credit_purchase"
            )

        async def listed(path, rows, name):
            at_once = (await console.get(path, by=key))[rows]
            found = await pages(console, path, rows, by=key, limit=2)
            assert at_once == found
            return [row[name] for row in found]

        assert ["pi2", "pi1", "pi0"] == await listed(
            "/v1/payments", "payments", "reference"
        )
        assert ["payment:pi2", "payment:pi1", "payment:pi0", "sign-up"] == (
            await listed("/v1/credits", "credits", "reference")
        )
        issued = [row.id for row in console.ledger.keys("acme")]
        assert issued[::-1] == await listed("/v1/keys", "keys", "id")
