"""The real clients of OpenAI and Anthropic see the same with the stack and without."""

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import pytest
import uvicorn
from anthropic import Anthropic
from anyio.from_thread import start_blocking_portal
from openai import OpenAI

from metering.config import load_plan
from metering.testing.model import FakeModel
from metering.usage import Usage

MODEL = "acme/one"
PLAN = """
[plan]
name = "each leaf has a price of its own"

[[tiers]]
level = 0
name = "Tier 0"
output_tokens_max = 1000
usage_limit = "10"

[[models]]
name = "acme/one"
[[models.prices]]
kind = "token"
input = "0.6"
cached_input = "0.11"
output = "2.2"
reasoning = "3"
"""
INPUT_P, CACHED_P, OUTPUT_P, REASONING_P = 600_000, 110_000, 2_200_000, 3_000_000
CACHED, REASONED = 2, 5
TEXT = "one two three four five"
MESSAGES = [{"role": "user", "content": TEXT}]
STOP_S = 10.0


def fake() -> FakeModel:
    """A model of which each leaf of the usage is another number."""
    return FakeModel(output_tokens=17, cached_tokens=CACHED, reasoning_tokens=REASONED)


@contextmanager
def served_bare() -> Iterator[str]:
    """Serve the model without the stack; give its address."""
    server = uvicorn.Server(uvicorn.Config(fake(), log_config=None))
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        start_blocking_portal() as portal,
    ):
        running = portal.start_task_soon(server.serve, [listener])
        try:
            yield "http://127.0.0.1:{1}".format(*listener.getsockname())
        finally:
            server.should_exit = True
            running.result(STOP_S)


class Clients:
    """Both clients of one server, with one key."""

    def __init__(self, url: str, key: str, closing: ExitStack) -> None:
        openai = OpenAI(api_key=key, base_url=f"{url}/v1", max_retries=0)
        anthropic = Anthropic(api_key=key, base_url=url, max_retries=0)
        self.openai = closing.enter_context(openai)
        self.anthropic = closing.enter_context(anthropic)

    def chat(self, **more: Any) -> Any:
        """Ask for Chat Completions."""
        create = self.openai.chat.completions.create
        return create(model=MODEL, messages=MESSAGES, n=2, **more)

    def completions(self, **more: Any) -> Any:
        """Ask for Completions, of two prompts."""
        prompts = [TEXT, "six seven"]
        return self.openai.completions.create(model=MODEL, prompt=prompts, **more)

    def embeddings(self) -> Any:
        """Ask for Embeddings."""
        return self.openai.embeddings.create(model=MODEL, input=[TEXT, "six seven"])

    def responses(self, **more: Any) -> Any:
        """Ask for Responses."""
        return self.openai.responses.create(model=MODEL, input=TEXT, **more)

    def messages(self, **more: Any) -> Any:
        """Ask for Messages."""
        create = self.anthropic.messages.create
        return create(model=MODEL, messages=MESSAGES, max_tokens=100, **more)


def of_completions(told: Any) -> Usage:
    """Return in leaves what the server told in OpenAI's older words."""
    return Usage(
        input_tokens=told.prompt_tokens - CACHED,
        cache_read_tokens=told.prompt_tokens_details.cached_tokens,
        output_tokens=told.completion_tokens - REASONED,
        reasoning_tokens=told.completion_tokens_details.reasoning_tokens,
    )


def of_embeddings(told: Any) -> Usage:
    """Return what was read; nothing is written."""
    return Usage(input_tokens=told.prompt_tokens)


def of_responses(told: Any) -> Usage:
    """Return in leaves what the server told in OpenAI's newer words."""
    return Usage(
        input_tokens=told.input_tokens - CACHED,
        cache_read_tokens=told.input_tokens_details.cached_tokens,
        output_tokens=told.output_tokens - REASONED,
        reasoning_tokens=told.output_tokens_details.reasoning_tokens,
    )


def of_messages(told: Any) -> Usage:
    """Return in leaves what the server told in Anthropic's words."""
    return Usage(
        input_tokens=told.input_tokens,  # what was cached lies beside it
        cache_read_tokens=told.cache_read_input_tokens,
        output_tokens=told.output_tokens - REASONED,
        reasoning_tokens=told.output_tokens_details.thinking_tokens,
    )


class Spoken(NamedTuple):
    """One dialect: what is asked, how its usage reads, what both come to."""

    dialect: str
    ask: Callable[..., Any]
    leaves: Callable[[Any], Usage]
    usage: Usage


SPOKEN = [
    Spoken("openai.chat", Clients.chat, of_completions, Usage(3, 2, 0, 2 * 17 - 5, 5)),
    Spoken(
        "openai.completions",
        Clients.completions,
        of_completions,
        Usage(5, 2, 0, 2 * 16 - 5, 5),
    ),
    Spoken("openai.responses", Clients.responses, of_responses, Usage(3, 2, 0, 12, 5)),
    Spoken("anthropic.messages", Clients.messages, of_messages, Usage(3, 2, 0, 12, 5)),
    Spoken("openai.embeddings", Clients.embeddings, of_embeddings, Usage(7)),
]
STREAMED = [spoken for spoken in SPOKEN if spoken.ask is not Clients.embeddings]
ASKED = {"stream_options": {"include_usage": True}}


def charge_p(usage: Usage) -> int:
    """Return what a usage costs at the plan's prices."""
    read_p = usage.input_tokens * INPUT_P + usage.cache_read_tokens * CACHED_P
    written_p = usage.output_tokens * OUTPUT_P + usage.reasoning_tokens * REASONING_P
    return read_p + written_p


@pytest.fixture(scope="module")
def straight() -> Iterator[Clients]:
    """Clients of the model itself."""
    with served_bare() as url, ExitStack() as closing:
        yield Clients(url, "any", closing)


@pytest.fixture
def metered(run_service: Callable[..., Any]) -> tuple[Any, Clients]:
    """A metered service, and clients that reach the model through it."""
    plan = load_plan(PLAN, source="this test")
    service = run_service(fake(), tiers=plan.tiers, prices=plan.prices)
    key = service.account("acme", tier=0)
    return service, Clients(service.url, key, service.closing)


def name_of(spoken: Spoken) -> str:
    """Return the name of a case."""
    return spoken.dialect


@pytest.mark.parametrize("spoken", SPOKEN, ids=name_of)
def test_a_plain_answer_is_the_models_own(straight, metered, spoken):
    """The same object; its usage is the event's, and the price of it the charge."""
    service, through = metered
    expected, answer = spoken.ask(straight), spoken.ask(through)
    (event,) = service.events("acme", calls=1)

    assert expected.to_dict() == answer.to_dict()
    assert spoken.usage == spoken.leaves(answer.usage) == event.usage
    assert (spoken.dialect, "upstream") == (event.dialect, event.usage_source)
    assert charge_p(spoken.usage) == event.charge_p


@pytest.mark.parametrize("spoken", STREAMED, ids=name_of)
def test_a_stream_is_the_models_own(straight, metered, spoken):
    """Each event alike, one by one; it is charged as the plain answer is."""
    service, through = metered
    expected = list(spoken.ask(straight, stream=True))
    events = list(spoken.ask(through, stream=True))
    (event,) = service.events("acme", calls=1)

    assert [told.model_dump() for told in expected] == [e.model_dump() for e in events]
    assert ("completed", "upstream") == (event.ending, event.usage_source)
    assert (spoken.usage, charge_p(spoken.usage)) == (event.usage, event.charge_p)


@pytest.mark.parametrize("spoken", STREAMED[:2], ids=name_of)
def test_a_stream_that_is_asked_for_its_usage_tells_it(straight, metered, spoken):
    """Once, in the last chunk; nothing is taken out or put in."""
    service, through = metered
    expected = list(spoken.ask(straight, stream=True, **ASKED))
    chunks = list(spoken.ask(through, stream=True, **ASKED))
    (event,) = service.events("acme", calls=1)

    assert [told.to_dict() for told in expected] == [told.to_dict() for told in chunks]
    assert spoken.usage == spoken.leaves(chunks[-1].usage) == event.usage
    assert charge_p(spoken.usage) == event.charge_p


def test_what_a_helper_gathers_is_the_models_own(straight, metered):
    """Of each client the helper that follows a stream to its end."""
    _, through = metered
    hello = {"model": MODEL, "messages": MESSAGES, "max_tokens": 100}
    gathered = []
    for clients in (straight, through):
        with clients.openai.chat.completions.stream(**hello) as stream:
            chat = stream.until_done().get_final_completion()
        with clients.openai.responses.stream(model=MODEL, input=TEXT) as stream:
            response = stream.until_done().get_final_response()
        with clients.anthropic.messages.stream(**hello) as stream:
            message = stream.get_final_message()
        gathered.append([told.model_dump() for told in (chat, response, message)])

    assert gathered[0] == gathered[1]
