"""An app's own dialect is metered as any other, on its paths and on routes to it."""

from dataclasses import replace

import pytest

from metering import ConfigurationError, Metering
from metering.config import plan_from_preset
from metering.dialects.openai_chat import OPENAI_CHAT
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
