"""Compressed bodies are read like plain ones, on the way in and on the way out."""

import gzip
import json
import sys
import tracemalloc
import zlib

import brotli
import pytest
import zstandard

from metering.asgi.compressed import open_reader
from metering.dialects.known import DIALECT_BY_PATH
from metering.testing.model import FakeModel

pytestmark = pytest.mark.anyio

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
CHAT = {"model": LLAMA, "messages": [{"role": "user", "content": "a b c"}]}
CAP = 16_384  # of tier 1
LIMIT = 1000  # bytes of a body, where a test sets one
TOKEN_P = 100_000
KIB = 1024
DIALECT = DIALECT_BY_PATH["/v1/chat/completions"]


class Gzip:
    """Packs event by event, as a server does that must not delay any."""

    def __init__(self):
        self._packer = zlib.compressobj(wbits=31)

    def add(self, data):
        return self._packer.compress(data) + self._packer.flush(zlib.Z_SYNC_FLUSH)

    def end(self):
        return self._packer.flush()


class Brotli:
    """The same with brotli."""

    def __init__(self):
        self._packer = brotli.Compressor(quality=4)

    def add(self, data):
        return self._packer.process(data) + self._packer.flush()

    def end(self):
        return self._packer.finish()


class Zstd:
    """The same with zstandard."""

    def __init__(self):
        self._packer = zstandard.ZstdCompressor().compressobj()

    def add(self, data):
        block = zstandard.COMPRESSOBJ_FLUSH_BLOCK
        return self._packer.compress(data) + self._packer.flush(block)

    def end(self):
        return self._packer.flush()


PACKERS = {"gzip": Gzip, "br": Brotli, "zstd": Zstd}
WHOLE = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstandard.compress,
}
streamed = pytest.mark.parametrize("coding", PACKERS)
whole = pytest.mark.parametrize("coding", WHOLE)


class Compressing:
    """An app that compresses what another sends, asked or not; `named` may be a lie."""

    def __init__(self, app, coding, *, named=None):
        self.app = app
        self.coding = coding
        self.named = (named or coding).encode()
        self.packed = []

    async def __call__(self, scope, receive, send):
        packer, start = PACKERS[self.coding](), None

        async def pack(message):
            nonlocal start
            if message["type"] == "http.response.start":
                start = message
                return
            more = message.get("more_body", False)
            body = packer.add(message.get("body", b""))
            body += b"" if more else packer.end()
            self.packed.append(body)
            if start is not None:
                headers = [h for h in start["headers"] if h[0] != b"content-length"]
                headers.append((b"Content-Encoding", self.named))
                if not more:
                    headers.append((b"content-length", b"%d" % len(body)))
                await send({**start, "headers": headers})
                start = None
            await send({**message, "body": body, "more_body": more})

        await self.app(scope, receive, pack)


async def _ask(service, hand_written, body, coding):
    client = hand_written(await service.account("acme", tier=1), body)
    client.scope["headers"].append((b"content-encoding", coding.encode()))
    await client.call(service.meter.wrap(service.model))
    return client


# Requests


@whole
async def test_a_compressed_request_is_capped_and_charged(
    open_service, hand_written, coding
):
    """The app gets it plain, with the headers of a plain body."""
    body = WHOLE[coding](json.dumps({**CHAT, "max_tokens": 99_999}).encode())
    async with open_service() as service:
        client = await _ask(service, hand_written, body, coding)
        (call,) = service.model.calls
        (event,) = await service.events("acme")

        assert (200, CAP) == (client.status, call.body["max_tokens"])
        assert "content-encoding" not in call.headers
        assert str(len(call.raw)) == call.headers["content-length"]
        assert 67 * TOKEN_P == event.charge_p


async def test_sglangs_own_header_is_taken_out_too(open_service, hand_written):
    """The app would decode a second time."""
    body = zstandard.compress(json.dumps(CHAT).encode())
    async with open_service() as service:
        client = hand_written(await service.account("acme", tier=1), body)
        client.scope["headers"].append((b"X-Body-Compressed", b"zstd"))
        await client.call(service.meter.wrap(service.model))
        (call,) = service.model.calls

        assert 200 == client.status
        assert "x-body-compressed" not in call.headers


async def test_what_is_not_metered_is_decoded_all_the_same(open_service, hand_written):
    """No JSON object: the app's own error, over the plain body."""
    async with open_service() as service:
        client = await _ask(service, hand_written, gzip.compress(b"hello"), "gzip")
        (call,) = service.model.calls

        assert (400, b"hello") == (client.status, call.raw)
        assert "content-encoding" not in call.headers


@whole
@pytest.mark.parametrize(("size", "status"), [(LIMIT, 200), (LIMIT + 1, 413)])
async def test_the_bound_is_that_of_the_decoded_body(
    open_service, hand_written, coding, size, status
):
    """1,000 bytes pass, 1,001 do not, though both are sent in far fewer."""
    request = {**CHAT, "user": ""}
    request["user"] = "x" * (size - len(json.dumps(request)))
    body = WHOLE[coding](json.dumps(request).encode())
    async with open_service(body_bytes_max=LIMIT) as service:
        client = await _ask(service, hand_written, body, coding)

        assert len(body) < LIMIT / 2
        assert status == client.status
        assert (status == 200) == bool(service.model.calls)


@whole
async def test_what_is_not_of_its_coding_is_refused(open_service, hand_written, coding):
    """400 says what it should have been; nothing is held."""
    body = json.dumps(CHAT).encode()
    async with open_service() as service:
        client = await _ask(service, hand_written, body, coding)
        error = client.json()["error"]

        assert (400, "invalid_content_encoding") == (client.status, error["code"])
        assert coding in error["message"]
        assert 0 == len(service.model.calls)
        assert 0 == await service.in_use_p("acme")


@pytest.mark.parametrize("coding", ["br", "zstd"])
async def test_without_the_extra_its_codings_are_refused(
    open_service, hand_written, monkeypatch, coding
):
    """415 names the extra and what is read without it."""
    monkeypatch.setitem(sys.modules, "brotli", None)
    monkeypatch.setitem(sys.modules, "zstandard", None)
    body = WHOLE[coding](json.dumps(CHAT).encode())
    async with open_service() as service:
        client = await _ask(service, hand_written, body, coding)

        assert 415 == client.status
        assert "asgi-metering[compression]" in client.json()["error"]["message"]
        assert b"gzip, deflate" == client.header(b"accept-encoding")


# Answers


@streamed
async def test_a_stream_that_tells_its_usage_passes_untouched(
    open_service, hand_written, coding
):
    """The compressed bytes are the app's own; the charge is exact."""
    app = Compressing(FakeModel(), coding)
    body = {**CHAT, "stream": True, "stream_options": {"include_usage": True}}
    async with open_service(app) as service:
        client = hand_written(await service.account("acme", tier=1), body)
        await client.call(service.meter.wrap(app))
        (event,) = await service.events("acme")

        assert app.packed == client.bodies
        assert coding.encode() == client.header(b"Content-Encoding")
        assert ("upstream", 67 * TOKEN_P) == (event.usage_source, event.charge_p)


@streamed
async def test_where_usage_is_taken_out_the_stream_is_sent_plain(
    open_service, hand_written, coding
):
    """Each event at once, as the client would see it without any of this."""
    body = {**CHAT, "stream": True, "max_tokens": 5}
    async with open_service() as service:
        key = await service.account("acme", tier=1)
        plain = hand_written(key, body)
        await plain.call(service.meter.wrap(FakeModel()))
        client = hand_written(key, body)
        await client.call(service.meter.wrap(Compressing(FakeModel(), coding)))
        events = await service.events("acme")

        assert plain.bodies == client.bodies
        assert client.header(b"Content-Encoding") is None
        assert b"data: [DONE]\n\n" in client.bodies
        assert [("upstream", 8 * TOKEN_P)] * 2 == [
            (event.usage_source, event.charge_p) for event in events
        ]


@streamed
async def test_a_plain_answer_passes_untouched(open_service, hand_written, coding):
    """Its usage is read from a decoded copy, and its cost told in the header."""
    app = Compressing(FakeModel(), coding)
    async with open_service(app) as service:
        client = hand_written(await service.account("acme", tier=1))
        await client.call(service.meter.wrap(app))
        (event,) = await service.events("acme")

        assert app.packed == client.bodies
        assert b"0.0000067" == client.header(b"x-usage-cost-usd")
        assert ("upstream", 67 * TOKEN_P) == (event.usage_source, event.charge_p)


async def test_an_answer_that_cannot_be_read_is_estimated(open_service, hand_written):
    """It is not what it says: passed on as it is, its input charged."""
    app = Compressing(FakeModel(), "gzip", named="br")
    async with open_service(app) as service:
        client = hand_written(await service.account("acme", tier=1))
        await client.call(service.meter.wrap(app))
        (event,) = await service.events("acme")

        assert app.packed == client.bodies
        assert ("estimated", 2 * TOKEN_P) == (event.usage_source, event.charge_p)


# The reader of streams


def _stream(words, *, told=True):
    events = [
        {"choices": [{"index": 0, "delta": {"content": f"ö{at % 10}"}}], "usage": None}
        for at in range(words)
    ]
    if told:
        usage = {"prompt_tokens": 3, "completion_tokens": words}
        events.append({"choices": [], "usage": usage})
    parts = [
        b"data: " + json.dumps(e, ensure_ascii=False).encode() + b"\n\n" for e in events
    ]
    return [*parts, b"data: [DONE]\n\n"]


def _packed(coding, parts):
    packer = PACKERS[coding]()
    return b"".join([packer.add(part) for part in parts] + [packer.end()])


def _reader(coding, *, take_out):
    reader = DIALECT.read_stream(take_out_usage=take_out)
    return open_reader(reader, coding.encode(), take_out_usage=take_out)


def _through(reader, data, cuts):
    seen = []
    for start, end in zip((0, *cuts), (*cuts, len(data)), strict=True):
        seen.append(reader.feed(data[start:end]))
    return b"".join(seen) + reader.finish()


@streamed
@pytest.mark.parametrize("take_out", [False, True])
def test_each_cut_of_a_stream_tells_the_same(coding, take_out):
    """In two at every offset, and byte by byte: the same usage, the same bytes."""
    parts = _stream(7)
    data = _packed(coding, parts)
    plain = _through(DIALECT.read_stream(take_out_usage=True), b"".join(parts), ())
    all_cuts = [(cut,) for cut in range(len(data))] + [tuple(range(1, len(data)))]
    for cuts in all_cuts:
        reader = _reader(coding, take_out=take_out)
        seen = _through(reader, data, cuts)

        assert (plain if take_out else data) == seen
        assert reader.ended
        assert (3, 7) == (
            reader.report().usage.input_tokens,
            reader.report().usage.output_tokens,
        )


@streamed
@pytest.mark.parametrize("take_out", [False, True])
def test_a_flushed_event_is_seen_at_once(coding, take_out):
    """No whole event waits for the next one."""
    packer, reader = PACKERS[coding](), _reader(coding, take_out=take_out)
    parts = _stream(20, told=False)
    for at, part in enumerate(parts):
        seen = reader.feed(packer.add(part))
        if take_out:
            assert part.replace(b', "usage": null', b"") == seen
        assert min(at + 1, 20) == reader.report().counted_tokens
    assert reader.ended


@streamed
@pytest.mark.parametrize("take_out", [False, True])
def test_ten_megabytes_leave_little_behind(coding, take_out):
    """What is kept of a stream does not grow with it."""
    part = b"".join(_stream(500, told=False)[:-1])
    packer, reader = PACKERS[coding](), _reader(coding, take_out=take_out)
    reader.feed(packer.add(part))
    tracemalloc.start()
    try:
        for _ in range(10_000_000 // len(part)):
            reader.feed(packer.add(part))
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert kept < 64 * KIB


@streamed
def test_a_stream_that_breaks_is_estimated(coding):
    """What was told before stands, and is known to be no more than that."""
    packer, reader = PACKERS[coding](), _reader(coding, take_out=False)
    reader.feed(packer.add(_stream(1)[1]))
    broken = b"\xff\x00" * 40
    passed = reader.feed(broken), reader.feed(b"and more")

    assert (broken, b"and more") == passed
    assert reader.report().partial
    assert 1 == reader.report().usage.output_tokens


@streamed
async def test_a_plain_stream_cannot_go_on_broken(open_service, hand_written, coding):
    """Where it had to be decoded for the client, it is cut, and charged so far."""

    async def app(_scope, _receive, send):
        packer = PACKERS[coding]()
        head = [(b"content-type", b"text/event-stream")]
        head.append((b"content-encoding", coding.encode()))
        await send({"type": "http.response.start", "status": 200, "headers": head})
        for body in (packer.add(_stream(1)[0]), b"\xff\x00" * 40):
            message = {"type": "http.response.body", "body": body, "more_body": True}
            await send(message)
        raise AssertionError("It was cut.")

    async with open_service(app) as service:
        key = await service.account("acme", tier=1)
        client = hand_written(key, {**CHAT, "stream": True})
        with pytest.raises(Exception, match="content-encoding"):
            await client.call(service.meter.wrap(app))
        (event,) = await service.events("acme")

        assert "app_error" == event.ending
        assert event.charge_p == await service.in_use_p("acme") > 0
