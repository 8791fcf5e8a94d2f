"""What is recorded of an input when no server told: what the model reads, not JSON."""

import json
from typing import Any

import msgspec
import pytest

from metering.dialects.known import DIALECTS
from metering.dialects.openai_chat import OPENAI_CHAT
from metering.dialects.openai_completions import OPENAI_COMPLETIONS
from metering.dialects.openai_embeddings import OPENAI_EMBEDDINGS
from metering.dialects.openai_input import MEDIA_TOKENS

members_of = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode

PICTURE = "data:image/png;base64," + "A" * 100_000


def said(content: Any, **more: Any) -> dict[str, Any]:
    return {"role": "user", "content": content, **more}


def estimate(dialect: Any, **body: Any) -> int:
    return dialect.estimate_input(members_of(json.dumps({"model": "m"} | body)))


def chat(*messages: Any, **body: Any) -> int:
    return estimate(OPENAI_CHAT, messages=list(messages), **body)


@pytest.mark.parametrize(
    ("tokens", "content"),
    [
        (1, "hi"),
        (0, ""),
        (0, None),
        (2, "a b c"),
        (2, "\n" * 8),  # 16 bytes in JSON
        (3, "\u6f22" * 4),  # 12 bytes in UTF-8, 24 in JSON as Python writes it
        (2, [{"type": "text", "text": "a b c"}]),
        (2, ["a b c"]),
    ],
)
def test_text_counts_as_the_model_reads_it(tokens: int, content: Any) -> None:
    assert tokens == chat(said(content), temperature=0.123456789, user="x" * 60)


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": PICTURE}},
        {"type": "image_url", "image_url": "https://a.example/1.png"},
        {"type": "input_audio", "input_audio": {"data": "A" * 50_000}},
        {"type": "file", "file": {"file_id": "f1"}},
        {"type": "video_url", "uuid": "seen-before"},
    ],
)
def test_media_count_by_a_figure_each(part: Any) -> None:
    """However large they are, and wherever they lie."""
    parts = [{"type": "text", "text": "four"}, part, part]
    assert 1 + 2 * MEDIA_TOKENS == chat(said(parts))


def test_all_messages_tools_and_calls_of_them_are_read() -> None:
    """Names and arguments of calls; the tools as the JSON that they are."""
    tools = [{"type": "function", "function": {"name": "look"}}]
    calls = [{"id": "1", "function": {"name": "look", "arguments": "{}  "}}]
    told = len(json.dumps(tools))
    text = said("abcd"), said(None, tool_calls=calls)
    assert -(-(4 + 4 + 4 + told) // 4) == chat(*text, tools=tools)


@pytest.mark.parametrize(
    ("tokens", "prompt"),
    [(1, "abcd"), (2, ["abcd", "efgh"]), (3, [1, 2, 3]), (3, [[1, 2], [3]]), (0, None)],
)
def test_a_prompt_is_text_or_token_ids(tokens: int, prompt: Any) -> None:
    assert tokens == estimate(OPENAI_COMPLETIONS, prompt=prompt)
    assert tokens == estimate(OPENAI_EMBEDDINGS, input=prompt)


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda d: d.name)
@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b'{"messages":7,"prompt":{},"input":true}',
        b'{"messages":[null,{"content":[[],null,7]},{"tool_calls":[{"function":1},2]}]}',
        b'{"messages":[{"content":"\xff"}],"prompt":"\xff"}',
        b'{"messages":%s%s}' % (b"[" * 500, b"]" * 500),
    ],
)
def test_what_makes_no_sense_counts_nothing_or_little(
    dialect: Any, body: bytes
) -> None:
    """Nothing raises."""
    assert dialect.estimate_input(members_of(body)) <= 1
