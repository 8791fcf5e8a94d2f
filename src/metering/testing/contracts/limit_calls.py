"""How the contract of limit stores asks, and the figures it asks with."""

from typing import Protocol
from uuid import uuid4

import anyio

from metering.clock import NS_PER_S
from metering.money import PICO
from metering.quota import BudgetQuota, Demand, RateQuota, Verdict
from metering.stores import AccountVersions, LimitStore, Outcome

__all__ = [
    "CENT",
    "DIME",
    "DOLLAR",
    "LEASE_NS",
    "MINUTE_NS",
    "NOW",
    "SIXTY_A_MINUTE",
    "Store",
    "admitted",
    "beside",
    "new_key",
    "peeked",
    "room",
    "take",
]

NOW = 1_768_435_200 * NS_PER_S
MINUTE_NS = 60 * NS_PER_S
LEASE_NS = 30 * NS_PER_S
DIME = PICO // 10
CENT = PICO // 100
DOLLAR = BudgetQuota(PICO)
SIXTY_A_MINUTE = RateQuota(60, MINUTE_NS)


class Store(LimitStore, AccountVersions, Protocol):
    """What the contract is about."""


def new_key(name: str = "quota") -> str:
    """Return a key that no test has used; the braces are one slot of a cluster."""
    return f"{{{uuid4().hex}}}:{name}"


def beside(key: str, name: str) -> str:
    """Return another key of the same account."""
    return f"{key.partition(':')[0]}:{name}"


async def take(
    store: Store,
    *demands: Demand,
    hold_id: str | None = None,
    now_ns: int = NOW,
    lease_ns: int = LEASE_NS,
) -> tuple[str, Outcome]:
    """Acquire under a fresh hold; return its id and the answer."""
    hold_id = uuid4().hex if hold_id is None else hold_id
    outcome = await store.acquire(
        demands, hold_id=hold_id, lease_ns=lease_ns, now_ns=now_ns
    )
    return hold_id, outcome


async def admitted(store: Store, count: int, *demands: Demand) -> list[str]:
    """Acquire *count* times at once; return the holds that were granted."""
    holds: list[str] = []

    async def one() -> None:
        hold_id, outcome = await take(store, *demands)
        if outcome.status == "admitted":
            holds.append(hold_id)

    async with anyio.create_task_group() as tasks:
        for _ in range(count):
            tasks.start_soon(one)
    return holds


async def peeked(store: Store, demand: Demand, now_ns: int = NOW) -> Verdict:
    """Return what one demand would be answered."""
    (verdict,) = await store.peek((demand,), now_ns=now_ns)
    return verdict


async def room(store: Store, key: str, amount: int = PICO, now_ns: int = NOW) -> int:
    """Return what is neither spent nor held of a budget."""
    nothing = Demand(key, BudgetQuota(amount), 0)
    return (await peeked(store, nothing, now_ns)).remaining
