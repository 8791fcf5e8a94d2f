"""The scenarios with which the design was chosen, as its study describes them."""

from dataclasses import replace

from benchmarks.adaptive.pool import Engine
from benchmarks.adaptive.scenario import Change, Scenario, crowds
from benchmarks.adaptive.traffic import Course, Crowd, Work

__all__ = ["PUBLISHED"]

_PER_S = Engine().steps_per_s(128) / 206
_FAIR = _PER_S / (1165 / 60)

_SMALL = Engine(slots=8)
_LARGE = Engine(slots=1024)
_SLOW = Engine(slots=64, alone_s=0.05, crowding_s=0.04)
_REASONING = Work(prompt_steps=30.0, answer_steps=400.0)


def _surge(times: float, accounts: int) -> tuple[tuple[int, Course], ...]:
    """Free crowds that fill the pool to 0.7, until more accounts join and ask more."""
    free = times - 0.35
    here, new = 68 / accounts, 1 - 68 / accounts
    return (
        (68, ((0.0, 0.35), (120.0, free * here))),
        (accounts - 68, ((0.0, 0.0), (120.0, free * new))),
    )


def _surging(times: float, accounts: int) -> Scenario:
    return Scenario(
        f"over{times:g}x",
        f"all at once {times:g} times the capacity is asked for",
        crowds(*_surge(times, accounts)),
        measured_s=(180.0, 420.0),
        disturbed_s=120.0,
    )


def _flashes() -> Course:
    quiet, loud = 0.02, 4.0
    starts = [120.0 + 90.0 * k for k in range(4)]
    points = [p for at_s in starts for p in ((at_s, loud), (at_s + 10, quiet))]
    return ((0.0, quiet), *points)


_TRIPLED = replace(_surging(3, 180), duration_s=420.0)

_ALL = (
    Scenario(
        "steady07",
        "0.7 of the capacity, steadily",
        crowds((68, ((0.0, 0.35),))),
        measured_s=(60.0, 420.0),
    ),
    _surging(2, 136),
    _surging(5, 240),
    _surging(10, 340),
    Scenario(
        "capdrop",
        "at 1.3 times the capacity, half of it is away for two minutes",
        crowds((100, ((0.0, 0.95),))),
        duration_s=480.0,
        measured_s=(60.0, 480.0),
        disturbed_s=150.0,
        changes=(Change(150.0, 0.5), Change(270.0, 1.0)),
    ),
    Scenario(
        "coldstart",
        "three times the capacity from the first second on",
        crowds((200, ((0.0, 2.65),))),
        duration_s=300.0,
        measured_s=(30.0, 300.0),
        disturbed_s=0.0,
    ),
    Scenario(
        "drift",
        "answers grow 2.5 times as long within ten minutes",
        crowds((120, ((0.0, 1.15),))),
        duration_s=720.0,
        measured_s=(60.0, 720.0),
        work=Work(answer_drift=((60.0, 1.0), (660.0, 2.5))),
    ),
    Scenario(
        "bursty",
        "free accounts ask for 20 s and are silent for 60 s",
        (
            *crowds(),
            Crowd(0, 60, ((0.0, 0.75 * _PER_S),), bursts=(20.0, 60.0)),
        ),
        duration_s=600.0,
        measured_s=(60.0, 600.0),
    ),
    Scenario(
        "greedy",
        "one free account asks for 7.5 times what the others do, and retries",
        (
            *crowds(),
            Crowd(0, 50, ((0.0, 50 * 2.5 / 60 * _FAIR),)),
            Crowd(0, 49, ((0.0, 49 * 14 / 60 * _FAIR),)),
            Crowd(0, 1, ((0.0, 1.0),), retries=2, name="greedy"),
        ),
        duration_s=480.0,
        measured_s=(60.0, 480.0),
    ),
    replace(
        _TRIPLED,
        name="nonstream",
        about="three times the capacity, and nobody streams",
        duration_s=480.0,
        measured_s=(180.0, 480.0),
        work=Work(streaming=0.0),
    ),
    replace(
        _TRIPLED,
        name="upstream429",
        about="the pool is somebody's metered API: 429 above 12 a second, no queue",
        metered_per_s=12.0,
    ),
    Scenario(
        "paidover",
        "three quarters of the pool are away: those who pay ask for 1.4 times the rest",
        crowds((100, ((0.0, 0.95),))),
        duration_s=480.0,
        measured_s=(60.0, 480.0),
        disturbed_s=120.0,
        changes=(Change(120.0, 0.25), Change(300.0, 1.0)),
    ),
    Scenario(
        "small",
        "8 slots, four times the capacity",
        crowds((24, ((0.0, 0.35), (120.0, 3.65))), paid=0.30, engine=_SMALL),
        duration_s=600.0,
        measured_s=(180.0, 600.0),
        disturbed_s=120.0,
        engine=_SMALL,
    ),
    Scenario(
        "large",
        "1024 slots, three times the capacity",
        crowds((1200, ((0.0, 0.35), (90.0, 2.65))), engine=_LARGE),
        duration_s=240.0,
        measured_s=(130.0, 240.0),
        disturbed_s=90.0,
        engine=_LARGE,
    ),
    Scenario(
        "slowmodel",
        "a model that reasons: long prompts, long answers, slow iterations",
        crowds((100, ((0.0, 0.35), (150.0, 3.65))), engine=_SLOW, work=_REASONING),
        duration_s=750.0,
        measured_s=(250.0, 750.0),
        disturbed_s=150.0,
        engine=_SLOW,
        work=_REASONING,
        patience_s=60.0,
        in_time_s=15.0,
    ),
    Scenario(
        "longover",
        "three times the capacity for forty minutes",
        crowds((150, ((0.0, 2.65),))),
        duration_s=2400.0,
        measured_s=(1800.0, 2400.0),
    ),
    Scenario(
        "fat",
        "a fifth of the free accounts ask for answers five times as long",
        (
            *crowds((80, ((0.0, 0.9),))),
            Crowd(0, 20, ((0.0, 0.225 * _PER_S),), answer_factor=5.0),
        ),
        duration_s=480.0,
        measured_s=(60.0, 480.0),
    ),
    replace(
        _TRIPLED,
        name="jitter",
        about="three times the capacity behind a network that delays",
        jitter=0.8,
    ),
    Scenario(
        "idle",
        "quiet, but for four crowds of ten seconds",
        crowds((200, _flashes()), paid=0.10),
        duration_s=480.0,
        measured_s=(60.0, 480.0),
    ),
)

PUBLISHED = {scenario.name: scenario for scenario in _ALL}
"""By name."""
