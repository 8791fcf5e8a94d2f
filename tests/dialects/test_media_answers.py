"""What answers about audio and images tell: seconds, tokens, images, each once."""

import json
from typing import Any

import msgspec
import pytest

from metering.dialects.dialect import Report
from metering.dialects.form import FormFile
from metering.dialects.openai_images import OPENAI_IMAGES
from metering.dialects.openai_media import OpenAIMediaDialect
from metering.dialects.openai_speech import OPENAI_SPEECH
from metering.dialects.openai_transcriptions import OPENAI_TRANSCRIPTIONS
from metering.facts import RequestFacts, SentAudio
from metering.usage import Usage

TEXT = "twelve bytes"  # three tokens, for want of a usage
SECONDS = {"type": "duration", "seconds": 2.5}
TOKENS = {"type": "tokens", "input_tokens": 14, "output_tokens": 45}
HEARD = Report(Usage(audio_ms=2_500), 3, untold="tokens")


@pytest.mark.parametrize(
    ("told", "report"),
    [
        pytest.param({"usage": SECONDS}, HEARD, id="seconds"),
        pytest.param(
            {"usage": {"type": "duration", "seconds": 3}},
            Report(Usage(audio_ms=3_000), 3, untold="tokens"),
            id="whole ones, as vLLM tells them",
        ),
        pytest.param({"duration": 2.5}, HEARD, id="a verbose answer without usage"),
        pytest.param({"duration": "2.5", "usage": None}, HEARD, id="as a string"),
        pytest.param({"duration": 9, "usage": SECONDS}, HEARD, id="the usage wins"),
        pytest.param(
            {"usage": {"seconds": 0}},
            Report(Usage(), 3, untold="tokens"),
            id="an explicit zero",
        ),
        pytest.param(
            {"usage": {"seconds": 0.0005}},
            Report(Usage(audio_ms=1), 3, untold="tokens"),
            id="half a millisecond is rounded up",
        ),
        pytest.param(
            {"usage": TOKENS},
            Report(Usage(14, output_tokens=45), 3, untold="audio_ms"),
            id="tokens",
        ),
        pytest.param(
            {"usage": TOKENS, "duration": 2.5},
            Report(Usage(14, output_tokens=45, audio_ms=2_500), 3),
            id="both",
        ),
        pytest.param(
            {"usage": TOKENS | {"input_audio_length_ms": 18_000}},
            Report(Usage(14, output_tokens=45, audio_ms=18_000), 3),
            id="both, as Friendli tells them",
        ),
        pytest.param(
            {"usage": TOKENS | {"input_token_details": {"cached_tokens": 4}}},
            Report(Usage(10, 4, output_tokens=45), 3, untold="audio_ms"),
            id="some from the cache",
        ),
        pytest.param(
            {"usage": {"prompt_tokens": 14, "completion_tokens": 45}},
            Report(Usage(14, output_tokens=45), 3, untold="audio_ms"),
            id="in the older words",
        ),
        pytest.param({}, Report(None, 3), id="nothing"),
        pytest.param({"usage": {}}, Report(None, 3), id="an empty usage"),
        pytest.param({"usage": {"input_tokens": 1}}, Report(None, 3), id="half of it"),
        pytest.param({"error": {}}, Report(failed=True), id="an error"),
    ],
)
def test_a_transcript_tells_seconds_or_tokens(told, report):
    """What is not told is said to be missing; nothing of it is taken for zero."""
    body = json.dumps({"text": TEXT} | told).encode()

    assert report == OPENAI_TRANSCRIPTIONS.read_response(body)


@pytest.mark.parametrize(
    "told",
    [
        {"usage": {"seconds": -1}},
        {"usage": {"seconds": True}},
        {"usage": {"seconds": "1s"}},
        {"usage": {"seconds": "NaN"}},
        {"usage": {"seconds": "Infinity"}},
        {"usage": {"seconds": 1e300}},
        {"usage": {"seconds": [1]}},
        {"duration": -0.1},
        {"usage": TOKENS | {"output_tokens": -1}},
        {"usage": TOKENS | {"input_audio_length_ms": -5}},
        {"usage": [1]},
        {"usage": 7},
    ],
)
def test_what_cannot_be_true_is_set_aside(told):
    """It is neither charged nor taken for nothing."""
    report = OPENAI_TRANSCRIPTIONS.read_response(json.dumps(told).encode())

    assert report.usage is None
    assert report.refused


@pytest.mark.parametrize(
    ("told", "report"),
    [
        pytest.param(
            {"data": [{"b64_json": "a"}, {"url": "b"}]},
            Report(Usage(images=2), untold="tokens"),
            id="images alone",
        ),
        pytest.param(
            {
                "data": [{}],
                "usage": TOKENS | {"input_tokens_details": {"text_tokens": 14}},
            },
            Report(Usage(14, output_tokens=45, images=1)),
            id="and their tokens",
        ),
        pytest.param({"data": []}, Report(Usage(), untold="tokens"), id="none made"),
        pytest.param({}, Report(), id="nothing told"),
        pytest.param({"data": None}, Report(), id="null"),
        pytest.param({"error": {"message": "x"}}, Report(failed=True), id="an error"),
        pytest.param(
            {"data": [{}], "usage": "x"},
            Report(refused="usage is not an object"),
            id="a usage that is none",
        ),
    ],
)
def test_images_are_counted_as_they_are_delivered(told, report):
    """However many were asked for."""
    assert report == OPENAI_IMAGES.read_response(json.dumps(told).encode())


@pytest.mark.parametrize("body", [b"", b"\xff\xfb", b"[]", b'"x"', b"1\n00:00", b"{"])
@pytest.mark.parametrize(
    "dialect", [OPENAI_TRANSCRIPTIONS, OPENAI_SPEECH, OPENAI_IMAGES]
)
def test_what_is_no_json_object_tells_nothing(dialect, body):
    """Sound, subtitles, or half an answer."""
    assert Report() == dialect.read_response(body)


def stream(*events: dict[str, Any], end: bytes = b"\n\n") -> bytes:
    """Return events as they are sent."""
    return b"".join(b"data: " + json.dumps(event).encode() + end for event in events)


def delta(text: str) -> dict[str, Any]:
    """Return an event of a transcript."""
    return {"type": "transcript.text.delta", "delta": text}


IMAGE = "A" * 200_000
PARTIAL = {"type": "image_generation.partial_image", "b64_json": IMAGE}
MADE = {"type": "image_generation.completed", "b64_json": IMAGE, "usage": TOKENS}
CHUNK = {"object": "transcription.chunk", "choices": [{"delta": {"content": " hello"}}]}
STREAMS = [
    pytest.param(
        OPENAI_TRANSCRIPTIONS,
        stream(
            delta("Hello"),
            delta(" you."),
            {"type": "transcript.text.done", "text": "Hello you.", "usage": TOKENS},
        ),
        Report(Usage(14, output_tokens=45), 3, untold="audio_ms"),
        True,
        id="a transcript",
    ),
    pytest.param(
        OPENAI_TRANSCRIPTIONS,
        stream(CHUNK, CHUNK)
        + stream({"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 2}})
        + b"data: [DONE]\n\n",
        Report(Usage(9, output_tokens=2), 3, untold="audio_ms"),
        True,
        id="chunks of vLLM",
    ),
    pytest.param(
        OPENAI_TRANSCRIPTIONS,
        stream(delta("Hello"), {"error": {"message": "out of memory"}}),
        Report(None, 2, failed=True),
        True,
        id="an error in the middle",
    ),
    pytest.param(
        OPENAI_SPEECH,
        stream(
            {"type": "speech.audio.delta", "audio": "AAAA"},
            {"type": "speech.audio.done", "usage": TOKENS},
            end=b"\r\n\r\n",
        ),
        Report(Usage(14, output_tokens=45)),
        True,
        id="speech",
    ),
    pytest.param(
        OPENAI_IMAGES,
        stream(PARTIAL, MADE, PARTIAL, MADE),
        Report(Usage(14, output_tokens=45, images=2)),
        False,
        id="two images",
    ),
    pytest.param(
        OPENAI_IMAGES,
        stream(MADE | {"usage": None}),
        Report(Usage(images=1), untold="tokens"),
        False,
        id="an image without tokens",
    ),
    pytest.param(OPENAI_IMAGES, stream(PARTIAL), Report(), False, id="half an image"),
]


@pytest.mark.parametrize("size", [1, 7, 4096, 2**30])
@pytest.mark.parametrize(("dialect", "sent", "report", "ended"), STREAMS)
def test_a_stream_tells_the_same_wherever_it_is_cut(dialect, sent, report, ended, size):
    """Each chunk passes as it is; of an image only what matters is kept."""
    if size == 1 and len(sent) > 10_000:
        size = 997
    reader = dialect.read_stream(take_out_usage=False)

    seen = [reader.feed(sent[at : at + size]) for at in range(0, len(sent), size)]
    seen.append(reader.finish())

    assert sent == b"".join(seen)
    told = reader.report()
    assert (report.usage, report.failed, report.untold) == (
        told.usage,
        told.failed,
        told.untold,
    )
    assert report.counted_tokens == told.counted_tokens
    assert ended == reader.ended


def facts(dialect: OpenAIMediaDialect, form: Any = None, **members: Any) -> Any:
    """Return the facts of a JSON request, or of a form's members with files."""
    texts = {name: json.dumps(value).encode() for name, value in members.items()}
    files = {name: json.dumps(value).encode() for name, value in (form or {}).items()}
    return dialect.read_request(
        {name: msgspec.Raw(raw) for name, raw in (texts | files).items()}
    )


@pytest.mark.parametrize(
    ("files", "audio"),
    [
        ([FormFile(16_044, 1_000)], SentAudio(16_044, 1_000)),
        ([FormFile(8_000, None)], SentAudio(8_000, None)),
        ([FormFile(16_044, 1_000), FormFile(8_000, None)], SentAudio(24_044, None)),
        ([FormFile(10, 1), FormFile(10, 2)], SentAudio(20, 3)),
    ],
)
def test_the_audio_of_a_form_is_known_by_its_files(files, audio):
    """All must tell their length for it to be exact."""
    found = facts(OPENAI_TRANSCRIPTIONS, {"file": files}, model="m", stream="true")

    assert audio == found.audio
    assert (True, True, True) == (
        found.streams,
        found.input_unbounded,
        found.output_unbounded,
    )


def test_audio_that_is_not_sent_is_of_any_length():
    """By URL, or in JSON: nothing is known of it."""
    found = facts(OPENAI_TRANSCRIPTIONS, model="m", file="https://a.example/b.mp3")

    assert SentAudio() == found.audio
    assert None is found.audio.about_ms
    assert 1_000 == SentAudio(8_000).about_ms


@pytest.mark.parametrize(
    ("n", "images"),
    [(None, 1), (0, 1), (3, 3), ("4", 4), (2.0, 2), (10**12, 2**31 + 1), ("x", 1)],
)
def test_as_many_images_are_held_for_as_are_asked_for(n, images):
    """Read as leniently as any server does."""
    found: RequestFacts = facts(OPENAI_IMAGES, model="m", prompt="a", n=n)

    assert (images, images) == (found.images, found.outputs)
    assert not found.input_unbounded


@pytest.mark.parametrize("name", ["image", "image[]", "images", "mask"])
def test_bytes_do_not_bound_what_an_image_is_to_read(name):
    """Sent as a file or named in JSON."""
    assert facts(OPENAI_IMAGES, model="m", **{name: "x"}).input_unbounded


def test_what_a_form_has_the_model_read_is_estimated():
    """Four bytes of text a token, and a fixed figure for each file."""
    members = {
        "prompt": msgspec.Raw(b'"twelve bytes"'),
        "image[]": msgspec.Raw(json.dumps([FormFile(9, None)] * 2).encode()),
    }

    assert 2 * 1024 + 3 == OPENAI_IMAGES.estimate_input(members)
