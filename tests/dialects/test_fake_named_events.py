"""The fake model speaks Messages and Responses as their servers do."""

import json

import pytest

from metering.dialects.known import DIALECT_BY_PATH
from metering.testing.model import FakeModel

pytestmark = pytest.mark.anyio

RESPONSES = "/v1/responses"
MESSAGES = "/v1/messages"
LETTER = {"model": "m", "max_tokens": 4096, "messages": [{"content": "a b c"}]}
THINK = {"type": "enabled", "budget_tokens": 1024}
NOTE = {"model": "m", "input": "a b c"}


def named(stream: bytes) -> list[tuple[str, dict]]:
    """Return the names and the data of a stream of named events."""
    told = []
    for block in stream.decode().split("\n\n")[:-1]:
        name, data = block.split("\n")
        told.append((name.removeprefix("event: "), json.loads(data[6:])))
    return told


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        (MESSAGES, {"model": "m", "messages": []}, 400),
        (MESSAGES, {**LETTER, "max_tokens": -1}, 400),
        (MESSAGES, {**LETTER, "max_tokens": None}, 400),
        (MESSAGES, {**LETTER, "messages": ["x"]}, 400),
        (MESSAGES, {"model": "m", "max_tokens": 1}, 400),
        (MESSAGES, {**LETTER, "thinking": {"type": "enabled"}}, 400),
        (MESSAGES, {**LETTER, "thinking": {**THINK, "budget_tokens": 1023}}, 400),
        (MESSAGES, {**LETTER, "thinking": {**THINK, "budget_tokens": 4096}}, 400),
        (MESSAGES, {**LETTER, "model": "other"}, 404),
        (MESSAGES, b"{", 400),
        (RESPONSES, {"model": "m"}, 400),
        (RESPONSES, {"model": "m", "input": [7]}, 400),
        (RESPONSES, {**NOTE, "max_output_tokens": 0}, 400),
        (RESPONSES, {**NOTE, "stream_options": {}}, 400),
        (RESPONSES, {**NOTE, "background": True, "store": False}, 400),
        (RESPONSES, {**NOTE, "previous_response_id": "resp_1"}, 404),
        (RESPONSES, {**NOTE, "model": "other"}, 404),
    ],
)
async def test_what_their_servers_refuse_is_refused(
    ask, path: str, body: object, status: int
) -> None:
    """With their error object, which the dialects take for a failure."""
    answered = await ask(FakeModel(models=["m"]), path, body)

    assert answered.status == status
    assert DIALECT_BY_PATH[path].read_response(answered.body).failed


async def test_messages_are_counted_as_anthropic_counts_them(ask) -> None:
    """Cached input lies beside the rest, a budget below the bound is accepted."""
    app = FakeModel(output_tokens=5, cached_tokens=2, reasoning_tokens=1)
    content = [{"type": "text", "text": "a b"}]
    body = {**LETTER, "system": "c d", "messages": [{"content": content}]}

    answer = (await ask(app, MESSAGES, {**body, "thinking": THINK})).json
    cut = (await ask(app, MESSAGES, {**body, "max_tokens": 3})).json
    none = (await ask(app, MESSAGES, {**body, "max_tokens": 0})).json

    assert answer["usage"]["input_tokens"] == 2
    assert answer["usage"]["cache_read_input_tokens"] == 2
    assert answer["usage"]["output_tokens_details"] == {"thinking_tokens": 1}
    assert answer["stop_reason"] == "end_turn"
    assert (cut["content"][0]["text"], cut["stop_reason"]) == ("w1 w2 w3", "max_tokens")
    assert (none["content"], none["usage"]["output_tokens"]) == ([], 0)


async def test_a_stream_of_messages_has_anthropics_events(ask) -> None:
    """Usage begins in the first event and is whole in the last but one."""
    app = FakeModel(output_tokens=2)
    told = named((await ask(app, MESSAGES, {**LETTER, "stream": True})).body)

    assert all(name == data["type"] for name, data in told)
    assert [name for name, _ in told] == [
        "message_start",
        "content_block_start",
        "ping",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert told[0][1]["message"]["usage"]["output_tokens"] == 1
    assert told[-2][1]["usage"]["output_tokens"] == 2


async def test_a_stream_of_a_response_has_its_events(ask) -> None:
    """The last one repeats the answer, with the usage."""
    app = FakeModel(output_tokens=2)
    told = named((await ask(app, RESPONSES, {**NOTE, "stream": True})).body)
    whole = (await ask(app, RESPONSES, NOTE)).json

    assert all(name == data["type"] for name, data in told)
    assert [data["sequence_number"] for _, data in told] == list(range(len(told)))
    assert [name for name, _ in told][-1] == "response.completed"
    deltas = [d["delta"] for name, d in told if name == "response.output_text.delta"]
    assert deltas == ["w1", " w2"]
    assert told[-1][1]["response"] == whole
    assert told[0][1]["response"]["usage"] is None


async def test_a_response_is_cut_or_only_begun(ask) -> None:
    """By its bound, or in the background."""
    app = FakeModel(output_tokens=5)
    cut = (await ask(app, RESPONSES, {**NOTE, "max_output_tokens": 3})).json
    begun = (await ask(app, RESPONSES, {**NOTE, "background": True})).json

    assert (cut["status"], cut["usage"]["output_tokens"]) == ("incomplete", 3)
    assert cut["incomplete_details"] == {"reason": "max_output_tokens"}
    assert (begun["status"], begun["usage"]) == ("queued", None)


@pytest.mark.parametrize(("path", "body"), [(MESSAGES, LETTER), (RESPONSES, NOTE)])
async def test_it_fails_and_is_silent_as_told_in_every_dialect(
    ask, path: str, body: dict
) -> None:
    """An error in mid-stream, no usage in a body, none in a stream."""
    failing, silent = FakeModel(error_at=2), FakeModel(usage=False, output_tokens=2)
    dialect = DIALECT_BY_PATH[path]
    reading = dialect.read_stream(take_out_usage=False)
    reading.feed((await ask(failing, path, {**body, "stream": True})).body)
    quiet = dialect.read_stream(take_out_usage=False)
    quiet.feed((await ask(silent, path, {**body, "stream": True})).body)

    assert (reading.report().failed, reading.ended) == (True, True)
    assert (quiet.report().usage, quiet.report().counted_tokens) == (None, 2)
    whole = dialect.read_response((await ask(silent, path, body)).body)
    assert (whole.usage, whole.counted_tokens) == (None, 2)
