"""The text of a call, for an operator's own tokenizer: what was read, what was written.

It is put together where a usage is missing and somebody counts, and kept no longer.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple, Protocol, runtime_checkable

import msgspec

from metering.dialects.dialect import Members
from metering.dialects.figures import NULL, TEXT_BYTES_PER_TOKEN
from metering.dialects.json_pieces import LongList, opened
from metering.dialects.openai_text import TextCounter

__all__ = ["TEXT_BYTES_MAX", "KeepsText", "Text", "text_in", "text_of", "text_read"]

TEXT_BYTES_MAX: Final = 256 * 1024
"""Most of a call's text that is kept or put together, in each direction."""

_READ = ("system", "instructions", "messages", "prompt", "input", "suffix")
_READ_AS_JSON = ("tools", "functions")
_ANSWERS = ("choices", "content", "output")
_PARTS = frozenset(
    {"message", "content", "output", "source", "summary", "tool_calls", "function"}
)
_TEXTS = frozenset(
    {
        "content",
        "output",
        "text",
        "reasoning_content",
        "reasoning",
        "thinking",
        "refusal",
        "arguments",
    }
)

_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_string = msgspec.json.Decoder(str)


class Text(NamedTuple):
    """A text to be counted, and an estimate of the rest.

    Attributes:
        words: The text.
        more_tokens: What is beyond the bound, and what is no text, such as media.
    """

    words: str
    more_tokens: int


@runtime_checkable
class KeepsText(Protocol):
    """A reader of streams that can keep what is written, up to a bound."""

    @property
    def written(self) -> TextCounter:
        """What counts the text, and keeps it where it is told to."""
        ...


def text_of(counter: TextCounter) -> Text:
    """Return what a stream has written, as far as it was kept."""
    words = _string.decode(b'"%b"' % bytes(counter.kept))
    return Text(words, -(-counter.unkept_bytes // TEXT_BYTES_PER_TOKEN))


def text_in(body: bytes, tokens: int) -> Text:
    """Return what is written in a whole answer that was estimated at *tokens*."""
    members = _members.decode(body)
    return _joined(_texts_in(opened(members.get(n, NULL)) for n in _ANSWERS), tokens)


def text_read(members: Members, tokens: int) -> Text:
    """Return what a request gives to read that was estimated at *tokens*."""
    as_json = [bytes(members[n]).decode() for n in _READ_AS_JSON if n in members]
    texts = _texts_in(opened(members.get(name, NULL)) for name in _READ)
    return _joined((*as_json, *texts), tokens)


def _joined(texts: Iterable[str], tokens: int) -> Text:
    """Join texts up to the bound. What is beyond it stays as it was estimated."""
    kept: list[str] = []
    room = TEXT_BYTES_MAX
    for text in texts:
        words = text.encode(errors="replace")[:room].decode(errors="ignore")
        kept.append(words)
        room -= len(words.encode())
        if len(words) < len(text):
            break
    counted = -(-(TEXT_BYTES_MAX - room) // TEXT_BYTES_PER_TOKEN)
    return Text("\n".join(kept), max(0, tokens - counted))


def _texts_in(values: Iterable[Any]) -> Iterator[str]:
    """Yield the texts in messages, choices, items and blocks, in their order."""
    for value in values:
        if isinstance(value, str):
            yield value
        elif isinstance(value, list | LongList):
            yield from _texts_in(value)
        elif isinstance(value, dict):
            for name, part in value.items():
                if isinstance(part, str):
                    is_document = name == "data" and value.get("type") == "text"
                    if name in _TEXTS or name == "input" or is_document:
                        yield part
                elif name in _PARTS:
                    yield from _texts_in((part,))
                elif name == "input":
                    yield msgspec.json.encode(part).decode()
