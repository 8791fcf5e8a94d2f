"""What holds for every page: it is sound HTML, fetches nothing and is kept nowhere."""

import re
from itertools import pairwise
from urllib.parse import urlsplit

import httpx
import pytest

from metering.console.pages.rendering import STATIC
from metering.console.pages.table import PAGES
from metering.errors import StorageError

pytestmark = pytest.mark.anyio

OPERATOR = "an-operator-signs-in-by-this-token-alone"
POLICY = {
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self'",
    "connect-src 'self'",
    "form-action 'self'",
    "frame-ancestors 'none'",
    "base-uri 'none'",
}
LINKS = {"a": "href", "link": "href", "img": "src", "script": "src", "form": "action"}


OF_ONE = {"account": "acme"}
VIEWS = [
    (page, of)
    for page in PAGES
    for of_account, of in ((True, OF_ONE), (False, {}))
    if page.owner == "anybody" or page.of_account == of_account
]
"""Pages as an operator sees them: of one account, of all, or both."""

OF_AN_INVOICE = ("/invoice", "/invoice/file")


def assert_guarded(answer):
    """Hold that a page is framed, cached and scripted by nobody."""
    assert POLICY == set(answer.headers["content-security-policy"].split("; "))
    assert "nosniff" == answer.headers["x-content-type-options"]
    assert "same-origin" == answer.headers["referrer-policy"]
    assert "no-store" == answer.headers["cache-control"]


def assert_sound(page):
    """Hold that a page is well-formed, inside the policy, and can be found through."""
    assert [] == page.faults
    for tag, attrs in page.elements:
        inline = [name for name in attrs if name == "style" or name.startswith("on")]
        assert [] == inline, tag
        assert tag != "style"
        if tag in LINKS and LINKS[tag] in attrs:
            target = attrs[LINKS[tag]]
            assert target.startswith(("/console/", "#")), (tag, target)
            assert "" == urlsplit(target).netloc
    (root,) = page.all("html")
    assert "en" == root["lang"]
    assert (
        1 == len(page.all("main")) == len(page.all("h1")) == len(page.all("title")[:1])
    )
    ids = [attrs["id"] for _, attrs in page.elements if "id" in attrs]
    assert sorted(set(ids)) == sorted(ids)
    named = [
        name
        for _, attrs in page.elements
        for attribute in ("aria-labelledby", "aria-describedby")
        for name in attrs.get(attribute, "").split()
    ]
    labels = [attrs["for"] for attrs in page.all("label")]
    assert {*named, *labels} <= set(ids)
    for field in page.all("input", "select"):
        assert field.get("type") == "hidden" or field["id"] in labels
    assert len(page.all("table")) == len(page.all("caption"))
    assert all("scope" in head for head in page.all("th"))
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
    assert 1 == levels[0]
    assert all(after <= before + 1 for before, after in pairwise(levels))
    charts = [attrs for attrs in page.all("svg") if "aria-hidden" not in attrs]
    assert all(
        attrs.get("role") == "img" for attrs in charts if "aria-labelledby" in attrs
    )


def marked(page):
    """Return what the navigation says is looked at."""
    return [
        urlsplit(attrs["href"]).path.removeprefix("/console")
        for attrs in page.all("a")
        if attrs.get("aria-current") == "page"
    ]


@pytest.mark.parametrize("lives", [True, False], ids=["lived in", "empty"])
async def test_every_page_is_sound_and_guarded(
    open_console, browse, seen, lived_in, lives
):
    async with open_console() as console:
        if lives:
            _, queries = await lived_in(console, "acme")
        else:
            await console.account("acme")
            (key,) = console.ledger.keys("acme")
            queries = {path: {"id": "none"} for path in OF_AN_INVOICE}
            queries["/keys/revoke"] = {"id": key.id}
        async with browse(console, secret=OPERATOR) as browser:
            for page, of in VIEWS:
                query = of | queries.get(page.path, {})
                answer = await browser.get(page.path, **query)

                assert_guarded(answer)
                if "content-disposition" in answer.headers:
                    assert "/invoice/file" == page.path
                    continue
                looked = seen(answer.text)
                assert_sound(looked)
                if lives or page.path not in OF_AN_INVOICE:
                    assert 200 == answer.status_code, answer.text
                    assert (page.part_of or page.path) in marked(looked)
                    told = "You are viewing account acme as an operator." in looked.text
                    assert told == bool(of), page.path


async def test_what_is_wrong_is_said_on_a_page_of_the_same_frame(
    open_console, browse, seen, monkeypatch
):
    async with open_console() as console:
        key = await console.account("acme")
        await console.account("other")
        async with browse(console, secret=key) as browser:
            for path, query, status in (
                ("/nowhere", {}, 404),
                ("/invoice", {"id": "none"}, 404),
                ("/keys/revoke", {"id": "none"}, 400),
                ("/usage", {"period": "2026-13"}, 400),
                ("/usage", {"period": "x"}, 400),
                ("/usage", {"show": "x"}, 400),
                ("/requests", {"cursor": "x"}, 400),
                ("/", {"account": "other"}, 403),
                ("/accounts", {}, 403),
                ("/static/0/console.css", {}, 404),
            ):
                answer = await browser.get(path, **query)

                assert status == answer.status_code, path
                assert_guarded(answer)
                shown = seen(answer.text)
                assert_sound(shown)
                signed_in = "acme Sign out" in shown.text
                assert signed_in == (path not in {"/nowhere", "/static/0/console.css"})

            def away(*_, **__):
                raise StorageError("The ledger is away.")

            monkeypatch.setattr(console.ledger, "period", away)
            answer = await browser.get("/")
            assert (503, "1") == (answer.status_code, answer.headers["retry-after"])
            assert_sound(seen(answer.text))

            posted = await browser.client.post("/console/usage", data={"a": "b"})
            assert 405 == posted.status_code
            assert_guarded(posted)


async def test_the_api_goes_on_to_answer_programs(open_console, browse):
    async with open_console() as console, browse(console) as browser:
        for path, status in (("/v1/nothing", 404), ("/v1/account", 401)):
            answer = await browser.get(path)

            assert "application/problem+json" == answer.headers["content-type"]
            assert status == answer.status_code


async def test_redirects_and_signing_in_are_guarded_as_well(open_console, browse, seen):
    async with open_console() as console, browse(console) as browser:
        for path in ("/", "/login"):
            assert_guarded(await browser.get(path))
        assert_sound(await browser.see("/login"))
        refused = await browser.fill("/login", {"secret": "x"})
        assert_guarded(refused)
        assert_sound(seen(refused.text))


async def test_files_are_kept_for_as_long_as_their_url_names_them(open_console, browse):
    async with open_console() as console, browse(console) as browser:
        shown = await browser.see("/login")
        (style, icon) = sorted(
            (attrs["href"] for attrs in shown.all("link")), reverse=True
        )
        (script,) = (attrs["src"] for attrs in shown.all("script"))

        assert {"console.css", "console.js", "icon.svg"} == set(STATIC)
        for url in (style, icon, script):
            answer = await browser.client.get(url)
            file = STATIC[url.rpartition("/")[2]]
            assert file.content == answer.content
            assert (
                "public, max-age=31536000, immutable" == answer.headers["cache-control"]
            )
            assert answer.headers["content-type"].startswith(file.media_type)


def test_styles_and_scripts_reach_for_nothing_outside():
    for name, file in STATIC.items():
        text = file.content.decode()
        assert "@import" not in text
        assert "url(" not in text
        outside = set(re.findall(r"https?://[^\s\"')]+", text))
        assert outside <= {"http://www.w3.org/2000/svg"}, name


async def test_without_jinja_the_api_is_there_and_the_pages_say_what_is_missing(
    open_console, monkeypatch
):
    monkeypatch.setattr("metering.console.app.find_spec", lambda _: None)
    async with open_console() as console:
        key = await console.account("acme")
        root = await console.client.get("/console/")
        api = await console.get("/v1/account", by=key)

        assert 503 == root.status_code
        assert "pip install 'asgi-metering[console]'" in root.text
        assert 1 == root.text.count("\n")
        assert "acme" == api["id"]


async def test_a_console_at_the_root_of_an_app_links_within_it(open_console):
    async with open_console() as console:
        app = console.meter.console(operator_token=OPERATOR)
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(
            transport=transport, base_url="http://t"
        ) as client:
            answer = await client.get("/")

            assert (303, "/login") == (answer.status_code, answer.headers["location"])
