"""Limits kept in Redis or Valkey, for any number of processes and hosts."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, cast
from uuid import uuid4

from metering.backends.redis.calls import Calls
from metering.backends.redis.demands import Part, parts_of
from metering.backends.redis.in_turn import acquire_in_turn
from metering.backends.redis.keys import Keys, require_text
from metering.backends.redis.nodes import nodes_of
from metering.backends.redis.operation import Operation
from metering.backends.redis.outcomes import in_order, outcome_of
from metering.backends.redis.urls import shown
from metering.errors import ConfigurationError
from metering.quota import Demand, RateQuota, Verdict, require_costs
from metering.stores import Outcome, SettleResult

__all__ = ["TAGS_MAX", "RedisLimitStore"]

TAGS_MAX = 65_536
"""Accounts whose holds this process sweeps; others are left to their leases."""

_SWEPT_AT_ONCE = 1024
_CALLERS_CLOCK_GRACE_MS = 3_600_000


class RedisLimitStore:
    """A `LimitStore` in Redis or Valkey, and where changes of accounts are announced.

    All keys of one account have its id as their hash tag, as the keys of demands do:
    `{acme}:rpm:paid`. What is asked in one turn of the event loop travels in one call
    of one script, each by itself all or none, with an answer of its own.

    On a cluster, demands in other slots than the account's are acquired first, and
    given back if the account refuses: that is not atomic across slots. A call that
    dies in between leaves what it took until its lease ends.

    What is kept, and how long:

    - Rates: until the instant at which they are whole again.
    - Ledgered budgets: 7 days after the last charge; then they are seeded again.
    - Other budgets: 400 days after the last charge.
    - Holds: until the last lease of their account is over, and a minute.
    - Settled holds: an hour. Versions of accounts: a day.

    Args:
        url: `redis://`, `rediss://` or `unix://`; `redis+cluster://` and
            `rediss+cluster://` for one server of a cluster; `redis+sentinel://` and
            `rediss+sentinel://` for sentinels and the service whose master is meant:
            `redis+sentinel://host1:26379,host2:26379/SERVICE`.
        prefix: What all keys begin with.
        clock: Whose clock decides: the server's, so that clocks of nodes may differ,
            or the caller's, for tests.
        deadline_ms: Longest time that a method waits for its answer, above 0.
        on_health: Called with False when decisions begin to fail at once because a
            server is away, and with True when it is back.

    Raises:
        ConfigurationError: An argument cannot be used.
    """

    waits = True
    forgets = True

    def __init__(
        self,
        url: str,
        *,
        prefix: str = "metering",
        clock: Literal["server", "caller"] = "server",
        deadline_ms: int = 50,
        on_health: Callable[[bool], None] | None = None,
    ) -> None:
        if clock not in {"server", "caller"}:
            raise ConfigurationError(
                f'clock {clock!r} is neither "server" nor "caller".'
            )
        if deadline_ms <= 0:
            raise ConfigurationError(
                f"deadline_ms {deadline_ms} leaves no time for an answer. Give at"
                " least 1; the default is 50."
            )
        keys, callers_clock = Keys(prefix), clock == "caller"
        self._deadline_s = deadline_ms / 1000
        self._on_health = on_health
        self._was_healthy = True
        self._tags: dict[str, None] = {}
        try:
            self._nodes = nodes_of(
                url,
                deadline_s=self._deadline_s,
                grace_ms=_CALLERS_CLOCK_GRACE_MS if callers_clock else 0,
                on_change=self._changed,
            )
        except ValueError as error:
            raise ConfigurationError(
                f"The URL of Redis ({shown(url)}) cannot be used: {error}"
            ) from None
        self._calls = Calls(
            keys, callers_clock=callers_clock, one_slot=self._nodes.one_slot
        )

    @property
    def healthy(self) -> bool:
        """Whether all servers answer, as far as is known."""
        return self._nodes.fault is None

    async def connect(self) -> None:
        """Make the connections, so that the first decisions need not wait for them.

        Raises:
            StorageError: A server does not answer.
        """
        _require_asyncio()
        await self._nodes.connect()

    async def aclose(self) -> None:
        """End all tasks and connections; who still waits gets a StorageError."""
        await self._nodes.aclose()

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
        require_costs(demands)
        require_text(hold_id, *[demand.key for demand in demands])
        if account is not None:
            require_text(account[0])
        if not hold_id:
            _require_rates(demands)
        calls = self._calls
        parts = parts_of(demands, calls.keys, account)
        in_turn = len(parts) > 1 and not self._nodes.one_slot
        if in_turn and not hold_id:
            hold_id = uuid4().hex  # without a hold nothing could be given back
        if hold_id:
            self._remember(parts)
        if in_turn:
            due_s = _require_asyncio().time() + self._deadline_s
            return await acquire_in_turn(
                demands,
                parts,
                acquire=lambda part: calls.acquire([part], hold_id, lease_ns, now_ns),
                peek=lambda part: calls.peek(part, now_ns),
                ask=lambda operation: self._ask(operation, due_s),
                undo=self._undo,
            )
        answer = await self._ask(calls.acquire(parts, hold_id, lease_ns, now_ns))
        return outcome_of(demands, parts, answer)

    async def settle(
        self,
        hold_id: str,
        demands: Sequence[Demand],
        costs: Sequence[int],
        *,
        now_ns: int,
    ) -> SettleResult:
        """Replace a hold by what was used, once.

        It is sent in any case: if the caller is cancelled or gets a StorageError, it
        is sent again when the server is back, for up to 30 minutes.
        """
        if len(costs) != len(demands):
            raise ConfigurationError(
                f"{len(costs)} costs for {len(demands)} demands: say of each what it"
                " used, 0 for nothing."
            )
        require_text(hold_id, *[demand.key for demand in demands])
        operations = self._calls.settle(hold_id, demands, costs, now_ns)
        answers = await self._ask_all(operations)
        return cast(SettleResult, answers[-1]) if answers else "late"

    async def renew(
        self, hold_id: str, demands: Sequence[Demand], *, lease_ns: int, now_ns: int
    ) -> bool:
        """Extend a lease, never shorten it; or hold again what was lost."""
        require_costs(demands, granted=True)
        require_text(hold_id, *[demand.key for demand in demands])
        parts = parts_of(demands, self._calls.keys)
        self._remember(parts)
        return all(
            await self._ask_all(
                self._calls.renew(hold_id, part, lease_ns, now_ns) for part in parts
            )
        )

    async def seed(self, key: str, spent: int, *, now_ns: int) -> bool:
        """Say what a ledgered budget has spent, unless the store knows already."""
        require_text(key)
        return bool(await self._ask(self._calls.seed(key, spent, now_ns)))

    async def peek(
        self, demands: Sequence[Demand], *, now_ns: int
    ) -> tuple[Verdict, ...]:
        """Return what each demand would be answered now, by itself; take nothing."""
        require_costs(demands)
        require_text(*[demand.key for demand in demands])
        parts = parts_of(demands, self._calls.keys)
        verdicts: dict[int, Verdict] = {}
        answers = await self._ask_all(self._calls.peek(part, now_ns) for part in parts)
        for part, (now_us, told) in zip(parts, answers, strict=True):
            verdicts.update(part.verdicts(told, now_us))
        return in_order(verdicts)

    async def sweep(self, *, now_ns: int) -> int:
        """End the holds whose lease is over, each once. Return how many it ended.

        It looks at the accounts of which this process has opened holds. What others
        left is freed when its account is asked for, or expires by itself.
        """
        swept = 0
        tags = [*self._tags]
        for start in range(0, len(tags), _SWEPT_AT_ONCE):
            some = tags[start : start + _SWEPT_AT_ONCE]
            answers = await self._ask_all(
                self._calls.sweep(tag, now_ns) for tag in some
            )
            for tag, (ended, running) in zip(some, answers, strict=True):
                swept += ended
                if not running:
                    self._tags.pop(tag, None)
        return swept

    async def announce(self, account_id: str, version: int) -> None:
        """Make `acquire` answer `stale` to snapshots older than *version*."""
        require_text(account_id)
        await self._ask(self._calls.announce(account_id, version))

    async def _ask(self, operation: Operation, due_s: float | None = None) -> Any:
        """Send an operation and wait for its answer; if cancelled, see to its end."""
        loop = _require_asyncio()
        future = operation.future = loop.create_future()
        operation.due_s = loop.time() + self._deadline_s if due_s is None else due_s
        self._nodes.submit(operation)
        try:
            return await future
        except asyncio.CancelledError:
            if operation.sent:
                self._undo([operation])
            raise

    async def _ask_all(self, operations: Iterable[Operation]) -> list[Any]:
        asked = [*operations]
        if len(asked) == 1:
            return [await self._ask(asked[0])]
        return await asyncio.gather(*map(self._ask, asked))

    def _undo(self, operations: Iterable[Operation]) -> None:
        for operation in operations:
            for undoing in operation.undo() if operation.undo else ():
                self._nodes.submit(undoing)

    def _remember(self, parts: Iterable[Part]) -> None:
        for part in parts:
            self._tags[part.tag] = None
        while len(self._tags) > TAGS_MAX:
            del self._tags[next(iter(self._tags))]

    def _changed(self) -> None:
        healthy = self.healthy
        if healthy != self._was_healthy:
            self._was_healthy = healthy
            if self._on_health is not None:
                self._on_health(healthy)


def _require_rates(demands: Iterable[Demand]) -> None:
    for demand in demands:
        if not isinstance(demand.quota, RateQuota):
            raise ConfigurationError(
                f"Demand {demand.name or demand.key!r} is on a budget, which is held"
                " until it is settled. Give acquire a hold_id; only rates can do"
                " without."
            )


def _require_asyncio() -> asyncio.AbstractEventLoop:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise ConfigurationError(
            "RedisLimitStore runs on asyncio only: redis-py does. Under trio, use the"
            " memory or the SQLite store."
        ) from None
