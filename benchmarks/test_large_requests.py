"""How long a request of some 2 MB keeps the event loop from everything else."""

import asyncio
from pathlib import Path
from statistics import median
from time import perf_counter_ns
from typing import Any

import pytest
from benchmarks.service import JsonApp, metered, request

pytestmark = pytest.mark.timeout(120)

TRIES = 9
TICK_S = 0.0005

TEXT = {"type": "text", "text": "a"}
IMAGE = {"type": "image", "source": {"type": "base64", "data": "aaaa"}}
SEEN = {"type": "input_image", "image_url": "data:a"}
LARGE: dict[str, tuple[str, dict[str, Any]]] = {
    "68,000 blocks of text in a message": (
        "/v1/messages",
        {"messages": [{"role": "user", "content": [TEXT] * 68_000 + [IMAGE]}]},
    ),
    "31,000 images in a message": (
        "/v1/messages",
        {"messages": [{"role": "user", "content": [IMAGE] * 31_000}]},
    ),
    "68,000 messages of a chat": (
        "/v1/chat/completions",
        {"messages": [{"role": "user", "content": "a"}] * 68_000},
    ),
    "28,000 items of a response": (
        "/v1/responses",
        {"messages": None, "input": [{"role": "user", "content": [SEEN]}] * 28_000},
    ),
    "one text": (
        "/v1/chat/completions",
        {"messages": [{"role": "user", "content": "x" * 2_300_000}]},
    ),
}


@pytest.mark.parametrize("name", LARGE)
def test_loop(tmp_path: Path, tell: Any, name: str) -> None:
    """The longest turn of the loop, less a tick: the median over some requests."""
    path, asks = LARGE[name]

    async def longest_ms(ask: Any) -> float:
        longest_ns, done = 0, False

        async def tick() -> None:
            nonlocal longest_ns
            while not done:
                began_ns = perf_counter_ns()
                await asyncio.sleep(TICK_S)
                longest_ns = max(longest_ns, perf_counter_ns() - began_ns)

        ticking = asyncio.create_task(tick())
        await asyncio.sleep(2 * TICK_S)
        longest_ns = 0
        await ask()
        done = True
        await ticking
        return longest_ns / 1e6 - TICK_S * 1e3

    async def run() -> list[float]:
        async with metered(tmp_path) as (meter, key):
            ask = request(meter.wrap(JsonApp()), key, path=path, **asks)
            return [await longest_ms(ask) for _ in range(TRIES)]

    title = f"2 MB request, {name}: longest turn of the loop"
    tell(title, median(asyncio.run(run())), "ms", value_max=20.0)
