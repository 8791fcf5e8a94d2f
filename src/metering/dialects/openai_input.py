"""About how much an OpenAI-like request gives its model to read. For estimates alone.

What a call is held for is bounded by bytes; this is what is recorded where no server
told the truth, so it counts what a model reads and not how JSON writes it.
"""

from collections.abc import Iterator
from typing import Any, Final

from metering.dialects.dialect import Members
from metering.dialects.figures import NULL, TEXT_BYTES_PER_TOKEN, UNREADABLE
from metering.dialects.json_pieces import LongList, items_of, opened

__all__ = ["MEDIA_TOKENS", "estimate_input"]

MEDIA_TOKENS: Final = 1024
"""What an image, a recording or a file counts for, however it is sent.

Models read some 250 to 1,500 tokens for an image of usual size.
"""

_READ_AS_JSON = ("tools", "functions")
_PROMPTS = ("prompt", "suffix", "input")
_TEXTS = ("text", "refusal", "thinking")


def estimate_input(members: Members) -> int:
    """Return about how many tokens the model reads.

    Text counts four bytes a token, token ids by their number, media by a fixed figure.
    What cannot be read counts nothing: the app will refuse it.
    """
    try:
        return _estimated(members)
    except UNREADABLE:
        return 0


def _estimated(members: Members) -> int:
    text_bytes = sum(len(members[name]) for name in _READ_AS_JSON if name in members)
    tokens = 0
    for name in _PROMPTS:
        if name in members:
            words, ids = _prompt(opened(members[name]))
            text_bytes += words
            tokens += ids
    for message in items_of(opened(members.get("messages", NULL))):
        if isinstance(message, dict):
            for text in _texts(message):
                if text is None:
                    tokens += MEDIA_TOKENS
                else:
                    text_bytes += _size(text)
    return tokens - (-text_bytes // TEXT_BYTES_PER_TOKEN)


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode(errors="replace"))


def _prompt(prompt: Any) -> tuple[int, int]:
    """Return the bytes of text and the token ids in a prompt or a list of them."""
    if isinstance(prompt, str):
        return _size(prompt), 0
    text_bytes = ids = 0
    for part in items_of(prompt):
        if isinstance(part, str):
            text_bytes += _size(part)
        elif isinstance(part, list | LongList):
            ids += sum(1 for _ in part)
        else:
            ids += 1
    return text_bytes, ids


def _texts(message: dict[str, Any]) -> Iterator[str | None]:
    """Yield each text of a message, and None for each of its media."""
    content = message.get("content")
    if isinstance(content, str):
        yield content
    for part in items_of(content):
        if isinstance(part, str):
            yield part
        elif isinstance(part, dict):
            texts = [part[name] for name in _TEXTS if name in part]
            yield from (text for text in texts if isinstance(text, str))
            if not texts:
                yield None
    for call in items_of(message.get("tool_calls")):
        function = call.get("function") if isinstance(call, dict) else None
        if isinstance(function, dict):
            yield from (text for text in function.values() if isinstance(text, str))
