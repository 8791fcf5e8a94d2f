"""A body that cannot be read or trusted gets a clear error, and costs nothing."""

import json

import pytest

from metering.testing.model import FakeModel

pytestmark = pytest.mark.anyio

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
GLM = "zai-org/GLM-4.7"
CAP = 16_384  # of tier 1
LIMIT = 1000  # bytes of a body, where a test sets one

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


def _padded(size):
    """Return a request of exactly *size* bytes."""
    request = {"model": LLAMA, "messages": [], "user": ""}
    request["user"] = "x" * (size - len(json.dumps(request)))
    return json.dumps(request).encode()


def _chunked(body, size=100):
    parts = [body[at : at + size] for at in range(0, len(body), size)] or [b""]
    messages = [
        {"type": "http.request", "body": part, "more_body": True} for part in parts
    ]
    # As chunked transfer ends: with an empty part.
    return [*messages, {"type": "http.request", "body": b"", "more_body": False}]


# Size


async def test_a_body_declared_too_large_is_not_read(open_service, hand_written):
    """413 names the bound, and not one message of the body is received."""
    async with open_service(body_bytes_max=LIMIT) as service:
        client = hand_written(await service.account("acme", tier=1))
        client.scope["headers"].append((b"content-length", b"%d" % (LIMIT + 1)))
        await client.call(service.meter.wrap(service.model))

        assert (413, "body_too_large") == _sees(client)
        assert "1000 bytes" in client.json()["error"]["message"]
        assert 0 == client.received
        assert UNTOUCHED == await _left_by(service)


async def test_a_length_beyond_any_number_is_too_large(open_service, hand_written):
    """Five thousand digits are more than Python converts, and no crash."""
    async with open_service() as service:
        client = hand_written(await service.account("acme", tier=1))
        client.scope["headers"].append((b"content-length", b"9" * 5000))
        await client.call(service.meter.wrap(service.model))

        assert (413, "body_too_large") == _sees(client)


async def test_a_chunked_body_is_read_as_far_as_it_may_be(open_service, hand_written):
    """It declares nothing: of parts of 100 bytes the 11th is the last one read."""
    async with open_service(body_bytes_max=LIMIT) as service:
        client = hand_written(await service.account("acme", tier=1))
        client.inbox = _chunked(b"{" + b" " * (10 * LIMIT))
        await client.call(service.meter.wrap(service.model))

        assert (413, "body_too_large") == _sees(client)
        assert 11 == client.received
        assert UNTOUCHED == await _left_by(service)


@pytest.mark.parametrize("chunked", [True, False])
@pytest.mark.parametrize(("size", "status"), [(LIMIT, 200), (LIMIT + 1, 413)])
async def test_the_bound_itself_passes(
    open_service, hand_written, size, status, chunked
):
    """1,000 bytes are served, 1,001 are not, in one part or in many."""
    body = _padded(size)
    async with open_service(body_bytes_max=LIMIT) as service:
        client = hand_written(await service.account("acme", tier=1), body)
        if chunked:
            client.inbox = _chunked(body)
        else:
            client.scope["headers"].append((b"content-length", b"%d" % size))
        await client.call(service.meter.wrap(service.model))

        assert status == client.status


async def test_a_body_that_is_too_large_is_no_reason_to_skip_the_key(
    open_service, hand_written
):
    """Who shows no key learns nothing of bounds."""
    async with open_service(body_bytes_max=LIMIT) as service:
        client = hand_written(None)
        client.scope["headers"].append((b"content-length", b"%d" % (LIMIT + 1)))
        await client.call(service.meter.wrap(service.model))

        assert (401, "invalid_api_key") == _sees(client)


# Names that are there twice


@pytest.mark.parametrize(
    ("text", "field", "reads"),
    [
        ('"max_tokens": 5, "max_tokens": 99999', "max_tokens", CAP),
        ('"max_tokens": 99999, "max_tokens": 5', "max_tokens", 5),
        ('"max_tokens": 5, "max\\u005ftokens": 99999', "max_tokens", CAP),
        ('"max_tokens": 5, "max_tokens": null', "max_tokens", CAP),
        ('"n": 1, "n": 2, "max_tokens": 5', "n", 2),
    ],
)
async def test_the_last_of_two_names_is_capped_held_and_served(
    open_service, hand_written, text, field, reads
):
    """What the app reads is what the clamp has read, however a name is written."""
    body = f'{{"model": "{LLAMA}", "messages": [], {text}}}'.encode()
    async with open_service(FakeModel(output_tokens=20_000)) as service:
        client = hand_written(await service.account("acme", tier=1), body)
        await client.call(service.meter.wrap(service.model))
        (call,) = service.model.calls
        (event,) = await service.events("acme")

        assert 200 == client.status
        assert reads == call.body[field]
        assert event.charge_p <= event.hold_p
        assert call.body["max_tokens"] * call.body.get("n", 1) == (
            event.usage.output_tokens
        )


async def test_the_last_of_two_models_is_priced_and_served(open_service, hand_written):
    """A dear model cannot be had for the price of a cheap one."""
    body = f'{{"model": "{LLAMA}", "messages": [], "model": "{GLM}"}}'.encode()
    async with open_service() as service:
        client = hand_written(await service.account("acme", tier=1), body)
        await client.call(service.meter.wrap(service.model))
        (call,) = service.model.calls
        (event,) = await service.events("acme")

        assert (GLM, GLM) == (call.body["model"], event.model)
        assert 64 * 2_200_000 == event.charge_p


@pytest.mark.parametrize("streams", [True, False])
async def test_the_last_of_two_streams_decides(open_service, hand_written, streams):
    """Asked for usage if it streams, else left as it is; metered exactly."""
    first, last = json.dumps(not streams), json.dumps(streams)
    body = (
        f'{{"model": "{LLAMA}", "messages": [], "max_tokens": 3,'
        f' "stream": {first}, "stream": {last}}}'
    ).encode()
    async with open_service() as service:
        client = hand_written(await service.account("acme", tier=1), body)
        await client.call(service.meter.wrap(service.model))
        (event,) = await service.events("acme")

        assert streams == b"".join(client.bodies).endswith(b"data: [DONE]\n\n")
        assert ("upstream", 300_000) == (event.usage_source, event.charge_p)


# What is not JSON


@pytest.mark.parametrize(
    "body",
    [b"", b"hello", b"[]", b"null", b'"{}"', b"--x\r\n", b"a=1&b=2", b"\x1f\x8b\x08"],
)
async def test_what_is_no_json_object_gets_the_apps_own_error(
    open_service, hand_written, body
):
    """It passes byte for byte; no money is held, and there is no event."""
    async with open_service() as service:
        client = hand_written(await service.account("acme", tier=1), body)
        await client.call(service.meter.wrap(service.model))
        (call,) = service.model.calls

        assert (400, 400) == _sees(client)
        assert body == call.raw
        assert (1, 0, 0) == await _left_by(service)
        assert [] == await service.events("acme")


@pytest.mark.parametrize(
    "body",
    [
        b'{"model": ',
        b'{"model": "m", "temperature": NaN}',
        b'{"model": "m"} {"model": "n"}',
        b'\xef\xbb\xbf{"model": "m"}',
        b'{"model": "m", "caf\xe9": 1}',
        b'{"model": "\\ud800"}',
        json.dumps({"model": LLAMA}).encode("utf-16"),
        json.dumps({"model": LLAMA}).encode("utf-16-be"),
        json.dumps({"model": LLAMA}).encode("utf-32"),
        b'{"a": ' + b"[" * 100_000,
    ],
    ids=[
        "cut off",
        "NaN",
        "two objects",
        "byte-order mark",
        "Latin-1",
        "half a pair",
        "UTF-16",
        "UTF-16 without mark",
        "UTF-32",
        "too deep",
    ],
)
async def test_an_object_that_only_other_servers_read_is_refused(
    open_service, hand_written, body
):
    """It would pass the clamp unread, and be served for nothing."""
    async with open_service() as service:
        client = hand_written(await service.account("acme", tier=1), body)
        await client.call(service.meter.wrap(service.model))

        assert (400, "invalid_json") == _sees(client)
        assert "UTF-8" in client.json()["error"]["message"]
        assert UNTOUCHED == await _left_by(service)


async def test_json_of_another_content_type_is_capped_and_charged(
    open_service, hand_written
):
    """Apps decode it whatever it is called, so it is no way around the meter."""
    async with open_service() as service:
        client = hand_written(await service.account("acme", tier=1))
        client.scope["headers"].append((b"content-type", b"text/plain"))
        await client.call(service.meter.wrap(service.model))
        (event,) = await service.events("acme")

        assert CAP == service.model.calls[0].body["max_tokens"]
        assert 6_700_000 == event.charge_p


@pytest.mark.parametrize(
    "headers",
    [
        [(b"content-encoding", b"compress")],
        [(b"Content-Encoding", b"gzip, gzip")],
        [(b"content-encoding", b"gzip"), (b"content-encoding", b"deflate")],
        [(b"content-encoding", b"gzip"), (b"x-body-compressed", b"zstd")],
        [(b"x-body-compressed", b"lzma")],
    ],
    ids=["unknown", "two codings", "two headers", "two kinds", "SGLang's own"],
)
async def test_a_coding_nobody_reads_is_refused_unread(
    open_service, hand_written, headers
):
    """An app that decodes it would serve what nobody has capped or priced."""
    async with open_service() as service:
        client = hand_written(await service.account("acme", tier=1), b"\x1f\x8b")
        client.scope["headers"] += headers
        await client.call(service.meter.wrap(service.model))

        assert (415, "unsupported_content_encoding") == _sees(client)
        assert b"gzip, deflate" == client.header(b"accept-encoding")
        assert "asgi-metering[compression]" in client.json()["error"]["message"]
        assert 0 == client.received
        assert UNTOUCHED == await _left_by(service)


@pytest.mark.parametrize("coding", [b"identity", b"Identity", b""])
async def test_the_encoding_that_is_none_passes(open_service, hand_written, coding):
    """HTTP's names of codings know no case."""
    async with open_service() as service:
        client = hand_written(await service.account("acme", tier=1))
        client.scope["headers"].append((b"content-encoding", coding))
        await client.call(service.meter.wrap(service.model))

        assert 200 == client.status
