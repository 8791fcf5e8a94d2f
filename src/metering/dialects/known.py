"""The table of wire dialects: a new one is a file of its own and a line here.

Model servers are often mounted under a prefix, so a path is also known by its ending:
its last two segments, such as `chat/completions`.
"""

import re
from dataclasses import replace
from typing import Final

from metering.dialects.anthropic_messages import ANTHROPIC_MESSAGES
from metering.dialects.dialect import Dialect
from metering.dialects.openai_chat import (
    OPENAI_CHAT,
    OPENAI_CHAT_BY_COMPLETION_TOKENS,
    OPENAI_CHAT_BY_TOKENS,
)
from metering.dialects.openai_completions import OPENAI_COMPLETIONS
from metering.dialects.openai_embeddings import OPENAI_EMBEDDINGS
from metering.dialects.openai_images import OPENAI_IMAGES
from metering.dialects.openai_responses import OPENAI_RESPONSES
from metering.dialects.openai_speech import OPENAI_SPEECH
from metering.dialects.openai_transcriptions import OPENAI_TRANSCRIPTIONS

__all__ = [
    "DIALECTS",
    "DIALECT_BY_ENDING",
    "DIALECT_BY_PATH",
    "UNMETERED",
    "ending_of",
    "names_model",
]

DIALECTS: Final[tuple[Dialect, ...]] = (
    OPENAI_CHAT,
    OPENAI_COMPLETIONS,
    OPENAI_EMBEDDINGS,
    OPENAI_RESPONSES,
    OPENAI_TRANSCRIPTIONS,
    OPENAI_SPEECH,
    OPENAI_IMAGES,
    ANTHROPIC_MESSAGES,
    OPENAI_CHAT_BY_TOKENS,
    OPENAI_CHAT_BY_COMPLETION_TOKENS,
)

DIALECT_BY_PATH: Final[dict[str, Dialect]] = {
    path: dialect for dialect in DIALECTS for path in dialect.paths
}


def ending_of(path: str) -> str:
    """Return the last two segments of a path; the whole path where it has but one."""
    return path[path.rfind("/", 0, path.rfind("/")) + 1 :]


UNMETERED: Final[Dialect] = replace(OPENAI_CHAT, name="unmetered", paths=())
"""Stands for whatever is spoken where no dialect here can meter: it is not read."""

_UNMETERED_ENDINGS = frozenset(
    {
        # OpenAI, and those who serve its API
        "responses/compact",
        "v1/batches",
        "v1/moderations",
        "v1/videos",
        "v1/realtime",
        "realtime/calls",
        "realtime/client_secrets",
        "realtime/sessions",
        "realtime/transcription_sessions",
        # Anthropic
        "v1/complete",
        "messages/batches",
        # vLLM and SGLang, which serve many of the above on the same engine
        "completions/batch",
        "v1/generate",
        "v1/classify",
        "v1/decisions",
        "v1/pooling",
        "v1/rerank",
        "v2/rerank",
        "v1/score",
        "v1/systemone",
        "v2/chat",
        "v2/embed",
        # Names that an app may well use for something else, below a prefix
        "/classify",
        "/encode",
        "/generate",
        "/generate_stream",
        "/generative_scoring",
        "/invocations",
        "/pooling",
        "/rerank",
        "/score",
        "/vertex_generate",
    }
)

DIALECT_BY_ENDING: Final[dict[str, Dialect]] = {
    **dict.fromkeys(_UNMETERED_ENDINGS, UNMETERED),
    **{ending_of(path): dialect for path, dialect in DIALECT_BY_PATH.items()},
    "copilot-codex/completions": OPENAI_COMPLETIONS,  # llama-cpp-python's second name
}
"""What is spoken on paths that end so."""

_NAMES_MODEL = re.compile(
    r"/(?:deployments|engines)/(?!.*/v1/).+/(?:completions|embeddings|responses|speech"
    r"|transcriptions|translations|generations|edits|variations|messages)$"
)
"""Azure's paths, which LiteLLM serves too: their model wins over the body's, by which
a call is priced here. Below a `/v1/` the body names it, as in Docker's."""


def names_model(path: str) -> bool:
    """Whether servers take the model from a path, and pass over the body's."""
    return _NAMES_MODEL.search(path) is not None
