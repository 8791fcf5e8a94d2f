"""Each method of the store as the operations that are sent for it."""

from collections.abc import Sequence
from typing import Any

from metering.backends.redis.demands import Part, offer_of, parts_of, units
from metering.backends.redis.keys import Keys, tagged
from metering.backends.redis.nodes import slot_of
from metering.backends.redis.operation import Operation
from metering.clock import NS_PER_US
from metering.quota import BudgetQuota, Demand, RateQuota

__all__ = ["Calls"]

_LEASE_US_MAX = 2**52


class Calls:
    """Makes operations.

    Args:
        keys: Names of keys.
        callers_clock: Whether the instants given count; else the server's clock does.
        one_slot: Whether parts with different hash tags can be one operation.
    """

    def __init__(self, keys: Keys, *, callers_clock: bool, one_slot: bool) -> None:
        self.keys = keys
        self._callers_clock = callers_clock
        self._one_slot = one_slot

    def acquire(
        self, parts: list[Part], hold_id: str, lease_ns: int, now_ns: int
    ) -> Operation:
        """Grant all demands of these parts and hold them, or take nothing."""
        keys: list[str] = []
        told: list[Any] = []
        for part in parts:
            told.append((len(keys) + 1, part.version, part.offers()))
            keys.append(self.keys.holds(part.tag))
            keys += part.names
            if part.version:
                keys.append(self.keys.version(part.tag))
        offer = offer_of(parts) if hold_id else ""
        members = hold_id, _lease_us(lease_ns), offer, told
        operation = self._operation("acquire", parts[-1].tag, keys, members, now_ns)
        if hold_id:
            operation.undo = lambda: self._taking_back(parts, hold_id, now_ns)
        else:
            operation.repeatable = False
        return operation

    def settle(
        self,
        hold_id: str,
        demands: Sequence[Demand],
        costs: Sequence[int],
        now_ns: int,
    ) -> list[Operation]:
        """Replace a hold by what was used; the part of the account is the last."""
        return [
            self._ending("settle", part, hold_id, costs, now_ns)
            for part in parts_of(demands, self.keys)
        ]

    def renew(self, hold_id: str, part: Part, lease_ns: int, now_ns: int) -> Operation:
        """Extend the lease of a part, or hold again what was lost."""
        held = [
            (name, units(demand.cost))
            for name, demand in zip(part.names, part.demands, strict=True)
            if demand.cost and isinstance(demand.quota, BudgetQuota)
        ]
        texts = [text for _, text in held]
        members = hold_id, _lease_us(lease_ns), offer_of([part]), texts
        holds, done = self.keys.holds(part.tag), self.keys.done(part.tag, hold_id)
        keys = [holds, done, *(name for name, _ in held)]
        return self._operation("renew", part.tag, keys, members, now_ns)

    def seed(self, key: str, spent: int, now_ns: int) -> Operation:
        """Say what a budget has spent, unless it is known."""
        tag, key_tagged = tagged(key)
        names = [self.keys.spent + key_tagged]
        return self._operation("seed", tag, names, [units(spent)], now_ns)

    def peek(self, part: Part, now_ns: int) -> Operation:
        """Tell the state of each demand of a part."""
        names = [self.keys.holds(part.tag), *part.names]
        return self._operation("peek", part.tag, names, [part.offers()], now_ns)

    def sweep(self, tag: str, now_ns: int) -> Operation:
        """End the holds of a tag whose lease is over."""
        return self._operation("sweep", tag, [self.keys.holds(tag)], (), now_ns)

    def announce(self, account_id: str, version: int) -> Operation:
        """Remember the newest version of an account."""
        names = [self.keys.version(account_id)]
        return self._operation("announce", account_id, names, [version], 0)

    def _taking_back(
        self, parts: list[Part], hold_id: str, now_ns: int
    ) -> list[Operation]:
        """Give back what a hold took, as if it had never been, if it is there."""
        costs: dict[int, int] = {}
        for part in parts:
            for place, demand in zip(part.places, part.demands, strict=True):
                # Whether a rate in shadow was taken is not known: it stays as it is.
                stays = demand.shadow and isinstance(demand.quota, RateQuota)
                costs[place] = demand.cost if stays else 0
        return [
            self._ending("take_back", part, hold_id, costs, now_ns)
            for part in parts
            if part.demands
        ]

    def _ending(
        self,
        kind: str,
        part: Part,
        hold_id: str,
        costs: Sequence[int] | dict[int, int],
        now_ns: int,
    ) -> Operation:
        holds, done = self.keys.holds(part.tag), self.keys.done(part.tag, hold_id)
        members = hold_id, part.changes(costs)
        keys = [holds, done, *part.names]
        operation = self._operation(kind, part.tag, keys, members, now_ns)
        operation.insistent = True
        return operation

    def _operation(
        self, kind: str, tag: str, keys: list[str], members: Sequence[Any], now_ns: int
    ) -> Operation:
        now_us = now_ns // NS_PER_US if self._callers_clock else -1
        operation = Operation(kind, keys, members, now_us=now_us)
        if not self._one_slot:
            operation.slot = slot_of(tag)
        return operation


def _lease_us(lease_ns: int) -> int:
    return min(-(-lease_ns // NS_PER_US), _LEASE_US_MAX)
