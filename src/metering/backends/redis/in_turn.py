"""One call on several slots of a cluster: part by part, given back if one refuses."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from metering.backends.redis.demands import Part, recalled
from metering.backends.redis.operation import Operation
from metering.backends.redis.outcomes import STALE, decided, in_order, unseeded_of
from metering.quota import Demand, Verdict
from metering.stores import Outcome

__all__ = ["acquire_in_turn"]


async def acquire_in_turn(
    demands: Sequence[Demand],
    parts: Sequence[Part],
    *,
    acquire: Callable[[Part], Operation],
    peek: Callable[[Part], Operation],
    ask: Callable[[Operation], Awaitable[Any]],
    undo: Callable[[Iterable[Operation]], None],
) -> Outcome:
    """Grant all demands of a call or give back those that were granted.

    This is not atomic: between two parts others may be refused for what is given back
    a moment later, and who dies in between leaves it taken until its lease ends.

    Args:
        demands: The demands of the call.
        parts: The same by slot, that of the account last.
        acquire: Makes the operation that takes a part.
        peek: Makes the one that asks what a part would be told.
        ask: Sends an operation and waits for its answer.
        undo: Sends what takes operations back.
    """
    verdicts: dict[int, Verdict] = {}
    unseeded: list[tuple[int, str]] = []
    taken: list[Operation] = []
    status = "admitted"
    try:
        for part in parts:
            if status == "admitted":
                operation = acquire(part)
                answer = await ask(operation)
                status = "admitted" if answer[0] == "again" else answer[0]
                if status == "stale":
                    break
                if status == "admitted":
                    taken.append(operation)
            else:  # what the rest would be told, for the caller is told of each
                answer = (status, *await ask(peek(part)))
            if answer[0] == "again":
                verdicts.update(recalled(*answer[1:]))
            else:
                unseeded += part.unseeded(answer[2])
                verdicts.update(part.verdicts(answer[2], answer[1]))
    except BaseException:
        undo(taken)
        raise
    if status != "admitted":
        undo(taken)
    if status == "stale":
        return STALE
    if unseeded:
        return unseeded_of(unseeded)
    return decided(demands, status, in_order(verdicts))
