"""What a Responses request asks for, and what of it nothing here can bound or meter."""

import json
from typing import Any

import msgspec
import pytest

from metering.clamp import plan_clamp
from metering.dialects.openai_chat import TEMPLATE_TOKENS
from metering.dialects.openai_responses import OPENAI_RESPONSES
from metering.facts import OutputBound, RequestFacts

HELLO = {"model": "m", "input": "hello"}


def members_of(body: dict[str, Any]) -> dict[str, msgspec.Raw]:
    raw = json.dumps(body).encode()
    return msgspec.json.decode(raw, type=dict[str, msgspec.Raw])


def facts_of(**body: object) -> RequestFacts:
    facts = OPENAI_RESPONSES.read_request(members_of(HELLO | body))
    assert facts is not None
    return facts


def says(*parts: object) -> list[object]:
    return [{"role": "user", "content": list(parts)}]


def test_the_facts_of_a_request() -> None:
    """The model, its bound, its stream, and the bytes of everything."""
    facts = facts_of(max_output_tokens=100, stream=True, instructions="be brief")

    assert facts.model == "m"
    assert facts.output_bounds == (OutputBound("max_output_tokens", 100),)
    assert (facts.streams, facts.usage_asked, facts.generates) == (True, False, True)
    assert facts.input_tokens_max > len("hello" + "be brief") + TEMPLATE_TOKENS
    assert (facts.input_unbounded, facts.unmetered) == (False, "")


def test_without_a_model_there_are_no_facts() -> None:
    """What the app answers to that is its own affair."""
    assert OPENAI_RESPONSES.read_request(members_of({"input": "a"})) is None


def test_nothing_is_asked_for() -> None:
    """Every stream tells its usage."""
    assert OPENAI_RESPONSES.ask_usage(members_of(HELLO | {"stream": True})) == {}


@pytest.mark.parametrize(
    ("asked", "written"),
    [
        (100, {}),
        (101, {"max_output_tokens": 100}),
        ("101", {"max_output_tokens": 100}),
        (0, {"max_output_tokens": 100}),
        (-1, {"max_output_tokens": 100}),
        (None, {"max_output_tokens": 100}),
        ("inf", {"max_output_tokens": 100}),
        ("abc", {}),
    ],
)
def test_the_bound_is_lowered_to_the_cap(asked: object, written: Any) -> None:
    """What bounds nothing is given the cap; nonsense stays."""
    assert dict(plan_clamp(facts_of(max_output_tokens=asked), 100).changes) == written


def test_an_absent_bound_is_written() -> None:
    """And no other server's name for it is read."""
    plan = plan_clamp(facts_of(max_tokens=7), 100)
    assert plan.changes == (("max_output_tokens", 100),)


@pytest.mark.parametrize("value", [True, "true", 1, "yes", "on"])
def test_work_in_the_background_is_unmetered(value: object) -> None:
    """However a lenient server would read the flag."""
    assert facts_of(background=value).unmetered == "background"


@pytest.mark.parametrize("value", [False, None, 0, "false"])
def test_work_in_the_foreground_is_metered(value: object) -> None:
    """A flag that is not set changes nothing."""
    assert facts_of(background=value).unmetered == ""


@pytest.mark.parametrize("member", ["previous_response_id", "conversation", "prompt"])
def test_what_the_server_keeps_is_unbounded(member: str) -> None:
    """It is held at the model's context length."""
    assert facts_of(**{member: "x"}).input_unbounded
    assert not facts_of(**{member: None}).input_unbounded


@pytest.mark.parametrize(
    ("unbounded", "items"),
    [
        pytest.param(False, "text", id="a text"),
        pytest.param(False, [{"role": "user", "content": "hi"}], id="a message"),
        pytest.param(False, says({"type": "input_text", "text": "a"}), id="a part"),
        pytest.param(
            True,
            says({"type": "input_image", "image_url": "data:image/png;base64,AAAA"}),
            id="an image sent",
        ),
        pytest.param(
            True,
            says({"type": "input_audio", "input_audio": {"data": "AAAA"}}),
            id="a recording",
        ),
        pytest.param(
            True,
            [{"type": "image_generation_call", "result": "AAAA"}],
            id="an image sent back",
        ),
        pytest.param(
            True,
            says({"type": "input_image", "image_url": "https://example.org/a"}),
            id="an image by URL",
        ),
        pytest.param(
            True,
            says({"type": "input_image", "image_url": {"url": "https://x"}}),
            id="as Chat writes it",
        ),
        pytest.param(
            True, says({"type": "input_image", "file_id": "f"}), id="by file id"
        ),
        pytest.param(
            True, says({"type": "input_file", "file_url": "https://x"}), id="a file"
        ),
        pytest.param(
            True,
            says({"type": "input_file", "file_data": "JVBERi0="}),
            id="a file whose text is compressed",
        ),
        pytest.param(
            True,
            [
                {
                    "type": "function_call_output",
                    "output": [{"type": "input_image", "file_id": "f"}],
                }
            ],
            id="in a result",
        ),
        pytest.param(
            True,
            [
                {
                    "type": "computer_call_output",
                    "output": {"type": "computer_screenshot", "image_url": "https://x"},
                }
            ],
            id="a screenshot",
        ),
        pytest.param(True, [{"type": "item_reference", "id": "msg"}], id="a name"),
        pytest.param(True, [{"id": "msg"}], id="but a name"),
        pytest.param(True, [{"type": None, "id": "msg"}], id="with null for a type"),
        pytest.param(
            False,
            [{"type": "reasoning", "id": "rs", "encrypted_content": "x"}],
            id="an item sent back",
        ),
        pytest.param(
            True,
            [{"type": "additional_tools", "tools": [{"type": "web_search"}]}],
            id="tools among the items",
        ),
        pytest.param(
            False,
            [{"type": "additional_tools", "tools": [{"type": "function"}]}],
            id="the client's own among them",
        ),
        pytest.param(
            False,
            [{"type": "function_call", "arguments": '{"file_id":"f"}'}],
            id="arguments only look like it",
        ),
        pytest.param(True, ["nonsense"], id="what cannot be read is not bounded"),
    ],
)
def test_input_that_bytes_do_not_bound(unbounded: bool, items: object) -> None:  # noqa: FBT001 - a column of the table
    """References are found wherever content may hold them."""
    assert facts_of(input=items).input_unbounded is unbounded


@pytest.mark.parametrize(
    "items",
    [
        says({"type": "input_image", "image_url": "data:" + "A" * 99_999}),
        says({"type": "input_file", "file_data": "A" * 99_999, "filename": "a"}),
        says({"type": "input_audio", "input_audio": {"data": "A" * 99_999}}),
        [{"type": "image_generation_call", "result": "A" * 99_999}],
    ],
)
def test_what_is_sent_beside_the_text_is_no_text(items: object) -> None:
    """It is held for at the context length, and not as bytes."""
    assert facts_of(input=items).input_bytes < 200


@pytest.mark.parametrize(
    ("tool", "unbounded"),
    [
        ({"type": "function", "name": "f"}, False),
        ({"type": "custom", "name": "f"}, False),
        ({"type": "web_search"}, True),
        ({"type": "mcp", "server_url": "https://x"}, True),
        ({"type": "file_search"}, True),
        ({}, True),
    ],
)
def test_tools_that_run_beside_the_model_are_unbounded(
    tool: object, unbounded: object
) -> None:
    """What they find is read as well."""
    assert facts_of(tools=[tool]).input_unbounded is unbounded
    assert not facts_of(tools=[]).input_unbounded
    assert not facts_of(tools=None).input_unbounded


def test_an_estimate_counts_what_is_read() -> None:
    """Text at four bytes a token, media at a figure each."""

    def estimate(**body: object) -> int:
        return OPENAI_RESPONSES.estimate_input(members_of(HELLO | body))

    image = {"type": "input_image", "image_url": "data:" + "A" * 100_000}
    assert estimate() == 2  # hello
    assert estimate(instructions="12345678") == 4
    assert estimate(input=says({"type": "input_text", "text": "12345678"})) == 2
    assert estimate(input=says(image)) == 1024
    call = {"type": "function_call", "arguments": "12345678"}
    result = {"type": "function_call_output", "output": "12345678"}
    assert estimate(input=[call, result]) == 4
    assert estimate(input=[], tools=[{}]) == 1
    assert estimate(input=7) == 0
