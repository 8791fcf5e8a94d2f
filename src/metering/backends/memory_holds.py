"""What is known in memory of one budget and of one hold."""

import msgspec

from metering.clock import NS_PER_US
from metering.errors import ConfigurationError
from metering.quota import Demand
from metering.stores import Outcome

__all__ = [
    "NO_LEASE_US",
    "Budget",
    "Hold",
    "is_known",
    "lease_end_us",
    "require_hold",
]

NO_LEASE_US = 2**63


class Budget(msgspec.Struct, gc=False):
    """State of one budget; `holds` is in order of admission.

    `ledgered` says that it was seeded, and is kept though nothing be spent or held.
    No lease ends before `lease_first_us`: it is never late, though it may be early
    where holds were renewed or settled since.
    """

    spent: int = 0
    ledgered: bool = False
    held: int = 0
    holds: dict[str, int] = {}
    lease_first_us: int = NO_LEASE_US


class Hold(msgspec.Struct, gc=False):
    """A running call: how it was answered, and what it has of budgets."""

    outcome: Outcome
    lease_until_us: int
    held: tuple[tuple[str, int], ...] = ()
    brought_back: bool = False


def is_known(budget: Budget | None) -> bool:
    """Whether what was spent is known, not only what a call brought back holds."""
    return budget is not None and (budget.ledgered or budget.spent != 0)


def require_hold(demand: Demand, hold_id: str) -> None:
    """Refuse a budget without a hold.

    Raises:
        ConfigurationError: There is none.
    """
    if not hold_id:
        raise ConfigurationError(
            f"Demand {demand.name or demand.key!r} is on a budget, which is held until"
            " it is settled. Give acquire a hold_id; only rates can do without."
        )


def lease_end_us(lease_ns: int, now_us: int) -> int:
    """Return the instant at which a lease ends, rounded up."""
    return now_us - (-lease_ns // NS_PER_US)
