"""What no browser would send is refused in words, and is never a fault of ours."""

import pytest

from metering.errors import StorageError

pytestmark = pytest.mark.anyio

FAR = ("0000-01", "0001-01", "2300-01", "9999-12")


@pytest.mark.parametrize("period", FAR)
async def test_a_month_far_from_now_is_told_to_be_none(open_console, browse, period):
    async with open_console() as console:
        key = await console.account("acme")
        async with browse(console, secret=key) as browser:
            seen = [
                await browser.get(path, period=period)
                for path in ("/usage", "/requests", "/home")
            ]
        told = [
            await console.ask("GET", path, by=key, params={"period": period})
            for path in ("/v1/usage", "/v1/usage/days", "/v1/charges")
        ]
        of_all = await console.ask("GET", "/v1/usage/days", params={"period": period})

    assert [400, 400, 403] == [answer.status_code for answer in seen]
    assert ["invalid_request"] * 4 == [each.json()["code"] for each in (*told, of_all)]


@pytest.mark.parametrize("origin", ["http://[", "http://[t", "//", "null", "t"])
async def test_an_origin_that_is_none_is_another_site(open_console, browse, origin):
    async with open_console() as console:
        key = await console.account("acme")
        async with browse(console) as browser:
            form = {"form_token": await browser.token(), "secret": key}

            answer = await browser.send("/login", form, headers={"origin": origin})

    assert 403 == answer.status_code
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("end", ["\n", "\r", "\x00", "\x7f", "\x9b"])
async def test_a_name_has_no_control_in_it_and_none_at_its_end(open_console, end):
    """Else one reference could be two, of which each counts once."""
    async with open_console() as console:
        await console.account("acme")
        paid = {"account": "acme", "usd": "5", "kind": "credit_purchase"}

        answers = [
            await console.send("POST", "/v1/payments", **paid | each)
            for each in (
                {"reference": f"r{end}"},
                {"reference": "r", "usd": f"5{end}"},
                {"reference": "r", "refers_to": f"s{end}"},
            )
        ]
        pages = [
            await console.ask("GET", "/v1/charges", params={"account": "acme"} | each)
            for each in (
                {"model": f"m{end}"},
                {"period": f"2026-01{end}"},
                {"cursor": f"c{end}"},
            )
        ]

        assert [400] * 6 == [answer.status_code for answer in (*answers, *pages)]
        assert [] == (await console.get("/v1/payments", account="acme"))["payments"]


@pytest.mark.parametrize("path", ["/", "/login", "/v1/account"])
async def test_where_the_ledger_is_stays_with_who_runs_it(
    open_console, browse, monkeypatch, capsys, path
):
    """Whoever invents a cookie or a key can make the ledger be asked."""
    where = "metering@db.internal:5432 failed: no route to host"

    def away(*_, **__):
        raise StorageError(where)

    async with open_console() as console, browse(console) as browser:
        await browser.get("/login")
        monkeypatch.setattr(type(console.ledger.sessions), "find", away)
        monkeypatch.setattr(console.ledger, "find_key", away)
        guessed = {"authorization": "Bearer not-a-key"}

        answer = await browser.client.get(f"/console{path}", headers=guessed)

    assert (503, "1") == (answer.status_code, answer.headers["retry-after"])
    assert "db.internal" not in answer.text
    (told,) = (
        line for line in capsys.readouterr().out.splitlines() if "not_served" in line
    )
    assert where in told
    assert f"/console{path}" in told


@pytest.mark.parametrize("query", [b"\xff", b"a=%ff&next=\xe4", b"\x80=%"])
@pytest.mark.parametrize("path", ["/", "/login", "/nowhere", "/v1/account"])
async def test_a_query_that_is_no_text_is_passed_over(
    open_console, browse, path, query
):
    """Some servers hand on each byte as it came, and httpx would write it as %FF."""
    async with open_console() as console:

        async def raw(scope, receive, send):
            await console.app({**scope, "query_string": query}, receive, send)

        async with browse(console, app=raw) as browser:
            answer = await browser.get(path)

    wanted = {"/": 303, "/login": 200, "/nowhere": 404, "/v1/account": 401}
    assert wanted[path] == answer.status_code
