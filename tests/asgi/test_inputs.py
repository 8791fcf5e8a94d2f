"""What is asked for cannot be had: it is refused in words, and costs nothing."""

import os
from base64 import b64encode
from dataclasses import replace
from zlib import compress, crc32

import pytest
from structlog.testing import capture_logs

from metering.accounts import Overrides, TierBook, TokenPrices
from metering.backends.sql import SqlLedger
from metering.config import JournalSettings, plan_from_preset
from metering.errors import StorageError
from metering.money import PICO
from metering.pricing import PriceBook
from metering.testing.model import FakeModel

pytestmark = pytest.mark.anyio

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
FREE = "LGAI-EXAONE/K-EXAONE-236B-A23B"
CAP = 16_384  # of tier 1

UNTOUCHED = (0, 0, 0)


def _sees(client):
    return client.status, client.json()["error"]["code"]


async def _left_by(service):
    """Return what an input left: calls to the model, money in use, charges."""
    events = await service.events("acme")
    return (
        len(service.model.calls),
        await service.in_use_p("acme"),
        sum(event.charge_p for event in events),
    )


# Models and amounts


@pytest.mark.parametrize("model", ["absent", "null", "7", '""', '{"a": 1}'])
@pytest.mark.parametrize("unpriced", ["refuse", "pass"])
async def test_a_request_that_names_no_model_is_not_served(
    open_service, hand_written, model, unpriced
):
    """Servers answer with the model that they have: 400, whatever is unpriced."""
    named = "" if model == "absent" else f'"model": {model}, '
    async with open_service(unpriced=unpriced) as service:
        body = f'{{{named}"messages": []}}'.encode()
        client = hand_written(await service.account("acme", tier=1), body)
        await client.call(service.meter.wrap(service.model))

        assert (400, "model_missing") == _sees(client)
        assert b"false" == client.header(b"x-should-retry")
        assert UNTOUCHED == await _left_by(service)


@pytest.mark.parametrize("model", ['"gpt-9"', f'"{LLAMA}\\n"'])
async def test_a_model_without_a_price_is_not_served(open_service, hand_written, model):
    """Not known: 404, and nothing is taken."""
    async with open_service() as service:
        body = f'{{"model": {model}, "messages": []}}'.encode()
        client = hand_written(await service.account("acme", tier=1), body)
        await client.call(service.meter.wrap(service.model))

        assert (404, "model_not_priced") == _sees(client)
        assert b"false" == client.header(b"x-should-retry")
        assert UNTOUCHED == await _left_by(service)


async def test_a_refusal_does_not_repeat_what_was_sent_at_length(
    open_service, hand_written
):
    """A name of a million letters is told by its first ones."""
    async with open_service() as service:
        body = {"model": "m" * 10**6, "messages": []}
        client = hand_written(await service.account("acme", tier=1), body)
        await client.call(service.meter.wrap(service.model))

        assert (404, "model_not_priced") == _sees(client)
        assert "mmm" in client.json()["error"]["message"]
        assert len(b"".join(client.bodies)) < 1000


@pytest.mark.parametrize("url", ["https://a/b.png", "data:image/png;base64,AA"])
async def test_input_that_nothing_bounds_is_refused(open_service, url):
    """An image at a model of unknown context length, by URL or as data."""
    async with open_service() as service:
        key = await service.account("acme", tier=1)
        messages = [{"role": "user", "content": [_image(url)]}]
        answer = await service.chat(key, messages=messages)

        assert 400 == answer.status_code
        error = answer.json()["error"]
        assert "input_not_bounded" == error["code"]
        assert "context_tokens_max" in error["message"]
        assert UNTOUCHED == await _left_by(service)


def _plain_png(side):
    """Return a black square of *side* pixels as a data URL."""

    def chunk(kind, data):
        checked = kind + data
        return (
            len(data).to_bytes(4, "big") + checked + crc32(checked).to_bytes(4, "big")
        )

    size = side.to_bytes(4, "big") * 2
    rows = compress(bytes(1 + side // 8) * side, 9)
    parts = (
        chunk(b"IHDR", size + b"\1\0\0\0\0"),
        chunk(b"IDAT", rows),
        chunk(b"IEND", b""),
    )
    png = b"\x89PNG\r\n\x1a\n" + b"".join(parts)
    return "data:image/png;base64," + b64encode(png).decode()


@pytest.mark.parametrize(
    "url",
    [_plain_png(3584), "data:image/png;base64," + "A" * 1_500_000, "https://a/b.png"],
    ids=["2 kB, some 16,000 tokens", "1.5 MB", "by URL"],
)
async def test_an_image_is_held_for_at_the_context_length(open_service, url):
    """However it is sent: neither less than it may be, nor all that it weighs."""
    plan = plan_from_preset("friendli")
    models = [
        replace(m, context_tokens_max=128 * 1024) if m.name == LLAMA else m
        for m in plan.prices.models
    ]
    async with open_service(prices=PriceBook(models)) as service:
        key = await service.account("acme", tier=1)
        messages = [{"role": "user", "content": [_image(url)]}]
        answer = await service.chat(key, messages=messages, max_tokens=1)
        (event,) = await service.events("acme")

    assert 200 == answer.status_code
    assert (128 * 1024 + 1) * 100_000 == event.hold_p


async def test_input_that_nothing_bounds_is_free_where_the_model_is(open_service):
    """There is nothing to hold for a free model, nor for one billed by time."""
    messages = [{"role": "user", "content": [_image("https://a/b.png")]}]
    async with open_service() as service:
        key = await service.account("acme", tier=1)
        answer = await service.chat(key, model=FREE, messages=messages)

    assert 200 == answer.status_code


def _image(url):
    return {"type": "image_url", "image_url": {"url": url}}


@pytest.mark.parametrize(
    ("sent", "reads"),
    [
        ("-1", CAP),
        ("0", CAP),
        ("null", CAP),
        ("false", CAP),
        ("true", True),
        ("7.0", 7.0),
        ("99999.0", CAP),
        ('"7"', "7"),
        ('"99999"', CAP),
        ("1e400", CAP),
        ("9" * 400, CAP),
        (str(CAP), CAP),
        (str(CAP + 1), CAP),
    ],
)
async def test_no_bound_of_output_passes_the_cap(
    open_service, hand_written, sent, reads
):
    """What the app reads is at most the cap, and pays for no more than was held."""
    body = f'{{"model": "{LLAMA}", "messages": [], "max_tokens": {sent}}}'.encode()
    async with open_service(FakeModel(output_tokens=20_000)) as service:
        client = hand_written(await service.account("acme", tier=1), body)
        await client.call(service.meter.wrap(service.model))
        (call,) = service.model.calls
        (event,) = await service.events("acme")

        assert (200, reads) == (client.status, call.body["max_tokens"])
        assert int(reads) == event.usage.output_tokens
        assert event.charge_p <= event.hold_p


@pytest.mark.parametrize("field", ["max_tokens", "n"])
@pytest.mark.parametrize("value", ["abc", [1], {"a": 1}])
async def test_an_amount_that_is_none_is_the_apps_to_refuse(open_service, field, value):
    """Its own 400, at $0."""
    async with open_service() as service:
        key = await service.account("acme", tier=1)
        answer = await service.chat(key, **{field: value})
        (event,) = await service.events("acme")

        assert (400, 400) == (answer.status_code, answer.json()["error"]["code"])
        assert ("upstream_error", 0) == (event.ending, event.charge_p)
        assert 0 == await service.in_use_p("acme")


@pytest.mark.parametrize("n", [0, -1, False])
async def test_no_choices_at_all_are_the_apps_to_refuse(open_service, n):
    """They are held for as one, and what was held is given back."""
    async with open_service() as service:
        key = await service.account("acme", tier=1)
        answer = await service.chat(key, n=n)
        (event,) = await service.events("acme")

        assert 400 == answer.status_code
        assert 0 == event.charge_p < event.hold_p < 2 * CAP * 100_000
        assert 0 == await service.in_use_p("acme")


@pytest.mark.parametrize("n", [40_000, 10**9, 10**30, "1000000"])
async def test_more_choices_than_the_limit_pays_for(open_service, n):
    """Above the whole $50: refused for good, with what would be affordable."""
    async with open_service() as service:
        key = await service.account("acme", tier=1)
        answer = await service.chat(key, n=n)

        assert (400, "request_exceeds_limit") == (
            answer.status_code,
            answer.json()["error"]["code"],
        )
        assert int(answer.headers.get("x-affordable-output-tokens", 0)) < CAP
        assert UNTOUCHED == await _left_by(service)


async def test_no_call_is_held_for_more_than_a_ledger_can_write(open_service):
    """An account without a limit asks for more dollars than fit into 64 bits."""
    plan = open_service.plan()
    unlimited = TierBook(
        tuple(replace(t, usage_limit_p=None) for t in plan.tiers.tiers)
    )
    async with open_service(tiers=unlimited) as service:
        key = await service.account("acme", tier=1)
        dear = Overrides(prices={LLAMA: TokenPrices(0, PICO)})
        await service.meter.accounts.override("acme", dear)
        refused = await service.chat(key, n=2**31)
        served = await service.chat(key)
        (event,) = await service.events("acme")

        assert (400, "request_exceeds_limit") == (
            refused.status_code,
            refused.json()["error"]["code"],
        )
        assert 200 == served.status_code
        assert 64 * PICO == event.charge_p


# What a call stands on is not there


GONE = "metering@db.internal:5432 is gone."


class BrokenLedger(SqlLedger):
    """A ledger whose named methods are down."""

    down = frozenset()

    def _up(self, name):
        if name in self.down:
            raise StorageError(f"{name}: {GONE}")

    def find_key(self, key_hash, *, now_ns):
        """Look a key up, or fail."""
        self._up("find_key")
        return super().find_key(key_hash, now_ns=now_ns)

    def period(self, account_id, period):
        """Read a period, or fail."""
        self._up("period")
        return super().period(account_id, period)

    def post(self, events):
        """Post, or fail."""
        self._up("post")
        return super().post(events)


@pytest.mark.parametrize("method", ["find_key", "period"])
async def test_a_ledger_that_is_down_refuses_who_is_not_known_yet(open_service, method):
    """Key or seed cannot be read: 503 and when to come back; then all is well.

    Where the database is and what it says is in the log alone.
    """
    ledger = BrokenLedger("sqlite://", tiers=open_service.plan().tiers)
    async with open_service(ledger=ledger) as service:
        key = await service.account("acme", tier=1)
        ledger.down = {method}
        with capture_logs() as logs:
            answer = await service.chat(key)
        ledger.down = frozenset()
        untouched = await _left_by(service)
        after = await service.chat(key)

    assert (503, "storage_unavailable") == (
        answer.status_code,
        answer.json()["error"]["code"],
    )
    assert "1" == answer.headers["retry-after"]
    assert GONE not in answer.text
    assert "Try again" in answer.json()["error"]["message"]
    (told,) = (line["reason"] for line in logs if line["event"] == "call_refused")
    assert f"{method}: {GONE}" == told
    assert UNTOUCHED == untouched
    assert 200 == after.status_code
    assert "99" == after.headers["x-ratelimit-remaining-requests"]


async def test_calls_of_known_accounts_go_on_without_a_ledger(open_service):
    """What is charged meanwhile waits in the journal, for a minute."""
    ledger = BrokenLedger("sqlite://", tiers=open_service.plan().tiers)
    async with open_service(ledger=ledger) as service:
        key = await service.account("acme", tier=1)
        first = await service.chat(key)
        await service.flush()
        ledger.down = {"find_key", "period", "post"}
        service.clock.advance(seconds=31)
        second = await service.chat(key)
        service.clock.advance(seconds=61)
        third = await service.chat(key)
        in_use_p = await service.in_use_p("acme")
        ledger.down = frozenset()
        events = await service.events("acme")
        fourth = await service.chat(key)

    assert [200, 200, 503, 200] == [
        a.status_code for a in (first, second, third, fourth)
    ]
    assert "journal_full" == third.json()["error"]["code"]
    assert "5" == third.headers["retry-after"]
    assert 2 * 6_700_000 == in_use_p == sum(event.charge_p for event in events)


async def test_a_line_that_is_not_on_the_disk_refuses_without_saying_which_disk(
    open_service, monkeypatch
):
    """With durability "power" a call waits for its line; the log says what failed."""

    def sync(_):
        raise OSError(5, "I/O error", "/dev/sdb1")

    settings = JournalSettings(sync_ms=1, durability="power")
    async with open_service(journal=settings) as service:
        journal = service.meter._recorder.journal
        key = await service.account("acme", tier=1)
        monkeypatch.setattr(journal._group, "_sync_file", sync)
        with capture_logs() as logs:
            answer = await service.chat(key)
        monkeypatch.undo()

    assert (503, "storage_unavailable", "1") == (
        answer.status_code,
        answer.json()["error"]["code"],
        answer.headers["retry-after"],
    )
    assert "sdb1" not in answer.text
    assert any("sdb1" in (line.get("reason") or "") for line in logs)


async def test_a_full_disk_admits_nobody_and_takes_nothing(open_service, monkeypatch):
    """503, with the reason in the log alone; not even the request unit is used."""
    full = OSError(28, "No space left on device")

    def write(fd, text):
        if fail:
            raise full
        return os.write(fd, text)

    fail = True
    async with open_service() as service:
        monkeypatch.setattr(service.meter._recorder.journal, "_os_write", write)
        key = await service.account("acme", tier=1)
        with capture_logs() as logs:
            answer = await service.chat(key)
        untouched = await _left_by(service)
        fail = False
        after = await service.chat(key)

    assert (503, "journal_full") == (answer.status_code, answer.json()["error"]["code"])
    assert "No space left" not in answer.text
    assert str(service.meter.plan.data) not in answer.text
    assert "Try again" in answer.json()["error"]["message"]
    assert any("No space left" in (line.get("reason") or "") for line in logs)
    assert UNTOUCHED == untouched
    assert (200, "99") == (
        after.status_code,
        after.headers["x-ratelimit-remaining-requests"],
    )


async def test_a_full_disk_gives_free_requests_back(open_service, monkeypatch):
    """Nothing is held for them; from the second on each is returned all the same."""
    full = OSError(28, "No space left on device")

    def write(fd, text):
        if fail:
            raise full
        return os.write(fd, text)

    fail = True
    free = "LGAI-EXAONE/K-EXAONE-236B-A23B"
    async with open_service() as service:
        monkeypatch.setattr(service.meter._recorder.journal, "_os_write", write)
        key = await service.account("acme", tier=1)
        refused = [await service.chat(key, model=free) for _ in range(5)]
        fail = False
        after = await service.chat(key, model=free)

    assert [503] * 5 == [answer.status_code for answer in refused]
    assert "58" == after.headers["x-ratelimit-remaining-requests"]
