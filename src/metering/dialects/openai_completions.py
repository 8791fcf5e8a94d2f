"""OpenAI's older completions: one prompt or many, each completed `n` times."""

from typing import Final

import msgspec

from metering.dialects.dialect import Members
from metering.dialects.figures import UNREADABLE
from metering.dialects.openai_dialect import OpenAIDialect
from metering.dialects.openai_members import (
    budget_of,
    choices_of,
    floors_of,
    is_set,
    model_of,
    read_bounds,
    usage_asked,
)
from metering.facts import RequestFacts

__all__ = ["DEFAULT_TOKENS", "OPENAI_COMPLETIONS"]

DEFAULT_TOKENS: Final = 16
"""What an absent `max_tokens` means on this path, to OpenAI and to its kind.

It is written into the request all the same: a server that takes another default would
otherwise write more than was held for the call.
"""

_items = msgspec.json.Decoder(list[msgspec.Raw])


def _facts_of(members: Members) -> RequestFacts | None:
    model = model_of(members)
    if model is None:
        return None
    # 0 asks for the prompt's own log-probabilities, and makes sense with `echo` alone.
    # llama-cpp-python takes even that for "no bound": there the excess is debt.
    bounds, invalid = read_bounds(
        members, ("max_tokens",), zero_counts=is_set(members.get("echo"))
    )
    streams = is_set(members.get("stream"))
    return RequestFacts(
        model=model,
        output_bounds=bounds,
        output_floors=floors_of(members),
        output_field="" if invalid else "max_tokens",
        reasoning=budget_of(members),
        output_default=DEFAULT_TOKENS,
        outputs=choices_of(members) * _prompts(members),
        input_bytes=sum(map(len, members.values())),
        streams=streams,
        usage_asked=streams and usage_asked(members),
    )


def _prompts(members: Members) -> int:
    count = 0
    for field in ("prompt", "prompt_embeds"):  # vLLM completes those of both
        if field in members:
            count += _prompts_in(bytes(members[field]))
    return max(count, 1)


def _prompts_in(text: bytes) -> int:
    """Return how many prompts a string, a list of them or of token ids is."""
    if text[:1] != b"[":
        return 0 if text == b"null" else 1
    if b'"' not in text and b"[" not in text[1:]:
        return 1  # one list of token ids
    try:
        items = _items.decode(text)
    except UNREADABLE:
        return 1
    return sum(bytes(item)[:1] in b'"[{' for item in items)


OPENAI_COMPLETIONS: Final = OpenAIDialect(
    "openai.completions", ("/v1/completions",), _facts_of
)
