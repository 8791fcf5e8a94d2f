"""A form is taken from its own page alone, and changes nothing otherwise."""

import pytest

from metering.console.pages.table import PAGES

pytestmark = pytest.mark.anyio

OPERATOR = "an-operator-signs-in-by-this-token-alone"
ACTING = [page.path for page in PAGES if page.act is not None]
FORMS = ["/logout", *ACTING]


async def refused(console, browser, path, answer, status=403):
    """Hold that a form was not taken."""
    assert status == answer.status_code, answer.text
    assert 200 == (await browser.get("/limits", account="acme")).status_code
    keys = console.ledger.keys("acme")
    assert [None, None] == [key.revoked_ns for key in keys], path


@pytest.fixture
async def signed_in(open_console, browse, lived_in):
    """A service, a browser that is signed in, and what its pages are asked."""
    async with open_console() as console:
        _, queries = await lived_in(console, "acme")
        async with browse(console, secret=OPERATOR) as browser:
            yield console, browser, queries


@pytest.mark.parametrize("path", FORMS)
async def test_a_form_without_its_token_is_refused(signed_in, path):
    console, browser, queries = signed_in
    query = {"account": "acme"} | queries.get(path, {})
    for form in (
        {"x": ""},
        {"form_token": ""},
        {"form_token": "0" * 64},
        {"form_token": "é"},
    ):
        answer = await browser.send(path, form, query=query)
        await refused(console, browser, path, answer)


@pytest.mark.parametrize("path", FORMS)
async def test_the_token_of_another_session_does_not_do(signed_in, browse, path):
    console, browser, queries = signed_in
    async with browse(console, secret=OPERATOR) as other:
        token = await other.token("/accounts")
    query = {"account": "acme"} | queries.get(path, {})

    answer = await browser.send(path, {"form_token": token}, query=query)

    await refused(console, browser, path, answer)


@pytest.mark.parametrize("path", FORMS)
async def test_a_form_from_another_site_is_refused_with_any_token(signed_in, path):
    console, browser, queries = signed_in
    query = {"account": "acme"} | queries.get(path, {})
    form = {"form_token": await browser.token("/accounts")} | queries.get(path, {})

    for headers in (
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "https://evil.example"},
        {"origin": "http://t.evil.example"},
        {"origin": "null"},
    ):
        answer = await browser.send(path, form, query=query, headers=headers)
        await refused(console, browser, path, answer)


@pytest.mark.parametrize(
    "headers",
    [{}, {"sec-fetch-site": "same-origin"}, {"origin": "http://t"}],
    ids=str,
)
async def test_a_form_of_the_page_itself_is_taken(signed_in, headers):
    console, browser, queries = signed_in
    form = {"form_token": await browser.token("/accounts")} | queries["/keys/revoke"]
    query = {"account": "acme"} | queries["/keys/revoke"]

    done = await browser.send("/keys/revoke", form, query=query, headers=headers)

    assert 303 == done.status_code
    assert done.headers["location"].startswith("/console/keys?account=acme&revoked=")
    assert console.ledger.keys("acme")[0].revoked_ns is not None


async def test_nobody_is_signed_in_by_a_form_of_another_site(open_console, browse):
    """Else somebody could be made to work in an account that is not theirs."""
    async with open_console() as console:
        key = await console.account("acme")
        async with browse(console) as browser, browse(console) as other:
            token, anothers = await browser.token(), await other.token()

            for form, headers in (
                ({}, {}),
                ({"form_token": "0" * 64}, {}),
                ({"form_token": anothers}, {}),
                ({"form_token": token}, {"origin": "https://evil.example"}),
            ):
                filled = form | {"secret": key}
                answer = await browser.send("/login", filled, headers=headers)
                assert 403 == answer.status_code, form
            assert 303 == (await browser.get("/")).status_code


async def test_what_is_no_form_is_refused(signed_in):
    console, browser, _ = signed_in
    plain = "application/x-www-form-urlencoded"
    for content, kind, status in (
        (b'{"form_token": "x"}', "application/json", 400),
        (b"a=" + b"x" * 20_000, plain, 413),
        (b"&".join(b"a=1" for _ in range(60)), plain, 400),
        (b"a=%ff", plain, 400),
        ("a=é".encode(), plain, 400),
    ):
        answer = await browser.client.post(
            "/console/keys?account=acme",
            content=content,
            headers={"content-type": kind},
        )
        await refused(console, browser, "/keys", answer, status)


async def test_a_form_of_who_is_signed_out_leads_to_signing_in(open_console, browse):
    async with open_console() as console, browse(console) as browser:
        for path in ACTING:
            answer = await browser.send(path, {"form_token": await browser.token()})

            assert (303, "/console/login") == (
                answer.status_code,
                answer.headers["location"],
            )
