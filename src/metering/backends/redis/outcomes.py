"""What the script answered to a whole call, as the outcome that its caller gets."""

from collections.abc import Sequence
from typing import Any

from metering.backends.redis.demands import Part, recalled
from metering.quota import Demand, Verdict, binding
from metering.stores import Outcome

__all__ = ["STALE", "decided", "in_order", "outcome_of", "unseeded_of"]

STALE = Outcome("stale")


def outcome_of(
    demands: Sequence[Demand], parts: Sequence[Part], answer: Any
) -> Outcome:
    """Return what the answer to one `acquire` of all parts says."""
    status = answer[0]
    if status == "stale":
        return STALE
    if status == "again":
        return Outcome("admitted", in_order(dict(recalled(*answer[1:]))))
    _, now_us, told = answer
    if len(parts) == 1 and status != "unseeded":
        return decided(demands, status, parts[0].decided(told, now_us))
    verdicts: dict[int, Verdict] = {}
    unseeded: list[tuple[int, str]] = []
    start = 0
    for part in parts:
        end = start + len(part.demands)
        unseeded += part.unseeded(told[start:end])
        verdicts.update(part.verdicts(told[start:end], now_us))
        start = end
    if status == "unseeded":
        return unseeded_of(unseeded)
    return decided(demands, status, in_order(verdicts))


def decided(
    demands: Sequence[Demand], status: str, verdicts: tuple[Verdict, ...]
) -> Outcome:
    """Return a grant or a refusal."""
    if status == "admitted":
        return Outcome("admitted", verdicts)
    return Outcome("refused", verdicts, binding(demands, verdicts))


def unseeded_of(unseeded: list[tuple[int, str]]) -> Outcome:
    """Return that these keys, each with its place, must be seeded."""
    return Outcome("unseeded", unseeded=tuple(key for _, key in sorted(unseeded)))


def in_order(verdicts: dict[int, Verdict]) -> tuple[Verdict, ...]:
    """Return verdicts by their places in the call."""
    return tuple(verdicts[place] for place in sorted(verdicts))
