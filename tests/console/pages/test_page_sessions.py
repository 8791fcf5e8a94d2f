"""Who is signed in to the console, for how long, and what ends it."""

from urllib.parse import quote, unquote

import pytest
from starlette.applications import Starlette

from metering.clock import NS_PER_S
from metering.console.pages.sessions import SESSION_S

pytestmark = pytest.mark.anyio

OPERATOR = "an-operator-signs-in-by-this-token-alone"
OTHER_OPERATOR = "another-token-of-an-operator-who-came-later"


def mounted(console, token=OPERATOR):
    """Another process on the same ledger, as far as a browser can tell."""
    app = Starlette()
    app.mount("/console", console.meter.console(operator_token=token))
    return app


async def test_a_key_shows_its_account_and_the_token_all_of_them(open_console, browse):
    async with open_console() as console:
        key = await console.account("acme")
        async with browse(console) as customer, browse(console) as operator:
            to = await customer.sign_in(key)
            assert "/console/" == to.headers["location"]
            assert "acme" in (await customer.see("/")).text

            to = await operator.sign_in(OPERATOR)
            assert "/console/home" == to.headers["location"]
            assert "acme" in (await operator.see("/accounts")).text
            assert "acme" in (await operator.see("/", account="acme")).text


async def test_who_is_not_signed_in_is_asked_to_and_then_led_on(open_console, browse):
    async with open_console() as console:
        key = await console.account("acme")
        async with browse(console) as browser:
            asked = await browser.get("/usage", period="2026-01", show="tokens")
            target = "/console/login?next=/usage%3Fperiod%3D2026-01%26show%3Dtokens"
            assert (303, target) == (asked.status_code, asked.headers["location"])

            back = await browser.fill(
                "/login", {"secret": key}, next="/usage?period=2026-01&show=tokens"
            )
            target = "/console/usage?period=2026-01&show=tokens"
            assert target == back.headers["location"]


async def test_signing_in_leads_nowhere_but_to_a_page(open_console, browse):
    async with open_console() as console:
        key = await console.account("acme")
        for elsewhere in (
            "https://evil.example/",
            "//evil.example/",
            "///evil.example/usage",
            "/\\evil.example/",
            "/usage\\@evil.example",
            "/\tusage",
            "javascript:alert(1)",
            "http:/usage",
            "http://[evil/",
            "/nowhere",
            "usage",
            "/v1/account",
            "/logout",
        ):
            async with browse(console) as browser:
                to = await browser.fill("/login", {"secret": key}, next=elsewhere)

                told = to.status_code, to.headers["location"]
                assert (303, "/console/") == told, elsewhere


async def test_what_nobody_has_signs_nobody_in(open_console, browse):
    async with open_console() as console, browse(console) as browser:
        for secret in ("", "mk-nobody-has-this", OPERATOR[:-1], "é" * 2000):
            refused = await browser.fill("/login", {"secret": secret})

            assert 401 == refused.status_code
            assert "unknown or revoked" in refused.text
            assert 303 == (await browser.get("/")).status_code


async def test_the_token_is_new_with_each_sign_in(open_console, browse):
    """Who planted one before, or shared the browser, has none that is signed in."""
    async with open_console() as console:
        key = await console.account("acme")
        async with browse(console) as browser:
            await browser.get("/login")
            planted = browser.cookie
            await browser.sign_in(key)
            first = browser.cookie
            form = {"form_token": await browser.token("/"), "secret": OPERATOR}
            await browser.send("/login", form)
            second = browser.cookie

            assert 3 == len({planted, first, second})
            for token, status in ((planted, 303), (first, 303), (second, 200)):
                browser.client.cookies.clear()
                browser.client.cookies.set("metering_console", token)
                assert status == (await browser.get("/accounts")).status_code


async def test_only_a_hash_of_the_token_is_kept(open_console, browse):
    async with open_console() as console:
        key = await console.account("acme")
        async with browse(console, secret=key) as browser:
            (row,) = console.ledger._read(
                lambda on: on.exec_driver_sql("SELECT * FROM sessions").all()
            )

            assert 43 == len(browser.cookie)
            assert browser.cookie not in str(row)
            assert key not in str(row)


async def test_a_session_lasts_twelve_hours_used_or_not(open_console, browse):
    async with open_console() as console:
        key = await console.account("acme")
        async with browse(console, secret=key) as browser:
            console.clock.advance(ns=SESSION_S * NS_PER_S - 1)
            assert 200 == (await browser.get("/")).status_code
            console.clock.advance(ns=1)
            assert 303 == (await browser.get("/")).status_code


async def test_a_session_holds_in_every_process(open_console, browse):
    async with open_console() as console:
        key = await console.account("acme")
        async with (
            browse(console, secret=key) as here,
            browse(console, app=mounted(console)) as there,
        ):
            there.client.cookies = here.client.cookies

            assert 200 == (await there.get("/")).status_code


async def test_a_session_is_over_when_its_key_is_revoked(open_console, browse):
    async with open_console() as console:
        key, other = await console.account("acme"), await console.account("acme")
        async with (
            browse(console, secret=key) as ended,
            browse(console, secret=other) as going_on,
        ):
            await console.meter.accounts.revoke_key(key)

            assert 303 == (await ended.get("/")).status_code
            assert 200 == (await going_on.get("/")).status_code
            assert 401 == (await ended.fill("/login", {"secret": key})).status_code


@pytest.mark.parametrize("token", [OTHER_OPERATOR, ""])
async def test_an_operators_session_is_over_when_their_token_changes(
    open_console, browse, token, monkeypatch
):
    monkeypatch.delenv("METERING_OPERATOR_TOKEN", raising=False)
    async with (
        open_console() as console,
        browse(console, secret=OPERATOR) as before,
        browse(console, app=mounted(console, token)) as after,
    ):
        after.client.cookies = before.client.cookies

        assert 200 == (await before.get("/accounts")).status_code
        assert 303 == (await after.get("/accounts")).status_code


async def test_who_signs_out_is_out_wherever_the_token_is(open_console, browse):
    async with open_console() as console:
        key = await console.account("acme")
        async with browse(console, secret=key) as browser:
            token = browser.cookie
            out = await browser.fill("/logout", at="/")
            assert (303, "/console/login") == (
                out.status_code,
                out.headers["location"],
            )
            assert [] == list(browser.client.cookies.jar)

            browser.client.cookies.set("metering_console", token)
            assert 303 == (await browser.get("/")).status_code


async def test_a_suspended_account_may_still_look(open_console, browse):
    async with open_console() as console:
        key = await console.account("acme")
        async with browse(console, secret=key) as browser:
            await console.meter.accounts.suspend("acme")

            assert "is suspended" in (await browser.see("/invoices")).text


@pytest.mark.parametrize(
    ("scheme", "name", "flags"),
    [
        ("http", "metering_console", {"httponly", "samesite=lax", "path=/console"}),
        (
            "https",
            "__Secure-metering_console",
            {"httponly", "samesite=lax", "path=/console", "secure"},
        ),
    ],
)
async def test_no_script_and_no_other_path_has_the_cookie(
    open_console, browse, scheme, name, flags
):
    async with open_console() as console:
        key = await console.account("acme")
        async with browse(console, base_url=f"{scheme}://t") as browser:
            to = await browser.sign_in(key)
            set_, *said = to.headers["set-cookie"].split("; ")

            assert name == set_.partition("=")[0]
            assert flags | {f"max-age={SESSION_S}"} == {each.lower() for each in said}


async def test_at_the_root_no_other_host_can_set_the_cookie(open_console, browse):
    async with open_console() as console:
        app = console.meter.console(operator_token=OPERATOR)
        async with browse(console, app=app, base_url="https://t") as browser:
            answer = await browser.client.get("/login")

            assert answer.headers["set-cookie"].startswith("__Host-metering_console=")
            assert "path=/;" in answer.headers["set-cookie"].lower() + ";"


@pytest.mark.parametrize("at", ["/my console", "/für-uns", "/a;b", '/a"b', "/100%"])
async def test_wherever_it_is_mounted_one_signs_in_there(
    open_console, browse, seen, at
):
    """A browser compares a cookie's path with that of a URL, as it is written there."""
    async with open_console() as console:
        key, app, root = await console.account("acme"), Starlette(), quote(at)
        app.mount(at, console.meter.console())
        async with browse(console, app=app) as browser:
            page = seen((await browser.client.get(f"{root}/login")).text)
            (token,) = (e["value"] for e in page.all("input") if "value" in e)
            form = {"form_token": token, "secret": key}

            answer = await browser.client.post(f"{root}/login", data=form)
            home = await browser.client.get(answer.headers["location"])

    assert (303, 200) == (answer.status_code, home.status_code)
    links = {unquote(each["href"]) for each in seen(home.text).all("a", "link")}
    assert all(link.startswith(f"{at}/") for link in links - {"#content"}), links


@pytest.mark.parametrize("root", ["/", "/inner/"])
async def test_a_root_path_with_a_slash_at_its_end_leads_to_no_other_host(
    open_console, browse, root
):
    """A server that is told so asks for "//login", which links must not say."""
    async with open_console() as console:
        inner = console.meter.console()

        async def app(scope, receive, send):
            path = {"root_path": root, "path": root + scope["path"]}
            await inner({**scope, **path}, receive, send)

        async with browse(console, app=app) as browser:
            to = await browser.client.get("/")
            login = await browser.client.get("/login")

    assert f"{root}login" == to.headers["location"]
    assert f"Path={root.rstrip('/') or '/'}" in login.headers["set-cookie"].split("; ")
    assert f'action="{root}login"' in login.text
