"""What a limit store must do, said plainly: a model slow enough to be seen correct."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from metering.clock import NS_PER_US
from metering.quota import (
    BudgetQuota,
    Demand,
    RateQuota,
    Verdict,
    binding,
    charged,
    decide_budget,
    decide_rate,
    saturated,
)
from metering.stores import Outcome, SettleResult

__all__ = ["LimitModel"]


@dataclass(slots=True)
class _Hold:
    outcome: Outcome
    granted: dict[str, int]
    until_us: int
    brought_back: bool = False


@dataclass(slots=True)
class LimitModel:
    """Answers as a `LimitStore` must; expired holds stay until they are swept.

    Hold ids are used once: what a store says to one that was settled is its own affair.
    """

    dues: dict[str, int] = field(default_factory=dict)
    spent: dict[str, int] = field(default_factory=dict)
    holds: dict[str, _Hold] = field(default_factory=dict)
    settled: set[str] = field(default_factory=set)

    def open_holds(self, now_ns: int) -> list[str]:
        """Ids of the holds whose lease runs, oldest first."""
        now_us = now_ns // NS_PER_US
        return [name for name, hold in self.holds.items() if hold.until_us > now_us]

    def held(self, key: str, now_ns: int) -> int:
        """Units of a budget that running calls hold."""
        running = self.open_holds(now_ns)
        return sum(self.holds[name].granted.get(key, 0) for name in running)

    def acquire(
        self, demands: Sequence[Demand], *, hold_id: str, lease_ns: int, now_ns: int
    ) -> Outcome:
        """Grant all demands and hold what was granted, or take nothing."""
        if hold_id in self.open_holds(now_ns):
            return self.holds[hold_id].outcome
        unseeded = tuple(
            demand.key
            for demand in demands
            if isinstance(demand.quota, BudgetQuota)
            and demand.quota.ledgered
            and demand.key not in self.spent
        )
        if unseeded:
            return Outcome("unseeded", unseeded=unseeded)
        decided = [self._decide(demand, now_ns) for demand in demands]
        verdicts = tuple(verdict for verdict, _ in decided)
        binding_at = binding(demands, verdicts)
        if binding_at >= 0:
            return Outcome("refused", verdicts, binding_at)
        granted: dict[str, int] = {}
        for demand, (verdict, due_us) in zip(demands, decided, strict=True):
            if verdict.reason:
                continue  # in shadow: it takes nothing
            if isinstance(demand.quota, RateQuota):
                self.dues[demand.key] = due_us
            else:
                granted[demand.key] = verdict.granted
        outcome = Outcome("admitted", verdicts)
        if hold_id:
            until_us = _lease_end_us(lease_ns, now_ns)
            self.holds[hold_id] = _Hold(outcome, granted, until_us)
        return outcome

    def peek(self, demands: Sequence[Demand], *, now_ns: int) -> tuple[Verdict, ...]:
        """Return what each demand would be answered now, by itself."""
        return tuple(self._decide(demand, now_ns)[0] for demand in demands)

    def settle(
        self,
        hold_id: str,
        demands: Sequence[Demand],
        costs: Sequence[int],
        *,
        now_ns: int,
    ) -> SettleResult:
        """Replace a hold by what was used, once."""
        if hold_id in self.settled:
            return "repeated"
        in_time = hold_id in self.open_holds(now_ns)
        hold = self.holds.pop(hold_id, None)
        took = in_time and hold is not None and not hold.brought_back
        self.settled.add(hold_id)
        now_us = now_ns // NS_PER_US
        for demand, cost in zip(demands, costs, strict=True):
            key, quota = demand.key, demand.quota
            if isinstance(quota, RateQuota):
                due_us = self.dues.get(key, 0)
                moved_us = quota.span_us(cost) - quota.span_us(demand.cost)
                if moved_us > 0:
                    self.dues[key] = max(due_us, now_us) + moved_us
                elif took:
                    self.dues[key] = due_us + moved_us
            elif key in self.spent or not quota.ledgered:
                self.spent[key] = charged(self.spent.get(key, 0), cost)
        return "settled" if in_time else "late"

    def renew(
        self, hold_id: str, demands: Sequence[Demand], *, lease_ns: int, now_ns: int
    ) -> bool:
        """Extend a lease, or hold again what was lost."""
        until_us = _lease_end_us(lease_ns, now_ns)
        if hold_id in self.open_holds(now_ns):
            self.holds[hold_id].until_us = until_us
            return True
        self.holds.pop(hold_id, None)
        if hold_id not in self.settled:
            outcome = Outcome("admitted", tuple(Verdict(d.cost, 0) for d in demands))
            budgets = [d for d in demands if isinstance(d.quota, BudgetQuota)]
            granted = {demand.key: demand.cost for demand in budgets if demand.cost}
            self.holds[hold_id] = _Hold(outcome, granted, until_us, brought_back=True)
        return False

    def seed(self, key: str, spent: int) -> bool:
        """Say what a ledgered budget has spent, unless it is known already."""
        if key in self.spent:
            return False
        self.spent[key] = saturated(spent)
        return True

    def sweep(self, *, now_ns: int) -> int:
        """Forget the holds whose lease is over. Return how many."""
        running = self.open_holds(now_ns)
        over = len(self.holds) - len(running)
        self.holds = {name: self.holds[name] for name in running}
        return over

    def _decide(self, demand: Demand, now_ns: int) -> tuple[Verdict, int]:
        key, quota = demand.key, demand.quota
        now_us = now_ns // NS_PER_US
        if isinstance(quota, RateQuota):
            return decide_rate(quota, self.dues.get(key, 0), demand.cost, now_us)
        verdict = decide_budget(
            quota,
            self.spent.get(key, 0),
            self.held(key, now_ns),
            demand.cost,
            demand.cost_min,
        )
        if verdict.reason != "held":
            return verdict, 0
        oldest_us = next(
            self.holds[name].until_us
            for name in self.open_holds(now_ns)
            if key in self.holds[name].granted
        )
        wait_ns = (oldest_us - now_us) * NS_PER_US
        return Verdict(0, verdict.remaining, wait_ns, 0, "held"), 0


def _lease_end_us(lease_ns: int, now_ns: int) -> int:
    return now_ns // NS_PER_US - (-lease_ns // NS_PER_US)
