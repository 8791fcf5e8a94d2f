"""The table of wire dialects: a new one is a file of its own and a line here."""

from typing import Final

from metering.dialects.dialect import Dialect
from metering.dialects.openai_chat import OPENAI_CHAT
from metering.dialects.openai_completions import OPENAI_COMPLETIONS
from metering.dialects.openai_embeddings import OPENAI_EMBEDDINGS

__all__ = ["DIALECTS", "DIALECT_BY_PATH"]

DIALECTS: Final[tuple[Dialect, ...]] = (
    OPENAI_CHAT,
    OPENAI_COMPLETIONS,
    OPENAI_EMBEDDINGS,
)

DIALECT_BY_PATH: Final[dict[str, Dialect]] = {
    path: dialect for dialect in DIALECTS for path in dialect.paths
}
