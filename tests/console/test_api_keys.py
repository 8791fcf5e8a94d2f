"""Accounts issue and revoke their own keys, within what the key they show may."""

from typing import Any

import pytest

from metering.console.api.bodies import NewKey
from metering.console.api.keys import OWN_KEYS_MAX, issue_key
from metering.console.problems import ProblemError
from metering.console.services import Services, Viewer

pytestmark = pytest.mark.anyio


async def test_an_account_issues_a_key_and_revokes_it_and_the_last_one_too(
    open_console,
):
    async with open_console() as console:
        first = await console.account("acme", tier=3)

        made = (await console.send("POST", "/v1/keys", by=first)).json()
        listed = (await console.get("/v1/keys", by=made["secret"]))["keys"]
        by_id = {key["id"]: key for key in listed}
        gone = [
            await console.ask("DELETE", "/v1/keys", by=by, params={"id": key_id})
            for by, key_id in (
                (made["secret"], next(iter(set(by_id) - {made["id"]}))),
                (made["secret"], made["id"]),
            )
        ]

        assert ("acme", 2) == (made["account"], len(by_id))
        assert made["secret"][-4:] == by_id[made["id"]]["hint"]
        assert [200, 200] == [each.status_code for each in gone]
        for secret in (first, made["secret"]):
            answer = await console.ask("GET", "/v1/keys", by=secret)
            assert 401 == answer.status_code
        again = (await console.send("POST", "/v1/keys", account="acme")).json()
        assert 3 == len((await console.get("/v1/keys", by=again["secret"]))["keys"])


async def test_a_key_with_a_limit_issues_none(open_console):
    """Not one within its limit either: who stole it would spend that many times."""
    async with open_console() as console:
        await console.account("acme", tier=3)
        key = await console.meter.accounts.issue_key("acme", usage_limit="10")

        answers = {
            limit: await console.send("POST", "/v1/keys", by=key, usage_limit_usd=limit)
            for limit in (None, "11", "10", "0.01")
        }

        for answer in answers.values():
            problem = answer.json()
            assert (403, "not_allowed") == (answer.status_code, problem["code"])
            assert "limit of $10" in problem["detail"]
            assert "by a key without a limit" in problem["detail"]
        assert 2 == len(console.ledger.keys("acme"))
        by_operator = await console.send(
            "POST", "/v1/keys", account="acme", usage_limit_usd="11"
        )
        assert 200 == by_operator.status_code


async def test_a_suspended_account_issues_no_keys_but_revokes_them(open_console):
    """Else who has stolen a key would have another when the account is let in again."""
    async with open_console() as console:
        key = await console.account("acme", tier=3)
        await console.send("PUT", "/v1/suspension", account="acme", suspended=True)

        refused = await console.send("POST", "/v1/keys", by=key)
        issued = await console.send("POST", "/v1/keys", account="acme")
        (own,) = (
            row
            for row in (await console.get("/v1/keys", by=key))["keys"]
            if row["id"] != issued.json()["id"]
        )
        gone = await console.ask("DELETE", "/v1/keys", by=key, params={"id": own["id"]})

        assert (403, "not_allowed") == (refused.status_code, refused.json()["code"])
        assert (200, 200) == (issued.status_code, gone.status_code)


async def test_an_account_issues_so_many_keys_and_no_more(open_console):
    """Until it revokes one; an operator may issue more."""
    async with open_console() as console:
        key = await console.account("acme", tier=3)
        for _ in range(OWN_KEYS_MAX - 1):
            await console.meter.accounts.issue_key("acme")

        refused = await console.send("POST", "/v1/keys", by=key)
        page = (await console.get("/v1/keys", by=key, limit=1))["keys"]
        await console.ask("DELETE", "/v1/keys", by=key, params={"id": page[0]["id"]})
        after = await console.send("POST", "/v1/keys", by=key)
        more = await console.send("POST", "/v1/keys", account="acme")

        assert (409, "contradiction") == (refused.status_code, refused.json()["code"])
        assert "Revoke one" in refused.json()["detail"]
        assert (200, 200) == (after.status_code, more.status_code)


async def test_who_shows_no_known_key_issues_none(open_console):
    """What it may is not known, so it is not taken for anything."""
    async with open_console() as console:
        await console.account("acme", tier=3)
        parts: dict[str, Any] = dict.fromkeys(Services.__slots__)
        parts |= {"ledger": console.ledger, "accounts": console.meter.accounts}
        reached = Services(**parts)

        with pytest.raises(ProblemError, match="not known"):
            await issue_key(reached, Viewer("acme", "no-such-key"), NewKey())

        assert 1 == len(console.ledger.keys("acme"))


async def test_a_key_that_was_just_revoked_issues_none(open_console):
    """Another process may know it for a second, enough to make its successor."""
    async with open_console() as console:
        await console.account("acme", tier=3)
        (key,) = console.ledger.keys("acme")
        parts: dict[str, Any] = dict.fromkeys(Services.__slots__)
        parts |= {"ledger": console.ledger, "accounts": console.meter.accounts}
        reached, viewer = Services(**parts), Viewer("acme", key.id)
        console.ledger.revoke_key(key.id, now_ns=console.clock())

        with pytest.raises(ProblemError, match="revoked"):
            await issue_key(reached, viewer, NewKey())

        assert 1 == len(console.ledger.keys("acme"))
