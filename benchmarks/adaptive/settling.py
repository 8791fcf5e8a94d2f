"""How long it took, after a disturbance, until all was as it should be."""

import math
from statistics import fmean

from benchmarks.adaptive.scenario import Scenario
from benchmarks.adaptive.simulation import History, Sample

__all__ = ["settle_s", "share_settle_s"]

_WATCHED_S = 120.0
_MEAN_OF = 8  # samples: 4 s
_QUEUE_MAX_S = 1.0
_USE_MIN, _USE_MAX = 0.85, 1.05
_OVERLOAD = 1.15
_BIN_S = 5.0
_STEADY_S = (40.0, 120.0)
_NEAR = math.exp(0.5)
_STAYS = 20  # samples: 10 s


def settle_s(history: History) -> float:
    """Seconds until the queue was below 1 s and an overloaded pool in use, for good."""
    scenario = history.scenario
    since_s = scenario.disturbed_s
    if since_s is None:
        return math.nan
    until_s = min(scenario.duration_s, since_s + _WATCHED_S)
    seen = [s for s in history.samples if since_s <= s.at_s <= until_s]
    asked = _asked(history)
    last_s = since_s
    for k in range(_MEAN_OF, len(seen) + 1):
        window = seen[k - _MEAN_OF : k]
        if not _in_band(scenario, window, asked):
            last_s = window[-1].at_s
    return last_s - since_s


def share_settle_s(history: History) -> float:
    """Seconds until the published share was near its later mean, for 10 s."""
    since_s = history.scenario.disturbed_s
    if since_s is None or history.samples[0].share_rpm is None:
        return math.nan
    after = [s for s in history.samples if s.at_s >= since_s and s.share_rpm]
    early_s, late_s = (since_s + s for s in _STEADY_S)
    level = fmean(s.share_rpm or 0 for s in after if early_s <= s.at_s <= late_s)
    near = [level / _NEAR < (s.share_rpm or 0) < level * _NEAR for s in after]
    for k, sample in enumerate(after):
        if all(near[k : k + _STAYS]):
            return sample.at_s - since_s
    return math.inf


def _asked(history: History) -> dict[int, float]:
    """Iterations asked for in each bin."""
    asked: dict[int, float] = {}
    for request in history.firsts:
        place = int(request.at_s / _BIN_S)
        asked[place] = asked.get(place, 0.0) + request.steps
    return asked


def _in_band(scenario: Scenario, window: list[Sample], asked: dict[int, float]) -> bool:
    queue_s = fmean(_queue_s(scenario, sample) for sample in window)
    used = fmean(s.running / max(1, s.slots) for s in window)
    overloaded = all(_overloaded(scenario, s, asked) for s in window)
    if queue_s > _QUEUE_MAX_S or (overloaded and used < _USE_MIN):
        return False
    return scenario.metered_per_s is not None or used <= _USE_MAX


def _queue_s(scenario: Scenario, sample: Sample) -> float:
    possible = scenario.engine.steps_per_s(max(1, sample.slots))
    return sample.queued * scenario.work.steps_at(sample.at_s) / possible


def _overloaded(scenario: Scenario, sample: Sample, asked: dict[int, float]) -> bool:
    possible = scenario.steps_per_s_at(sample.at_s) * _BIN_S
    return asked.get(int(sample.at_s / _BIN_S), 0.0) > _OVERLOAD * possible
