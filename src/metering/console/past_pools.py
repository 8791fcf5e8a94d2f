"""What adaptive pools did over time; what is over is read again now and then."""

from dataclasses import dataclass
from operator import attrgetter
from threading import Lock

from metering.clock import NS_PER_S, Clock
from metering.stores import History, PoolSpan

__all__ = ["KEPT_MAX", "KEPT_NS", "LATE_NS", "PastPools"]

LATE_NS = 600 * NS_PER_S
"""How long after its end a span may still change, and is read each time."""

KEPT_NS = 3600 * NS_PER_S
"""How old an answer of spans that are over may be: a node may tell later still."""

KEPT_MAX = 24
"""Answers that are kept, the latest read; names of pools come from clients."""

_by_name_and_time = attrgetter("pool", "start_ns")


@dataclass(frozen=True, slots=True)
class _Kept:
    """Spans that are over, and between which instants they are all of them."""

    read_ns: int
    since_ns: int
    until_ns: int
    spans: tuple[PoolSpan, ...]


class PastPools:
    """Reads what all processes told of their pools; safe in worker threads.

    A week of three pools and three processes is 90,000 rows to add up, of which those
    of the last minutes are few.

    Args:
        history: Where it is read.
        clock: The node's clock.
    """

    def __init__(self, history: History, clock: Clock) -> None:
        self._history = history
        self._clock = clock
        self._keeping = Lock()
        self._kept: dict[tuple[str | None, int], _Kept] = {}

    def read(self, pool: str | None, *, since_ns: int, step_ns: int) -> list[PoolSpan]:
        """Return what pools did until now, by name and then by time.

        Args:
            pool: The one to look at; None: all.
            since_ns: The first span begins here or later: a multiple of *step_ns*.
            step_ns: How long a span is: whole minutes.
        """
        asked, now_ns = (pool, step_ns), self._clock()
        kept = self._kept.get(asked)
        if (
            kept is None
            or kept.since_ns > since_ns
            or now_ns - kept.read_ns >= KEPT_NS
            or now_ns < kept.until_ns
        ):
            kept = _Kept(now_ns, since_ns, since_ns, ())
        fresh = self._history.pools(
            pool, since_ns=kept.until_ns, until_ns=now_ns + 1, step_ns=step_ns
        )
        found = (*kept.spans, *fresh)
        over_ns = max(kept.until_ns, (now_ns - LATE_NS) // step_ns * step_ns)
        over = tuple(each for each in found if each.start_ns < over_ns)
        self._keep(asked, _Kept(kept.read_ns, kept.since_ns, over_ns, over))
        wanted = (each for each in found if each.start_ns >= since_ns)
        return sorted(wanted, key=_by_name_and_time)

    def _keep(self, asked: tuple[str | None, int], kept: _Kept) -> None:
        with self._keeping:
            self._kept.pop(asked, None)
            if len(self._kept) >= KEPT_MAX:
                del self._kept[next(iter(self._kept))]
            self._kept[asked] = kept
