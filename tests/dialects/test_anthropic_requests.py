"""What a Messages request asks for, and what the clamp may write into it."""

import json
from typing import Any

import msgspec
import pytest

from metering.clamp import plan_clamp, written_budget
from metering.dialects.anthropic_input import TEMPLATE_TOKENS
from metering.dialects.anthropic_messages import ANTHROPIC_MESSAGES
from metering.facts import OutputBound, RequestFacts

HELLO = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
PDF = {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}
PNG = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}
URL = {"type": "url", "url": "https://example.org/a"}


def members_of(body: dict[str, Any]) -> dict[str, msgspec.Raw]:
    raw = json.dumps(body).encode()
    return msgspec.json.decode(raw, type=dict[str, msgspec.Raw])


def facts_of(**body: object) -> RequestFacts:
    facts = ANTHROPIC_MESSAGES.read_request(members_of(HELLO | body))
    assert facts is not None
    return facts


def clamped(cap: int, **body: object) -> dict[str, Any]:
    """Return what the clamp writes."""
    facts = facts_of(**body)
    plan = plan_clamp(facts, cap)
    changes: dict[str, Any] = dict(plan.changes)
    if plan.reasoning_tokens is not None:
        assert facts.reasoning is not None
        member = json.dumps(body["thinking"]).encode()
        written = written_budget(facts.reasoning, member, plan.reasoning_tokens)
        changes["thinking"] = json.loads(written)
    return changes


def thinking(tokens: object, **more: object) -> dict[str, object]:
    return {"type": "enabled", "budget_tokens": tokens, **more}


def says(*blocks: object) -> list[object]:
    return [{"role": "user", "content": list(blocks)}]


def test_the_facts_of_a_request() -> None:
    """The model, its bound, its stream, and the bytes of everything."""
    facts = facts_of(max_tokens=100, stream=True, stop_sequences=["\n"])

    assert facts.model == "m"
    assert facts.output_bounds == (OutputBound("max_tokens", 100),)
    assert facts.template_tokens == TEMPLATE_TOKENS
    assert (facts.streams, facts.usage_asked, facts.generates) == (True, False, True)
    assert facts.input_tokens_max > len("hello") + TEMPLATE_TOKENS


@pytest.mark.parametrize("model", [None, 7, ["m"]])
def test_without_a_model_there_are_no_facts(model: object) -> None:
    """What the app answers to that is its own affair."""
    assert ANTHROPIC_MESSAGES.read_request(members_of({"model": model})) is None


def test_nothing_is_asked_for() -> None:
    """Every stream tells its usage."""
    assert ANTHROPIC_MESSAGES.ask_usage(members_of(HELLO | {"stream": True})) == {}


@pytest.mark.parametrize(
    ("body", "written"),
    [
        ({"max_tokens": 100}, {}),
        ({"max_tokens": 0}, {}),
        ({"max_tokens": 101}, {"max_tokens": 100}),
        ({"max_tokens": "5000"}, {"max_tokens": 100}),
        ({"max_tokens": 5000.0}, {"max_tokens": 100}),
        ({"max_tokens": None}, {"max_tokens": 100}),
        ({"max_tokens": -1}, {"max_tokens": 100}),
        ({"max_tokens": 2**60}, {"max_tokens": 100}),
        ({}, {"max_tokens": 100}),
        ({"max_tokens": "abc"}, {}),
        ({"max_tokens": [7]}, {}),
    ],
)
def test_the_bound_is_lowered_to_the_cap(body: Any, written: Any) -> None:
    """Absent it is written; 0, which fills the cache, and nonsense stay."""
    assert clamped(100, **body) == written


@pytest.mark.parametrize(
    ("cap", "asked", "budget", "written"),
    [
        pytest.param(20_000, 20_000, 16_000, None, id="not lowered: untouched"),
        pytest.param(10_000, 20_000, 16_000, 8_000, id="keeps its share"),
        pytest.param(8_192, 20_000, 2_000, 1_024, id="never below the least"),
        pytest.param(1_100, 20_000, 1_024, None, id="the least already"),
        pytest.param(1_024, 20_000, 16_000, 0, id="no room for the least: off"),
        pytest.param(100, 20_000, 1_024, 0, id="far too little: off"),
        pytest.param(8_192, None, 16_000, 4_096, id="no bound: half"),
        pytest.param(8_192, None, 2_000, None, id="no bound, a small budget"),
        pytest.param(8_192, 20_000, 20_000, None, id="refused by the app"),
        pytest.param(8_192, 20_000, 60_000, None, id="across calls of tools"),
        pytest.param(8_192, 20_000, 1_000, None, id="too small for any server"),
        pytest.param(10_000, 20_000, "16000", 8_000, id="as a string"),
        pytest.param(10_000, 20_000, None, None, id="null"),
        pytest.param(10_000, 20_000, "many", None, id="no number"),
        pytest.param(10_000, "x", 16_000, None, id="no bound to fit"),
    ],
)
def test_thinking_fits_into_what_the_bound_leaves(
    cap: int, asked: object, budget: object, written: int | None
) -> None:
    """Servers refuse a budget that is not below the bound; an answer keeps room."""
    body: dict[str, object] = {"thinking": thinking(budget, display="omitted")}
    if asked is not None:
        body["max_tokens"] = asked

    changed = clamped(cap, **body).get("thinking")

    if written is None:
        assert changed is None
    elif written:
        assert changed == thinking(written, display="omitted")
    else:
        assert changed == {"type": "disabled"}


@pytest.mark.parametrize(
    "other", ["enabled", {"type": "adaptive"}, {"type": "disabled"}, [], None]
)
def test_thinking_without_a_budget_stays(other: object) -> None:
    """It is held by `max_tokens`, or refused by the app."""
    assert clamped(2_000, max_tokens=9_000, thinking=other) == {"max_tokens": 2_000}


@pytest.mark.parametrize(
    ("unbounded", "messages"),
    [
        pytest.param(False, says({"type": "text", "text": "a"}), id="text"),
        pytest.param(True, says({"type": "image", "source": PNG}), id="an image sent"),
        pytest.param(True, says({"type": "image", "source": URL}), id="by URL"),
        pytest.param(
            True,
            says({"type": "image", "source": {"type": "file", "file_id": "f"}}),
            id="by file id",
        ),
        pytest.param(
            False,
            says({"type": "document", "source": {"type": "text", "data": "words"}}),
            id="a text document",
        ),
        pytest.param(True, says({"type": "document", "source": PDF}), id="a PDF"),
        pytest.param(
            True,
            says({"type": "tool_result", "content": [{"type": "x", "source": URL}]}),
            id="in a result",
        ),
        pytest.param(
            True,
            says(
                {
                    "type": "document",
                    "source": {
                        "type": "content",
                        "content": [{"type": "image", "source": URL}],
                    },
                }
            ),
            id="in a document",
        ),
        pytest.param(
            False,
            says({"type": "tool_use", "input": {"source": URL, "file_id": "f"}}),
            id="a tool's arguments only look like it",
        ),
        pytest.param(
            False,
            says({"type": "search_result", "source": "https://x", "content": []}),
            id="a source that is a name",
        ),
        pytest.param(
            True, says({"type": "container_upload", "file_id": "f"}), id="an upload"
        ),
        pytest.param(
            True, says({"type": "image", "source": {"type": "new"}}), id="unknown"
        ),
        pytest.param(False, says({"type": ["x"], "source": 7}), id="nonsense"),
        pytest.param(False, "text", id="no list"),
    ],
)
def test_input_that_bytes_do_not_bound(unbounded: bool, messages: object) -> None:  # noqa: FBT001 - a column of the table
    """It is held at the model's context length."""
    assert facts_of(messages=messages).input_unbounded is unbounded


@pytest.mark.parametrize("kind", ["image", "document"])
def test_what_is_sent_beside_the_text_is_no_text(kind: str) -> None:
    """It is held for at the context length, and not as bytes."""
    sent = {"type": kind, "source": PDF | {"data": "A" * 99_999}}
    within = {"type": "tool_result", "content": [sent, {"type": "text", "text": "a"}]}

    assert facts_of(messages=says(within)).input_bytes < 300


def test_a_name_written_with_escapes_is_found() -> None:
    r"""`"so\u0075rce"` is `"source"` to every server."""
    raw = b'[{"content":[{"type":"image","so\\u0075rce":{"type":"url"}}]}]'
    members = {"model": msgspec.Raw(b'"m"'), "messages": msgspec.Raw(raw)}

    facts = ANTHROPIC_MESSAGES.read_request(members)

    assert facts is not None
    assert facts.input_unbounded


@pytest.mark.parametrize(
    ("tool", "defined", "unbounded"),
    [
        ({"name": "mine", "input_schema": {}}, 0, False),
        ({"type": "custom", "name": "mine", "input_schema": {}}, 0, False),
        ({"type": "bash_20250124", "name": "bash"}, 1, False),
        ({"type": "web_search_20260209", "name": "web_search"}, 1, True),
        ({"type": "mcp_toolset"}, 1, True),
        ("nonsense", 0, False),
    ],
)
def test_tools_that_the_server_defines(
    tool: object, defined: int, unbounded: object
) -> None:
    """They are described at a length of its own; some bring in what they find."""
    facts = facts_of(tools=[tool])

    assert facts.template_tokens == TEMPLATE_TOKENS * (1 + defined)
    assert facts.input_unbounded is unbounded


@pytest.mark.parametrize("member", ["container", "mcp_servers"])
def test_what_is_kept_elsewhere_is_unbounded(member: str) -> None:
    """A container has files, a server of tools has answers."""
    assert facts_of(**{member: {"id": "x"}}).input_unbounded
    assert not facts_of(**{member: None}).input_unbounded


def test_an_estimate_counts_what_is_read() -> None:
    """Text at four bytes a token, media at a figure each, however they are sent."""

    def estimate(**body: object) -> int:
        return ANTHROPIC_MESSAGES.estimate_input(members_of(HELLO | body))

    big = {**PNG, "data": "A" * 100_000}
    assert estimate() == 2  # hello
    assert estimate(system="12345678") == 4
    assert estimate(system=[{"type": "text", "text": "12345678"}]) == 4
    assert estimate(messages=says({"type": "image", "source": big})) == 1024
    assert estimate(messages=says({"type": "document", "source": PDF})) == 1024
    written = {"type": "text", "data": "12345678"}
    assert estimate(messages=says({"type": "document", "source": written})) == 2
    assert estimate(messages=says({"type": "tool_use", "input": {"a": "b"}})) == 3
    assert estimate(tools=[{}], messages=[]) == 1
    assert estimate(messages="nonsense", system=7) == 2


def test_a_context_that_is_compacted_is_held_for_twice() -> None:
    """It is read and summed up before the answer, which reads again."""
    edits = {"edits": [{"type": "compact_20260112"}]}
    messages = [{"role": "user", "content": "hello"}]
    whole = facts_of(messages=messages, context_management=edits)
    other = {"edits": [{"type": "clear_tool_uses_20250919"}]}
    plain = facts_of(messages=messages, context_management=other)

    assert (2, 1) == (whole.outputs, plain.outputs)
    assert whole.input_tokens_max > 2 * plain.input_tokens_max - 100
