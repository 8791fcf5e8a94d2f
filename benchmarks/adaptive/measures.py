"""What a history is worth: to the platform, to those who pay, to free accounts."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, pstdev

from benchmarks.adaptive.fairness import Fairness, fairness
from benchmarks.adaptive.settling import settle_s, share_settle_s
from benchmarks.adaptive.simulation import History
from benchmarks.adaptive.traffic import Outcome, Request

__all__ = ["Measures", "measure"]

_BIN_S, _RATE_BIN_S = 5.0, 10.0
_LOST = frozenset({Outcome.OVER_SHARE, Outcome.BUSY, Outcome.GONE, Outcome.TURNED_AWAY})


@dataclass(frozen=True)
class Measures:
    """Of one run. What does not apply is NaN.

    Attributes:
        goodput: Work whose first byte came in time, in what could have been done.
        spare_use: The same of free accounts, in what those who pay left.
        paid_ttft_p50_s: Time to the first byte of those who pay.
        paid_ttft_p99_s: The same.
        paid_stretch_p99: Their time per step, in that of an idle pool.
        paid_lost: Share of their requests refused, turned away or given up.
        lost_tier_1: The same of tier 1.
        lost_tier_2: The same of tier 2.
        free_ttft_p99_s: Time to the first byte of free accounts that got one.
        fairness: Among free accounts.
        settle_s: Until queue and use were in their band for good.
        share_settle_s: Until the published share was at its new level.
        admitted_wobble: Deviation in mean of what was admitted, in bins of 10 s.
        share_wobble: The same of the published share.
        share_rpm: Its mean.
        refused_inside: Share of free requests within the published share that were
            refused all the same.
    """

    goodput: float
    spare_use: float
    paid_ttft_p50_s: float
    paid_ttft_p99_s: float
    paid_stretch_p99: float
    paid_lost: float
    lost_tier_1: float
    lost_tier_2: float
    free_ttft_p99_s: float
    fairness: Fairness
    settle_s: float
    share_settle_s: float
    admitted_wobble: float
    share_wobble: float
    share_rpm: float
    refused_inside: float


def measure(history: History) -> Measures:
    """Measure a history within the window of its scenario."""
    came = [r for r in history.requests if _within(history, r.at_s)]
    paid = [r for r in came if r.tier]
    free = [r for r in came if not r.tier]
    shares = [
        s.share_rpm
        for s in history.samples
        if s.share_rpm is not None and _within(history, s.at_s)
    ]
    waits = [r.first_s - r.at_s for r in paid if r.first_s is not None]
    return Measures(
        goodput=_goodput(history),
        spare_use=_spare_use(history),
        paid_ttft_p50_s=percentile(waits, 0.50),
        paid_ttft_p99_s=percentile(waits, 0.99),
        paid_stretch_p99=_stretch(history, paid),
        paid_lost=_lost(paid),
        lost_tier_1=_lost([r for r in paid if r.tier == 1]),
        lost_tier_2=_lost([r for r in paid if r.tier == 2]),
        free_ttft_p99_s=percentile(
            [r.first_s - r.since_s for r in free if r.first_s is not None], 0.99
        ),
        fairness=fairness(free),
        settle_s=settle_s(history),
        share_settle_s=share_settle_s(history),
        admitted_wobble=_wobble(_admitted(history)),
        share_wobble=_wobble(shares),
        share_rpm=fmean(shares) if shares else math.nan,
        refused_inside=_refused_inside(free),
    )


def percentile(values: Sequence[float], share: float) -> float:
    """Read a percentile, in a straight line between the two values around it."""
    if not values:
        return math.nan
    ordered = sorted(values)
    place = (len(ordered) - 1) * share
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def _within(history: History, at_s: float | None) -> bool:
    from_s, to_s = history.scenario.measured_s
    return at_s is not None and from_s <= at_s < to_s


def _bins(history: History, width_s: float) -> list[tuple[float, float]]:
    from_s, to_s = history.scenario.measured_s
    count = int(to_s / width_s) - int(from_s / width_s)
    starts = [(int(from_s / width_s) + k) * width_s for k in range(count)]
    return [(start, start + width_s) for start in starts]


def _goodput(history: History) -> float:
    """The ideal does in each bin what is asked for or what is possible."""
    asked = dict.fromkeys(_bins(history, _BIN_S), 0.0)
    for request in history.firsts:
        start = int(request.at_s / _BIN_S) * _BIN_S
        if (start, start + _BIN_S) in asked:
            asked[start, start + _BIN_S] += request.steps
    ideal = sum(min(steps, _possible(history, span)) for span, steps in asked.items())
    return sum(r.steps for r in _good(history)) / ideal


def _possible(history: History, span: tuple[float, float]) -> float:
    middle_s = (span[0] + span[1]) / 2
    return history.scenario.steps_per_s_at(middle_s) * (span[1] - span[0])


def _good(history: History) -> list[Request]:
    return [
        r
        for r in history.requests
        if r.outcome is Outcome.ANSWERED
        and _within(history, r.done_s)
        and r.first_s is not None
        and r.first_s - r.since_s <= history.scenario.in_time_s
    ]


def _spare_use(history: History) -> float:
    paid = sum(
        r.steps
        for r in history.requests
        if r.tier and r.outcome is Outcome.ANSWERED and _within(history, r.done_s)
    )
    asked = sum(
        r.steps for r in history.firsts if not r.tier and _within(history, r.at_s)
    )
    possible = sum(_possible(history, span) for span in _bins(history, _BIN_S))
    used = sum(r.steps for r in _good(history) if not r.tier)
    return used / max(1e-9, min(possible - paid, asked))


def _stretch(history: History, paid: Sequence[Request]) -> float:
    step_s = history.scenario.engine.iteration_s(1)
    times = [
        (r.done_s - r.at_s) / (r.steps * step_s)
        for r in paid
        if r.outcome is Outcome.ANSWERED and r.done_s is not None
    ]
    return percentile(times, 0.99)


def _lost(requests: Sequence[Request]) -> float:
    return sum(r.outcome in _LOST for r in requests) / max(1, len(requests))


def _refused_inside(free: Sequence[Request]) -> float:
    busy = sum(r.outcome is Outcome.BUSY for r in free)
    sent = sum(r.sent_s is not None for r in free)
    return busy / max(1, busy + sent)


def _admitted(history: History) -> list[float]:
    counts = dict.fromkeys(_bins(history, _RATE_BIN_S), 0.0)
    for request in history.requests:
        if request.sent_s is not None:
            start = int(request.sent_s / _RATE_BIN_S) * _RATE_BIN_S
            if (start, start + _RATE_BIN_S) in counts:
                counts[start, start + _RATE_BIN_S] += 1
    return list(counts.values())


def _wobble(values: Sequence[float]) -> float:
    if len(values) < 3:
        return math.nan
    return pstdev(values) / max(1e-9, fmean(values))
