"""A load generator that does not wait: callers ask at their times, come what may."""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import anyio
import http_sf
import httpx

__all__ = ["Answer", "Caller", "load"]

_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Caller:
    """An account, and how often it asks.

    Args:
        name: Its name.
        key: Its key.
        per_s: Requests per second.
    """

    name: str
    key: str
    per_s: float


@dataclass(frozen=True)
class Answer:
    """What came of one request.

    Attributes:
        caller: Who asked.
        at_s: When, from the start of the load.
        status: HTTP status.
        code: Of a refusal, such as `rate_limit_exceeded`; else "".
        first_byte_s: From the request to the first byte of the body.
        done_s: When the last came, from the start of the load.
        told_rpm: The least request limit of its headers, per minute; None: none told.
        told_left: Requests that its headers say are left now; None: none told.
    """

    caller: str
    at_s: float
    status: int
    code: str
    first_byte_s: float
    done_s: float
    told_rpm: float | None
    told_left: float | None

    @property
    def served(self) -> bool:
        """Whether the model answered."""
        return self.status == httpx.codes.OK


async def load(
    url: str, model: str, callers: Sequence[Caller], *, seconds: float, seed: int
) -> list[Answer]:
    """Ask at random times for so many seconds; return all answers by time of asking."""
    answers: list[Answer] = []
    async with AsyncExitStack() as open_clients:
        # One each: a pool of connections looks at all of them for every request.
        clients = {
            caller.name: await open_clients.enter_async_context(
                httpx.AsyncClient(base_url=url, timeout=_TIMEOUT_S, verify=False)  # noqa: S501 - no TLS
            )
            for caller in callers
        }
        begun = time.perf_counter()

        async def ask(caller: Caller) -> None:
            client = clients[caller.name]
            answers.append(await _answer(client, model, caller, begun))

        async with anyio.create_task_group() as asking:
            for at_s, caller in sorted(
                _times(callers, seconds, seed), key=lambda due: due[0]
            ):
                await anyio.sleep(max(0.0, begun + at_s - time.perf_counter()))
                asking.start_soon(ask, caller)
    return sorted(answers, key=lambda answer: answer.at_s)


def _times(
    callers: Sequence[Caller], seconds: float, seed: int
) -> Iterator[tuple[float, Caller]]:
    chance = random.Random(seed)  # noqa: S311 - to be repeated, not to be secret
    for caller in callers:
        at_s = chance.expovariate(caller.per_s)
        while at_s < seconds:
            yield at_s, caller
            at_s += chance.expovariate(caller.per_s)


async def _answer(
    client: httpx.AsyncClient, model: str, caller: Caller, load_begun: float
) -> Answer:
    asked = {
        "model": model,
        "messages": [{"role": "user", "content": "Why is the sky blue?"}],
        "max_tokens": 64,
        "stream": True,
    }
    headers = {"authorization": f"Bearer {caller.key}"}
    asked_at = time.perf_counter()
    async with client.stream(
        "POST", "/v1/chat/completions", json=asked, headers=headers
    ) as response:
        body, first_s = b"", 0.0
        async for piece in response.aiter_bytes():
            first_s = first_s or time.perf_counter() - asked_at
            body += piece
    done_at = time.perf_counter()
    served = response.status_code == httpx.codes.OK
    code = "" if served else httpx.Response(200, content=body).json()["error"]["code"]
    return Answer(
        caller=caller.name,
        at_s=asked_at - load_begun,
        status=response.status_code,
        code=code,
        first_byte_s=first_s,
        done_s=done_at - load_begun,
        told_rpm=_least(response.headers.get("ratelimit-policy"), _rpm),
        told_left=_least(response.headers.get("ratelimit"), _left),
    )


def _least(
    field: str | None, read: Callable[[dict[str, Any]], float | None]
) -> float | None:
    """Read the least number of a structured field's items."""
    if field is None:
        return None
    items: Any = http_sf.parse(field.encode(), tltype="list")
    told = [read(members) for _, members in items]
    return min((number for number in told if number is not None), default=None)


def _rpm(policy: dict[str, Any]) -> float | None:
    if "w" not in policy or policy.get("qu", "requests") != "requests":
        return None
    return float(policy["q"]) * 60 / float(policy["w"])


def _left(state: dict[str, Any]) -> float:
    return float(state["r"])
