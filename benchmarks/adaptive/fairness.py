"""How evenly free accounts were served, in what each of them asked for."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from benchmarks.adaptive.traffic import Outcome, Request

__all__ = ["Fairness", "equal_split", "fairness", "jain"]

_GREEDY = "greedy"


@dataclass(frozen=True)
class Fairness:
    """Among accounts.

    Attributes:
        jain: Index of what each got in what an equal split would have given it; 1 is
            perfect, 1/n means that one got all.
        jain_work: Index of the work that each got.
        light_served: Share served of those who asked for less than half of the split.
        greedy_times: What the greedy account got in the mean of the others.
    """

    jain: float
    jain_work: float
    light_served: float
    greedy_times: float


def fairness(free: Sequence[Request]) -> Fairness:
    """Judge what free accounts got of what they asked for."""
    asked = Counter(r.account for r in free if not r.is_retry)
    got: Counter[str] = Counter()
    work = dict.fromkeys(asked, 0.0)
    for request in free:
        if request.sent_s is None or request.outcome is Outcome.TURNED_AWAY:
            continue
        got[request.account] += 1
        work[request.account] = work.get(request.account, 0.0) + request.steps
    accounts = sorted(asked)
    split = equal_split([asked[a] for a in accounts], got.total())
    fair = dict(zip(accounts, split, strict=True))
    most = max(split, default=0.0)
    light = [a for a in accounts if asked[a] < most / 2]
    return Fairness(
        jain=jain([got[a] / fair[a] for a in accounts if fair[a] > 0]),
        jain_work=jain(list(work.values())),
        light_served=_share(light, got, asked),
        greedy_times=_greedy_times(accounts, got),
    )


def equal_split(asked: Sequence[int], amount: float) -> list[float]:
    """Split an amount evenly, but give nobody more than was asked for."""
    left, split = float(amount), [0.0] * len(asked)
    order = sorted(range(len(asked)), key=lambda k: asked[k])
    for place, k in enumerate(order):
        split[k] = min(asked[k], left / (len(order) - place))
        left -= split[k]
    return split


def jain(values: Sequence[float]) -> float:
    """Return Jain's index."""
    squares = sum(v * v for v in values)
    return sum(values) ** 2 / (len(values) * squares) if squares else 1.0


def _share(accounts: Sequence[str], got: Counter[str], asked: Counter[str]) -> float:
    wanted = sum(asked[a] for a in accounts)
    return sum(got[a] for a in accounts) / wanted if wanted else 1.0


def _greedy_times(accounts: Sequence[str], got: Counter[str]) -> float:
    greedy = [got[a] for a in accounts if a.startswith(_GREEDY)]
    others = [got[a] for a in accounts if not a.startswith(_GREEDY)]
    return fmean(greedy) / max(1e-9, fmean(others)) if greedy else math.nan
