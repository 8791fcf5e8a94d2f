"""What can be asked of the limits: each check decides on a page, by the pure rules."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Generic, TypeVar

import msgspec

from metering.backends.sqlite.page import Budget, Hold, Page, Wanted
from metering.clock import NS_PER_US
from metering.errors import StorageError
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

__all__ = [
    "Acquire",
    "Announce",
    "Check",
    "Peek",
    "Release",
    "Renew",
    "Seed",
    "Settle",
    "Sweep",
]

T = TypeVar("T")

_STALE = Outcome("stale")
_UNUSED = Budget()

_outcomes = msgspec.json.Decoder(Outcome)


class Check(ABC, Generic[T]):
    """One thing asked, until it is answered.

    Attributes:
        now_us: When it was asked.
        lasting: Whether it must be done even if nobody waits for it any more.
        abandoned: Whether nobody does.
        answer: What came of it, once `ended` without an `error`.
    """

    __slots__ = ("abandoned", "answer", "ended", "error", "now_us")

    lasting = False
    answer: T

    def __init__(self, now_us: int) -> None:
        self.now_us = now_us
        self.abandoned = self.ended = False
        self.error: StorageError | None = None

    def want(self, wanted: Wanted) -> None:
        """Name the rows that it is about."""

    @abstractmethod
    def decide(self, page: Page) -> T:
        """Answer, and change what the answer changes."""


class Acquire(Check[Outcome]):
    """Grant all demands and hold what was granted, or take nothing.

    Attributes:
        granted: Whether it took something, which an open hold asked for again does not.
        taken: The rates it moved, and each how far in microseconds.
    """

    __slots__ = ("account", "demands", "granted", "hold_id", "taken", "until_us")

    def __init__(
        self,
        demands: Sequence[Demand],
        hold_id: str,
        lease_ns: int,
        now_us: int,
        account: tuple[str, int] | None,
    ) -> None:
        super().__init__(now_us)
        self.demands = demands
        self.hold_id = hold_id
        self.until_us = lease_end_us(lease_ns, now_us)
        self.account = account
        self.granted = False
        self.taken: list[tuple[str, int]] = []

    @property
    def happened(self) -> bool:
        """Whether it took something, and that was committed."""
        return self.granted and self.ended and self.error is None

    def want(self, wanted: Wanted) -> None:
        """Name its quotas, its hold and its account."""
        _want_quotas(wanted, self.demands)
        if self.hold_id:
            wanted.holds.add(self.hold_id)
        if self.account is not None:
            wanted.accounts.add(self.account[0])

    def decide(self, page: Page) -> Outcome:
        """Answer a hold that is open as at first; take what may be taken."""
        self.granted, self.taken = False, []
        if (hold := page.holds.get(self.hold_id)) is not None:
            return _outcomes.decode(hold.outcome)
        account = self.account
        if account is not None and account[1] < page.versions.get(account[0], 0):
            return _STALE
        unseeded = tuple(
            demand.key
            for demand in self.demands
            if _is_ledgered(demand) and not page.knows(demand.key)
        )
        if unseeded:
            return Outcome("unseeded", unseeded=unseeded)
        return self._take(page)

    def _take(self, page: Page) -> Outcome:
        """Decide over all demands, then take all or nothing."""
        now_us = self.now_us
        verdicts: list[Verdict] = []
        dues: list[tuple[str, int, int]] = []
        held: list[tuple[str, int]] = []
        refused = False
        for demand in self.demands:
            key, quota = demand.key, demand.quota
            if isinstance(quota, RateQuota):
                due_us = page.dues.get(key, 0)
                verdict, new_us = decide_rate(quota, due_us, demand.cost, now_us)
                if not verdict.reason:
                    dues.append((key, new_us, new_us - max(due_us, now_us)))
            else:
                verdict = _decide_budget(page, demand, quota, now_us)
                if not verdict.reason:
                    held.append((key, verdict.granted))
            verdicts.append(verdict)
            refused = refused or bool(verdict.reason and not demand.shadow)
        decided = tuple(verdicts)
        if refused:
            return Outcome("refused", decided, binding(self.demands, decided))
        self.granted, outcome = True, Outcome("admitted", decided)
        for key, new_us, moved_us in dues:
            page.put_due(key, new_us)
            self.taken.append((key, moved_us))
        if self.hold_id:
            hold = Hold(self.until_us, tuple(held), _text(outcome))
            page.open(self.hold_id, hold, now_us)
        return outcome


class Release(Check[None]):
    """Undo an admission that nobody waited for, unless it was settled."""

    __slots__ = ("admission",)

    lasting = True

    def __init__(self, admission: Acquire) -> None:
        super().__init__(admission.now_us)
        self.admission = admission

    def want(self, wanted: Wanted) -> None:
        """Name what the admission was about."""
        self.admission.want(wanted)

    def decide(self, page: Page) -> None:
        """Give back what was taken; nothing if it was refused, or never happened."""
        admission = self.admission
        if not admission.happened:
            return
        if admission.hold_id:
            hold = page.holds.get(admission.hold_id)
            if hold is None:
                return
            page.end(admission.hold_id, hold, self.now_us)
        for key, span_us in admission.taken:
            if key in page.dues:
                page.put_due(key, page.dues[key] - span_us)


class Settle(Check[SettleResult]):
    """Replace a hold by what was used, once."""

    __slots__ = ("costs", "demands", "hold_id")

    lasting = True

    def __init__(
        self, hold_id: str, demands: Sequence[Demand], costs: Sequence[int], now_us: int
    ) -> None:
        super().__init__(now_us)
        self.hold_id = hold_id
        self.demands = demands
        self.costs = costs

    def want(self, wanted: Wanted) -> None:
        """Name its hold and its quotas."""
        wanted.holds.add(self.hold_id)
        _want_quotas(wanted, self.demands)

    def decide(self, page: Page) -> SettleResult:
        """End the hold and charge what was used."""
        hold_id, now_us = self.hold_id, self.now_us
        hold = page.holds.get(hold_id)
        if hold is not None:
            page.end(hold_id, hold, now_us)
        elif hold_id in page.settled:
            return "repeated"
        page.remember(hold_id)
        took = hold is not None and not hold.brought_back
        for demand, cost in zip(self.demands, self.costs, strict=True):
            key, quota = demand.key, demand.quota
            if isinstance(quota, RateQuota):
                due_us = page.dues.get(key, now_us)
                moved_us = quota.span_us(cost) - quota.span_us(demand.cost)
                if moved_us > 0:
                    page.put_due(key, max(due_us, now_us) + moved_us)
                elif moved_us < 0 and took:
                    page.put_due(key, due_us + moved_us)
            elif cost and (page.knows(key) or not quota.ledgered):
                # A ledgered key that is unknown stays so: its seed will contain the
                # cost, for the journal has it already.
                budget = page.budget(key, now_us)
                budget.spent = charged(budget.spent, cost)
        return "late" if hold is None else "settled"


class Renew(Check[bool]):
    """Extend a lease, or hold again what was lost."""

    __slots__ = ("demands", "hold_id", "until_us")

    def __init__(
        self, hold_id: str, demands: Sequence[Demand], lease_ns: int, now_us: int
    ) -> None:
        super().__init__(now_us)
        self.hold_id = hold_id
        self.demands = demands
        self.until_us = lease_end_us(lease_ns, now_us)

    def want(self, wanted: Wanted) -> None:
        """Name its hold and its quotas."""
        wanted.holds.add(self.hold_id)
        _want_quotas(wanted, self.demands)

    def decide(self, page: Page) -> bool:
        """Say whether it was open; what was settled is not brought back."""
        hold = page.holds.get(self.hold_id)
        if hold is not None:
            page.renew(self.hold_id, hold, self.until_us)
            return True
        if self.hold_id not in page.settled:
            held = tuple(
                (demand.key, demand.cost)
                for demand in self.demands
                if demand.cost and isinstance(demand.quota, BudgetQuota)
            )
            outcome = Outcome(
                "admitted", tuple(Verdict(demand.cost, 0) for demand in self.demands)
            )
            hold = Hold(self.until_us, held, _text(outcome), brought_back=1)
            page.open(self.hold_id, hold, self.now_us)
        return False


class Seed(Check[bool]):
    """Say what a ledgered budget has spent, unless that is known."""

    __slots__ = ("key", "spent")

    def __init__(self, key: str, spent: int, now_us: int) -> None:
        super().__init__(now_us)
        self.key = key
        self.spent = spent

    def want(self, wanted: Wanted) -> None:
        """Name its budget."""
        wanted.budgets.add(self.key)

    def decide(self, page: Page) -> bool:
        """Set it if absent; holds from before stay."""
        if page.knows(self.key):
            return False
        budget = page.budget(self.key, self.now_us)
        budget.spent, budget.seeded = saturated(self.spent), page.epoch
        return True


class Peek(Check[tuple[Verdict, ...]]):
    """Tell what each demand would be answered, by itself."""

    __slots__ = ("demands",)

    def __init__(self, demands: Sequence[Demand], now_us: int) -> None:
        super().__init__(now_us)
        self.demands = demands

    def want(self, wanted: Wanted) -> None:
        """Name its quotas."""
        _want_quotas(wanted, self.demands)

    def decide(self, page: Page) -> tuple[Verdict, ...]:
        """Take nothing."""
        now_us = self.now_us
        return tuple(
            decide_rate(quota, page.dues.get(demand.key, 0), demand.cost, now_us)[0]
            if isinstance(quota := demand.quota, RateQuota)
            else _decide_budget(page, demand, quota, now_us)
            for demand in self.demands
        )


class Sweep(Check[int]):
    """Tell how many holds were ended because their lease is over."""

    __slots__ = ()

    def decide(self, page: Page) -> int:
        """Every page ends those that are over; here they are counted, once."""
        expired, page.expired = page.expired, 0
        return expired


class Announce(Check[None]):
    """Note the newest version of an account."""

    __slots__ = ("account_id", "version")

    lasting = True

    def __init__(self, account_id: str, version: int) -> None:
        super().__init__(0)
        self.account_id = account_id
        self.version = version

    def want(self, wanted: Wanted) -> None:
        """Name its account."""
        wanted.accounts.add(self.account_id)

    def decide(self, page: Page) -> None:
        """Never go back to an older one."""
        known = page.versions.get(self.account_id, self.version)
        page.put_version(self.account_id, max(known, self.version))


def _text(outcome: Outcome) -> str:
    return msgspec.json.encode(outcome).decode()


def lease_end_us(lease_ns: int, now_us: int) -> int:
    """When a lease from now ends; a part of a microsecond counts as a whole one."""
    return now_us - (-lease_ns // NS_PER_US)


def _want_quotas(wanted: Wanted, demands: Sequence[Demand]) -> None:
    for demand in demands:
        is_rate = isinstance(demand.quota, RateQuota)
        (wanted.rates if is_rate else wanted.budgets).add(demand.key)


def _is_ledgered(demand: Demand) -> bool:
    return isinstance(demand.quota, BudgetQuota) and demand.quota.ledgered


def _decide_budget(
    page: Page, demand: Demand, quota: BudgetQuota, now_us: int
) -> Verdict:
    key = demand.key
    budget = page.budgets.get(key, _UNUSED)
    verdict = decide_budget(
        quota, budget.spent, budget.held, demand.cost, demand.cost_min
    )
    if verdict.reason == "held":
        wait_ns = (page.lease_end_us(key, now_us) - now_us) * NS_PER_US
        return Verdict(0, verdict.remaining, wait_ns, 0, "held")
    return verdict
