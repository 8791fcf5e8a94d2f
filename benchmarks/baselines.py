"""Floors: the least that anyone could write by hand for what a store decides."""

from typing import Final

__all__ = ["DictGcra", "count_one"]


def count_one(counts: dict[str, int], key: str) -> None:
    """Count one: `dict[key] += 1`, which decides nothing."""
    counts[key] += 1


class DictGcra:
    """A rate limit on a dict: one float a key, no tiers, no holds, no eviction.

    The smallest one that still tells what remains and how long to wait.
    """

    def __init__(self, amount: int, per_s: float) -> None:
        self._dues: dict[str, float] = {}
        self._unit_s: Final = per_s / amount
        self._per_s: Final = amount / per_s
        self._burst_s: Final = per_s

    async def hit(self, key: str, cost: int, now_s: float) -> tuple[bool, float, float]:
        """Return whether it is granted, what remains, and the seconds to wait."""
        due_s = self._dues.get(key, now_s)
        if due_s < now_s:  # noqa: PLR1730 - a floor spares itself the call of max()
            due_s = now_s
        due_s += cost * self._unit_s
        over_s = due_s - now_s - self._burst_s
        if over_s > 1e-9:
            return False, 0.0, over_s
        self._dues[key] = due_s
        return True, -over_s * self._per_s, 0.0
