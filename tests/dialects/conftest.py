"""Calling an ASGI app without a server, and cutting bytes anywhere."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import anyio
import msgspec
import pytest


@dataclass
class Answered:
    """What an app answered."""

    status: int = 0
    headers: dict[bytes, bytes] = field(default_factory=dict)
    chunks: list[bytes] = field(default_factory=list)

    @property
    def body(self) -> bytes:
        return b"".join(self.chunks)

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)


Ask = Callable[..., Awaitable[Answered]]


async def _ask(
    app: Any, path: str, body: Any, *, gone: anyio.Event | None = None
) -> Answered:
    answered = Answered()
    raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
    messages = [{"type": "http.request", "body": raw, "more_body": False}]
    left = gone or anyio.Event()

    async def receive() -> dict[str, Any]:
        if messages:
            return messages.pop()
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            answered.status = message["status"]
            answered.headers = dict(message["headers"])
        else:
            answered.chunks += [message["body"]] if message["body"] else []

    scope = {"type": "http", "method": "POST", "path": path, "headers": []}
    await app(scope, receive, send)
    return answered


@pytest.fixture(scope="session")
def ask() -> Ask:
    """Return a function that calls an app: `ask(app, path, body, gone=event)`."""
    return _ask
