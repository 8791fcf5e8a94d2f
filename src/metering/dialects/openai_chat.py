"""OpenAI's chat completions, as vLLM, SGLang and many others serve them.

Two members bound their output, and servers differ in which of them they obey.
"""

from functools import partial
from typing import Final

from metering.dialects.dialect import Members
from metering.dialects.figures import NULL
from metering.dialects.openai_dialect import OpenAIDialect
from metering.dialects.openai_members import (
    budget_of,
    choices_of,
    floors_of,
    is_set,
    model_of,
    read_bounds,
    unbounded_in,
    usage_asked,
)
from metering.facts import OutputBound, RequestFacts

__all__ = [
    "OPENAI_CHAT",
    "OPENAI_CHAT_BY_COMPLETION_TOKENS",
    "OPENAI_CHAT_BY_TOKENS",
    "TEMPLATE_TOKENS",
]

TEMPLATE_TOKENS: Final = 1024
"""Most that a chat template adds once: a default system prompt, how to call tools.

What it adds to each message is paid for by the bytes of the message's own JSON.
"""

_TOKENS: Final = "max_tokens"
_COMPLETION_TOKENS: Final = "max_completion_tokens"


def _facts_of(
    members: Members, *, written: str = _TOKENS, obeyed: str = ""
) -> RequestFacts | None:
    """Return the facts of a chat.

    Args:
        members: The request.
        written: The bound to write where there is none.
        obeyed: The only bound that the server obeys, if not both.
    """
    model = model_of(members)
    if model is None:
        return None
    # A bound that is null is none to any server: OpenAI takes it beside the other one,
    # but not a number in its place.
    both = (_TOKENS, _COMPLETION_TOKENS)
    named = [field for field in both if members.get(field, NULL) != NULL]
    bounds, invalid = read_bounds(members, named)
    if obeyed and obeyed not in named:
        # To that server there is no bound, whatever the other one says.
        bounds = (*bounds, OutputBound(obeyed, None))
    streams = is_set(members.get("stream"))
    unbounded = unbounded_in(members)
    return RequestFacts(
        model=model,
        output_bounds=bounds,
        output_floors=floors_of(members),
        output_field="" if invalid else written,
        reasoning=budget_of(members),
        outputs=choices_of(members),
        # All members count: those that the model does not read are a few bytes.
        input_bytes=sum(map(len, members.values())) - unbounded.sent_bytes,
        template_tokens=TEMPLATE_TOKENS,
        input_unbounded=unbounded.found,
        streams=streams,
        usage_asked=streams and usage_asked(members),
    )


OPENAI_CHAT: Final = OpenAIDialect("openai.chat", ("/v1/chat/completions",), _facts_of)
"""Both bounds are obeyed. Only one is ever written: OpenAI refuses the two together."""

OPENAI_CHAT_BY_TOKENS: Final = OpenAIDialect(
    "openai.chat.max_tokens", (), partial(_facts_of, obeyed=_TOKENS)
)
"""Of servers that pass over `max_completion_tokens`, such as llama-cpp-python's."""

OPENAI_CHAT_BY_COMPLETION_TOKENS: Final = OpenAIDialect(
    "openai.chat.max_completion_tokens",
    (),
    partial(_facts_of, written=_COMPLETION_TOKENS),
)
"""Of servers that refuse `max_tokens`, such as OpenAI's own of reasoning models."""
