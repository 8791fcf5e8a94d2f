"""What a law must achieve, scenario by scenario: the acceptance bounds of the study."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from statistics import median
from typing import Literal

from benchmarks.adaptive.measures import Measures

__all__ = ["BASE", "BOUNDS", "Bound", "Verdict", "judged"]

BASE = "steady07"
"""The scenario that, without a limiter, gives what relative bounds are relative to."""

Of = Literal["median", "worst", "base"]


@dataclass(frozen=True)
class Bound:
    """One promise.

    Args:
        scenario: Where it holds.
        about: What it says.
        measure: Which of the measures, dotted.
        at_least: Its lower bound.
        at_most: Its upper bound.
        of: The median of all seeds, the worst seed, or the median in that of an
            unlimited pool at 0.7 of its capacity.
    """

    scenario: str
    about: str
    measure: str
    at_least: float = -math.inf
    at_most: float = math.inf
    of: Of = "median"


@dataclass(frozen=True)
class Verdict:
    """What became of a bound."""

    bound: Bound
    value: float

    @property
    def met(self) -> bool:
        """Whether the value is within the bound."""
        return self.bound.at_least <= self.value <= self.bound.at_most

    def __str__(self) -> str:
        bound = self.bound
        upper = math.isfinite(bound.at_most)
        wanted = f"≤ {bound.at_most:g}" if upper else f"≥ {bound.at_least:g}"
        met = "ok    " if self.met else "MISSED"
        return f"{met} {bound.scenario:12} {bound.about}: {self.value:.3f} ({wanted})"


def judged(
    bounds: Sequence[Bound],
    found: Mapping[str, Sequence[Measures]],
    base: Sequence[Measures],
) -> list[Verdict]:
    """Hold measures against their bounds.

    Args:
        bounds: Of scenarios that were all measured.
        found: Measures of each seed, by scenario.
        base: The same of `BASE` without a limiter.
    """
    return [Verdict(b, _value(b, found[b.scenario], base)) for b in bounds]


def _value(bound: Bound, seeds: Sequence[Measures], base: Sequence[Measures]) -> float:
    read = attrgetter(bound.measure)
    values = [read(measures) for measures in seeds]
    if bound.of == "worst":
        return max(values) if math.isfinite(bound.at_most) else min(values)
    if bound.of == "base":
        return median(values) / median(read(measures) for measures in base)
    return median(values)


def _goodput(**at_least: float) -> tuple[Bound, ...]:
    return tuple(
        Bound(name, "work done in time, of what was possible", "goodput", at_least=low)
        for name, low in at_least.items()
    )


def _first_bytes(**at_most: float) -> tuple[Bound, ...]:
    return tuple(
        Bound(
            name,
            "slowest first byte of who pays, in that at 0.7",
            "paid_ttft_p99_s",
            at_most=high,
            of="base",
        )
        for name, high in at_most.items()
    )


BOUNDS = (
    *_goodput(
        steady07=0.98,
        over2x=0.97,
        over5x=0.97,
        over10x=0.97,
        capdrop=0.95,
        coldstart=0.97,
        drift=0.96,
        bursty=0.97,
        small=0.90,
        large=0.98,
        slowmodel=0.93,
        nonstream=0.97,
        upstream429=0.94,
        longover=0.97,
        jitter=0.97,
    ),
    *_first_bytes(over5x=1.8, capdrop=3.2, nonstream=2.8, longover=1.8, idle=1.4),
    Bound(
        "steady07",
        "free requests refused inside their share",
        "refused_inside",
        at_most=0.002,
        of="worst",
    ),
    Bound(
        "steady07",
        "least published share, RPM",
        "share_rpm",
        at_least=59.0,
        of="worst",
    ),
    Bound("over5x", "spare capacity used", "spare_use", at_least=0.97),
    Bound(
        "over5x",
        "slowest answer of who pays, in that at 0.7",
        "paid_stretch_p99",
        at_most=1.6,
        of="base",
    ),
    Bound("over5x", "in its band again after, s", "settle_s", at_most=10.0),
    Bound("over5x", "share at its new level after, s", "share_settle_s", at_most=8.0),
    Bound("over5x", "Jain's index of free accounts", "fairness.jain", at_least=0.98),
    Bound("over5x", "wobble of what is admitted", "admitted_wobble", at_most=0.10),
    Bound("over5x", "wobble of the share", "share_wobble", at_most=0.25),
    Bound("over5x", "refused inside the share", "refused_inside", at_most=0.08),
    Bound("over10x", "paid requests lost", "paid_lost", at_most=0.001, of="worst"),
    Bound("over10x", "share at its new level after, s", "share_settle_s", at_most=8.0),
    Bound("over10x", "Jain's index of free accounts", "fairness.jain", at_least=0.97),
    Bound("capdrop", "paid requests lost", "paid_lost", at_most=0.01),
    Bound("coldstart", "in its band after, s", "settle_s", at_most=30.0),
    Bound("coldstart", "paid requests lost", "paid_lost", at_most=0.001, of="worst"),
    Bound("bursty", "Jain's index of free accounts", "fairness.jain", at_least=0.93),
    Bound("greedy", "light accounts served", "fairness.light_served", at_least=0.95),
    Bound("greedy", "what the greedy gets", "fairness.greedy_times", at_most=4.5),
    Bound(
        "paidover",
        "requests of contracts lost",
        "lost_tier_2",
        at_most=0.005,
        of="worst",
    ),
    Bound("paidover", "requests of tier 1 lost", "lost_tier_1", at_most=0.15),
    Bound("upstream429", "paid requests lost", "paid_lost", at_most=0.04),
)
