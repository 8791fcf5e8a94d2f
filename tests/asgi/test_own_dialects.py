"""An app's own dialect is metered as any other, on its paths and on routes to it."""

from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from metering import ConfigurationError, Metering
from metering.config import plan_from_preset
from metering.dialects.openai_chat import OPENAI_CHAT
from metering.dialects.openai_dialect import OpenAIDialect
from metering.testing.model import FakeModel

pytestmark = pytest.mark.anyio

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
BODY = {"model": LLAMA, "messages": [{"role": "user", "content": "a b c"}]}
MINE = replace(OPENAI_CHAT, name="mine", paths=("/mine", "/v1/embeddings"))


class AsChat:
    """The fake model's chat, on whatever path it is asked for."""

    def __init__(self):
        self.model = FakeModel()

    async def __call__(self, scope, receive, send):
        """Answer as on the usual path."""
        await self.model(scope | {"path": "/v1/chat/completions"}, receive, send)


@pytest.mark.parametrize(
    ("path", "dialect"),
    [
        ("/mine", "mine"),
        ("/mine/", "mine"),
        ("/yours", "mine"),
        ("/v1/embeddings", "mine"),
        ("/v1/chat/completions", "openai.chat"),
    ],
)
async def test_it_is_spoken_on_its_paths_and_on_routes(open_service, path, dialect):
    """Its own path wins over that of a dialect known here; all others stay."""
    async with open_service(
        AsChat(), dialects=[MINE], routes={"/yours": "mine"}
    ) as service:
        key = await service.account("acme", tier=1)
        headers = {"authorization": f"Bearer {key}"}
        answer = await service.client.post(path, json=BODY, headers=headers)
        (event,) = await service.events("acme")

    assert (200, dialect, "upstream") == (
        answer.status_code,
        event.dialect,
        event.usage_source,
    )


class Raises(OpenAIDialect):
    """A dialect with a fault in it."""

    __slots__ = ()

    def read_response(self, body):
        """Raise what nobody thought of."""
        raise KeyError(body)


async def test_one_that_raises_cuts_no_answer_and_keeps_no_room(open_service):
    """The call is ended, flagged and settled as one without a usage; it is told."""
    fails = Raises("fails", ("/mine",), OPENAI_CHAT.facts_of)
    async with open_service(AsChat(), dialects=[fails]) as service:
        key = await service.account("acme", tier=1)
        headers = {"authorization": f"Bearer {key}"}
        with capture_logs() as logs:
            answer = await service.client.post("/mine", json=BODY, headers=headers)
        (event,) = await service.events("acme")
        in_use_p = await service.in_use_p("acme")

    assert (200, "completed", "estimated") == (
        answer.status_code,
        event.ending,
        event.usage_source,
    )
    assert event.charge_p == in_use_p > 0
    (told,) = [log for log in logs if log["event"] == "answer_not_read"]
    assert ("fails", "KeyError") == (told["dialect"], told["error"])


def test_a_route_to_a_dialect_that_nobody_speaks_is_told(tmp_path):
    """With the names that there are, and where to give one's own."""
    plan = replace(
        plan_from_preset("friendli"), data=str(tmp_path), routes={"/x": "mime"}
    )
    with pytest.raises(ConfigurationError) as caught:
        Metering(plan, dialects=[MINE])

    text = str(caught.value)
    for part in ("'/x'", "'mime'", "openai.chat, ", "mine", "dialects=[...]"):
        assert part in text


@pytest.mark.parametrize("name", ["openai.chat", "none", "mine"])
def test_each_name_belongs_to_one_dialect(tmp_path, name):
    """Those known here, the one for no dialect, and another's of the app."""
    plan = replace(plan_from_preset("friendli"), data=str(tmp_path))
    with pytest.raises(ConfigurationError, match=f"a dialect '{name}' already"):
        Metering(plan, dialects=[MINE, replace(MINE, name=name)])
