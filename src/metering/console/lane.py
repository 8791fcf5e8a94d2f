"""The console's own few worker threads: looking, however much, takes none of the app's.

A ledger that hangs keeps the threads that ask it, and whoever invents a key or a cookie
makes it be asked.
"""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import ParamSpec, TypeVar

from anyio import CapacityLimiter, to_thread
from anyio.lowlevel import RunVar

from metering.errors import StorageError

__all__ = ["AT_ONCE_MAX", "WAITING_MAX", "in_lane", "in_thread"]

AT_ONCE_MAX = 8
"""How much the console does in threads at once, on one event loop."""

WAITING_MAX = 32
"""How many more wait for that; whoever comes then is sent away at once."""

_P = ParamSpec("_P")
_T = TypeVar("_T")


@dataclass(slots=True)
class _Lane:
    """What is under way on one event loop."""

    limiter: CapacityLimiter = field(
        default_factory=lambda: CapacityLimiter(AT_ONCE_MAX)
    )
    taken: int = 0


# A limiter belongs to the event loop on which it is first used.
_lane = RunVar[_Lane](f"{__name__}.lane")


async def in_thread(
    function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs
) -> _T:
    """Return what a function returns that blocks, called in a thread of the console's.

    Raises:
        StorageError: Too many wait already.
    """
    with _place() as limiter:
        return await to_thread.run_sync(
            partial(function, *args, **kwargs), limiter=limiter
        )


async def in_lane(
    function: Callable[_P, Awaitable[_T]], *args: _P.args, **kwargs: _P.kwargs
) -> _T:
    """Return what a function returns that asks the ledger in the service's threads.

    It holds one of them at a time, and may not come here again while it does.

    Raises:
        StorageError: Too many wait already.
    """
    with _place() as limiter:
        async with limiter:
            return await function(*args, **kwargs)


@contextmanager
def _place() -> Iterator[CapacityLimiter]:
    lane = _lane.get(None)
    if lane is None:
        lane = _Lane()
        _lane.set(lane)
    if lane.taken >= AT_ONCE_MAX + WAITING_MAX:
        raise StorageError(
            f"{lane.taken} requests of the console wait for the ledger already. See"
            " that its database answers, and limit requests to the console at the"
            " proxy."
        )
    lane.taken += 1
    try:
        yield lane.limiter
    finally:
        lane.taken -= 1
