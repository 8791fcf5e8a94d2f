"""Limits kept in Redis or Valkey, for any number of processes and hosts."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Literal, cast
from uuid import uuid4

from metering.backends.redis.demands import Part, offer_of, parts_of, recalled, units
from metering.backends.redis.keys import Keys, tagged
from metering.backends.redis.nodes import ClusterNodes, Nodes, OneNode, slot_of
from metering.backends.redis.operation import Operation
from metering.clock import NS_PER_US
from metering.errors import ConfigurationError
from metering.quota import BudgetQuota, Demand, RateQuota, Verdict, binding
from metering.stores import Outcome, SettleResult

__all__ = ["TAGS_MAX", "RedisLimitStore"]

TAGS_MAX = 65_536
"""Accounts whose holds this process sweeps; others are left to their leases."""

_SWEPT_AT_ONCE = 1024
_LEASE_US_MAX = 2**52
_CALLERS_CLOCK_GRACE_MS = 3_600_000
_STALE = Outcome("stale")


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
            `rediss+cluster://` for one server of a cluster.
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
        self._keys = Keys(prefix)
        self._callers_clock = clock == "caller"
        self._deadline_s = deadline_ms / 1000
        self._on_health = on_health
        self._was_healthy = True
        self._tags: dict[str, None] = {}
        scheme, _, rest = url.partition("://")
        plain = scheme.removesuffix("+cluster")
        nodes: type[OneNode | ClusterNodes] = (
            OneNode if plain == scheme else ClusterNodes
        )
        try:
            self._nodes: Nodes = nodes(
                f"{plain}://{rest}",
                deadline_s=self._deadline_s,
                grace_ms=_CALLERS_CLOCK_GRACE_MS if self._callers_clock else 0,
                on_change=self._changed,
            )
        except ValueError as error:
            raise ConfigurationError(
                f"The URL of Redis ({scheme}://...) cannot be used: {error}"
            ) from None

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
        if not hold_id:
            _require_rates(demands)
        parts = parts_of(demands, self._keys, account)
        lease_us = min(-(-lease_ns // NS_PER_US), _LEASE_US_MAX)
        acquire = partial(self._acquire_of, lease_us=lease_us, now_ns=now_ns)
        if len(parts) > 1 and not self._nodes.one_slot:
            # Without a hold nothing could be given back, so there is one all the same.
            return await self._in_turn(parts, demands, acquire, hold_id or uuid4().hex)
        answer = await self._ask(acquire(parts, hold_id))
        return _outcome(demands, parts, answer)

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
        parts = parts_of(demands, self._keys)
        return cast(
            SettleResult,
            (
                await self._ask_all(
                    self._ending("settle", part, hold_id, costs, now_ns)
                    for part in parts
                )
            )[-1],
        )

    async def renew(
        self, hold_id: str, demands: Sequence[Demand], *, lease_ns: int, now_ns: int
    ) -> bool:
        """Extend a lease, never shorten it; or hold again what was lost."""
        lease_us = min(-(-lease_ns // NS_PER_US), _LEASE_US_MAX)
        operations: list[Operation] = []
        for part in parts_of(demands, self._keys):
            held = [
                (name, units(demand.cost, demand))
                for name, demand in zip(part.names, part.demands, strict=True)
                if demand.cost and isinstance(demand.quota, BudgetQuota)
            ]
            names = [name for name, _ in held]
            members = hold_id, lease_us, offer_of([part]), [text for _, text in held]
            keys = [
                self._keys.holds(part.tag),
                self._keys.done(part.tag, hold_id),
                *names,
            ]
            operations.append(self._operation("renew", part.tag, keys, members, now_ns))
            self._remember(part.tag)
        return all(await self._ask_all(operations))

    async def seed(self, key: str, spent: int, *, now_ns: int) -> bool:
        """Say what a ledgered budget has spent, unless the store knows already."""
        tag, key_tagged = tagged(key)
        text = units(spent, Demand(key, BudgetQuota(0)))
        name = self._keys.spent + key_tagged
        seeded = await self._ask(self._operation("seed", tag, [name], [text], now_ns))
        return bool(seeded)

    async def peek(
        self, demands: Sequence[Demand], *, now_ns: int
    ) -> tuple[Verdict, ...]:
        """Return what each demand would be answered now, by itself; take nothing."""
        parts = parts_of(demands, self._keys)
        verdicts: dict[int, Verdict] = {}
        answers = await self._ask_all(self._peeking(part, now_ns) for part in parts)
        for part, (now_us, told) in zip(parts, answers, strict=True):
            verdicts.update(part.verdicts(told, now_us))
        return _in_order(verdicts)

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
                self._operation("sweep", tag, [self._keys.holds(tag)], (), now_ns)
                for tag in some
            )
            for tag, (ended, running) in zip(some, answers, strict=True):
                swept += ended
                if not running:
                    self._tags.pop(tag, None)
        return swept

    async def announce(self, account_id: str, version: int) -> None:
        """Make `acquire` answer `stale` to snapshots older than *version*."""
        keys = [self._keys.version(account_id)]
        await self._ask(self._operation("announce", account_id, keys, [version], 0))

    async def _in_turn(
        self,
        parts: list[Part],
        demands: Sequence[Demand],
        acquire: Callable[[list[Part], str], Operation],
        hold_id: str,
    ) -> Outcome:
        """Acquire part by part, and give back what was taken if a later one refuses."""
        verdicts: dict[int, Verdict] = {}
        unseeded: list[tuple[int, str]] = []
        asked: list[Operation] = []
        status = "admitted"
        due_s = asyncio.get_running_loop().time() + self._deadline_s
        try:
            for part in parts:
                if status == "admitted":
                    asked.append(acquire([part], hold_id))
                    answer = await self._ask(asked[-1], due_s)
                else:
                    peeking = self._peeking(part, asked[-1].now_us * NS_PER_US)
                    answer = (status, *await self._ask(peeking, due_s))
                if answer[0] == "stale":
                    status = "stale"
                    break
                if answer[0] == "again":
                    verdicts.update(recalled(*answer[1:]))
                    continue
                status = answer[0]
                unseeded += part.unseeded(answer[2])
                verdicts.update(part.verdicts(answer[2], answer[1]))
        except BaseException:
            self._undo(asked[:-1])
            raise
        if status != "admitted":
            self._undo(asked[:-1])
        if status == "stale":
            return _STALE
        if unseeded:
            return Outcome("unseeded", unseeded=tuple(k for _, k in sorted(unseeded)))
        return _decided(demands, status, _in_order(verdicts))

    def _acquire_of(
        self, parts: list[Part], hold_id: str, *, lease_us: int, now_ns: int
    ) -> Operation:
        keys: list[str] = []
        told: list[Any] = []
        for part in parts:
            told.append((len(keys) + 1, part.version, part.offers()))
            keys.append(self._keys.holds(part.tag))
            keys += part.names
            if part.version:
                keys.append(self._keys.version(part.tag))
            if hold_id:
                self._remember(part.tag)
        offer = offer_of(parts) if hold_id else ""
        members = hold_id, lease_us, offer, told
        operation = self._operation("acquire", parts[-1].tag, keys, members, now_ns)
        operation.repeatable = bool(hold_id)
        if hold_id:
            operation.undo = lambda: self._taking_back(parts, hold_id, now_ns)
        return operation

    def _taking_back(
        self, parts: list[Part], hold_id: str, now_ns: int
    ) -> list[Operation]:
        nothing = [0] * (1 + max((n for part in parts for n in part.places), default=0))
        return [
            self._ending("take_back", part, hold_id, nothing, now_ns)
            for part in parts
            if part.demands
        ]

    def _ending(
        self, kind: str, part: Part, hold_id: str, costs: Sequence[int], now_ns: int
    ) -> Operation:
        holds, done = self._keys.holds(part.tag), self._keys.done(part.tag, hold_id)
        members = hold_id, part.changes(costs)
        keys = [holds, done, *part.names]
        operation = self._operation(kind, part.tag, keys, members, now_ns)
        operation.insistent = True
        return operation

    def _peeking(self, part: Part, now_ns: int) -> Operation:
        keys = [self._keys.holds(part.tag), *part.names]
        return self._operation("peek", part.tag, keys, [part.offers()], now_ns)

    def _operation(
        self, kind: str, tag: str, keys: list[str], members: Sequence[Any], now_ns: int
    ) -> Operation:
        now_us = now_ns // NS_PER_US if self._callers_clock else -1
        operation = Operation(kind, keys, members, now_us=now_us)
        if not self._nodes.one_slot:
            operation.slot = slot_of(tag)
        return operation

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

    def _remember(self, tag: str) -> None:
        self._tags[tag] = None
        if len(self._tags) > TAGS_MAX:
            del self._tags[next(iter(self._tags))]

    def _changed(self) -> None:
        healthy = self.healthy
        if healthy != self._was_healthy:
            self._was_healthy = healthy
            if self._on_health is not None:
                self._on_health(healthy)


def _outcome(demands: Sequence[Demand], parts: list[Part], answer: Any) -> Outcome:
    """Return what the answer to one `acquire` of all parts says."""
    status = answer[0]
    if status == "stale":
        return _STALE
    if status == "again":
        return Outcome("admitted", _in_order(dict(recalled(*answer[1:]))))
    _, now_us, told = answer
    if len(parts) == 1 and status != "unseeded":
        return _decided(demands, status, parts[0].decided(told, now_us))
    verdicts: dict[int, Verdict] = {}
    unseeded: list[tuple[int, str]] = []
    start = 0
    for part in parts:
        end = start + len(part.demands)
        unseeded += part.unseeded(told[start:end])
        verdicts.update(part.verdicts(told[start:end], now_us))
        start = end
    if status == "unseeded":
        return Outcome("unseeded", unseeded=tuple(key for _, key in sorted(unseeded)))
    return _decided(demands, status, _in_order(verdicts))


def _decided(
    demands: Sequence[Demand], status: str, verdicts: tuple[Verdict, ...]
) -> Outcome:
    if status == "admitted":
        return Outcome("admitted", verdicts)
    return Outcome("refused", verdicts, binding(demands, verdicts))


def _in_order(verdicts: dict[int, Verdict]) -> tuple[Verdict, ...]:
    return tuple(verdicts[place] for place in sorted(verdicts))


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
