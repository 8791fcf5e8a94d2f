"""OpenAI's own client sends audio and asks for images, and sees what the model gave."""

import io
import socket
import wave
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
import uvicorn
from anyio.from_thread import start_blocking_portal
from openai import APIStatusError, OpenAI

from metering.config import load_plan
from metering.money import PICO
from metering.testing.model import FakeModel
from metering.usage import Usage

PLAN = """
[plan]
name = "audio, images and speech, each priced in its own way"

[[tiers]]
level = 0
name = "Tier 0"
output_tokens_max = 1000
usage_limit = "10"

[[models]]
name = "acme/whisper"
audio_ms_max = 3_600_000
[[models.prices]]
kind = "audio"
audio_per_minute = "0.006"

[[models]]
name = "acme/listener"
context_tokens_max = "16K"
[[models.prices]]
kind = "token"
input = "2.5"
output = 10

[[models]]
name = "acme/painter"
[[models.prices]]
kind = "image"
per_image = "0.04"

[[models]]
name = "acme/voice"
[[models.prices]]
kind = "request"
per_request = "0.015"
"""
AUDIO_P, IMAGE_P, REQUEST_P = 100_000, PICO * 4 // 100, PICO * 15 // 1000
READ_P, WRITTEN_P = 2_500_000, 10_000_000
WORDS = 5
LENGTH_MS = 1_234
STOP_S = 10.0


def recording(length_ms: int = LENGTH_MS) -> tuple[str, bytes]:
    """Return a WAV file, as a client sends one."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as audio:
        audio.setnchannels(2)
        audio.setsampwidth(2)
        audio.setframerate(8_000)
        audio.writeframes(bytes(length_ms * 8 * 4))
    return "speech.wav", buffer.getvalue()


class Asked(NamedTuple):
    """What is asked, in which dialect, and what it comes to."""

    name: str
    ask: Callable[[Any], Any]
    dialect: str
    source: str
    usage: Usage
    charge_p: int


def transcript(client: Any, **more: Any) -> Any:
    """Have a recording written down."""
    asked = {"model": "acme/whisper", "file": recording()} | more
    return client.audio.transcriptions.create(**asked)


def translated(client: Any) -> Any:
    """Have a recording translated."""
    with pytest.warns(DeprecationWarning, match="deprecated"):  # of the path
        return client.audio.translations.create(
            model="acme/whisper", file=recording(500)
        )


def painted(client: Any, **more: Any) -> Any:
    """Have images made."""
    asked = {"model": "acme/painter", "prompt": "a b c"} | more
    return client.images.generate(**asked)


def varied(client: Any) -> Any:
    """Have an image varied."""
    with pytest.warns(DeprecationWarning, match="deprecated"):  # of the path
        return client.images.create_variation(model="acme/painter", image=b"PNG", n=2)


def spoken(client: Any, **more: Any) -> Any:
    """Have a text spoken."""
    asked = {"model": "acme/voice", "input": "a b c", "voice": "alloy"} | more
    return client.audio.speech.create(**asked).read()


HEARD = Usage(audio_ms=LENGTH_MS)
TOKENS = Usage(12, output_tokens=WORDS)  # ten tokens a second of audio
PAINTED = Usage(3, output_tokens=2 * WORDS, images=2)
ASKED = [
    Asked(
        "a transcript billed by audio",
        transcript,
        "openai.transcriptions",
        "upstream",
        HEARD,
        LENGTH_MS * AUDIO_P,
    ),
    Asked(
        "the same with its length",
        lambda client: transcript(client, response_format="verbose_json"),
        "openai.transcriptions",
        "upstream",
        HEARD,
        LENGTH_MS * AUDIO_P,
    ),
    Asked(
        "subtitles, which tell no usage: the file's header does",
        lambda client: transcript(client, response_format="srt"),
        "openai.transcriptions",
        "request",
        HEARD,
        LENGTH_MS * AUDIO_P,
    ),
    Asked(
        "a translation",
        translated,
        "openai.transcriptions",
        "upstream",
        Usage(audio_ms=500),
        500 * AUDIO_P,
    ),
    Asked(
        "images",
        lambda client: painted(client, n=2),
        "openai.images",
        "upstream",
        PAINTED,
        2 * IMAGE_P,
    ),
    Asked(
        "an edited image, whose form has the count after the file",
        lambda client: client.images.edit(
            model="acme/painter", image=b"PNG" * 50_000, prompt="a b c", n=2
        ),
        "openai.images",
        "upstream",
        PAINTED,
        2 * IMAGE_P,
    ),
    Asked(
        "an image of two others",
        lambda client: client.images.edit(
            model="acme/painter", image=[b"PNG", b"PNG"], prompt="a b c", n=2
        ),
        "openai.images",
        "upstream",
        PAINTED,
        2 * IMAGE_P,
    ),
    Asked(
        "variations, for which there is no prompt",
        varied,
        "openai.images",
        "upstream",
        Usage(output_tokens=2 * WORDS, images=2),
        2 * IMAGE_P,
    ),
    Asked(
        "speech billed by the call",
        spoken,
        "openai.speech",
        "request",
        Usage(),
        REQUEST_P,
    ),
]
STREAMED = [
    Asked(
        "a transcript billed by tokens",
        lambda client: transcript(client, model="acme/listener", stream=True),
        "openai.transcriptions",
        "upstream",
        Usage(12, output_tokens=WORDS, audio_ms=LENGTH_MS),
        12 * READ_P + WORDS * WRITTEN_P,
    ),
    Asked(
        "images, in events longer than any that is held",
        lambda client: painted(client, n=2, stream=True, partial_images=1),
        "openai.images",
        "upstream",
        PAINTED,
        2 * IMAGE_P,
    ),
]


@pytest.fixture(scope="module")
def straight() -> Iterator[OpenAI]:
    """A client of the model itself, without the stack."""
    model = FakeModel(output_tokens=WORDS)
    server = uvicorn.Server(uvicorn.Config(model, log_config=None))
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        start_blocking_portal() as portal,
    ):
        running = portal.start_task_soon(server.serve, [listener])
        url = "http://127.0.0.1:{1}/v1".format(*listener.getsockname())
        try:
            with OpenAI(api_key="any", base_url=url, max_retries=0) as client:
                yield client
        finally:
            server.should_exit = True
            running.result(STOP_S)


def seen(answer: Any) -> Any:
    """Return an answer in terms that can be compared."""
    return answer if isinstance(answer, str | bytes) else answer.to_dict()


@pytest.fixture
def service(run_service: Callable[..., Any]) -> Any:
    """A metered service of audio and images."""
    plan = load_plan(PLAN, source="this test")
    model = FakeModel(output_tokens=WORDS)
    return run_service(model, tiers=plan.tiers, prices=plan.prices)


def comes_to(asked: Asked, service: Any) -> None:
    """Check the one event of the one call."""
    (event,) = service.events("acme", calls=1)

    assert (asked.dialect, asked.source) == (event.dialect, event.usage_source)
    assert (asked.usage, ()) == (event.usage, event.flags)
    assert asked.charge_p == event.charge_p <= event.hold_p


@pytest.mark.parametrize("asked", ASKED, ids=lambda asked: asked.name)
def test_an_answer_is_the_models_own(straight, service, asked):
    """What the client sees without the stack; the charge is exact."""
    client = service.client(service.account("acme", tier=0))

    assert seen(asked.ask(straight)) == seen(asked.ask(client))
    comes_to(asked, service)


@pytest.mark.parametrize("asked", STREAMED, ids=lambda asked: asked.name)
def test_a_stream_is_the_models_own(straight, service, asked):
    """Each event alike; its last usage is charged, and each image."""
    client = service.client(service.account("acme", tier=0))
    expected, events = list(asked.ask(straight)), list(asked.ask(client))

    assert [told.to_dict() for told in expected] == [e.to_dict() for e in events]
    comes_to(asked, service)


def test_speech_as_events_tells_its_tokens(straight, service):
    """The sound is in the events, and the usage in the last of them."""
    client = service.client(service.account("acme", tier=0))
    asked = {"model": "acme/listener", "extra_body": {"stream_format": "sse"}}

    assert spoken(straight, **asked) == spoken(client, **asked)
    charge_p = 3 * READ_P + WORDS * WRITTEN_P
    usage = Usage(3, output_tokens=WORDS)
    comes_to(Asked("", spoken, "openai.speech", "upstream", usage, charge_p), service)


def test_more_images_than_the_limit_pays_for_are_refused(service):
    """What is held is their number times the price: 251 of $0.04 are above $10."""
    client = service.client(service.account("acme", tier=0))

    with pytest.raises(APIStatusError) as caught:
        painted(client, n=251)

    assert "request_exceeds_limit" == caught.value.code
    assert [] == list(service.model.calls)
