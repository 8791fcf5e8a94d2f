"""Whose rows a page shows, and that what is in them is text and never markup."""

from urllib.parse import urlsplit

import pytest
from msgspec.structs import replace

from metering.console.pages.table import PAGES
from metering.exports.invoices import invoice_csv
from metering.exports.printable import invoice_html

pytestmark = pytest.mark.anyio

ROOT = "/console/"
HOSTILE = "<img/src=x/onerror=alert(1)>\"'&amp"
OPERATOR = "an-operator-signs-in-by-this-token-alone"


OWNED = [page.path for page in PAGES if page.owner != "operator"]
OWNED_ALONE = [page.path for page in PAGES if page.owner == "account"]
OPERATED = [page.path for page in PAGES if page.owner == "operator"]


async def test_an_account_never_sees_rows_of_another(open_console, browse, lived_in):
    """Named or not: its pages are the same whether the other is there or not."""
    async with open_console() as console:
        key, queries = await lived_in(console, "acme")
        async with browse(console, secret=key) as browser:

            async def own_pages():
                return {
                    path: (await browser.get(path, **queries.get(path, {}))).text
                    for path in OWNED
                }

            now_ns = console.clock()
            alone = await own_pages()
            _, theirs = await lived_in(console, "zebra")
            console.clock.move_to(now_ns)
            beside = await own_pages()

            for path in OWNED:
                assert "problem" not in alone[path], path
                assert "zebra" not in beside[path], path
                assert alone[path] == beside[path]
                named = {"account": "zebra"} | theirs.get(path, {})
                ghost = {"account": "ghost"} | queries.get(path, {})
                for query in (named, ghost):
                    answer = await browser.get(path, **query)
                    assert 403 == answer.status_code, path
                    assert "from-zebra" not in answer.text
            for path, query in theirs.items():
                assert 404 == (await browser.get(path, **query)).status_code, path


async def test_what_is_an_operators_is_not_for_accounts(open_console, browse):
    async with open_console() as console:
        key = await console.account("acme")
        async with browse(console, secret=key) as browser:
            form = {"form_token": await browser.token("/")}
            for path in OPERATED:
                answer = await browser.get(path)
                posted = await browser.send(path, form)

                assert 403 == answer.status_code, path
                assert posted.status_code in {403, 405}, path


async def test_an_operator_who_names_nobody_chooses_first(open_console, browse):
    async with (
        open_console() as console,
        browse(console, secret=OPERATOR) as browser,
    ):
        query = {"id": "0" * 8 + "-0000" * 3 + "-" + "0" * 12}
        for path in OWNED_ALONE:
            answer = await browser.get(path, **query)
            ghost = await browser.get(path, **query, account="ghost")

            assert (303, "/console/home") == (
                answer.status_code,
                answer.headers["location"],
            )
            assert 404 == ghost.status_code, path


async def test_links_of_an_operator_stay_at_the_account(open_console, browse, lived_in):
    async with open_console() as console:
        _, queries = await lived_in(console, "acme")
        async with browse(console, secret=OPERATOR) as browser:
            for path in OWNED:
                query = {"account": "acme"} | queries.get(path, {})
                page = await browser.see(path, **query)

                targets = [attrs["href"] for attrs in page.all("a")]
                targets += [
                    form["action"]
                    for form in page.all("form")
                    if form["method"] == "post"
                ]
                for target in targets:
                    to = urlsplit(target)
                    if (
                        to.path.removeprefix("/console") in OWNED_ALONE
                        and to.path != ROOT
                    ):
                        assert "account=acme" in to.query, (path, target)


async def test_what_names_hold_is_text_on_every_page(
    open_console, browse, seen, lived_in
):
    async with open_console() as console:
        key, queries = await lived_in(console, HOSTILE)
        (first, *_) = console.ledger.events(HOSTILE)
        console.ledger.post(
            [
                replace(
                    first.event,
                    id="of-hostile",
                    model=HOSTILE,
                    model_asked=HOSTILE,
                    flags=(HOSTILE,),
                )
            ]
        )
        async with (
            browse(console, secret=key) as customer,
            browse(console, secret=OPERATOR) as operator,
        ):
            for page in PAGES:
                browser = operator if page.owner == "operator" else customer
                query = queries.get(page.path, {})
                if page.owner == "operator" and page.of_account:
                    query = {"account": HOSTILE} | query
                answer = await browser.get(page.path, **query)

                shown = seen(answer.text)
                assert 200 == answer.status_code, answer.text
                assert "<img/src=x" not in answer.text, page.path
                assert not [a for a in shown.all("img") if a.get("src") == "x"]


async def test_an_invoice_is_kept_as_it_is_exported(open_console, browse, lived_in):
    async with open_console() as console:
        key, queries = await lived_in(console, "acme")
        invoice = console.ledger.invoice(queries["/invoice"]["id"])
        async with browse(console, secret=key) as browser:
            for form, kind, content in (
                ("csv", "text/csv; charset=utf-8", invoice_csv(invoice)),
                ("html", "text/html; charset=utf-8", invoice_html(invoice)),
                ("json", "application/json", None),
            ):
                query = {"id": invoice.id, "form": form}
                answer = await browser.get("/invoice/file", **query)

                assert kind == answer.headers["content-type"]
                assert content in {None, answer.content.decode()}
                told = f"attachment; filename*=utf-8''acme-2026-01.{form}"
                assert told == answer.headers["content-disposition"]
            assert invoice.id == answer.json()["id"]


async def test_a_key_is_issued_shown_once_and_revoked(open_console, browse, seen):
    async with open_console() as console:
        key = await console.account("acme")
        async with browse(console, secret=key) as browser:
            console.clock.advance(seconds=1)
            issued = await browser.fill("/keys", {"usage_limit_usd": "7.5"})
            shown = seen(issued.text)
            new = console.ledger.keys("acme")[1]
            secret = next(word for word in shown.text.split() if word.startswith("mk-"))

            assert 200 == issued.status_code
            assert new.hint == secret[-4:]
            assert "$7.50" in shown.text
            assert secret not in (await browser.see("/keys")).text

            asked = await browser.see("/keys/revoke", id=new.id)
            assert new.hint in asked.text
            done = await browser.fill("/keys/revoke", {"id": new.id}, id=new.id)
            assert 303 == done.status_code
            assert console.ledger.keys("acme")[1].revoked_ns is not None
            after = (await browser.client.get(done.headers["location"])).text
            assert "is revoked" in after


async def test_a_key_with_a_limit_is_shown_no_form_to_issue_another(
    open_console, browse, seen
):
    """The page says why, and a form that is sent all the same issues nothing."""
    async with open_console() as console:
        await console.account("acme")
        key = await console.meter.accounts.issue_key("acme", usage_limit="7")
        async with browse(console, secret=key) as browser:
            shown = await browser.see("/keys")
            forced = await browser.fill("/keys", {"usage_limit_usd": "5"})

            assert [] == [at for at in shown.all("input") if at.get("id") == "limit"]
            assert "a limit of $7.00 and cannot issue keys" in shown.text
            assert 422 == forced.status_code
            assert "cannot issue keys" in seen(forced.text).text
            assert 2 == len(console.ledger.keys("acme"))
        async with browse(console, secret=OPERATOR) as operator:
            page = await operator.see("/keys", account="acme")
            assert ["limit"] == [at["id"] for at in page.all("input") if "id" in at]


async def test_a_limit_that_is_no_amount_issues_no_key(open_console, browse):
    async with open_console() as console:
        key = await console.account("acme")
        async with browse(console, secret=key) as browser:
            for limit in ("0", "-1", "a lot", "1e3", "$5", "9" * 12, "0.0"):
                answer = await browser.fill("/keys", {"usage_limit_usd": limit})

                assert "Enter an amount in dollars" in answer.text, limit
                assert 1 == len(console.ledger.keys("acme"))


async def test_a_key_of_another_cannot_be_revoked(open_console, browse):
    async with open_console() as console:
        key = await console.account("acme")
        await console.account("other")
        (own,), (theirs,) = (console.ledger.keys(name) for name in ("acme", "other"))
        async with browse(console, secret=key) as browser:
            for query, form in (
                ({"id": theirs.id}, {"id": theirs.id}),
                ({"id": own.id}, {"id": theirs.id}),
                ({"account": "other", "id": theirs.id}, {"id": theirs.id}),
            ):
                token = await browser.token("/keys")
                sent = form | {"form_token": token}
                answer = await browser.send("/keys/revoke", sent, query=query)

                assert answer.status_code in {403, 404}
            assert console.ledger.keys("other")[0].revoked_ns is None
