"""What a call that pays costs more where adaptive limits are installed and idle."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from benchmarks.service import JsonApp, metered, request
from benchmarks.timing import in_turns

pytestmark = pytest.mark.timeout(120)


def test_adaptive_limits_of_others(tmp_path: Path, tell: Any) -> None:
    """A JSON call of tier 3, whose quota is fixed, through the whole stack."""

    async def run() -> None:
        app = JsonApp()
        async with (
            metered(tmp_path / "fixed", adaptive=False) as (fixed, fixed_key),
            metered(tmp_path / "adaptive") as (adaptive, adaptive_key),
        ):
            asks = {
                "bare": request(app, fixed_key),
                "fixed": request(fixed.wrap(app), fixed_key),
                "adaptive": request(adaptive.wrap(app), adaptive_key),
            }
            times = await in_turns(asks, rounds=60, calls=200)
        bare = times["bare"]
        tell(
            "whole stack, adaptive limits idle: added, in processor time of the loop's"
            " thread; floor: without them",
            times["adaptive"].busy_us - bare.busy_us,
            floor=times["fixed"].busy_us - bare.busy_us,
            ratio_max=1.3,
        )

    asyncio.run(run())
