"""Requests are read as leniently as any server reads them, so no bound slips by."""

import json
import math
from decimal import Decimal, InvalidOperation

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metering.clamp import plan_clamp
from metering.dialects.dialect import Dialect, Members
from metering.dialects.known import DIALECT_BY_PATH, DIALECTS
from metering.dialects.openai_chat import (
    OPENAI_CHAT,
    OPENAI_CHAT_BY_COMPLETION_TOKENS,
    OPENAI_CHAT_BY_TOKENS,
    TEMPLATE_TOKENS,
)
from metering.dialects.openai_completions import OPENAI_COMPLETIONS
from metering.dialects.openai_embeddings import OPENAI_EMBEDDINGS
from metering.facts import OutputBound, ReasoningBudget, RequestFacts

CAP = 4096
NO_BOUND = OutputBound("max_tokens", None)


def members_of(body: object) -> Members:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    return msgspec.json.decode(text, type=dict[str, msgspec.Raw])


def facts_of(dialect: Dialect, **members: object) -> RequestFacts:
    facts = dialect.read_request(members_of({"model": "m", **members}))
    assert facts is not None
    return facts


def clamped(dialect: Dialect, body: bytes) -> dict[str, object]:
    """Return what the app parses of *body* once it is clamped to `CAP`."""
    members = members_of(body)
    facts = dialect.read_request(members)
    assert facts is not None
    changes = plan_clamp(facts, CAP).changes
    return json.loads(
        msgspec.json.encode({**members, **dict(changes)}) if changes else body
    )


def test_each_path_leads_to_its_dialect() -> None:
    """The table maps the default paths to the dialects by name."""
    names = {path: dialect.name for path, dialect in DIALECT_BY_PATH.items()}

    assert names == {
        "/v1/chat/completions": "openai.chat",
        "/v1/completions": "openai.completions",
        "/v1/embeddings": "openai.embeddings",
        "/v1/responses": "openai.responses",
        "/v1/audio/transcriptions": "openai.transcriptions",
        "/v1/audio/translations": "openai.transcriptions",
        "/v1/audio/speech": "openai.speech",
        "/v1/images/generations": "openai.images",
        "/v1/images/edits": "openai.images",
        "/v1/images/variations": "openai.images",
        "/v1/messages": "anthropic.messages",
    }
    assert len({dialect.name for dialect in DIALECTS}) == len(DIALECTS)


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
@pytest.mark.parametrize(
    "model", [b"", b'"model":null', b'"model":7', b'"model":"\xff"']
)
def test_a_request_that_names_no_model_has_no_facts(
    dialect: Dialect, model: bytes
) -> None:
    """Absent, null, not a string, not UTF-8: no model, and nothing is raised."""
    assert dialect.read_request(members_of(b"{" + model + b"}")) is None


@pytest.mark.parametrize(
    ("sent", "tokens"),
    [
        ("100", 100),
        ('"7"', 7),
        ('" 7 "', 7),
        ('"7_000"', 7000),
        ("7.0", 7),
        ("7e3", 7000),
        ('"7.0"', 7),
        ("true", 1),
        ("2147483648", 2**31),
        ("99999.5", 100_000),
    ],
)
def test_what_some_server_takes_for_a_number_is_that_number(
    sent: str, tokens: int
) -> None:
    """Strings, floats and booleans bound the output of one server or another."""
    body = f'{{"model":"m","max_tokens":{sent}}}'.encode()
    facts = OPENAI_CHAT.read_request(members_of(body))

    assert facts is not None
    assert facts.output_bounds == (OutputBound("max_tokens", tokens),)


@pytest.mark.parametrize(
    "sent",
    [
        *("-1", '"-1"', '"inf"', '"NaN"', "1e400", "2147483649", "9" * 40),
        *("9" * 100, "0", "false", '""', "[]", "{}", "1e99999999999999999999999"),
        f'"{"0" * 80}7"',
    ],
)
def test_what_bounds_nothing_is_no_bound_and_is_given_the_cap(sent: str) -> None:
    """Negative, infinite, huge, empty, and 0 in a chat are as good as absent."""
    body = f'{{"model":"m","max_tokens":{sent}}}'.encode()
    facts = OPENAI_CHAT.read_request(members_of(body))

    assert facts is not None
    assert facts.output_bounds == (NO_BOUND,)
    assert clamped(OPENAI_CHAT, body)["max_tokens"] == CAP


@pytest.mark.parametrize(
    ("sent", "given"),
    [
        (b'"max_tokens":null', {"max_tokens": CAP}),
        (b'"max_tokens":null,"max_completion_tokens":null', {"max_tokens": CAP}),
        (
            b'"max_tokens":9999999,"max_completion_tokens":null',
            {"max_tokens": CAP, "max_completion_tokens": None},
        ),
        (
            b'"max_tokens":null,"max_completion_tokens":5',
            {"max_tokens": None, "max_completion_tokens": 5},
        ),
    ],
)
def test_a_bound_of_a_chat_that_is_null_is_as_good_as_absent(sent, given) -> None:
    """OpenAI refuses a number in each of the two, and takes a null beside a number."""
    read = clamped(OPENAI_CHAT, b'{"model":"m",%b}' % sent)

    assert {"max_completion_tokens": None} | given == {
        "max_completion_tokens": read.get("max_completion_tokens"),
        "max_tokens": read["max_tokens"],
    }


def test_a_null_bounds_nothing_on_a_server_that_obeys_it_alone() -> None:
    """It is given what the other bound says."""
    body = b'{"model":"m","max_tokens":null,"max_completion_tokens":5}'

    assert 5 == clamped(OPENAI_CHAT_BY_TOKENS, body)["max_tokens"]


@pytest.mark.parametrize("sent", ['"abc"', "[1]", '{"a":1}', '"0x10"'])
def test_what_no_server_accepts_reaches_the_app_as_it_was(sent: str) -> None:
    """The app's own 400 is not hidden by writing a number over the fault."""
    body = f'{{"model":"m","max_tokens":{sent}}}'.encode()

    assert clamped(OPENAI_CHAT, body) == json.loads(body)


@pytest.mark.parametrize(
    ("sent", "app_reads"),
    [
        ({}, {"max_tokens": 4096}),
        ({"max_tokens": 32_000}, {"max_tokens": 4096}),
        ({"max_tokens": 100}, {"max_tokens": 100}),
        ({"max_completion_tokens": 9000}, {"max_completion_tokens": 4096}),
        (
            {"max_tokens": 100, "max_completion_tokens": 9000},
            {"max_tokens": 100, "max_completion_tokens": 4096},
        ),
        (
            {"max_tokens": "9000", "max_completion_tokens": -1},
            {"max_tokens": 4096, "max_completion_tokens": 4096},
        ),
        ({"min_tokens": 5000}, {"max_tokens": 4096, "min_tokens": 4096}),
        ({"min_tokens": -5}, {"max_tokens": 4096, "min_tokens": -5}),
        ({"min_tokens": 10, "max_tokens": 20}, {"min_tokens": 10, "max_tokens": 20}),
    ],
)
def test_a_chat_is_clamped_in_every_field(sent: dict, app_reads: dict) -> None:
    """Each bound present is lowered, no second name is added, a floor follows."""
    body = json.dumps({"model": "m", **sent}).encode()

    assert clamped(OPENAI_CHAT, body) == {"model": "m", **app_reads}


@pytest.mark.parametrize(
    ("sent", "max_tokens"),
    [
        ({}, 4096),
        ({"max_completion_tokens": 5}, 5),
        ({"max_completion_tokens": 9000}, 4096),
        ({"max_completion_tokens": "abc"}, 4096),
        ({"max_completion_tokens": 5, "max_tokens": None}, 5),
        ({"max_completion_tokens": 5, "max_tokens": 100}, 100),
        ({"max_tokens": 9000}, 4096),
    ],
)
def test_the_one_bound_that_a_server_obeys_is_always_there(
    sent: dict, max_tokens: int
) -> None:
    """What it passes over bounds nothing; what the client meant by it is kept."""
    body = json.dumps({"model": "m", **sent}).encode()

    assert clamped(OPENAI_CHAT_BY_TOKENS, body)["max_tokens"] == max_tokens


@pytest.mark.parametrize(
    ("sent", "app_reads"),
    [
        ({}, {"max_completion_tokens": 4096}),
        ({"max_completion_tokens": 5}, {"max_completion_tokens": 5}),
        ({"max_completion_tokens": None}, {"max_completion_tokens": 4096}),
        ({"max_tokens": 9000}, {"max_tokens": 4096}),
    ],
)
def test_a_server_that_refuses_a_bound_is_not_sent_it(
    sent: dict, app_reads: dict
) -> None:
    """Nor is a second one put beside what the client wrote: OpenAI refuses both."""
    body = json.dumps({"model": "m", **sent}).encode()

    assert clamped(OPENAI_CHAT_BY_COMPLETION_TOKENS, body) == {"model": "m"} | app_reads


@pytest.mark.parametrize(
    ("sent", "app_reads"),
    [
        ({}, {"max_tokens": 16}),
        ({"max_tokens": 32_000}, {"max_tokens": 4096}),
        ({"max_tokens": 0, "echo": True}, {"max_tokens": 0, "echo": True}),
        ({"max_tokens": 0}, {"max_tokens": 4096}),
        ({"max_tokens": None}, {"max_tokens": 4096}),
    ],
)
def test_a_completion_has_a_default_and_a_zero_of_its_own(
    sent: dict, app_reads: dict
) -> None:
    """Absent is 16 on this path, and 0 with `echo` asks for no output at all."""
    body = json.dumps({"model": "m", **sent}).encode()

    assert clamped(OPENAI_COMPLETIONS, body) == {"model": "m", **app_reads}


@pytest.mark.parametrize("dialect", [OPENAI_CHAT, OPENAI_COMPLETIONS])
@pytest.mark.parametrize(
    ("sent", "budget"),
    [
        ({}, None),
        ({"thinking_token_budget": 512}, ("thinking_token_budget", "", 512)),
        ({"thinking_token_budget": 0}, ("thinking_token_budget", "", 0)),
        ({"thinking_token_budget": -1}, None),
        ({"thinking_token_budget": None}, None),
        ({"thinking_token_budget": "many"}, None),
        (
            {"custom_params": {"a": 1, "thinking_budget": 512}},
            ("custom_params", "thinking_budget", 512),
        ),
        (
            {"chat_template_kwargs": {"thinking_budget": "512"}},
            ("chat_template_kwargs", "thinking_budget", 512),
        ),
        ({"custom_params": [1], "chat_template_kwargs": {}}, None),
        ({"reasoning_effort": "high"}, None),
    ],
)
def test_what_is_set_aside_for_reasoning(
    dialect: Dialect, sent: dict, budget: tuple[str, str, int] | None
) -> None:
    """The budget of vLLM, and of SGLang in both places; an effort is no count."""
    reasoning = facts_of(dialect, **sent).reasoning

    assert reasoning == (None if budget is None else ReasoningBudget(*budget))


@pytest.mark.parametrize(
    ("sent", "outputs"),
    [
        ({"prompt": "a"}, 1),
        ({"prompt": "a", "n": 4}, 4),
        ({"prompt": "a", "n": 4, "best_of": 8}, 8),
        ({"prompt": "a", "n": 4, "use_beam_search": True}, 4),
        ({"prompt": ["a"] * 16}, 16),
        ({"prompt": ["a"] * 16, "n": "2"}, 32),
        ({"prompt": [1, 2, 3]}, 1),
        ({"prompt": [[1, 2], [3]]}, 2),
        ({"prompt": []}, 1),
        ({"prompt": None, "prompt_embeds": ["AA==", "AA=="]}, 2),
        ({"prompt": "a", "prompt_embeds": "AA=="}, 2),
        ({"prompt": "a", "n": None, "best_of": "x"}, 1),
        ({"prompt": "a", "n": -3}, 1),
        ({"prompt": [7, "a", "b"]}, 2),
    ],
)
def test_outputs_are_choices_times_prompts(sent: dict, outputs: int) -> None:
    """n, best_of, beams and lists of prompts all multiply what is held."""
    assert facts_of(OPENAI_COMPLETIONS, **sent).outputs == outputs


def test_the_hold_of_several_outputs() -> None:
    """16 prompts of at most 256 tokens, and 4 choices of 1,000: 4,096 and 4,000."""
    many = facts_of(OPENAI_COMPLETIONS, prompt=["a"] * 16, max_tokens=256)
    four = facts_of(OPENAI_CHAT, messages=[], n=4, max_tokens=1000)

    held = [plan_clamp(f, CAP).output_tokens_max * f.outputs for f in (many, four)]
    assert held == [4096, 4000]


def test_input_is_bounded_by_the_bytes_of_all_members_and_the_template() -> None:
    """Whatever the model reads is in the body, but for what its template adds."""
    body = {"model": "m", "messages": [{"role": "user", "content": "héllo 世界"}]}
    text = json.dumps(body, ensure_ascii=False).encode()
    facts = OPENAI_CHAT.read_request(members_of(text))

    assert facts is not None
    assert len("héllo 世界".encode()) < facts.input_bytes <= len(text)
    assert facts.input_tokens_max == facts.input_bytes + TEMPLATE_TOKENS
    assert facts_of(OPENAI_COMPLETIONS, prompt=[1] * 50).input_tokens_max >= 50


DATA = "data:image/png;base64,AAAA"


def image(url: object) -> dict[str, object]:
    return {"type": "image_url", "image_url": url}


@pytest.mark.parametrize(
    ("part", "unbounded"),
    [
        ({"type": "text", "text": 'see "image_url": "http://x"'}, False),
        ({"type": "refusal", "refusal": '"file"'}, False),
        (image({"url": DATA}), True),
        (image(DATA), True),
        (image({"url": "https://host/cat.png"}), True),
        ({"image_url": "https://host/cat.png"}, True),
        ({"type": "image_url", "uuid": "seen-before"}, True),
        ({"type": "video_url", "video_url": {"url": "file:///tmp/v"}}, True),
        ({"type": "audio_url", "audio_url": {"url": DATA}}, True),
        ({"type": "input_audio", "input_audio": {"data": "AA"}}, True),
        ({"type": "image_embeds", "image_embeds": "AA"}, True),
        ({"type": "file", "file": {"file_id": "file-1"}}, True),
        ({"type": "file", "file": {"file_data": DATA}}, True),
    ],
)
@pytest.mark.parametrize("dialect", [OPENAI_CHAT, OPENAI_EMBEDDINGS])
def test_media_and_files_are_not_bounded_by_bytes(
    dialect: Dialect, part: dict, *, unbounded: bool
) -> None:
    """Sent or named: an image of 2 kB may be 16,000 tokens, a PDF is compressed."""
    messages = [{"role": "user", "content": [part]}]

    assert facts_of(dialect, messages=messages).input_unbounded is unbounded


def test_an_answer_that_was_spoken_is_named() -> None:
    """By an id, in the message itself."""
    spoken = [{"role": "assistant", "audio": {"id": "audio_1"}, "content": ["a"]}]
    written = [{"role": "assistant", "audio": None, "content": ["a"]}]

    assert facts_of(OPENAI_CHAT, messages=spoken).input_unbounded
    assert not facts_of(OPENAI_CHAT, messages=written).input_unbounded


@pytest.mark.parametrize("dialect", [OPENAI_CHAT, OPENAI_EMBEDDINGS])
@pytest.mark.parametrize(
    "part",
    [
        image({"url": DATA * 9999, "detail": "low"}),
        {"type": "file", "file": {"file_data": DATA * 9999, "filename": "a.pdf"}},
        {"type": "input_audio", "input_audio": {"data": "A" * 99_999}},
    ],
)
def test_what_is_sent_beside_the_text_is_no_text(dialect: Dialect, part: dict) -> None:
    """All of it is held for at the context length, none of it as bytes."""
    text = {"type": "text", "text": "x" * 1000}
    messages = [{"role": "user", "content": [part, text, part]}]

    assert 1000 < facts_of(dialect, messages=messages).input_bytes < 1400


def test_an_escape_or_a_second_name_does_not_hide_a_url() -> None:
    """What JSON lets one write in two ways is read as the app reads it."""
    parts = (
        rb'{"image\u005furl":"http://x"}',
        b'{"image_url":null,"image_url":{"url":"http://x"}}',
    )
    for part in parts:
        body = b'{"model":"m","messages":[{"content":[%b]}]}' % part
        facts = OPENAI_CHAT.read_request(members_of(body))
        assert facts is not None
        assert facts.input_unbounded


def test_a_chat_template_of_the_clients_own_bounds_nothing() -> None:
    """It may loop; and a null is none."""
    assert facts_of(OPENAI_CHAT, chat_template="{% for %}").input_unbounded
    assert not facts_of(OPENAI_CHAT, chat_template=None).input_unbounded


@pytest.mark.parametrize(
    ("sent", "streams", "asked"),
    [
        ({}, False, False),
        ({"stream": False, "stream_options": {"include_usage": True}}, False, False),
        ({"stream": True}, True, False),
        ({"stream": 1}, True, False),
        ({"stream": "true"}, True, False),
        ({"stream": "no"}, False, False),
        ({"stream": True, "stream_options": None}, True, False),
        ({"stream": True, "stream_options": {"include_usage": False}}, True, False),
        ({"stream": True, "stream_options": {"include_usage": True}}, True, True),
        ({"stream": True, "stream_options": "x"}, True, False),
    ],
)
def test_whether_it_streams_and_asks_for_usage(
    sent: dict, *, streams: bool, asked: bool
) -> None:
    """Both flags are read as servers read them."""
    facts = facts_of(OPENAI_CHAT, **sent)

    assert (facts.streams, facts.usage_asked) == (streams, asked)


@pytest.mark.parametrize(
    ("sent", "written"),
    [
        ({}, None),
        ({"stream": False}, None),
        ({"stream": True}, {"include_usage": True}),
        ({"stream": True, "stream_options": None}, {"include_usage": True}),
        ({"stream": True, "stream_options": {"include_usage": True}}, None),
        (
            {"stream": True, "stream_options": {"include_usage": False}},
            {"include_usage": True},
        ),
        (
            {"stream": True, "stream_options": {"a": [1.50], "include_usage": False}},
            {"a": [1.50], "include_usage": True},
        ),
        (
            {"stream": True, "stream_options": {"continuous_usage_stats": True}},
            {"include_usage": True},
        ),
        ({"stream": True, "stream_options": "x"}, None),
    ],
)
def test_usage_is_asked_for_only_in_streams_and_beside_what_was_sent(
    sent: dict, written: dict | None
) -> None:
    """An explicit false becomes true, the client's other options stay."""
    changes = OPENAI_CHAT.ask_usage(members_of({"model": "m", **sent}))

    assert [json.loads(value) for value in changes.values()] == (
        [] if written is None else [written]
    )
    assert set(changes) <= {"stream_options"}


def test_embeddings_write_nothing_and_are_asked_for_nothing() -> None:
    """No bound is written into a request whose model writes no tokens."""
    facts = facts_of(OPENAI_EMBEDDINGS, input=["a b", "c"])

    assert not facts.generates
    assert plan_clamp(facts, CAP).changes == ()
    assert OPENAI_EMBEDDINGS.ask_usage(members_of({"stream": True})) == {}


FIELDS = ("max_tokens", "max_completion_tokens", "min_tokens", "max\\u005ftokens")
numbers = (
    st.integers(-(2**70), 2**70)
    | st.integers(-3, 10_000)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.booleans()
)
number_texts = numbers.map(str) | st.sampled_from(
    ["inf", "-inf", "nan", "1e9", " 5000 ", "5_000", "\uff15000", "1e400", "abc", ""]
)
values = st.one_of(
    numbers.map(json.dumps),
    number_texts.map(json.dumps),
    st.sampled_from(["null", "[]", "{}", "[5000]", "1e400", "5e3", "-0", "1E5", "[ ]"]),
)


def number_to_some_server(value: object) -> float | None:
    """Return the amount that a lenient server reads; None if it would refuse it."""
    if value is None or (not value and not isinstance(value, int | float)):
        return math.inf
    try:
        number = Decimal(value) if isinstance(value, str | int | float) else None
    except InvalidOperation:
        number = None
    if number is None:
        return None
    return math.inf if number.is_nan() or number < 0 else float(min(number, 10**300))


@settings(max_examples=300)
@given(
    pairs=st.lists(st.tuples(st.sampled_from(FIELDS), values), max_size=5),
    dialect=st.sampled_from([OPENAI_CHAT, OPENAI_COMPLETIONS]),
    echo=st.booleans(),
)
def test_no_bound_above_the_cap_survives(
    pairs: list[tuple[str, str]], dialect: Dialect, *, echo: bool
) -> None:
    """Whatever is sent, twice or escaped, the app reads a cap or something invalid."""
    written = "".join(f',"{field}":{value}' for field, value in pairs)
    body = f'{{"model":"m","echo":{json.dumps(echo)}{written}}}'.encode()

    app_reads = clamped(dialect, body)

    bounds = FIELDS[:2] if dialect is OPENAI_CHAT else FIELDS[:1]
    amounts = {
        field: number_to_some_server(app_reads[field])
        for field in bounds
        if field in app_reads
        # A chat's null is as good as absent to all servers, a completion's widens.
        and (app_reads[field] is not None or dialect is OPENAI_COMPLETIONS)
    }
    zero_counts = echo and dialect is OPENAI_COMPLETIONS
    for amount in amounts.values():
        assert amount is None or 0 <= amount <= CAP
        assert amount != 0 or zero_counts
    assert amounts, "a request without any bound was let through"
    floor = number_to_some_server(app_reads.get("min_tokens", 0))
    assert floor is None or floor <= CAP or floor == math.inf


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["url", "type", "file", "content"]), inner)
    ),
    max_leaves=8,
)


@given(
    sent=st.dictionaries(
        st.sampled_from(
            ["messages", "prompt", "stream", "stream_options", "n", "best_of", "input"]
        ),
        json_values,
    ),
    dialect=st.sampled_from(DIALECTS),
)
def test_reading_never_raises(sent: dict[str, object], dialect: Dialect) -> None:
    """A client's nonsense is the app's to refuse."""
    members = members_of({"model": "m", **sent})
    facts = dialect.read_request(members)

    assert facts is not None
    assert facts.outputs >= 1
    assert set(dialect.ask_usage(members)) <= {"stream_options"}


def test_depth_beyond_any_reader_is_no_fault_of_ours() -> None:
    """Brackets nested as deep as a body allows are passed on, and not bounded."""
    deep = b"[" * 900 + b'"file' + b'"' + b"]" * 900
    members = {"model": msgspec.Raw(b'"m"'), "messages": msgspec.Raw(deep)}
    facts = OPENAI_CHAT.read_request(members)

    assert facts is not None
    assert facts.model == "m"
