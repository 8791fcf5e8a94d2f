"""What there is to see of a process, as values of metrics with their labels."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import get_args

from metering.adaptive import PlatformState
from metering.clock import NS_PER_S
from metering.exports import metrics
from metering.exports.metrics import Row
from metering.observing import ServiceState

__all__ = ["Values", "of_state"]

Values = Mapping[tuple[str, ...], float]
"""A metric's value by the values of its labels."""

_STATUSES = ("cold", "warming", "warm")


def of_state(state: ServiceState) -> Iterator[tuple[Row, Values]]:
    """Yield each metric of the state; without values where it cannot be seen."""
    alone: dict[Row, int | float | None] = {
        metrics.HOLDS: state.holds_open,
        metrics.OWED: state.settlements_owed,
        metrics.UNPOSTED: state.journal_unposted,
        metrics.LAG: state.journal_lag_ns / NS_PER_S,
        metrics.BACKLOG: state.journal_backlog,
        metrics.LOST: state.journal_lost,
        metrics.FULL: int(state.journal_full),
        metrics.POSTING: int(state.posting_fails),
    }
    for row, value in alone.items():
        yield row, {} if value is None else {(): value}
    yield (
        metrics.AWAY,
        {
            ("limits",): int(state.limits_away),
            ("windows",): int(state.windows_away),
        },
    )
    yield metrics.OUTBOX, {(at,): n for at, n in (state.outbox or {}).items()}
    pools = state.pools.items()
    yield metrics.LIMIT, {(pool,): one.limit_rpm for pool, one in pools}
    yield metrics.WAITING, {(pool,): one.waiting for pool, one in pools}
    states = get_args(PlatformState)
    yield (
        metrics.POOL,
        {
            (pool, name): int(name == one.state)
            for pool, one in pools
            for name in states
        },
    )
    statuses = Counter(state.models.values())
    yield metrics.MODELS, {(name,): statuses[name] for name in _STATUSES}
