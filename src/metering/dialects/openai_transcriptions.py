"""OpenAI's transcriptions and translations of audio, as vLLM and others serve them."""

from functools import partial
from typing import Final

from metering.dialects.dialect import Members
from metering.dialects.media_usage import report_of
from metering.dialects.openai_media import OpenAIMediaDialect, files_of
from metering.dialects.openai_members import is_set, model_of
from metering.facts import RequestFacts, SentAudio

__all__ = ["OPENAI_TRANSCRIPTIONS"]

_NOT_SENT: Final = SentAudio()


def _facts_of(members: Members) -> RequestFacts | None:
    model = model_of(members)
    if model is None:
        return None
    files = files_of(members, "file")
    audio = _NOT_SENT
    if files:
        lengths = [file.wav_ms for file in files]
        exact = [ms for ms in lengths if ms is not None]
        audio = SentAudio(
            sum(file.size_bytes for file in files),
            sum(exact) if len(exact) == len(lengths) else None,
        )
    return RequestFacts(
        model=model,
        generates=False,
        input_bytes=sum(map(len, members.values())),
        input_unbounded=True,  # a few bytes can be hours of silence
        output_unbounded=True,
        audio=audio,
        streams=is_set(members.get("stream")),
    )


OPENAI_TRANSCRIPTIONS: Final = OpenAIMediaDialect(
    "openai.transcriptions",
    ("/v1/audio/transcriptions", "/v1/audio/translations"),
    _facts_of,
    listens=True,
    tells=partial(report_of, listens=True),
)
