"""`metering bench`: what the library costs on this machine, beside a floor."""

from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import msgspec
import typer
from anyio import to_thread

from metering.cli.desk import Desk
from metering.cli.measuring import (
    CHUNKS,
    bare_app,
    call_of,
    count_one,
    decide_one,
    median_ns,
    metered_app,
    sync_ns,
)
from metering.cli.output import table
from metering.clock import NS_PER_MS, NS_PER_US

__all__ = ["bench"]

_MEASURED = 4


class _Figure(msgspec.Struct):
    """A median, in nanoseconds, beside that of the least there is to do."""

    what: str
    floor_ns: int
    metered_ns: int
    added_ns: int


async def bench(
    desk: Desk,
    *,
    seconds: Annotated[
        float, typer.Option(min=0.01, max=60, help="How long each figure takes.")
    ] = 1.0,
) -> None:
    """Measure what the whole stack adds to a call on this machine, beside a floor.

    Limits and ledger are in memory, the journal in a temporary folder. Other work on
    the machine affects the figures.
    """
    figures: list[_Figure] = []
    with desk.output.progress() as bar, TemporaryDirectory() as folder:
        task = bar.add_task("Measuring", total=_MEASURED)
        async for figure in _figures(Path(folder), seconds):
            figures.append(figure)
            bar.advance(task)
    rows = [
        (f.what, _time(f.floor_ns), _time(f.metered_ns), _time(f.added_ns))
        for f in figures
    ]
    desk.output.show(
        figures, table("Medians", ("", "floor>", "metered>", "added>"), rows)
    )


async def _figures(folder: Path, seconds: float) -> AsyncIterator[_Figure]:
    floor_ns = await median_ns(count_one(), seconds)
    ours_ns = await median_ns(decide_one(), seconds)
    yield _figure("a rate decision; floor: dict[key] += 1", floor_ns, ours_ns)
    async with metered_app(folder) as (app, key):
        for what, streams in (
            ("a JSON call; floor: the bare app", False),
            (f"a stream of {CHUNKS} chunks; floor: the bare app", True),
        ):
            floor_ns = await median_ns(call_of(bare_app, "", streams=streams), seconds)
            ours_ns = await median_ns(call_of(app, key, streams=streams), seconds)
            yield _figure(what, floor_ns, ours_ns)
    synced_ns = await to_thread.run_sync(sync_ns, folder)
    yield _figure("a sync of the disk, once for many calls", 0, synced_ns)


def _figure(what: str, floor_ns: float, ours_ns: float) -> _Figure:
    added_ns = round(ours_ns - floor_ns)
    return _Figure(what, round(floor_ns), round(ours_ns), added_ns)


def _time(ns: int) -> str:
    if abs(ns) >= NS_PER_MS:
        return f"{ns / NS_PER_MS:.2f} ms"
    return f"{ns / NS_PER_US:.2f} us" if ns else ""
