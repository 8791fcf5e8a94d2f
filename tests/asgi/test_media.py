"""Audio and images: what is held, what is charged, and what no answer told."""

import io
import json
import wave

import httpx
import pytest

from metering.config import load_plan
from metering.money import PICO
from metering.testing.model import FakeModel
from metering.usage import Usage

pytestmark = pytest.mark.anyio

PLAN = load_plan(
    """
[plan]
name = "audio and images"

[[tiers]]
level = 0
name = "Tier 0"
output_tokens_max = 100
usage_limit = "10"

[[models]]
name = "listener"
audio_ms_max = 60_000
[[models.prices]]
kind = "audio"
audio_per_second = "0.0001"

[[models]]
name = "by-token"
context_tokens_max = 4096
[[models.prices]]
kind = "token"
input = 1
output = 2

[[models]]
name = "unbounded"
[[models.prices]]
kind = "token"
input = 1
output = 2

[[models]]
name = "painter"
[[models.prices]]
kind = "image"
per_image = "0.04"

[[models]]
name = "voice"
[[models.prices]]
kind = "request"
per_request = "0.015"
""",
    source="this test",
)
AUDIO_P, READ_P, WRITTEN_P, IMAGE_P = (
    100_000,
    PICO // 10**6,
    2 * PICO // 10**6,
    4 * 10**10,
)
MP3 = ("speech.mp3", b"ID3" + bytes(15_997))  # two seconds, if it has 64 kbit/s
TEXT = "text/plain; charset=utf-8"


def wav(length_ms):
    """Return a WAV file as a client sends one."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as audio:
        audio.setnchannels(1)
        audio.setsampwidth(1)
        audio.setframerate(8_000)
        audio.writeframes(bytes(length_ms * 8))
    return "speech.wav", buffer.getvalue()


def answering(content, kind="application/json", status=200):
    """Return an app whose every answer is this."""

    async def app(_scope, receive, send):
        while (await receive()).get("more_body"):
            pass
        head = [(b"content-type", kind.encode())]
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        await send({"type": "http.response.start", "status": status, "headers": head})
        await send({"type": "http.response.body", "body": body})

    return app


@pytest.fixture
def opened(open_service):
    """Return what runs a service with the plan of this page."""

    def open_with(app=None, **fields):
        return open_service(app, tiers=PLAN.tiers, prices=PLAN.prices, **fields)

    return open_with


async def heard(service, *, file=MP3, model="listener", **fields):
    """Have a recording written down, as a new account, and return its event."""
    key = await service.account("acme")
    answer = await service.client.post(
        "/v1/audio/transcriptions",
        data={"model": model} | fields,
        files={"file": file},
        headers={"authorization": f"Bearer {key}"},
    )
    assert 200 == answer.status_code, answer.text
    (event,) = await service.events("acme")
    return event


async def refused(service, path="/v1/images/generations", **sent):
    """Send a request as a new account, and return why it was refused."""
    key = await service.account("acme")
    headers = {"authorization": f"Bearer {key}"} | sent.pop("headers", {})
    answer = await service.client.post(path, headers=headers, **sent)
    return answer.status_code, answer.json()["error"]["code"]


async def test_audio_whose_length_nobody_told_is_estimated_by_its_size(opened):
    """Subtitles of an MP3 tell nothing: it is not for nothing all the same."""
    async with opened(answering(b"1\n00:00 --> 00:02\nhi\n", TEXT)) as service:
        event = await heard(service)

    assert (2_000 * AUDIO_P, ("estimated",)) == (event.charge_p, event.flags)
    assert 60_000 * AUDIO_P == event.hold_p


async def test_an_estimate_of_audio_is_at_most_what_was_held(opened):
    """A file of good quality is large and short."""
    long = ("speech.flac", bytes(600_000))
    async with opened(answering(b"hi", TEXT)) as service:
        event = await heard(service, file=long)

    assert event.hold_p == event.charge_p == 60_000 * AUDIO_P


@pytest.mark.parametrize(
    ("policy", "flag", "share"),
    [("fail", "quarantined", 1), ("free", "usage_missing", 0)],
)
async def test_audio_of_unknown_length_costs_what_the_operator_decided(
    opened, policy, flag, share
):
    """All that was held, or nothing."""
    async with opened(answering(b"hi", TEXT), missing_usage=policy) as service:
        event = await heard(service)

    assert ("estimated", flag) == event.flags
    assert share * event.hold_p == event.charge_p


@pytest.mark.parametrize("policy", ["estimate", "fail", "free"])
async def test_a_wav_file_tells_its_length_itself(opened, policy):
    """To the millisecond, whatever the policy: nothing is missing."""
    async with opened(answering(b"hi", TEXT), missing_usage=policy) as service:
        event = await heard(service, file=wav(1_234))

    assert ("request", ()) == (event.usage_source, event.flags)
    assert (Usage(audio_ms=1_234), 1_234 * AUDIO_P) == (event.usage, event.charge_p)


@pytest.mark.parametrize(
    ("file", "source", "audio_ms"),
    [(wav(1_234), "upstream", 1_234), (MP3, "estimated", 2_000)],
)
async def test_tokens_alone_are_no_length(opened, file, source, audio_ms):
    """An answer that tells what the price does not count has not told it."""
    told = {"text": "hi", "usage": {"input_tokens": 7, "output_tokens": 3}}
    async with opened(answering(told)) as service:
        event = await heard(service, file=file)

    usage = Usage(7, output_tokens=3, audio_ms=audio_ms)
    assert (source, usage) == (event.usage_source, event.usage)
    assert audio_ms * AUDIO_P == event.charge_p


async def test_seconds_alone_are_no_tokens(opened):
    """Priced by token, such an answer is estimated: never for nothing."""
    told = {"text": "x" * 40, "usage": {"type": "duration", "seconds": 2}}
    async with opened(answering(told)) as service:
        event = await heard(service, model="by-token")

    assert ("estimated", ("estimated",)) == (event.usage_source, event.flags)
    assert Usage(1024, output_tokens=10, audio_ms=2_000) == event.usage
    assert 1024 * READ_P + 10 * WRITTEN_P == event.charge_p


async def test_more_audio_than_was_held_for_is_a_debt(opened):
    """The server's own figure is charged in full, and flagged."""
    told = {"text": "hi", "usage": {"type": "duration", "seconds": 61}}
    async with opened(answering(told)) as service:
        event = await heard(service)

    assert (61_000 * AUDIO_P, ("overrun",)) == (event.charge_p, event.flags)


async def test_a_form_reaches_the_app_as_it_was_sent(opened):
    """Byte for byte, and with the header that tells its boundary."""
    async with opened(FakeModel()) as service:
        await heard(service, file=wav(10), prompt="a b", response_format="text")
        (call,) = service.model.calls

    sent = httpx.Request(
        "POST",
        "http://t",
        data={"model": "listener", "prompt": "a b", "response_format": "text"},
        files={"file": wav(10)},
        headers={"content-type": call.headers["content-type"]},
    )
    assert sent.read() == call.raw
    assert str(len(call.raw)) == call.headers["content-length"]


@pytest.mark.parametrize("path", ["/v1/audio/transcriptions", "/v1/images/edits"])
async def test_a_form_that_names_two_models_reaches_nobody(opened, path):
    """The dear one would be served at the price of the other."""
    parts = b"".join(
        b'--b\r\ncontent-disposition: form-data; name="model"\r\n\r\n%b\r\n' % model
        for model in (b"listener", b"by-token")
    )
    kind = {"content-type": "multipart/form-data; boundary=b"}
    async with opened(FakeModel()) as service:
        told = await refused(service, path, content=parts + b"--b--", headers=kind)

        assert (400, "invalid_form") == told
        assert [] == list(service.model.calls)


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("/v1/audio/transcriptions", b"model=listener&file=x"),
        ("/v1/images/edits", b"\xff\xfe{"),
    ],
)
async def test_what_is_neither_json_nor_a_form_reaches_nobody(opened, path, content):
    """An app that reads such a thing would serve it unmetered."""
    async with opened(FakeModel()) as service:
        assert (400, "invalid_form") == await refused(service, path, content=content)
        assert [] == list(service.model.calls)


async def test_a_recording_above_the_bound_is_refused(opened):
    """Forms are read whole, within calls.body_bytes_max."""
    async with opened(FakeModel(), body_bytes_max=10_000) as service:
        data, files = {"model": "listener"}, {"file": MP3}
        path = "/v1/audio/transcriptions"
        told = await refused(service, path, data=data, files=files)

    assert (413, "body_too_large") == told


async def test_no_price_by_token_without_a_bound(opened):
    """Nothing in a request bounds what is written, so the plan must."""
    body = {"model": "unbounded", "prompt": "a"}
    async with opened(FakeModel()) as service:
        assert (400, "output_not_bounded") == await refused(service, json=body)


async def test_each_image_priced_by_token_is_held_for(opened):
    """The context length for each of three, and the bytes of what is read."""
    body = {"model": "by-token", "prompt": "a b c", "n": 3}
    async with opened(FakeModel(output_tokens=50)) as service:
        key = await service.account("acme")
        headers = {"authorization": f"Bearer {key}"}
        path = "/v1/images/generations"
        await service.client.post(path, json=body, headers=headers)
        (event,) = await service.events("acme")

    assert Usage(3, output_tokens=150, images=3) == event.usage
    assert 3 * READ_P + 150 * WRITTEN_P == event.charge_p
    read_most = len('"by-token"') + len('"a b c"') + len("3")
    assert 3 * 4096 * WRITTEN_P + read_most * READ_P == event.hold_p


async def test_images_are_charged_as_delivered(opened):
    """Two asked for, one made: one is paid for, and the other's hold given back."""
    async with opened(answering({"data": [{"url": "x"}]})) as service:
        key = await service.account("acme")
        await service.client.post(
            "/v1/images/generations",
            json={"model": "painter", "prompt": "a", "n": 2},
            headers={"authorization": f"Bearer {key}"},
        )
        (event,) = await service.events("acme")

    assert (IMAGE_P, 2 * IMAGE_P, ()) == (event.charge_p, event.hold_p, event.flags)


@pytest.mark.parametrize("whole", [True, False], ids=["served", "left before"])
async def test_images_that_nobody_counted_are_those_asked_for(
    opened, hand_written, whole
):
    """An answer that cannot be read delivered them; a client that left got none."""
    body = {"model": "painter", "prompt": "a", "n": 2}
    async with opened(answering(b"\x89PNG", "image/png")) as service:
        path = "/v1/images/generations"
        key = await service.account("acme")
        client = hand_written(key, body, path=path, leaves_at=None if whole else 0)

        async def app(scope, receive, send):
            if not whole:
                await receive()
                await receive()
                return
            await service.model(scope, receive, send)

        await client.call(service.meter.wrap(app))
        (event,) = await service.events("acme")

    expected = ("completed", 2 * IMAGE_P) if whole else ("client_gone", 0)
    assert expected == (event.ending, event.charge_p)
    assert ("estimated",) == event.flags


@pytest.mark.parametrize(("status", "charge_p"), [(200, PICO * 15 // 1000), (500, 0)])
async def test_a_call_that_is_billed_as_such_needs_no_usage(opened, status, charge_p):
    """Sound tells none, and nothing is missing; what failed costs nothing."""
    async with opened(answering(b"\xff\xfb", "audio/mpeg", status)) as service:
        key = await service.account("acme")
        await service.client.post(
            "/v1/audio/speech",
            json={"model": "voice", "input": "a b c", "voice": "x"},
            headers={"authorization": f"Bearer {key}"},
        )
        (event,) = await service.events("acme")

    assert (charge_p, ()) == (event.charge_p, event.flags)


@pytest.mark.parametrize("model", ["listener", "painter"])
async def test_a_call_that_brings_nothing_of_what_is_priced_is_not_free(opened, model):
    """A chat with a model that is priced by audio alone would cost nothing."""
    async with opened() as service:
        found = await refused(
            service,
            "/v1/chat/completions",
            json={"model": model, "messages": [{"role": "user", "content": "a"}]},
        )

    assert (404, "model_not_priced") == found
