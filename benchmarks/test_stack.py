"""What the whole stack adds to a request, beside what a hand-written one adds.

ASGI is driven directly, without a server: scope, `receive` and `send` are made
beforehand, and the app answers what was made beforehand.
"""

import asyncio
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from benchmarks.baselines import ByHand
from benchmarks.service import JsonApp, metered, request
from benchmarks.timing import in_turns

from metering.accounts import RateOverride
from metering.asgi.stack import Stack
from metering.clock import NS_PER_S

pytestmark = pytest.mark.timeout(120)


def test_whole_stack(tmp_path: Path, tell: Any) -> None:
    """A JSON call whose body is clamped, priced, journalled and recorded."""

    async def run() -> None:
        app = JsonApp()
        async with metered(tmp_path) as (meter, key):
            fd = os.open(tmp_path / "by_hand", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            by_hand = ByHand(app, secret=key, journal_fd=fd)
            asks = {
                "bare": request(app, key),
                "floor": request(by_hand, key),
                "stack": request(meter.wrap(app), key),
            }
            times = await in_turns(asks, rounds=100, calls=200)
            os.close(fd)
        bare, floor, stack = times["bare"], times["floor"], times["stack"]
        tell(
            "whole stack, JSON: added, mean",
            stack.usual_us - bare.usual_us,
            floor=floor.usual_us - bare.usual_us,
            ratio_max=2.0,
        )
        tell(
            "whole stack, JSON: added, in processor time of the loop's thread",
            stack.busy_us - bare.busy_us,
            floor=floor.busy_us - bare.busy_us,
            ratio_max=2.0,
        )
        for percent, value_max in ((50, None), (99, 1000.0)):
            bare_us = bare.percentile_us(50)
            tell(
                f"whole stack, JSON: added, p{percent}",
                stack.percentile_us(percent) - bare_us,
                floor=floor.percentile_us(percent) - bare_us,
                value_max=value_max,
            )

    asyncio.run(run())


def test_unmetered_path(tmp_path: Path, tell: Any) -> None:
    """A path that serves no model."""

    async def run() -> None:
        app = JsonApp()
        async with metered(tmp_path) as (meter, key):
            asks = {
                "bare": request(app, key, path="/health"),
                "stack": request(meter.wrap(app), key, path="/health"),
            }
            times = await in_turns(asks, rounds=100, calls=500)
        tell(
            "unmetered path: added",
            times["stack"].usual_us - times["bare"].usual_us,
            value_max=2.0,
        )

    asyncio.run(run())


def test_refused_call(tmp_path: Path, tell: Any) -> None:
    """A call above its request limit, answered with a 429."""

    async def run() -> None:
        app = JsonApp()
        one_a_day = RateOverride(1, 24 * 3600 * NS_PER_S)
        async with metered(tmp_path, requests=one_a_day) as (meter, key):
            forgetful = replace(meter._parts, on_refused=None)  # noqa: SLF001 - no service leaves it out
            untold = Stack(app, forgetful, start=meter.start, stop=meter.stop)
            asks = {
                "refused": request(meter.wrap(app), key),
                "forgotten": request(untold, key),
            }
            times = await in_turns(asks, rounds=50, calls=100)
        tell("refused call (429): whole answer", times["refused"].usual_us)
        tell(
            "refused call (429): beside one that no history tells, in processor time",
            times["refused"].busy_us,
            floor=times["forgotten"].busy_us,
            ratio_max=1.2,
        )

    asyncio.run(run())
