"""What a server of OpenAI's audio and images answers: counts, sound, events. Pure."""

import email
import io
import wave
from base64 import b64encode
from collections.abc import Iterator, Mapping
from email.policy import HTTP
from typing import Any, Final, Literal, NamedTuple, Protocol

import msgspec

from metering.testing.reading import (
    Json,
    RefusedError,
    flag_in,
    number_in,
    wanted,
    word_at,
    words_in,
)

__all__ = ["MEDIA_PATHS", "AudioUsage", "MediaJob", "NotJson", "form_of", "media_job"]

AudioUsage = Literal["duration", "tokens"]
"""How the usage of a transcript is told: by seconds of audio, or by tokens."""

_TRANSCRIPTIONS: Final = "/v1/audio/transcriptions"
_TRANSLATIONS: Final = "/v1/audio/translations"
_SPEECH: Final = "/v1/audio/speech"
_GENERATIONS: Final = "/v1/images/generations"
_EDITS: Final = "/v1/images/edits"
_VARIATIONS: Final = "/v1/images/variations"
MEDIA_PATHS: Final = frozenset(
    {_TRANSCRIPTIONS, _TRANSLATIONS, _SPEECH, _GENERATIONS, _EDITS, _VARIATIONS}
)

_AUDIO_TOKENS_PER_S = 10
_CREATED = 1_768_435_200
_PNG = b"\x89PNG\r\n\x1a\n" + bytes(4096)


class NotJson(NamedTuple):
    """An answer that is no JSON: its content type and its body."""

    kind: str
    body: bytes


class MediaJob(Protocol):
    """What is to be answered to one request."""

    @property
    def streams(self) -> bool:
        """Whether the answer is a stream."""
        ...

    def whole(self, *, tells_usage: bool) -> Json | NotJson:
        """Return the answer to a request that does not stream."""
        ...

    def events(self, *, tells_usage: bool) -> Iterator[bytes]:
        """Yield the events of the stream."""
        ...


def form_of(content_type: str, raw: bytes) -> Json:
    """Return the fields of a form: texts as strings, files as bytes.

    Raises:
        RefusedError: It is none.
    """
    head = f"content-type: {content_type}\r\n\r\n".encode("latin-1")
    message = email.message_from_bytes(head + raw, policy=HTTP)
    if not message.is_multipart() or message.defects:
        raise RefusedError(400, "The body is no form.")
    fields: Json = {}
    for part in message.iter_parts():
        name = part.get_param("name", header="content-disposition")
        content = part.get_payload(decode=True)
        if not isinstance(name, str) or not isinstance(content, bytes):
            raise RefusedError(400, "A part of the form has no name.")
        fields[name] = content if part.get_filename() is not None else content.decode()
    return fields


def media_job(
    path: str, body: Json, *, output_tokens: int, audio_usage: AudioUsage
) -> MediaJob:
    """Return what a request to one of `MEDIA_PATHS` asks for.

    Args:
        path: The path.
        body: The request's members, or the fields of its form.
        output_tokens: Tokens of one output.
        audio_usage: How transcripts tell their usage.

    Raises:
        RefusedError: No server would serve it.
    """
    if path == _SPEECH:
        streams = body.get("stream_format") == "sse"
        words = words_in(wanted(body, "input"))
        return _Speech(words, output_tokens, streams)
    if path in {_TRANSCRIPTIONS, _TRANSLATIONS}:
        return _Transcript(
            audio_ms=_length_ms(wanted(body, "file")),
            words=output_tokens,
            prompt_words=words_in(body.get("prompt", "")),
            wanted=str(body.get("response_format", "json")),
            streams=flag_in(body, "stream"),
            told=audio_usage,
        )
    prompt = "" if path == _VARIATIONS else wanted(body, "prompt")
    return _Images(
        edits=path == _EDITS,
        prompt_words=words_in(prompt),
        images=number_in(body, "n") or 1,
        output_tokens=output_tokens,
        streams=flag_in(body, "stream"),
    )


def _length_ms(file: object) -> int:
    try:
        with wave.open(io.BytesIO(file if isinstance(file, bytes) else b"")) as audio:
            return int(audio.getnframes() * 1000 // audio.getframerate())
    except (wave.Error, EOFError):
        raise RefusedError(400, "The file is no WAV file.") from None


def _event(data: Mapping[str, Any]) -> bytes:
    return b"data: " + msgspec.json.encode(data) + b"\n\n"


def _usage(read: int, written: int, **more: object) -> Json:
    total = read + written
    return {
        "input_tokens": read,
        "output_tokens": written,
        "total_tokens": total,
    } | more


class _Transcript(NamedTuple):
    audio_ms: int
    words: int
    prompt_words: int
    wanted: str
    streams: bool
    told: AudioUsage

    def _text(self) -> str:
        return "".join(map(word_at, range(self.words)))

    def _tokens(self) -> Json:
        heard = self.audio_ms * _AUDIO_TOKENS_PER_S // 1000
        details = {"audio_tokens": heard, "text_tokens": self.prompt_words}
        read = heard + self.prompt_words
        return {
            "type": "tokens",
            "input_token_details": details,
            **_usage(read, self.words),
        }

    def _usage(self) -> Json:
        if self.told == "tokens":
            return self._tokens()
        return {"type": "duration", "seconds": self.audio_ms / 1000}

    def whole(self, *, tells_usage: bool) -> Json | NotJson:
        text = self._text()
        if self.wanted in {"text", "srt", "vtt"}:
            return NotJson("text/plain; charset=utf-8", f"{text}\n".encode())
        told: Json = {"text": text}
        if self.wanted == "verbose_json":
            told |= {"duration": self.audio_ms / 1000, "language": "english"}
        return told | ({"usage": self._usage()} if tells_usage else {})

    def events(self, *, tells_usage: bool) -> Iterator[bytes]:
        for at in range(self.words):
            yield _event({"type": "transcript.text.delta", "delta": word_at(at)})
        done = {"type": "transcript.text.done", "text": self._text()}
        yield _event(done | ({"usage": self._tokens()} if tells_usage else {}))


class _Speech(NamedTuple):
    input_tokens: int
    output_tokens: int
    streams: bool

    def whole(self, *, tells_usage: bool) -> Json | NotJson:  # noqa: ARG002 - sound tells none
        return NotJson("audio/mpeg", b"\xff\xfb" + bytes(self.output_tokens))

    def events(self, *, tells_usage: bool) -> Iterator[bytes]:
        for at in range(self.output_tokens):
            sound = b64encode(bytes([at % 256])).decode()
            yield _event({"type": "speech.audio.delta", "audio": sound})
        done: Json = {"type": "speech.audio.done"}
        usage = {"usage": _usage(self.input_tokens, self.output_tokens)}
        yield _event(done | (usage if tells_usage else {}))


class _Images(NamedTuple):
    edits: bool
    prompt_words: int
    images: int
    output_tokens: int
    streams: bool

    def _usage(self) -> Json:
        written = self.images * self.output_tokens
        details = {"text_tokens": self.prompt_words, "image_tokens": 0}
        return _usage(self.prompt_words, written, input_tokens_details=details)

    def whole(self, *, tells_usage: bool) -> Json | NotJson:
        made = [{"b64_json": b64encode(_PNG).decode()}] * self.images
        usage = {"usage": self._usage()} if tells_usage else {}
        return {"created": _CREATED, "data": made, **usage}

    def events(self, *, tells_usage: bool) -> Iterator[bytes]:
        name = "image_edit" if self.edits else "image_generation"
        image: Json = {
            "b64_json": b64encode(_PNG * 32).decode(),  # far longer than a usual event
            "background": "opaque",
            "created_at": _CREATED,
            "output_format": "png",
            "quality": "low",
            "size": "1024x1024",
        }
        part = {"type": f"{name}.partial_image", "partial_image_index": 0}
        yield _event(part | image)
        usage = {"usage": self._usage()} if tells_usage else {"usage": None}
        for _ in range(self.images):
            yield _event({"type": f"{name}.completed"} | image | usage)
