"""What an operator says of adaptive limits, and the constants of their law."""

from dataclasses import dataclass, fields

from metering.clock import NS_PER_MS, NS_PER_S
from metering.errors import ConfigurationError

__all__ = ["AdaptiveClass", "AdaptiveSettings", "Tuning"]

_CONSTANT_MAX = 1e6
_RPM_MIN = 0.01
_RPM_MAX = 1e9
_NS_MAX = 600 * NS_PER_S


@dataclass(frozen=True, slots=True, kw_only=True)
class AdaptiveClass:
    """How patient one class of tiers is.

    Args:
        delay_ns: Delay before the first byte, beyond the unloaded time, at which the
            class is stopped; to 600 s. Class 0 is stopped when it is predicted, the
            others only when it is observed as well.
        wait_max_ns: Longest stay in the waiting room, to 600 s; 0: the class never
            waits.

    Raises:
        ConfigurationError: A value is out of range.
    """

    delay_ns: int
    wait_max_ns: int

    def __post_init__(self) -> None:
        for name in ("delay_ns", "wait_max_ns"):
            value_ns = getattr(self, name)
            if not 0 <= value_ns <= _NS_MAX:
                raise ConfigurationError(
                    f"{name} {value_ns} is not from 0 to 600 s. Say it in nanoseconds."
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """The constants of gate, room and law. The checks hold with each 25 % off.

    Times are in seconds, rates per second; a `_tau_s` is the memory of an average.

    Args:
        stretch: Time to the first byte that a full batch is allowed, in unloaded ones.
        capacity_tau_s: Of the first bytes per second, while the gate binds.
        probe_after_s: Without an unloaded sample for so long, the queue is drained.
        probe_s: Longest such drain.
        late: An unloaded sample that took so many times the expected weighs little.
        late_weight: What it weighs then.
        room_target_s: Mean wait in the room that the law steers to.
        trim: Share by which the budget moves for a wait that is off by the target.
        fast_tau_s: Of what went upstream while the class was short: the quick one.
        slow_tau_s: The slow one.
        margin: How far the budget may be above the quick one.
        grow: Growth of the budget, per second and second, while it is used and
            nobody waits.
        used: Share of the budget that counts as "it is used".
        passed_tau_s: Of what the account limits let through.
        gain: Share of the error that one step of the limit mends.
        gain_far: The same, for an error above `far`.
        far: Size of a large error, as a logarithm.
        below_split: Share by which the limit may be below an equal split, at most.
        seen_s: How long an account counts in that split after its last request.
        plain_delay_s: Delay that is steered to where nobody streams.
        plain_gain: How strongly.
        plain_growth: Largest growth of the running calls then, per second.
        pace_below: Share of what an upstream took that is kept back after a refusal.
        pace_growth: Growth of that pace, per second.

    Raises:
        ConfigurationError: A value is not above 0.
    """

    stretch: float = 1.4
    capacity_tau_s: float = 5.0
    probe_after_s: float = 30.0
    probe_s: float = 1.5
    late: float = 1.5
    late_weight: float = 0.15
    room_target_s: float = 0.5
    trim: float = 0.15
    fast_tau_s: float = 2.5
    slow_tau_s: float = 25.0
    margin: float = 1.4
    grow: float = 0.03
    used: float = 0.7
    passed_tau_s: float = 3.0
    gain: float = 0.2
    gain_far: float = 0.6
    far: float = 0.5
    below_split: float = 0.25
    seen_s: float = 40.0
    plain_delay_s: float = 0.6
    plain_gain: float = 0.06
    plain_growth: float = 0.05
    pace_below: float = 0.07
    pace_growth: float = 0.01

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not 0 < value < _CONSTANT_MAX:
                raise ConfigurationError(
                    f"Tuning.{field.name} {value!r} is not a number above 0. Leave it"
                    " out to have the default, which was measured."
                )


_CLASSES = (
    AdaptiveClass(delay_ns=80 * NS_PER_MS, wait_max_ns=3 * NS_PER_S),
    AdaptiveClass(delay_ns=NS_PER_S, wait_max_ns=3 * NS_PER_S),
    AdaptiveClass(delay_ns=8 * NS_PER_S, wait_max_ns=0),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AdaptiveSettings:
    """All that one pool must be told.

    Args:
        classes: From the one that gets what is spare (0) to the one that is touched
            last; one or more. Only class 0 has a limit that moves: the others have
            their contracts, and wait or are refused when paid calls alone are too many.
        floor_rpm: Requests a minute of an account of class 0 that the law never goes
            below, from 0.01 to the ceiling.
        ceiling_rpm: Requests a minute of such an account when there is room for all.
        first_byte_target_ns: Time to the first byte at which class 0 is stopped; None:
            learned from the unloaded platform.
        waiting_max: Most calls that wait in one room.
        accounts_max: Most accounts that are remembered.
        burst_ns: Time in which an account's burst refills, to 600 s. A limit that
            moves below one request in that time moves less smoothly.
        tuning: The constants of the law.

    Raises:
        ConfigurationError: A value is out of range.
    """

    classes: tuple[AdaptiveClass, ...] = _CLASSES
    floor_rpm: float = 0.5
    ceiling_rpm: float = 60.0
    first_byte_target_ns: int | None = None
    waiting_max: int = 1000
    accounts_max: int = 100_000
    burst_ns: int = 60 * NS_PER_S
    tuning: Tuning = Tuning()

    def __post_init__(self) -> None:
        if not self.classes:
            raise ConfigurationError("classes is empty: name at least one class.")
        if not _RPM_MIN <= self.floor_rpm <= self.ceiling_rpm <= _RPM_MAX:
            raise ConfigurationError(
                f"floor_rpm {self.floor_rpm} and ceiling_rpm {self.ceiling_rpm} must be"
                f" from {_RPM_MIN} to {_RPM_MAX:.0f}, the floor not above the ceiling."
            )
        for name in ("waiting_max", "accounts_max"):
            if getattr(self, name) < 1:
                raise ConfigurationError(
                    f"{name} {getattr(self, name)} must be above 0: it is a bound."
                )
        if not 0 < self.burst_ns <= _NS_MAX:
            raise ConfigurationError(
                f"burst_ns {self.burst_ns} is not from 1 ns to 600 s; 60 s is usual."
            )
        delays_ns = [klass.delay_ns for klass in self.classes]
        if delays_ns != sorted(delays_ns):
            raise ConfigurationError(
                f"The delay_ns of the classes are {delays_ns}: a later class must not"
                " be stopped before an earlier one. Sort them."
            )
        target_ns = self.first_byte_target_ns
        if target_ns is not None and not 0 < target_ns <= _NS_MAX:
            raise ConfigurationError(
                f"first_byte_target_ns {target_ns} is not from 1 ns to 600 s. None"
                " learns it."
            )
