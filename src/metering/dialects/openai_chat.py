"""OpenAI's chat completions, as vLLM, SGLang and many others serve them."""

from typing import Final

from metering.dialects.dialect import Members
from metering.dialects.openai_dialect import OpenAIDialect
from metering.dialects.openai_members import (
    choices_of,
    floors_of,
    is_set,
    model_of,
    read_bounds,
    reads_stored_input,
    usage_asked,
)
from metering.facts import RequestFacts

__all__ = ["OPENAI_CHAT", "TEMPLATE_TOKENS"]

TEMPLATE_TOKENS: Final = 1024
"""Most that a chat template adds once: a default system prompt, how to call tools.

What it adds to each message is paid for by the bytes of the message's own JSON.
"""

_BOUNDS = ("max_tokens", "max_completion_tokens")


def _facts_of(members: Members) -> RequestFacts | None:
    model = model_of(members)
    if model is None:
        return None
    bounds, invalid = read_bounds(members, _BOUNDS)
    streams = is_set(members.get("stream"))
    return RequestFacts(
        model=model,
        output_bounds=bounds,
        output_floors=floors_of(members),
        output_field="" if invalid else "max_tokens",
        outputs=choices_of(members),
        # All members count: those that the model does not read are a few bytes.
        input_bytes=sum(map(len, members.values())),
        template_tokens=TEMPLATE_TOKENS,
        input_unbounded=reads_stored_input(members),
        streams=streams,
        usage_asked=streams and usage_asked(members),
    )


OPENAI_CHAT: Final = OpenAIDialect("openai.chat", ("/v1/chat/completions",), _facts_of)
