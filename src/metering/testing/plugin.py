"""Fixtures for tests of services built on metering; pytest finds them by itself."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

# Pytest loads this module at every start, also where metering is only installed.
# So fixtures import what they need when they are used.
if TYPE_CHECKING:
    from metering.metering import Metering
    from metering.testing.clock import ManualClock

__all__ = ["metering", "metering_clock"]


@pytest.fixture
def metering_clock() -> "ManualClock":
    """A clock that stands at 2026-01-15T00:00:00Z until the test moves it."""
    from metering.testing.clock import ManualClock  # noqa: PLC0415 - see above

    return ManualClock()


@pytest.fixture
def metering(metering_clock: "ManualClock", tmp_path: Path) -> Iterator["Metering"]:
    """A `Metering` of the preset friendli, all of it in memory but its journal."""
    import anyio  # noqa: PLC0415 - see above

    from metering.backends.sql import SqlLedger  # noqa: PLC0415
    from metering.config import plan_from_preset  # noqa: PLC0415
    from metering.metering import Metering  # noqa: PLC0415

    plan = replace(plan_from_preset("friendli"), data=str(tmp_path / "metering"))
    ledger = SqlLedger("sqlite://", tiers=plan.tiers)
    meter = Metering(plan, clock=metering_clock, ledger=ledger)
    yield meter
    anyio.run(meter.stop)
