"""Key records that processes share through any cache of aiocache's."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

import anyio
import msgspec

from metering.clock import NS_PER_S
from metering.errors import ConfigurationError
from metering.log import Log
from metering.stores import KeyRecord

__all__ = ["Aiocache", "AiocacheSnapshots"]

_PREFIX = "metering:key:"
_TIMEOUT_S = 0.05

_DECODER = msgspec.json.Decoder(KeyRecord)
_T = TypeVar("_T")
_log = Log()


class Aiocache(Protocol):
    """What is used of an aiocache cache; the package itself carries no types."""

    async def get(self, key: str, **options: Any) -> Any:
        """Return a value or None."""
        ...

    async def set(self, key: str, value: Any, **options: Any) -> Any:
        """Keep a value."""
        ...

    async def delete(self, key: str, **options: Any) -> Any:
        """Forget a value."""
        ...


class AiocacheSnapshots:
    """`Snapshots` over an aiocache cache: memory, Redis or Memcached. asyncio only.

    The cache may be lost, slow or wrong at any time. A fault, or 50 ms without an
    answer, is a miss; one warning says when faults begin, one line when they end.

    Args:
        cache: The cache. Its serializer and its timeout are not used: values are JSON
            text, and aiocache's own 5 s timeout costs more than a hit.
    """

    def __init__(self, cache: Aiocache) -> None:
        self._cache = cache
        self._sound = True

    async def get(self, name: str) -> KeyRecord | None:
        """Return the record, or None if it is not there or not in time."""

        async def read() -> KeyRecord | None:
            text = await self._cache.get(
                _PREFIX + name, loads_fn=_as_it_is, timeout=None
            )
            return None if text is None else _DECODER.decode(text)

        return await self._attempt("get", read)

    async def put(self, name: str, record: KeyRecord, *, ttl_ns: int) -> None:
        """Keep a record for whole seconds: *ttl_ns* rounded down, at least one."""

        async def write() -> None:
            await self._cache.set(
                _PREFIX + name,
                msgspec.json.encode(record).decode(),
                ttl=max(1, ttl_ns // NS_PER_S),  # to aiocache, 0 would mean for ever
                dumps_fn=_as_it_is,
                timeout=None,
            )

        await self._attempt("put", write)

    async def drop(self, name: str) -> None:
        """Forget a record."""

        async def delete() -> None:
            await self._cache.delete(_PREFIX + name, timeout=None)

        await self._attempt("drop", delete)

    async def _attempt(
        self, operation: str, act: Callable[[], Awaitable[_T]]
    ) -> _T | None:
        _require_asyncio()
        try:
            with anyio.fail_after(_TIMEOUT_S):
                answer = await act()
        except Exception as fault:  # noqa: BLE001 - each driver has errors of its own
            if self._sound:
                self._sound = False
                _log.warning(
                    "snapshot_cache_failed",
                    operation=operation,
                    error=type(fault).__name__,
                )
            return None
        if not self._sound:
            self._sound = True
            _log.info("snapshot_cache_recovered", operation=operation)
        return answer


def _require_asyncio() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        raise ConfigurationError(
            "aiocache runs on asyncio alone, and this is another event loop. Run the"
            " app on asyncio, or leave the shared cache out."
        ) from None


def _as_it_is(text: Any) -> Any:
    return text
