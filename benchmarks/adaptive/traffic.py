"""Who asks for what and when: crowds of accounts, and the requests that they send."""

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise

__all__ = [
    "Course",
    "Crowd",
    "Outcome",
    "Request",
    "Work",
    "lasting",
    "requests",
    "value_at",
]

Course = tuple[tuple[float, float], ...]
"""A value over time: (from this second, the value)."""

_PROMPT_SPREAD, _ANSWER_SPREAD = 0.8, 0.7
_PROMPT_STEPS_MIN, _ANSWER_STEPS_MIN = 1.0, 4.0


class Outcome(Enum):
    """What became of a request."""

    PENDING = "still waiting or running"
    ANSWERED = "answered to its end"
    OVER_SHARE = "refused: the account is over its own share"
    BUSY = "refused: the platform is busy"
    GONE = "the client hung up before the first byte"
    TURNED_AWAY = "refused by the pool itself"
    BROKEN = "lost with a part of the pool"


@dataclass(slots=True, eq=False)
class Request:
    """One request, and the instants of its life in seconds; None: not yet.

    Attributes:
        at_s: When it came.
        account: Who sent it.
        tier: 0 free, 1 pays as it goes, 2 by contract.
        prompt_steps: Iterations until its first byte.
        answer_steps: Iterations from there to its end.
        streams: Whether its first byte is seen before its last.
        since_s: When its first attempt came.
        retries: How often it is sent again if it is refused.
    """

    at_s: float
    account: str
    tier: int
    prompt_steps: float
    answer_steps: float
    streams: bool
    since_s: float
    retries: int = 0
    outcome: Outcome = Outcome.PENDING
    sent_s: float | None = None
    first_s: float | None = None
    done_s: float | None = None

    @property
    def is_retry(self) -> bool:
        """Whether an earlier attempt was refused."""
        return self.at_s > self.since_s

    @property
    def steps(self) -> float:
        """All iterations that it takes."""
        return self.prompt_steps + self.answer_steps


@dataclass(frozen=True)
class Crowd:
    """Accounts that behave alike.

    Args:
        tier: Tier of all of them.
        accounts: How many.
        load: Requests per second of them all, over time.
        answer_factor: How much longer their answers are than the model's mean.
        bursts: Mean seconds that an account is on, and off; None: always on.
        retries: How often a refused request is sent again, within a second.
        name: What its accounts are called by.
    """

    tier: int
    accounts: int
    load: Course
    answer_factor: float = 1.0
    bursts: tuple[float, float] | None = None
    retries: int = 0
    name: str = ""


@dataclass(frozen=True)
class Work:
    """What a model is asked: mean lengths in iterations, and how they drift.

    Args:
        prompt_steps: Mean iterations of a prompt.
        answer_steps: Mean iterations of an answer.
        prompt_drift: Factors of the first over time, in straight lines between them.
        answer_drift: The same of the second.
        streaming: Share of requests that stream.
    """

    prompt_steps: float = 6.0
    answer_steps: float = 200.0
    prompt_drift: Course = ((0.0, 1.0),)
    answer_drift: Course = ((0.0, 1.0),)
    streaming: float = 1.0

    def steps_at(self, at_s: float) -> float:
        """Mean iterations of a request at a time."""
        prompt = self.prompt_steps * value_at(self.prompt_drift, at_s)
        return prompt + self.answer_steps * value_at(self.answer_drift, at_s)


def value_at(course: Course, at_s: float) -> float:
    """Read a course that runs in straight lines between its points."""
    if at_s <= course[0][0]:
        return course[0][1]
    for (from_s, before), (to_s, after) in pairwise(course):
        if at_s < to_s:
            return before + (after - before) * (at_s - from_s) / (to_s - from_s)
    return course[-1][1]


def lasting(course: Course, until_s: float) -> Iterator[tuple[float, float, float]]:
    """Read a course that stays at each value: (from, to, value)."""
    ends = [at_s for at_s, _ in course[1:]] + [until_s]
    for (from_s, value), to_s in zip(course, ends, strict=True):
        yield from_s, min(to_s, until_s), value


def requests(
    crowds: Sequence[Crowd], work: Work, *, duration_s: float, seed: str
) -> list[Request]:
    """All first attempts in the order of time: the same for every law.

    Args:
        crowds: Who asks.
        work: What they ask.
        duration_s: When they stop.
        seed: Equal seeds give equal requests.
    """
    chance = random.Random(seed)  # noqa: S311 - to be repeated, not to be secret
    found: list[Request] = []
    for number, crowd in enumerate(crowds):
        names = [
            f"{crowd.name or 'account'}-{number}-{k}" for k in range(crowd.accounts)
        ]
        when = _bursts if crowd.bursts else _steady
        for at_s, account in when(crowd, names, duration_s, chance):
            found.append(_request(crowd, work, at_s, account, chance))
    return sorted(found, key=lambda request: (request.at_s, request.account))


def _request(
    crowd: Crowd, work: Work, at_s: float, account: str, chance: random.Random
) -> Request:
    prompt = work.prompt_steps * value_at(work.prompt_drift, at_s)
    answer = work.answer_steps * value_at(work.answer_drift, at_s) * crowd.answer_factor
    return Request(
        at_s,
        account,
        crowd.tier,
        max(_PROMPT_STEPS_MIN, _around(prompt, _PROMPT_SPREAD, chance)),
        max(_ANSWER_STEPS_MIN, _around(answer, _ANSWER_SPREAD, chance)),
        chance.random() < work.streaming,
        since_s=at_s,
        retries=crowd.retries,
    )


def _around(mean: float, spread: float, chance: random.Random) -> float:
    return mean * math.exp(chance.gauss(0, spread) - spread * spread / 2)


def _steady(
    crowd: Crowd, names: list[str], duration_s: float, chance: random.Random
) -> Iterator[tuple[float, str]]:
    for from_s, to_s, per_s in lasting(crowd.load, duration_s):
        for at_s in _arrivals(from_s, to_s, per_s, chance):
            yield at_s, chance.choice(names)


def _bursts(
    crowd: Crowd, names: list[str], duration_s: float, chance: random.Random
) -> Iterator[tuple[float, str]]:
    assert crowd.bursts is not None
    on_s, off_s = crowd.bursts
    busy = on_s / (on_s + off_s)
    per_s = crowd.load[0][1] / crowd.accounts / busy
    for name in names:
        at_s, on = 0.0, chance.random() < busy
        while at_s < duration_s:
            to_s = at_s + chance.expovariate(1 / (on_s if on else off_s))
            if on:
                for each_s in _arrivals(at_s, min(to_s, duration_s), per_s, chance):
                    yield each_s, name
            at_s, on = to_s, not on


def _arrivals(
    from_s: float, to_s: float, per_s: float, chance: random.Random
) -> Iterator[float]:
    at_s = from_s
    while per_s > 0 and (at_s := at_s + chance.expovariate(per_s)) < to_s:
        yield at_s
