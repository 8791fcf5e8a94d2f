"""A little traffic while the demo stays: now more than the model takes, now less."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

import anyio
from openai import AsyncOpenAI, OpenAIError

__all__ = ["SmallModel", "Visitor", "keep_calling"]

_FIRST_BYTE_S = 0.8
_BATCH = 2

_WAVE_S = 60.0
_CALM_S = 8.0
"""How long somebody waits between two calls in a calm minute, on average."""

_BUSY_S = 0.4
_REFUSED_S = 2.0
_QUESTION = "How many bees live in one hive and how many of them are at home"
_WORDS_MAX = 60


class SmallModel:
    """Makes a fake model as slow as one that reads two questions at a time.

    Attributes:
        slow: Whether it is; before, it answers at once.
    """

    def __init__(self) -> None:
        self.slow = False
        self._batch = anyio.Semaphore(_BATCH)

    async def pause(self, number: int) -> None:
        """Wait before message *number* of an answer, which only the first has to."""
        if self.slow and number == 0:
            async with self._batch:
                await anyio.sleep(_FIRST_BYTE_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class Visitor:
    """Somebody who calls now and then.

    Attributes:
        account: Whose key it is.
        models: What it asks, one as often as the other.
        calls_max: How many of its calls run at once.
        hurries: Whether it calls more often in busy minutes.
    """

    account: str
    models: Sequence[str]
    calls_max: int = 1
    hurries: bool = False


async def keep_calling(
    url: str, visitors: Sequence[Visitor], keys: Mapping[str, str]
) -> None:
    """Call until cancelled, in waves: a minute of many calls, and one of few.

    Args:
        url: Where the service is.
        visitors: Who calls.
        keys: A key of each account, by its name.
    """
    began_s = time.monotonic()
    async with anyio.create_task_group() as calling:
        for visitor in visitors:
            # No retries: who is refused is to be seen, and comes again anyway.
            client = AsyncOpenAI(
                api_key=keys[visitor.account], base_url=f"{url}/v1", max_retries=0
            )
            for _ in range(visitor.calls_max):
                calling.start_soon(_call_on, client, visitor, began_s)


async def _call_on(client: AsyncOpenAI, visitor: Visitor, began_s: float) -> None:
    random = Random()  # noqa: S311 - it only makes charts uneven
    while True:
        busy = (time.monotonic() - began_s) // _WAVE_S % 2 == 0
        mean_s = _BUSY_S if busy and visitor.hurries else _CALM_S
        await anyio.sleep(random.uniform(0.5, 1.5) * mean_s)
        try:
            await _ask(client, random.choice(visitor.models), random)
        except OpenAIError:  # refused: the console tells why
            await anyio.sleep(_REFUSED_S)


async def _ask(client: AsyncOpenAI, model: str, random: Random) -> None:
    words = _QUESTION.split() * random.randint(1, 20)
    stream = await client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": " ".join(words)}],
        max_tokens=random.randint(8, _WORDS_MAX),
        stream=True,
    )
    async with stream:
        async for _chunk in stream:
            pass
