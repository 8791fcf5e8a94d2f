"""Calls, charges and the state of a process, as Prometheus reads them."""

import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from metering.clock import NS_PER_MS, NS_PER_S
from metering.exports import metrics
from metering.exports.gauges import of_state
from metering.exports.metrics import Row
from metering.observing import Headers, Observer, RefusedCall, ServiceState
from metering.usage import UsageEvent

__all__ = ["Prometheus"]

OTHER = "other"
"""Instead of a model that is not in the price book: clients make names up."""

UNKNOWN = "unknown"
"""Instead of the tier of a caller whom nobody knows."""

CALL_BOUNDS_NS = tuple(
    n * NS_PER_MS for n in (100, 250, 500, 1000, 2500, 5000, 10**4, 30_000, 120_000)
)
STORE_BOUNDS_NS = tuple(n * NS_PER_MS for n in (1, 2, 3, 5, 10, 20, 50, 100, 250))

_P_PER_MICROUSD = 10**6
_MS_PER_S = 1000


class Prometheus(Observer):
    """Counts calls, and writes the page of metrics.

    It counts in whole numbers of its own, which costs a call about a microsecond, under
    a third of what metrics of the client library do. They are of this process alone.
    """

    def __init__(self) -> None:
        # Calls may end in the loops of several threads; a page is made in another.
        self._lock = threading.Lock()
        self._models: frozenset[str] = frozenset()
        self._sums: dict[tuple[int, str, str], _Sums] = {}
        self._flags: Counter[tuple[str, str]] = Counter()
        self._refusals: Counter[tuple[str, str, str, str]] = Counter()
        self._durations: dict[str, _Histogram] = {}
        self._limits = {
            True: _Histogram(STORE_BOUNDS_NS),
            False: _Histogram(STORE_BOUNDS_NS),
        }

    def begin(self, models: Iterable[str]) -> None:
        """Learn which models may be named."""
        self._models = frozenset(models)

    def call_ended(self, event: UsageEvent, headers: Headers) -> None:  # noqa: ARG002 - see Observer
        """Count a call, its usage and its charge."""
        model = event.model if event.model in self._models else OTHER
        key = (event.tier, model, event.ending)
        with self._lock:
            sums = self._sums.get(key)
            if sums is None:
                sums = self._sums[key] = _Sums()
                self._durations.setdefault(model, _Histogram(CALL_BOUNDS_NS))
            sums.add(event)
            span_ns = event.ended_ns - event.admitted_ns
            self._durations[model].add(max(0, span_ns))  # a clock may step back
            for flag in event.flags:
                self._flags[model, flag] += 1

    def call_refused(self, refused: RefusedCall, headers: Headers) -> None:  # noqa: ARG002 - see Observer
        """Count a refusal."""
        model = refused.model if refused.model in self._models else OTHER
        tier = UNKNOWN if refused.tier is None else str(refused.tier)
        with self._lock:
            self._refusals[tier, model, refused.code, refused.quota] += 1

    def limits_asked(self, took_ns: int, *, answered: bool) -> None:
        """Count how long a store of limits took."""
        with self._lock:
            self._limits[answered].add(took_ns)

    def page(self, state: ServiceState, accepted: str) -> tuple[bytes, str]:
        """Return all metrics as text, and its type.

        Args:
            state: What there is to see of the process.
            accepted: The types that the client accepts, as its header says.
        """
        families = [*self._of_calls(), *_of_state(state)]
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Fixed(families))
        encode, kind = choose_encoder(accepted)
        return encode(registry), kind

    def _of_calls(self) -> Iterator[Metric]:
        # Calls go on meanwhile, and are not kept waiting: of one that ends just now the
        # page may have the tokens and not yet the charge. The next one has both.
        with self._lock:
            all_sums = list(self._sums.items())
            refusals, flags = dict(self._refusals), dict(self._flags)
            durations = list(self._durations.items())
        calls: dict[tuple[str, ...], int] = {}
        leaves: dict[Row, Counter[tuple[str, ...]]] = {
            row: Counter() for row in _LEAVES
        }
        tokens: Counter[tuple[str, ...]] = Counter()
        for (level, model, ending), sums in all_sums:
            tier = str(level)
            calls[tier, model, ending] = sums.calls
            for kind in _TOKENS:
                tokens[tier, model, kind] += getattr(sums, kind)
            for row, name in _LEAVES.items():
                leaves[row][tier, model] += getattr(sums, name)
        yield _counter(metrics.CALLS, calls)
        yield _counter(metrics.REFUSALS, refusals)
        yield _counter(metrics.TOKENS, tokens)
        for row, values in leaves.items():
            scale = _PER_SECOND.get(row, 1)
            yield _counter(row, {key: n / scale for key, n in values.items()})
        yield _counter(metrics.FLAGS, flags)
        yield _histogram(
            metrics.DURATION, {(model,): spans for model, spans in durations}
        )
        yield _histogram(
            metrics.LIMITS,
            {("answered",): self._limits[True], ("failed",): self._limits[False]},
        )


class _Sums:
    """Sums over the calls of one tier and model that ended alike."""

    __slots__ = (
        "audio_ms",
        "cache_read",
        "cache_write",
        "calls",
        "charge_microusd",
        "charge_rest_p",
        "compute_ms",
        "images",
        "input",
        "output",
        "reasoning",
    )

    def __init__(self) -> None:
        self.calls = self.images = self.audio_ms = self.compute_ms = 0
        self.input = self.cache_read = self.cache_write = 0
        self.output = self.reasoning = 0
        self.charge_microusd = self.charge_rest_p = 0

    def add(self, event: UsageEvent) -> None:
        usage, charge_p = event.usage, event.charge_p
        self.calls += 1
        self.input += usage.input_tokens
        self.output += usage.output_tokens
        self.cache_read += usage.cache_read_tokens
        self.cache_write += usage.cache_write_tokens
        self.reasoning += usage.reasoning_tokens
        self.compute_ms += usage.compute_ms
        self.audio_ms += usage.audio_ms
        self.images += usage.images
        # Prometheus keeps floats, which are exact up to 2**53: that many p$ are $9,007
        # and that many millionths $9 billion. What is beyond those in a call is a
        # counter of its own, so that both only grow and their sum is exact.
        self.charge_microusd += charge_p // _P_PER_MICROUSD
        self.charge_rest_p += charge_p % _P_PER_MICROUSD


_TOKENS = ("input", "cache_read", "cache_write", "output", "reasoning")
_LEAVES = {
    metrics.COMPUTE: "compute_ms",
    metrics.AUDIO: "audio_ms",
    metrics.IMAGES: "images",
    metrics.CHARGES: "charge_microusd",
    metrics.REST: "charge_rest_p",
}


_PER_SECOND = {metrics.COMPUTE: _MS_PER_S, metrics.AUDIO: _MS_PER_S}


class _Histogram:
    """How many spans there were up to each bound, and their sum."""

    __slots__ = ("_bounds_ns", "_counts", "_sum_ns")

    def __init__(self, bounds_ns: Sequence[int]) -> None:
        self._bounds_ns = bounds_ns
        self._counts = [0] * (len(bounds_ns) + 1)
        self._sum_ns = 0

    def add(self, span_ns: int) -> None:
        self._counts[bisect_left(self._bounds_ns, span_ns)] += 1
        self._sum_ns += span_ns

    def add_to(self, family: HistogramMetricFamily, labels: Sequence[str]) -> None:
        bounds = [str(bound / NS_PER_S) for bound in self._bounds_ns]
        counts = map(float, accumulate(self._counts))
        family.add_metric(
            labels,
            list(zip([*bounds, "+Inf"], counts, strict=True)),
            self._sum_ns / NS_PER_S,
        )


class _Fixed:
    """What is there to be written, as the client library wants to collect it."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def _of_state(state: ServiceState) -> Iterator[Metric]:
    for row, values in of_state(state):
        yield (_counter if row.kind == "counter" else _gauge)(row, values)


def _counter(row: Row, values: Mapping[Any, float]) -> Metric:
    family = CounterMetricFamily(row.name, row.tells, labels=row.labels)
    for labels, value in values.items():
        family.add_metric(labels, value)
    return family


def _gauge(row: Row, values: Mapping[Any, float]) -> Metric:
    family = GaugeMetricFamily(row.name, row.tells, labels=row.labels)
    for labels, value in values.items():
        family.add_metric(labels, value)
    return family


def _histogram(row: Row, values: Mapping[tuple[str, ...], _Histogram]) -> Metric:
    family = HistogramMetricFamily(row.name, row.tells, labels=row.labels)
    for labels, histogram in values.items():
        histogram.add_to(family, labels)
    return family
