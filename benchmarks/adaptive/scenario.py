"""What a scenario is: a pool, what befalls it, and who asks."""

from dataclasses import dataclass

from benchmarks.adaptive.pool import Engine
from benchmarks.adaptive.traffic import Course, Crowd, Work

__all__ = ["Change", "Scenario", "crowds"]

_ENGINE, _WORK = Engine(), Work()


@dataclass(frozen=True)
class Change:
    """The pool changes its size.

    Args:
        at_s: When.
        share: Of its first slots; 0: it turns all away.
        crash: Whether all that runs is lost.
    """

    at_s: float
    share: float
    crash: bool = False


@dataclass(frozen=True)
class Scenario:
    """One story, told the same to every law.

    Args:
        name: A word.
        about: What happens, in one line.
        crowds: Who asks.
        duration_s: When the story ends.
        measured_s: From when to when it is measured.
        disturbed_s: When the disturbance comes whose settling is measured, if any.
        engine: How fast the pool is.
        work: What it is asked.
        changes: What befalls the pool.
        patience_s: How long clients wait for a first byte.
        in_time_s: A first byte after this is of no use to anybody.
        metered_per_s: A rate above which the pool answers 429; None: it queues.
        jitter: Spread of the network's delay, mean some 50 ms; 0: no delay.
    """

    name: str
    about: str
    crowds: tuple[Crowd, ...]
    duration_s: float = 420.0
    measured_s: tuple[float, float] = (120.0, 420.0)
    disturbed_s: float | None = None
    engine: Engine = _ENGINE
    work: Work = _WORK
    changes: tuple[Change, ...] = ()
    patience_s: float = 30.0
    in_time_s: float = 5.0
    metered_per_s: float | None = None
    jitter: float = 0.0

    def share_at(self, at_s: float) -> float:
        """Return the share of the slots that there is at a time."""
        past = [change.share for change in self.changes if change.at_s <= at_s]
        return past[-1] if past else 1.0

    def slots_at(self, at_s: float) -> int:
        """Return the slots that there are at a time."""
        return round(self.engine.slots * self.share_at(at_s))

    def steps_per_s_at(self, at_s: float) -> float:
        """Return the work that can be done per second, in iterations of requests."""
        possible = self.engine.steps_per_s(self.slots_at(at_s))
        if self.metered_per_s is None:
            return possible
        return min(possible, self.metered_per_s * self.work.steps_at(at_s))


def crowds(
    *free: tuple[int, Course],
    paid: float = 0.35,
    engine: Engine = _ENGINE,
    work: Work = _WORK,
) -> tuple[Crowd, ...]:
    """Make the usual crowds: two paid tiers, and free accounts.

    Args:
        free: Of each crowd its accounts, and its load in capacities over time.
        paid: Load of the paid tiers together, in capacities.
        engine: Whose capacity.
        work: Asking what.
    """
    per_s = engine.steps_per_s(engine.slots) / (work.prompt_steps + work.answer_steps)
    paid_s = paid * per_s
    return (
        Crowd(2, 5, ((0.0, 0.43 * paid_s),)),
        Crowd(1, 10, ((0.0, 0.57 * paid_s),)),
        *(
            Crowd(0, accounts, tuple((at_s, share * per_s) for at_s, share in load))
            for accounts, load in free
        ),
    )
