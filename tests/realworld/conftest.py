"""Real model servers with tiny models: each is served bare, and with the stack.

The files beside this one are not named `test_*.py`, so only who names them runs them:
`make realworld`, in an environment of its own.
"""

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from anyio.from_thread import BlockingPortal, start_blocking_portal
from openai import OpenAI

from metering import Metering
from metering.accounts import Overrides
from metering.config import load_plan
from metering.usage import UsageEvent

INPUT_P, OUTPUT_P = 600_000, 2_200_000  # of a token
PLAN = """
[plan]
name = "one tiny model"

[storage]
data = {data!r}

[[tiers]]
level = 0
name = "Tier 0"
output_tokens_max = "16K"
usage_limit = "1000"

[[models]]
name = {model!r}
context_tokens_max = "16K"
prices = [{{ kind = "token", input = "0.6", output = "2.2" }}]
"""
DEADLINE_S = 60.0
POLL_S = 0.01


@contextmanager
def served(portal: BlockingPortal, app: Any) -> Iterator[str]:
    """Serve an app with uvicorn; give its address."""
    server = uvicorn.Server(uvicorn.Config(app, log_config=None))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        running = portal.start_task_soon(server.serve, [listener])
        try:
            yield "http://127.0.0.1:{1}/v1".format(*listener.getsockname())
        finally:
            server.should_exit = True
            running.result(DEADLINE_S)


class Served:
    """One model server: bare, and with the stack around it.

    Attributes:
        model: The name of its model.
        bare: A client of the server itself.
    """

    def __init__(
        self, app: Any, model: str, data: Path, more_of_plan: str, closing: ExitStack
    ) -> None:
        text = PLAN.format(data=str(data), model=model) + more_of_plan
        plan = load_plan(text, source="realworld")
        self.model = model
        self._closing = closing
        self._meter = Metering(plan)
        self._portal = closing.enter_context(start_blocking_portal())
        bare_url = closing.enter_context(served(self._portal, app))
        self._url = closing.enter_context(served(self._portal, self._meter.wrap(app)))
        self.bare = self._client(bare_url, "any")

    def customer(self, name: str, *, output_tokens_max: int | None = None) -> OpenAI:
        """Create an account, perhaps with an output cap; return its client."""
        accounts = self._meter.accounts
        self._portal.call(accounts.create, name)
        if output_tokens_max is not None:
            agreed = Overrides(output_tokens_max=output_tokens_max)
            self._portal.call(accounts.override, name, agreed)
        return self._client(self._url, self._portal.call(accounts.issue_key, name))

    def event(self, account: str) -> UsageEvent:
        """Return the event of the account's one call, once it is posted."""
        read = partial(self._meter.billing.charges, account)
        deadline_s = time.monotonic() + DEADLINE_S
        while not (charged := self._portal.call(read)):
            assert time.monotonic() < deadline_s
            time.sleep(POLL_S)
        (charge,) = charged
        return charge.event

    def _client(self, url: str, key: str) -> OpenAI:
        client = OpenAI(api_key=key, base_url=url, max_retries=0, timeout=DEADLINE_S)
        return self._closing.enter_context(client)


@pytest.fixture(scope="module")
def more_of_plan() -> str:
    """Return what the plan says besides, in TOML."""
    return ""


@pytest.fixture(scope="module")
def server(
    tiny_server: Any, more_of_plan: str, tmp_path_factory: Any
) -> Iterator[Served]:
    """Serve the app and the model that `tiny_server` names."""
    app, model = tiny_server
    with ExitStack() as closing:
        data = tmp_path_factory.mktemp("data")
        yield Served(app, model, data, more_of_plan, closing)


@pytest.fixture
def account(request: Any) -> str:
    """Return a name of an account that no other test has."""
    return request.node.name


def same(told: Any) -> Any:
    """Return what the server said, without what differs from call to call."""
    if isinstance(told, dict):
        own = ("id", "created", "created_at", "item_id")
        return {name: same(part) for name, part in told.items() if name not in own}
    return [same(part) for part in told] if isinstance(told, list) else told


@pytest.fixture
def alike() -> Any:
    """Return what reduces an answer to what two calls of a server have in common."""
    return lambda told: same(told.to_dict())


@pytest.fixture
def price_p() -> Any:
    """Return what prices tokens that were read and written."""
    return lambda read, written: read * INPUT_P + written * OUTPUT_P
