"""Usage is read into leaves that never overlap, and nonsense is never taken for it."""

import json
from decimal import localcontext

import httpx
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import asdict

from metering.dialects.dialect import Report
from metering.dialects.openai_chat import OPENAI_CHAT
from metering.dialects.openai_completions import OPENAI_COMPLETIONS
from metering.dialects.openai_embeddings import OPENAI_EMBEDDINGS
from metering.usage import Usage

pytestmark = pytest.mark.anyio


def told(usage: object, **members: object) -> Report:
    return OPENAI_CHAT.read_response(json.dumps({"usage": usage, **members}).encode())


def figures(prompt: object = 10, completion: object = 5, **more: object) -> dict:
    return {"prompt_tokens": prompt, "completion_tokens": completion, **more}


@pytest.mark.parametrize(
    ("sent", "usage"),
    [
        pytest.param(figures(), Usage(10, output_tokens=5), id="plain"),
        pytest.param(figures(0, 0), Usage(), id="explicit zeros are zeros"),
        pytest.param(figures(7, 0), Usage(7), id="nothing was written"),
        pytest.param(
            figures(1000, 500, prompt_tokens_details={"cached_tokens": 800}),
            Usage(200, 800, output_tokens=500),
            id="cached tokens lie inside",
        ),
        pytest.param(
            figures(
                1000,
                5,
                prompt_tokens_details={"cached_tokens": 600, "cache_write_tokens": 300},
            ),
            Usage(100, 600, 300, 5),
            id="and so do those written to the cache",
        ),
        pytest.param(
            figures(1, 500, completion_tokens_details={"reasoning_tokens": 300}),
            Usage(1, output_tokens=200, reasoning_tokens=300),
            id="reasoning is billed once",
        ),
        pytest.param(
            figures(1, 500, reasoning_tokens=300, prompt_tokens_details=None),
            Usage(1, output_tokens=200, reasoning_tokens=300),
            id="SGLang puts reasoning at the top",
        ),
        pytest.param(
            figures(
                10,
                5,
                prompt_tokens_details={"cached_tokens": 99, "cache_write_tokens": 99},
                completion_tokens_details={"reasoning_tokens": 99},
            ),
            Usage(0, 10, 0, 0, 5),
            id="a part above its total is cut to it",
        ),
        pytest.param(
            figures("10", 5.0, total_tokens=99),
            Usage(10, output_tokens=5),
            id="integral strings and floats count; the total does not",
        ),
        pytest.param(None, None, id="null is absent"),
        pytest.param({}, None, id="an empty one is absent"),
        pytest.param(figures(10, None), None, id="half of one is absent"),
    ],
)
def test_usage(sent: object, usage: Usage | None) -> None:
    """What the wire calls parts of a total are leaves beside each other here."""
    assert told(sent) == Report(usage)


@pytest.mark.parametrize("bad", [-1, True, "ten", "1" * 30, 1.5, 2**53 + 1, 2**70, []])
@pytest.mark.parametrize(
    "place",
    [
        lambda bad: figures(prompt=bad),
        lambda bad: figures(completion=bad),
        lambda bad: figures(prompt_tokens_details={"cached_tokens": bad}),
        lambda bad: figures(completion_tokens_details={"reasoning_tokens": bad}),
    ],
    ids=["prompt", "completion", "cached", "reasoning"],
)
def test_a_count_that_cannot_be_sets_the_usage_aside(bad: object, place) -> None:
    """It is neither zero nor absent, and the reason names the member, not its value."""
    report = told(place(bad))

    assert report.usage is None
    assert report.refused.endswith("_tokens is no whole number from 0 to 2**53")


def test_a_usage_that_is_no_object_is_set_aside() -> None:
    """A list or a number where figures belong tells nothing."""
    assert told([1]).refused == "usage is not an object"
    assert told(7).refused == "usage is not an object"


@pytest.mark.parametrize(
    ("members", "usage_more", "time"),
    [
        pytest.param({}, {}, (0, ""), id="none told"),
        pytest.param(
            {
                "metrics": {
                    "time_to_first_token_ms": 900,
                    "queue_time_ms": 700,
                    "generation_time_ms": 1500,
                }
            },
            {},
            (1700, "metrics"),
            id="vLLM, without its queue",
        ),
        pytest.param(
            {
                "metrics": {
                    "time_to_first_token_ms": 900.25,
                    "queue_time_ms": 700.0,
                    "generation_time_ms": 0.25,
                }
            },
            {},
            (201, "metrics"),
            id="half a millisecond is rounded up",
        ),
        pytest.param(
            {
                "metrics": {
                    "time_to_first_token_ms": 900,
                    "queue_time_ms": None,
                    "generation_time_ms": 1500,
                }
            },
            {},
            (0, ""),
            id="without the queue's time it would bill waiting",
        ),
        pytest.param(
            {
                "metrics": {
                    "time_to_first_token_ms": 1,
                    "queue_time_ms": 700,
                    "generation_time_ms": 5,
                }
            },
            {},
            (0, ""),
            id="a negative time is none",
        ),
        pytest.param({"metrics": None}, {}, (0, ""), id="null, as vLLM for n > 1"),
        pytest.param(
            {},
            {"queue_time": 9.9, "prompt_time": 0.0014, "completion_time": 0.1231},
            (125, "usage"),
            id="Groq, in seconds",
        ),
        pytest.param(
            {
                "time_info": {
                    "prompt_time": 0.002,
                    "completion_time": 1,
                    "total_time": 9,
                }
            },
            {},
            (1002, "time_info"),
            id="Cerebras",
        ),
        pytest.param(
            {"time_info": {"prompt_time": -1, "completion_time": "x"}},
            {},
            (0, ""),
            id="nonsense is no time, and leaves the tokens alone",
        ),
        pytest.param(
            {"time_info": {"prompt_time": 1e300, "completion_time": 1e-300}},
            {},
            (0, ""),
            id="nor is a time beyond reason",
        ),
    ],
)
def test_compute_time(members: dict, usage_more: dict, time: tuple[int, str]) -> None:
    """Only execution counts, in whole milliseconds, and the source is named."""
    with localcontext(prec=2):
        report = told(figures(**usage_more), **members)

    assert report.usage == Usage(10, output_tokens=5, compute_ms=time[0])
    assert report.time_source == time[1]


@pytest.mark.parametrize(
    ("body", "report"),
    [
        (b'{"error":{"message":"no","type":"x"}}', Report(failed=True)),
        (b'{"object":"error","message":"no","code":400}', Report(failed=True)),
        (b'{"error":null}', Report()),
        (b"null", Report()),
        (b"", Report()),
        (b"[1]", Report()),
        (b"\xff\xfe", Report()),
        (b"<html>", Report()),
        (b'{"usage":' + b"[" * 100_000, Report()),
        (b'{"usage":{"prompt_tokens":1e99999999999999999999}}', None),
    ],
)
def test_bodies_that_are_no_answer(body: bytes, report: Report | None) -> None:
    """An error has failed; what cannot be read tells nothing, and nothing is raised."""
    read = OPENAI_CHAT.read_response(body)

    assert read == (report or Report(refused="usage is not an object"))


def test_an_answer_without_usage_is_estimated_by_its_text() -> None:
    """A token for each four bytes of text, rounded up; an explicit zero stays zero."""
    chat = {"choices": [{"message": {"content": "é" * 4, "reasoning": "x"}}]}
    plain = {"choices": [{"text": "12345"}, {"text": None}, 7]}

    assert OPENAI_CHAT.read_response(json.dumps(chat).encode()).counted_tokens == 3
    assert (
        OPENAI_COMPLETIONS.read_response(json.dumps(plain).encode()).counted_tokens == 2
    )
    assert told(figures(0, 0), **chat).counted_tokens == 0


def test_embeddings_tell_what_they_read() -> None:
    """No completion is expected of them; a mock's zero does no harm."""
    body = b'{"usage":{"prompt_tokens":8,"total_tokens":8}}'
    mock = b'{"usage":{"prompt_tokens":8,"completion_tokens":0}}'

    assert OPENAI_EMBEDDINGS.read_response(body) == Report(Usage(8))
    assert OPENAI_EMBEDDINGS.read_response(mock) == Report(Usage(8))


counts = st.one_of(
    st.none(), st.integers(-5, 2000), st.floats(), st.text(max_size=3), st.booleans()
)


@given(st.tuples(counts, counts, counts, counts, counts, counts))
def test_leaves_are_plausible_and_add_up_to_the_totals(sent: tuple) -> None:
    """Whatever an app reports, a usage that is taken is one a ledger may post."""
    prompt, completion, cached, to_cache, reasoning, time = sent
    of_prompt = {"cached_tokens": cached, "cache_write_tokens": to_cache}
    report = told(
        figures(
            prompt,
            completion,
            prompt_tokens_details=of_prompt,
            completion_tokens_details={"reasoning_tokens": reasoning},
        ),
        time_info={"prompt_time": time, "completion_time": 0},
    )

    if report.usage is not None:
        usage = report.usage
        assert all(0 <= count <= 2**53 for count in asdict(usage).values())
        assert usage.input_total == int(float(prompt))
        assert usage.output_total == int(float(completion))


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (401, "invalid_api_key", "invalid_request_error"),
        (402, "insufficient_quota", "insufficient_quota"),
        (402, "usage_limit_reached", "insufficient_quota"),
        (429, "rate_limit_exceeded", "requests"),
        (404, "model_not_priced", "invalid_request_error"),
        (503, "platform_busy", "server_error"),
    ],
)
async def test_a_refusal_reaches_the_openai_client_with_its_code(
    status: int, code: str, kind: str
) -> None:
    """The client reads code, type and message from the body's `error`."""
    body = OPENAI_CHAT.error_body(status=status, code=code, message='say "why"')

    def refuse(_: httpx.Request) -> httpx.Response:
        return httpx.Response(
            status, content=body, headers={"content-type": "application/json"}
        )

    transport = httpx.MockTransport(refuse)
    async with httpx.AsyncClient(transport=transport) as http:
        client = openai.AsyncOpenAI(
            api_key="k", base_url="http://app/v1", max_retries=0, http_client=http
        )
        with pytest.raises(openai.APIStatusError) as caught:
            await client.chat.completions.create(model="m", messages=[])

    error = caught.value
    assert (error.status_code, error.code, error.type) == (status, code, kind)
    assert json.loads(body)["error"] == {
        "message": 'say "why"',
        "type": kind,
        "code": code,
        "param": None,
    }
