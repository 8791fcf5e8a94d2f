"""OpenAI's embeddings: a model that reads and writes no tokens."""

from typing import Final

from metering.dialects.dialect import Members
from metering.dialects.openai_chat import TEMPLATE_TOKENS
from metering.dialects.openai_dialect import OpenAIDialect
from metering.dialects.openai_members import model_of, unbounded_in
from metering.facts import RequestFacts

__all__ = ["OPENAI_EMBEDDINGS"]


def _facts_of(members: Members) -> RequestFacts | None:
    model = model_of(members)
    if model is None:
        return None
    unbounded = unbounded_in(members)
    return RequestFacts(
        model=model,
        generates=False,
        input_bytes=sum(map(len, members.values())) - unbounded.sent_bytes,
        # vLLM embeds chats too, by the model's chat template.
        template_tokens=TEMPLATE_TOKENS if "messages" in members else 0,
        input_unbounded=unbounded.found,
    )


OPENAI_EMBEDDINGS: Final = OpenAIDialect(
    "openai.embeddings", ("/v1/embeddings",), _facts_of, writes=False
)
