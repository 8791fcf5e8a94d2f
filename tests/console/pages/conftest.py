"""Somebody with a browser: cookies, forms, and pages that are looked through."""

import re
from contextlib import asynccontextmanager
from html.parser import HTMLParser

import httpx
import pytest

from metering.clock import NS_PER_S

VOID = {"meta", "link", "img", "input", "br", "hr"}
_TOKEN = re.compile(r'name="form_token" value="([0-9a-f]+)"')


class Seen(HTMLParser):
    """A page as it was read: its elements, its text, and what is wrong with it."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.elements, self.faults, self.words = [], [], []
        self._open = []
        self.feed(text)
        self.close()
        self.faults += [f"<{tag}> is not closed" for tag in self._open]
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag in VOID or not self._open or self._open.pop() != tag:
            self.faults.append(f"</{tag}> closes nothing")

    def handle_data(self, data):
        self.words.append(data)

    def all(self, *tags):
        """Return the attributes of all elements of those names."""
        return [attrs for tag, attrs in self.elements if tag in tags]


class Browser:
    """Looks at a console."""

    def __init__(self, client):
        self.client = client

    async def get(self, path, **query):
        """Return what is at a path, wherever it leads."""
        return await self.client.get(f"/console{path}", params=query)

    async def see(self, path, **query):
        """Return a page that is there."""
        answer = await self.get(path, **query)
        assert 200 == answer.status_code, answer.text
        return Seen(answer.text)

    async def token(self, path="/login", **query):
        """Return what forms of a page carry."""
        found = _TOKEN.search((await self.get(path, **query)).text)
        return found.group(1)

    async def send(self, path, form=None, *, query=None, headers=None):
        """Return the answer to a form as it was sent."""
        return await self.client.post(
            f"/console{path}", params=query, data=form or {}, headers=headers
        )

    async def fill(self, path, form=None, *, at=None, **query):
        """Return the answer to the form of a page, filled in."""
        token = await self.token(at or path, **query)
        form = {"form_token": token} | (form or {})
        return await self.send(path, form, query=query)

    async def sign_in(self, secret):
        """Sign in, and return the page that follows."""
        answer = await self.fill("/login", {"secret": secret})
        assert 303 == answer.status_code, answer.text
        return answer

    @property
    def cookie(self):
        """The token that is shown."""
        (cookie,) = self.client.cookies.jar
        return cookie.value


@pytest.fixture
def browse():
    """Return what opens a browser on a service, or on an app of one's own."""

    @asynccontextmanager
    async def open_it(console, *, secret=None, app=None, base_url="http://t"):
        transport = httpx.ASGITransport(app or console.app)
        async with httpx.AsyncClient(transport=transport, base_url=base_url) as client:
            browser = Browser(client)
            if secret is not None:
                await browser.sign_in(secret)
            yield browser

    return open_it


@pytest.fixture
def seen():
    """Return what looks through the text of a page."""
    return Seen


@pytest.fixture
def lived_in():
    """Return what fills an account: calls, refusals, keys, an invoice, a payment."""

    async def fill(console, name, *, model="zai-org/GLM-4.7"):
        key = await console.account(name, tier=3)
        await console.meter.accounts.issue_key(name, usage_limit="7")
        await console.chat(key, model=model)
        await console.client.post(
            "/v1/chat/completions",
            json={"model": "no-such-model", "messages": []},
            headers={"authorization": f"Bearer {key}"},
        )
        await console.flush()
        console.clock.advance(ns=35 * 86_400 * NS_PER_S)
        invoice = await console.meter.billing.close(name)
        await console.meter.billing.record_payment(
            name, usd="9", reference=f"from-{name}", kind="credit_purchase"
        )
        await console.meter.billing.grant_credit(name, usd="3", reference=f"to-{name}")
        await console.chat(key, model=model)
        await console.flush()
        console.meter._historian.write()
        first = console.ledger.keys(name)[0]
        return key, {
            "/invoice": {"id": invoice.id},
            "/invoice/file": {"id": invoice.id, "form": "html"},
            "/keys/revoke": {"id": first.id},
        }

    return fill
