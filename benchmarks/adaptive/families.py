"""Scenarios on which nothing was tuned: other shapes of load, other ways to fail."""

from benchmarks.adaptive.pool import Engine
from benchmarks.adaptive.scenario import Change, Scenario, crowds
from benchmarks.adaptive.traffic import Course, Crowd, Work

__all__ = ["FAMILIES"]

_PER_S = Engine().steps_per_s(128) / 206
_DAY_S = 1200.0


def _day() -> Course:
    """Load by the hour, of a day that passes in twenty minutes."""
    by_hour = (2, 2, 1, 1, 2, 4, 8, 14, 20, 24, 27, 29, 30, 30, 29, 28, 26, 24, 22)
    evening = (20, 16, 11, 7, 4)
    return tuple(
        (_DAY_S * hour / 24, tenths / 10)
        for hour, tenths in enumerate(by_hour + evening)
    )


_ALL = (
    Scenario(
        "diurnal",
        "a day: free load from a tenth of the capacity to three times of it",
        crowds((150, _day())),
        duration_s=_DAY_S,
        measured_s=(60.0, _DAY_S),
    ),
    Scenario(
        "retries",
        "three times the capacity, and whoever is refused asks again at once, thrice",
        (
            *crowds((68, ((0.0, 0.35),))),
            Crowd(0, 112, ((0.0, 0.0), (120.0, 2.3 * _PER_S)), retries=3),
        ),
        measured_s=(180.0, 420.0),
        disturbed_s=120.0,
    ),
    Scenario(
        "twolengths",
        "chats, and from the middle on as many reports of twelve times the length",
        (
            *crowds(paid=0.30),
            Crowd(0, 80, ((0.0, 2.0 * _PER_S),), answer_factor=0.25),
            Crowd(0, 40, ((0.0, 0.0), (240.0, 0.5 * _PER_S)), answer_factor=3.0),
        ),
        duration_s=540.0,
        measured_s=(270.0, 540.0),
        disturbed_s=240.0,
    ),
    Scenario(
        "restart",
        "at twice the capacity the pool dies, and is back after 20 s",
        crowds((120, ((0.0, 1.65),))),
        measured_s=(60.0, 420.0),
        disturbed_s=200.0,
        changes=(Change(180.0, 0.0, crash=True), Change(200.0, 1.0)),
    ),
    Scenario(
        "flapping",
        "at 1.5 times the capacity four tenths of it come and go every 45 s",
        crowds((120, ((0.0, 1.15),))),
        duration_s=480.0,
        measured_s=(60.0, 480.0),
        changes=tuple(Change(60.0 + 45 * k, (0.6, 1.0)[k % 2]) for k in range(9)),
    ),
    Scenario(
        "paidsurge",
        "those who pay ask for more and more, up to 0.95 of the capacity, and less",
        (
            Crowd(2, 5, ((0.0, 0.15 * _PER_S), (180.0, 0.4 * _PER_S), (330.0, 2.0))),
            Crowd(1, 10, ((0.0, 0.2 * _PER_S), (120.0, 0.55 * _PER_S), (330.0, 3.0))),
            Crowd(0, 120, ((0.0, 1.65 * _PER_S),)),
        ),
        duration_s=480.0,
        measured_s=(60.0, 480.0),
        disturbed_s=180.0,
    ),
    Scenario(
        "longprompts",
        "at twice the capacity prompts grow ten times as long within five minutes",
        crowds((120, ((0.0, 1.65),))),
        duration_s=540.0,
        measured_s=(60.0, 540.0),
        work=Work(prompt_drift=((60.0, 1.0), (360.0, 10.0))),
        in_time_s=15.0,
    ),
)

FAMILIES = {scenario.name: scenario for scenario in _ALL}
"""By name."""
