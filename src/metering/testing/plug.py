"""An adaptive pool with its account limits, as simulations of platforms drive it."""

from collections.abc import Iterator
from dataclasses import fields, replace
from math import inf
from random import Random
from typing import Literal

from metering.adaptive import AccountBuckets, AdaptivePool, AdaptiveSettings
from metering.clock import NS_PER_S

__all__ = ["AdaptivePlug", "adaptive_plug", "perturbed"]

_WORDS: dict[str, Literal["admit", "hold", "refuse"]] = {
    "go": "admit",
    "wait": "hold",
    "refused": "refuse",
}


class AdaptivePlug:
    """Drives a pool with instants in seconds and any request ids.

    Calls whose account is over its published limit are refused; calls that the pool
    refuses are given their unit of that limit back.

    Args:
        settings: What the pool is told.
    """

    def __init__(self, settings: AdaptiveSettings | None = None) -> None:
        self.pool = AdaptivePool(settings)
        self._buckets = AccountBuckets(settings or AdaptiveSettings())
        self._waiting: dict[str, tuple[int, str]] = {}
        self._now_ns = 0

    def arrive(
        self,
        now: float,
        rid: int,
        account: str,
        tier: int,
        prompt_tokens: int,
        stream: bool,  # noqa: FBT001 - the simulations hand it by place
    ) -> Literal["admit", "hold", "refuse"]:
        """Ask for a call."""
        now_ns = _ns(now)
        limit_rpm = self.pool.limit(tier, now_ns)
        limited = limit_rpm < inf
        if limited and not self._buckets.take(account, limit_rpm, now_ns).granted:
            self.pool.over(account, klass=tier, now_ns=now_ns)
            return "refuse"
        verdict = self.pool.arrive(
            str(rid),
            account_id=account,
            klass=tier,
            input_tokens=prompt_tokens,
            streams=stream,
            now_ns=now_ns,
        )
        if verdict.kind == "wait":
            self._waiting[str(rid)] = (rid, account if limited else "")
        elif limited and verdict.kind == "refused":
            self._buckets.give_back(account, limit_rpm)
        return _WORDS[verdict.kind]

    def first_byte(self, now: float, rid: int) -> None:
        """Tell of a first byte."""
        self.pool.first_byte(str(rid), _ns(now))

    def finish(self, now: float, rid: int, status: int, output_tokens: int) -> None:
        """Tell of an end."""
        self.pool.finish(str(rid), _ns(now), status=status, output_tokens=output_tokens)

    def tick(self, now: float) -> None:
        """Let time pass."""
        self._now_ns = _ns(now)
        self.pool.tick(self._now_ns)

    def poll(self, now: float) -> Iterator[tuple[int, Literal["admit", "refuse"]]]:
        """Yield what became of calls that waited."""
        released = self.pool.poll(_ns(now))
        for request_id in released.go:
            yield self._waiting.pop(request_id)[0], "admit"
        for request_id in released.refused:
            rid, account = self._waiting.pop(request_id)
            if account:
                self._buckets.give_back(account, self.pool.limit(0, _ns(now)))
            yield rid, "refuse"

    def limit(self) -> float:
        """Return the published limit of class 0, in requests a minute."""
        return self.pool.limit(0, self._now_ns)


def adaptive_plug() -> AdaptivePlug:
    """Make a pool with the default settings, for a simulation to drive."""
    return AdaptivePlug()


def perturbed(
    seed: int, spread: float = 0.25, settings: AdaptiveSettings | None = None
) -> AdaptiveSettings:
    """Return settings with every constant off at once, to see that none matters much.

    Args:
        seed: Which draw.
        spread: Each constant is multiplied by a factor from `1 - spread` to
            `1 + spread`.
        settings: What to start from; None: the defaults.
    """
    start = AdaptiveSettings() if settings is None else settings
    draw = Random(seed)  # noqa: S311 - no secret

    def off(value: float) -> float:
        return value * draw.uniform(1.0 - spread, 1.0 + spread)

    tuning = {
        field.name: off(getattr(start.tuning, field.name))
        for field in fields(start.tuning)
    }
    classes = tuple(
        replace(
            klass,
            delay_ns=round(off(klass.delay_ns)),
            wait_max_ns=round(off(klass.wait_max_ns)),
        )
        for klass in start.classes
    )
    return replace(
        start,
        burst_ns=round(off(start.burst_ns)),
        classes=classes,
        tuning=replace(start.tuning, **tuning),
    )


def _ns(instant_s: float) -> int:
    return round(instant_s * NS_PER_S)
