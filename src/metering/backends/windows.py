"""Fixed, moving and sliding windows, in any storage of the package `limits`."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import lru_cache
from hashlib import sha256
from importlib.util import find_spec
from typing import Any, NamedTuple, TypeVar, cast

from limits import RateLimitItemPerSecond
from limits.aio.storage import (
    MemcachedStorage,
    MemoryStorage,
    MovingWindowSupport,
    RedisSentinelStorage,
    RedisStorage,
    SlidingWindowCounterSupport,
    Storage,
)
from limits.aio.strategies import (
    FixedWindowRateLimiter,
    MovingWindowRateLimiter,
    RateLimiter,
    SlidingWindowCounterRateLimiter,
)
from limits.errors import ConfigurationError as UnusableError
from limits.storage import storage_from_string

from metering.clock import NS_PER_MS, NS_PER_S
from metering.errors import ConfigurationError, StorageError
from metering.limit_rules import LimitRule
from metering.quota import Demand, RateQuota, Verdict, Window, binding

__all__ = ["LimitsWindowStore"]

DEADLINE_S = 0.05
"""Longest that a call waits for a storage elsewhere, once it is its turn."""

TURN_S = 1.0
"""Longest that a call waits for its turn."""

GIVEN_UP_S = 2.0
"""Longest that what nobody waits for any more goes on, such as a connection."""

AT_ONCE = 8
"""Calls that ask a storage elsewhere at once, each by a connection of its own."""

_ASYNC = "async+"
_KEY_LENGTH_MAX = 200  # of memcached's 250, less what `limits` adds
_MEMCACHED_SPAN_MAX_S = 30 * 86_400  # what is longer, memcached takes for an instant
_ITEMS_MAX = 1024

_Answer = TypeVar("_Answer")


class _Way(NamedTuple):
    """How `limits` counts one kind of window, and what a storage needs for it."""

    strategy: type[RateLimiter]
    needs: type
    spans: int


_WAYS: dict[Window, _Way] = {
    "fixed": _Way(FixedWindowRateLimiter, Storage, 1),
    "moving": _Way(MovingWindowRateLimiter, MovingWindowSupport, 1),
    "sliding": _Way(SlidingWindowCounterRateLimiter, SlidingWindowCounterSupport, 2),
}

_PACKAGES = {
    "redis": "redis",
    "valkey": "valkey",
    "memcached": "memcachio",
    "mongodb": "motor",
}
"""The client that a storage needs, by what its scheme begins with."""


class LimitsWindowStore:
    """A `WindowStore` in a storage of `limits`.

    A window is looked at before it is counted, since a fixed one is charged even when
    it refuses. Between the look and the count another caller may take the last request:
    then a fixed window has counted one too many, and so has each of the call's windows
    before it. No window ever lets more through than its rate.

    A storage elsewhere is waited for at most `DEADLINE_S`. What was asked is then not
    cut off, as a new connection may take longer; but until it has ended, and while the
    storage is away, nobody else waits.

    Runs on asyncio only, as `limits` does. The time is the storage's or the system's.

    Args:
        url: `memory://`, or any storage URL that `limits` takes, with or without its
            prefix `async+`.
        rules: The limits that will be asked for.

    Raises:
        ConfigurationError: There is no such storage, its client is not installed, its
            URL cannot be used, or it cannot count the window of a limit.
    """

    def __init__(self, url: str, rules: Iterable[LimitRule] = ()) -> None:
        self._url = _ASYNC + url.removeprefix(_ASYNC)
        self._scheme = url.removeprefix(_ASYNC).partition("://")[0]
        self._kind = _kind_of(self._scheme, url)
        for rule in rules:
            if rule.window is not None:
                _require_way(rule, rule.window, self._kind, self._scheme)
        self.shared = self._kind is not MemoryStorage
        self._storage: Storage | None = self._open()
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._asking: set[asyncio.Task[Any]] = set()
        self._away = False

    async def take(self, demands: Sequence[Demand]) -> tuple[Verdict, ...]:
        """Count one request in each window, unless one of them refuses."""

        async def take() -> tuple[Verdict, ...]:
            verdicts = [await self._look(demand) for demand in demands]
            if binding(demands, verdicts) >= 0:
                return tuple(verdicts)
            for at, demand in enumerate(demands):
                if verdicts[at].reason or await self._hit(demand):
                    continue
                verdicts[at] = await self._look(demand, lost=True)
                if not demand.shadow:
                    break
            return tuple(verdicts)

        return await self._ask(take)

    async def peek(self, demands: Sequence[Demand]) -> tuple[Verdict, ...]:
        """Return what each window would be answered now; count nothing."""

        async def peek() -> tuple[Verdict, ...]:
            return tuple([await self._look(demand) for demand in demands])

        return await self._ask(peek)

    async def aclose(self) -> None:
        """Close the client, within `GIVEN_UP_S`; a later method opens another."""
        if self._asking:
            await asyncio.wait(self._asking)
        self._turns = asyncio.Semaphore(AT_ONCE)  # the next loop may be another
        bridge = getattr(self._storage, "bridge", self._storage)
        client = getattr(bridge, "storage", None)
        close = getattr(client, "aclose", None) or getattr(client, "close", None)
        if close is not None:
            self._storage = None
            closing = close()
            if closing is not None:
                await closing

    # One window

    async def _look(self, demand: Demand, *, lost: bool = False) -> Verdict:
        """Answer as the window is before the call is counted; *lost*: a refusal."""
        quota = cast("RateQuota", demand.quota)
        strategy, item, key = self._way(demand)
        stats = await strategy.get_window_stats(item, key)
        left = max(0, stats.remaining)
        until_ns = max(0, round((stats.reset_time - time.time()) * NS_PER_S))
        if lost or left < demand.cost:
            if demand.window == "sliding" and not until_ns:
                # At its very first instant `limits` says that it ends at once.
                until_ns = quota.per_ns
            # Redis tells the end of a fixed window to the nearest second.
            rounded = demand.window == "fixed" and issubclass(self._kind, RedisStorage)
            wait_ns = until_ns + (NS_PER_S // 2 if rounded else NS_PER_MS)
            return Verdict(0, left, wait_ns, until_ns, "rate")
        reset_ns = quota.per_ns if left >= quota.amount else until_ns
        return Verdict(demand.cost, left - demand.cost, 0, reset_ns)

    async def _hit(self, demand: Demand) -> bool:
        strategy, item, key = self._way(demand)
        return await strategy.hit(item, key, cost=demand.cost)

    def _way(self, demand: Demand) -> tuple[RateLimiter, "_Item", str]:
        if self._storage is None:
            self._storage = self._open()
        window, quota = demand.window or "fixed", cast("RateQuota", demand.quota)
        item = _item(quota)
        strategy = _WAYS[window].strategy(self._storage)
        return strategy, item, _key(window, item.multiples, demand.key)

    # The storage

    def _open(self) -> Storage:
        """Make the client of the storage; it connects when it is first asked."""
        options: dict[str, Any] = {}
        if issubclass(self._kind, RedisStorage):
            options["implementation"] = "redispy"  # the default, coredis, fails from 6
        if issubclass(self._kind, RedisSentinelStorage):
            options["use_replicas"] = False  # they lag
        try:
            return cast("Storage", storage_from_string(self._url, **options))
        except (UnusableError, ValueError, TypeError) as error:
            # Its text may hold the whole URL, and so a password.
            raise ConfigurationError(
                f"Windows cannot be kept where the {self._scheme}:// URL says: `limits`"
                f" refuses it ({type(error).__name__}). Write {self._scheme}://HOST:PORT"
                " with what else it documents for this storage, and have a version of"
                " the client that it supports."
            ) from None

    async def _ask(self, work: Callable[[], Awaitable[_Answer]]) -> _Answer:
        _require_asyncio()
        if not self.shared:
            return await work()
        try:
            async with asyncio.timeout(TURN_S):
                await self._turns.acquire()
        except TimeoutError:
            raise self._fault("more calls wait for it than it answers") from None
        if self._away and self._asking:
            self._turns.release()
            raise self._fault("it is away")
        task = asyncio.create_task(self._work(work))
        self._asking.add(task)
        task.add_done_callback(self._end)
        await asyncio.wait({task}, timeout=DEADLINE_S)
        if not task.done():
            self._away = True
            raise self._fault(f"no answer within {DEADLINE_S * 1000:g} ms")
        return task.result()

    async def _work(self, work: Callable[[], Awaitable[_Answer]]) -> _Answer:
        try:
            async with asyncio.timeout(GIVEN_UP_S):
                answer = await work()
        except Exception as error:  # clients raise what they like
            self._away = True
            raise self._fault(f"{type(error).__name__}: {error}") from error
        self._away = False
        return answer

    def _end(self, task: asyncio.Task[Any]) -> None:
        self._asking.discard(task)
        self._turns.release()
        if not task.cancelled():
            task.exception()  # nobody may wait for it any more

    def _fault(self, reason: str) -> StorageError:
        return StorageError(f"The windows in {self._scheme}:// are away: {reason}.")


class _Item(RateLimitItemPerSecond):
    """An amount and a span for `limits`, under a key that is ours.

    Its own keys hold the amount: a changed limit would forget what was used.
    """

    def key_for(self, *identifiers: bytes | str | float) -> str:
        """Return the key that was given."""
        return str(identifiers[0])


@lru_cache(maxsize=_ITEMS_MAX)
def _item(quota: RateQuota) -> _Item:
    return _Item(quota.amount, quota.per_ns // NS_PER_S)


def _key(window: Window, span_s: int, key: str) -> str:
    # The kinds of windows keep things of different types. What a key holds comes from
    # clients too, and memcached takes neither long keys nor blanks.
    plain = key.isascii() and key.isprintable() and " " not in key
    if not plain or len(key) > _KEY_LENGTH_MAX:
        key = sha256(key.encode(errors="surrogatepass")).hexdigest()
    return f"metering/{window}/{span_s}/{key}"


def _kind_of(scheme: str, url: str) -> type[Storage]:
    kinds: dict[str, Any] = {}
    unseen: list[Any] = [Storage]
    while unseen:
        kind = unseen.pop()
        unseen += kind.__subclasses__()
        schemes = vars(kind).get("STORAGE_SCHEME") or ()
        schemes = (schemes,) if isinstance(schemes, str) else schemes
        kinds |= {name.removeprefix(_ASYNC): kind for name in schemes}
    if scheme not in kinds or "://" not in url:
        known = ", ".join(f"{name}://" for name in sorted(kinds))
        raise ConfigurationError(
            f"Windows cannot be kept in {scheme!r}; the URL begins with one of:"
            f" {known}."
        )
    for begins, package in _PACKAGES.items():
        if scheme.startswith(begins) and find_spec(package) is None:
            raise ConfigurationError(
                f"Windows in {scheme}:// need a package that is not installed:"
                f" pip install {package}"
            )
    return cast("type[Storage]", kinds[scheme])


def _require_way(
    rule: LimitRule, window: Window, kind: type[Storage], scheme: str
) -> None:
    way = _WAYS[window]
    if not issubclass(kind, way.needs):
        able = ", ".join(name for name, w in _WAYS.items() if issubclass(kind, w.needs))
        raise ConfigurationError(
            f"Limit {rule.name!r} has a {window} window, and {scheme}:// cannot count"
            f" those. It can count: {able}."
        )
    for quota in rule.quotas:
        span_s = way.spans * _item(cast("RateQuota", quota)).multiples
        if issubclass(kind, MemcachedStorage) and span_s > _MEMCACHED_SPAN_MAX_S:
            raise ConfigurationError(
                f"Limit {rule.name!r} has a {window} window too long for {scheme}://,"
                f" which keeps nothing for {span_s // 86_400} days. Have a window of"
                f" {30 // way.spans} days, or another storage."
            )


def _require_asyncio() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        raise ConfigurationError(
            "Windows run on asyncio only: `limits` does. Under trio, use limits without"
            " a window."
        ) from None
