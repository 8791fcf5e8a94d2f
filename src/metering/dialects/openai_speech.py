"""OpenAI's speech: text in, audio out, of which only a stream of events tells usage."""

from typing import Final

from metering.dialects.dialect import Members
from metering.dialects.openai_media import OpenAIMediaDialect
from metering.dialects.openai_members import model_of
from metering.facts import RequestFacts

__all__ = ["OPENAI_SPEECH"]

_SSE: Final = b'"sse"'


def _facts_of(members: Members) -> RequestFacts | None:
    model = model_of(members)
    if model is None:
        return None
    return RequestFacts(
        model=model,
        generates=False,
        input_bytes=sum(map(len, members.values())),
        output_unbounded=True,
        streams=bytes(members.get("stream_format", b"")) == _SSE,
    )


OPENAI_SPEECH: Final = OpenAIMediaDialect(
    "openai.speech", ("/v1/audio/speech",), _facts_of
)
