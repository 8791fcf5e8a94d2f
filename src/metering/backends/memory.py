"""Limits kept in the memory of one process: no lock, no task, no timer.

Each method is one synchronous body inside an `async def`. It awaits nothing, so nothing
runs between what it reads and what it writes.
"""

from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence

from metering.backends.memory_holds import (
    NO_LEASE_US,
    Budget,
    Hold,
    is_known,
    lease_end_us,
    require_hold,
)
from metering.backends.settled_ids import SettledIds
from metering.clock import NS_PER_US
from metering.errors import ConfigurationError
from metering.quota import (
    BudgetQuota,
    Demand,
    RateQuota,
    Verdict,
    binding,
    charged,
    decide_budget,
    decide_rate,
    require_costs,
    saturated,
)
from metering.stores import Outcome, SettleResult

__all__ = [
    "ANNOUNCED_MAX",
    "LEDGERED_MAX",
    "SETTLED_MAX",
    "MemoryLimitStore",
]

SETTLED_MAX = 65_536
"""Settled holds remembered at most: the latest ones, seven eighths of it at least."""

LEDGERED_MAX = 131_072
"""Ledgered budgets kept; above it those without a hold are forgotten, oldest first."""

ANNOUNCED_MAX = 65_536
"""Account versions kept; snapshots live far shorter than it takes to announce more."""

_LOOKS = 4
"""Old entries looked at for each new one: a dead entry goes, one in use stays."""

_HOLDS_UNSWEPT = 1024
_STALE = Outcome("stale")


class MemoryLimitStore:
    """A `LimitStore` for one process, and where changes of accounts are announced.

    What it keeps is bounded so:

    - Rates: an instant in the past equals no state, so each new key looks at a few old
      ones and drops those. A key in use is never dropped, and there are about a third
      more keys than were ever in use at once.
    - Ledgered budgets: `LEDGERED_MAX`, and those that have a hold. What is dropped is
      seeded again when it is asked for.
    - Other budgets: one entry for each key with a hold or with something spent. What
      was spent is known nowhere else and is kept until the process ends: a budget whose
      key names a period had better be ledgered.
    - Holds: those open, and expired ones up to as many again (at least 1,024) even if
      nobody calls `sweep`.
    - Settled holds: the latest, at most `SETTLED_MAX`. The settlement of an older one
      would be charged again if it were repeated. An id that was settled may name a new
      hold.
    """

    waits = False
    forgets = False

    def __init__(self) -> None:
        self._dues: dict[str, int] = {}
        self._due_keys: deque[str] = deque()
        self._budgets: dict[str, Budget] = {}
        self._ledgered_keys: deque[str] = deque()
        self._holds: dict[str, Hold] = {}
        self._sweep_at = _HOLDS_UNSWEPT
        self._settled = SettledIds(SETTLED_MAX)
        self._versions: OrderedDict[str, int] = OrderedDict()

    async def acquire(
        self,
        demands: Sequence[Demand],
        *,
        hold_id: str,
        lease_ns: int,
        now_ns: int,
        account: tuple[str, int] | None = None,
    ) -> Outcome:
        """Grant all demands and hold what was granted, or take nothing."""
        now_us = now_ns // NS_PER_US
        if hold_id and hold_id in self._holds:
            self._expire((hold_id,), now_us)
            if hold_id in self._holds:
                return self._holds[hold_id].outcome
        if account is not None and account[1] < self._versions.get(account[0], 0):
            return _STALE
        demand = demands[0]
        quota, cost = demand.quota, demand.cost
        if len(demands) == 1 and isinstance(quota, RateQuota) and not demand.shadow:
            # One rate is the usual question. Its grant is `decide_rate` written out:
            # 15 % faster, and held equal to it by the contract. So is what matters to
            # it of `require_costs`: a cost that is too large is never granted.
            if type(cost) is not int or cost < 0:
                require_costs(demands)
            due_us = self._dues.get(demand.key, 0)
            per_us, amount = quota.per_us, quota.amount
            backlog_us = -(-cost * per_us // amount)
            if due_us > now_us:
                backlog_us += due_us - now_us
            room_us = quota.burst_us - backlog_us
            if room_us < 0:
                require_costs(demands)
                verdict, _ = decide_rate(quota, due_us, cost, now_us)
                return Outcome("refused", (verdict,), 0)
            left, burst = room_us * amount // per_us, quota.burst or amount
            left = left if left < burst else burst  # noqa: FURB136 - min() is slow
            verdict = Verdict(cost, left, 0, backlog_us * NS_PER_US)
            if due_us:
                self._dues[demand.key] = now_us + backlog_us
            else:
                self._keep_due(demand.key, now_us + backlog_us, now_us)
            outcome = Outcome("admitted", (verdict,))
            if hold_id:
                self._open(hold_id, outcome, (), lease_ns, now_us)
            return outcome
        return self._take(demands, hold_id, lease_ns, now_us)

    async def settle(
        self,
        hold_id: str,
        demands: Sequence[Demand],
        costs: Sequence[int],
        *,
        now_ns: int,
    ) -> SettleResult:
        """Replace a hold by what was used, once."""
        now_us = now_ns // NS_PER_US
        if len(costs) != len(demands):
            raise ConfigurationError(
                f"{len(costs)} costs for {len(demands)} demands: say of each what it"
                " used, 0 for nothing."
            )
        in_time = took = False
        hold = self._holds.pop(hold_id, None)
        if hold is not None:
            if hold.held:
                self._give_back(hold_id, hold)
            in_time = hold.lease_until_us > now_us
            took = in_time and not hold.brought_back
        elif hold_id in self._settled:
            return "repeated"
        self._settled.add(hold_id)
        for demand, cost in zip(demands, costs, strict=True):
            if isinstance(demand.quota, RateQuota):
                if cost != demand.cost:
                    self._move_due(demand, demand.quota, cost, now_us, took=took)
            elif cost:
                self._charge(demand.key, cost, ledgered=demand.quota.ledgered)
        return "settled" if in_time else "late"

    async def renew(
        self, hold_id: str, demands: Sequence[Demand], *, lease_ns: int, now_ns: int
    ) -> bool:
        """Extend a lease, never shorten it; or hold again what was lost."""
        require_costs(demands, granted=True)
        now_us = now_ns // NS_PER_US
        hold = self._holds.get(hold_id)
        if hold is not None and hold.lease_until_us > now_us:
            until_us = lease_end_us(lease_ns, now_us)
            hold.lease_until_us = max(hold.lease_until_us, until_us)
            return True
        if hold is not None:
            self._expire((hold_id,), now_us)
        if hold_id not in self._settled:
            held = tuple(
                (demand.key, demand.cost)
                for demand in demands
                if demand.cost and isinstance(demand.quota, BudgetQuota)
            )
            outcome = Outcome("admitted", tuple(Verdict(d.cost, 0) for d in demands))
            self._open(hold_id, outcome, held, lease_ns, now_us)
            self._holds[hold_id].brought_back = True
        return False

    async def seed(self, key: str, spent: int, *, now_ns: int) -> bool:  # noqa: ARG002 - a budget does not age here
        """Say what a ledgered budget has spent, unless the store knows already."""
        if is_known(self._budgets.get(key)):
            return False
        if len(self._ledgered_keys) >= LEDGERED_MAX:
            self._forget_ledgered()
        budget = self._budgets.setdefault(key, Budget())
        budget.spent, budget.ledgered = saturated(spent), True
        self._ledgered_keys.append(key)
        return True

    async def peek(
        self, demands: Sequence[Demand], *, now_ns: int
    ) -> tuple[Verdict, ...]:
        """Return what each demand would be answered now, by itself; take nothing."""
        require_costs(demands)
        now_us = now_ns // NS_PER_US
        return tuple(
            decide_rate(
                demand.quota, self._dues.get(demand.key, 0), demand.cost, now_us
            )[0]
            if isinstance(demand.quota, RateQuota)
            else self._decide_budget(
                demand, demand.quota, self._budgets.get(demand.key), now_us
            )
            for demand in demands
        )

    async def sweep(self, *, now_ns: int) -> int:
        """End the holds whose lease is over, each once. Return how many."""
        return self._expire(self._holds, now_ns // NS_PER_US)

    @property
    def holds_open(self) -> int:
        """Calls that hold something."""
        return len(self._holds)

    async def aclose(self) -> None:
        """Nothing is open."""

    async def announce(self, account_id: str, version: int) -> None:
        """Make `acquire` answer `stale` to snapshots older than *version*."""
        versions = self._versions
        versions[account_id] = max(version, versions.pop(account_id, version))
        if len(versions) > ANNOUNCED_MAX:
            versions.popitem(last=False)

    def _take(
        self, demands: Sequence[Demand], hold_id: str, lease_ns: int, now_us: int
    ) -> Outcome:
        """Decide over all demands, then take all or nothing."""
        require_costs(demands)
        verdicts: list[Verdict] = []
        dues: list[tuple[str, int]] = []
        held: list[tuple[str, int]] = []
        unseeded: list[str] = []
        refused = False
        for demand in demands:
            key, quota = demand.key, demand.quota
            if isinstance(quota, RateQuota):
                verdict, new_us = decide_rate(
                    quota, self._dues.get(key, 0), demand.cost, now_us
                )
                taken = dues, new_us
            else:
                require_hold(demand, hold_id)
                budget = self._budgets.get(key)
                if quota.ledgered and not is_known(budget):
                    unseeded.append(key)
                    continue
                verdict = self._decide_budget(demand, quota, budget, now_us)
                taken = held, verdict.granted
            verdicts.append(verdict)
            if not verdict.reason:
                taken[0].append((key, taken[1]))
            elif not demand.shadow:
                refused = True
        if unseeded:
            return Outcome("unseeded", unseeded=tuple(unseeded))
        decided = tuple(verdicts)
        if refused:
            return Outcome("refused", decided, binding(demands, decided))
        outcome = Outcome("admitted", decided)
        for key, new_us in dues:
            self._keep_due(key, new_us, now_us)
        if hold_id:
            self._open(hold_id, outcome, tuple(held), lease_ns, now_us)
        return outcome

    def _decide_budget(
        self, demand: Demand, quota: BudgetQuota, budget: Budget | None, now_us: int
    ) -> Verdict:
        if budget is None:
            return decide_budget(quota, 0, 0, demand.cost, demand.cost_min)
        if budget.lease_first_us <= now_us:
            self._expire(budget.holds, now_us)
            budget.lease_first_us = min(
                (self._holds[hold_id].lease_until_us for hold_id in budget.holds),
                default=NO_LEASE_US,
            )
        verdict = decide_budget(
            quota, budget.spent, budget.held, demand.cost, demand.cost_min
        )
        if verdict.reason == "held":
            oldest = self._holds[next(iter(budget.holds))]
            wait_ns = (oldest.lease_until_us - now_us) * NS_PER_US
            return Verdict(0, verdict.remaining, wait_ns, 0, "held")
        return verdict

    def _open(
        self,
        hold_id: str,
        outcome: Outcome,
        held: tuple[tuple[str, int], ...],
        lease_ns: int,
        now_us: int,
    ) -> None:
        """Note a hold and set aside what it has of budgets."""
        holds = self._holds
        if len(holds) >= self._sweep_at:
            self._expire(holds, now_us)
            self._sweep_at = max(_HOLDS_UNSWEPT, 2 * len(holds))
        until_us = lease_end_us(lease_ns, now_us)
        holds[hold_id] = Hold(outcome, until_us, held)
        for key, units in held:
            budget = self._budgets.get(key)
            if budget is None:
                budget = self._budgets[key] = Budget()
            budget.holds[hold_id] = units
            budget.held += units
            if until_us < budget.lease_first_us:  # noqa: PLR1730 - min() is slow
                budget.lease_first_us = until_us

    def _give_back(self, hold_id: str, hold: Hold) -> None:
        """Give back what a hold has of budgets."""
        for key, units in hold.held:
            budget = self._budgets[key]
            del budget.holds[hold_id]
            budget.held -= units
            if not budget.holds:
                budget.lease_first_us = NO_LEASE_US
                if not (budget.spent or budget.ledgered):
                    del self._budgets[key]

    def _expire(self, hold_ids: Iterable[str], now_us: int) -> int:
        """End those of the holds whose lease is over; return how many."""
        holds = self._holds
        over = [id_ for id_ in hold_ids if holds[id_].lease_until_us <= now_us]
        for hold_id in over:
            self._give_back(hold_id, holds.pop(hold_id))
            self._settled.discard(hold_id)
        return len(over)

    def _charge(self, key: str, cost: int, *, ledgered: bool) -> None:
        budget = self._budgets.get(key)
        if ledgered and not is_known(budget):
            # It stays unknown: its seed will contain the cost, for the journal has it.
            return
        if budget is None:
            budget = self._budgets[key] = Budget()
        budget.spent = charged(budget.spent, cost)

    def _move_due(
        self,
        demand: Demand,
        quota: RateQuota,
        cost: int,
        now_us: int,
        *,
        took: bool,
    ) -> None:
        moved_us = quota.span_us(cost) - quota.span_us(demand.cost)
        due_us = self._dues.get(demand.key, now_us)
        if moved_us > 0:
            self._keep_due(demand.key, max(due_us, now_us) + moved_us, now_us)
        elif took:
            self._keep_due(demand.key, due_us + moved_us, now_us)

    def _keep_due(self, key: str, due_us: int, now_us: int) -> None:
        """Keep an instant; for that of a new key, look which old ones are over."""
        dues, keys = self._dues, self._due_keys
        if key in dues:
            dues[key] = due_us
            return
        for _ in range(min(_LOOKS, len(keys))):
            old = keys.popleft()
            if dues[old] > now_us:
                keys.append(old)
            else:
                del dues[old]
        dues[key] = due_us
        keys.append(key)

    def _forget_ledgered(self) -> None:
        """Drop a few ledgered budgets that nobody holds; they can be seeded again."""
        keys = self._ledgered_keys
        for _ in range(_LOOKS):
            key = keys.popleft()
            if self._budgets[key].holds:
                keys.append(key)
            else:
                del self._budgets[key]
