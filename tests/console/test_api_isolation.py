"""Nobody sees or changes what is another's: of each endpoint there is or will be."""

import pytest

from metering.clock import NS_PER_S
from metering.console.api.endpoints import ENDPOINTS
from metering.money import PICO
from metering.testing.contracts.samples import used

pytestmark = pytest.mark.anyio

DAY_NS = 86_400 * NS_PER_S
GLM = "zai-org/GLM-4.7"
OWNED = [each for each in ENDPOINTS if not each.operator]
OPERATED = [each for each in ENDPOINTS if each.operator]
NEEDED = {"/v1/invoice": {"id": "other-2026-01"}}
"""What endpoints must be asked for, by path: here another's."""


def members(endpoint):
    return (endpoint.body or endpoint.query).__struct_fields__


async def ask(console, endpoint, asked, **who):
    part = "params" if endpoint.body is None else "json"
    return await console.ask(endpoint.method, endpoint.path, **{part: asked}, **who)


async def busy(console, name):
    """Give an account some of everything, each part of it named after the account."""
    key = await console.account(name, tier=2)
    await console.chat(key, model=GLM)
    await console.flush()
    payment = {"account": name, "usd": "9", "kind": "credit_purchase"}
    await console.send("POST", "/v1/payments", **payment, reference=f"{name}-pi")
    await console.send(
        "POST", "/v1/credits", account=name, usd="3", reference=f"{name}-gift"
    )
    (charge,) = (await console.get("/v1/charges", by=key))["charges"]
    await console.send("POST", "/v1/reversals", id=charge["id"], reason=f"{name} asked")
    await console.send("PUT", "/v1/agreement", account=name, usage_limit_usd="77.77")
    for _ in range(2):
        await console.client.post(  # refused: no such model
            "/v1/chat/completions",
            json={"model": f"{name}-model", "messages": []},
            headers={"authorization": f"Bearer {key}"},
        )
    console.ledger.post([used(f"{name}-call", 60 * PICO, name)])
    assert 1 == len(console.ledger.listing.alerts(name, limit=9))
    return key, charge["id"]


def kept_of(console, name):
    """Return all that is kept of an account, or that a look at it could change."""
    ledger = console.ledger
    return (
        *(ledger.get(name), ledger.keys(name), ledger.payments(name)),
        *(ledger.grants(name), ledger.events(name), ledger.invoices(name)),
        ledger.balances_p(name),
    )


async def test_a_key_of_one_account_shows_nothing_of_another(open_console):
    """Each answer of each endpoint is the same whether the other is there or not."""
    async with open_console() as console:
        own = await console.account("acme", tier=3)
        console.clock.advance(ns=35 * DAY_NS)

        async def answers():
            told = {}
            for each in OWNED:
                asked = NEEDED.get(each.path, {})
                if each.method != "GET":  # nothing that changes what is seen next
                    asked = {"usage_limit_usd": "-"} if each.body else {"id": "-"}
                answer = await ask(console, each, asked, by=own)
                told[each.name] = answer.status_code, answer.text
            return told

        alone = await answers()
        await busy(console, "other")
        await console.meter.billing.close("other", "2026-01")

        assert alone == await answers()


async def test_an_account_that_is_named_must_be_ones_own(open_console):
    """It cannot be told from one that is not there, and nothing happens to it."""
    async with open_console() as console:
        own = await console.account("acme", tier=3)
        await busy(console, "other")
        before = kept_of(console, "other")

        for each in OWNED:
            if "account" not in members(each):
                continue
            asked = NEEDED.get(each.path, {})
            named, ghost, self = [
                await ask(console, each, asked | {"account": name}, by=own)
                for name in ("other", "ghost", "acme")
            ]

            refused = (named.status_code, named.json().get("code"))
            assert (403, "not_allowed") == refused, each.name
            assert (named.status_code, named.text) == (ghost.status_code, ghost.text)
            assert self.status_code in {200, 404}, each.name
        assert before == kept_of(console, "other")


def test_what_names_no_account_is_known_to_be_tried_by_id():
    """A new endpoint of accounts must be tried here: by account, or as keys are."""
    others = {each.name for each in OWNED if "account" not in members(each)}

    assert {"delete_v1_keys"} == others


async def test_a_key_of_another_cannot_be_revoked(open_console):
    """It cannot be told from one that is not there, and goes on."""
    async with open_console() as console:
        own = await console.account("acme", tier=3)
        other = await console.account("other", tier=3)
        (theirs,) = (await console.get("/v1/keys", by=other))["keys"]
        ghost = theirs["id"][:-4] + "ffff"

        answers = [
            await console.ask("DELETE", "/v1/keys", by=own, params={"id": key_id})
            for key_id in (theirs["id"], ghost)
        ]

        assert [404, 404] == [each.status_code for each in answers]
        told = [each.text.replace(theirs["id"], ghost) for each in answers]
        assert told[0] == told[1]
        assert (await console.get("/v1/keys", by=other))["keys"] == [theirs]


async def test_what_is_an_operators_is_not_for_accounts(open_console):
    """Not of another, and not of their own; nor for who has not signed in."""
    async with open_console() as console:
        key, call = await busy(console, "acme")
        before = console.ledger.changes(), kept_of(console, "acme")
        asked = {"account": "acme", "id": call, "level": 5, "reason": "mine"}

        answers = {
            each.name: [
                (await ask(console, each, asked, by=by)).status_code
                for by in (key, None, "wrong")
            ]
            for each in OPERATED
        }

        assert {name: [403, 401, 401] for name in answers} == answers
        assert before == (console.ledger.changes(), kept_of(console, "acme"))
