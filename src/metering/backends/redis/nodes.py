"""Which server an operation goes to: the only one, or the one that has its slot."""

import asyncio
from binascii import crc_hqx
from collections.abc import Callable
from typing import Protocol

from redis.asyncio.connection import parse_url
from redis.exceptions import MovedError

from metering.backends.redis.link import Link
from metering.backends.redis.operation import Operation
from metering.backends.redis.sentinel import connections_to_master
from metering.backends.redis.urls import require_place
from metering.backends.redis.wire import Connect, connections_to
from metering.errors import StorageError

__all__ = ["Nodes", "nodes_of", "slot_of"]

SLOTS = 16_384
_MOVES_MAX = 3
_REFRESH_S = 1.0

Address = tuple[str, int]


def slot_of(tag: str) -> int:
    """Return the slot of all keys that have this hash tag."""
    return crc_hqx(tag.encode(), 0) % SLOTS


class Nodes(Protocol):
    """Where a store sends its operations."""

    one_slot: bool
    """Whether operations on different hash tags can be one."""

    @property
    def fault(self) -> StorageError | None:
        """Why some server cannot be asked now; None if all can."""
        ...

    def submit(self, operation: Operation) -> None:
        """Send an operation in the next batch for its server."""
        ...

    async def connect(self) -> None:
        """Make the connections, so that the first decisions need not wait for them."""
        ...

    async def aclose(self) -> None:
        """End all tasks and connections."""
        ...


class OneNode:
    """One server at a time: what stands behind an address, or the master of a service.

    Args:
        connect: Makes a connection to it, or to the one that is in its place by now.
        deadline_s: Longest time an operation waits for its answer.
        grace_ms: How much longer than needed instants are kept.
        on_change: Told when its circuit opened or closed.
    """

    one_slot = True

    def __init__(
        self,
        connect: Connect,
        *,
        deadline_s: float,
        grace_ms: int,
        on_change: Callable[[], None],
    ) -> None:
        self._link = Link(
            connect,
            deadline_s=deadline_s,
            grace_ms=grace_ms,
            on_change=on_change,
        )
        self.submit = self._link.submit

    @property
    def fault(self) -> StorageError | None:
        """Why the server cannot be asked now; None if it can."""
        return self._link.fault

    async def connect(self) -> None:
        """Make the connection."""
        await self._link.connect()

    async def aclose(self) -> None:
        """End the task and the connection."""
        await self._link.aclose()


class ClusterNodes:
    """The servers of a cluster, each with a connection of its own.

    Which server has which slot is asked at first use, when a server says that a slot
    has moved, and every second while a server does not answer.

    Args:
        url: One of the servers; the others are learned from it.
        deadline_s: Longest time an operation waits for its answer.
        grace_ms: How much longer than needed instants are kept.
        on_change: Told when the circuit of a server opened or closed.
    """

    one_slot = False

    def __init__(
        self,
        url: str,
        *,
        deadline_s: float,
        grace_ms: int,
        on_change: Callable[[], None],
    ) -> None:
        self._url = url
        self._deadline_s = deadline_s
        self._grace_ms = grace_ms
        self._on_change = on_change
        self._first = _address_of(url)
        self._links: dict[Address, Link] = {}
        self._slots: dict[int, Address] = {}
        self._refreshing: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def fault(self) -> StorageError | None:
        """Why one of the servers that have slots cannot be asked now."""
        return next((link.fault for link in self._links.values() if link.fault), None)

    def submit(self, operation: Operation) -> None:
        """Send an operation to the server that has its slot, as far as is known."""
        self._link(self._slots.get(operation.slot, self._first)).submit(operation)
        if not self._slots:
            self._refresh()

    async def connect(self) -> None:
        """Learn where the slots are, and make the connections."""
        self._refresh()
        if self._refreshing is not None:
            await self._refreshing
        for link in list(self._links.values()):
            await link.connect()

    async def aclose(self) -> None:
        """End all tasks and connections."""
        self._closed = True
        if self._refreshing is not None:
            self._refreshing.cancel()
            await asyncio.gather(self._refreshing, return_exceptions=True)
        for link in list(self._links.values()):
            await link.aclose()

    def _link(self, address: Address) -> Link:
        link = self._links.get(address)
        if link is None:
            host, port = address
            link = self._links[address] = Link(
                connections_to(self._url, host=host, port=port),
                deadline_s=self._deadline_s,
                grace_ms=self._grace_ms,
                on_change=self._changed,
                on_moved=self._moved,
            )
        return link

    def _changed(self) -> None:
        if self.fault is not None:
            self._refresh()
        self._on_change()

    def _moved(self, error: MovedError, operations: list[Operation]) -> None:
        """Send operations on to where the server says their slot is."""
        address = (error.host or self._first[0], error.port)
        self._slots[error.slot_id] = address
        self._refresh()
        for operation in operations:
            operation.sent = False
            operation.tries += 1
            if operation.tries > _MOVES_MAX:
                operation.answer(StorageError(f"A slot keeps moving: {error}"))
            else:
                self._link(address).submit(operation)

    def _refresh(self) -> None:
        if self._refreshing is None and not self._closed:
            self._refreshing = asyncio.create_task(self._learn())

    async def _learn(self) -> None:
        """Ask where the slots are until every server that has some answers."""
        try:
            while True:
                await self._ask()
                if self.fault is None and self._slots:
                    break
                await asyncio.sleep(_REFRESH_S)
        finally:
            self._refreshing = None

    async def _ask(self) -> None:
        for address in {self._first: None, **dict.fromkeys(self._links)}:
            try:
                ranges = await self._link(address).command("CLUSTER", "SLOTS")
            except StorageError:
                continue
            slots: dict[int, Address] = {}
            for first, last, (host, port, *_), *_replicas in ranges:
                owner = (host.decode() if host else address[0], port)
                slots.update(dict.fromkeys(range(first, last + 1), owner))
            if slots:
                self._slots = slots
                await self._close_unused({*slots.values()})
                return

    async def _close_unused(self, used: set[Address]) -> None:
        for address in [*self._links]:
            if address not in used:
                link = self._links.pop(address)
                await link.aclose()
                for operation in link.owed.take():
                    self.submit(operation)
                self._on_change()


def _address_of(url: str) -> Address:
    parts = parse_url(url)
    return parts.get("host", "localhost"), parts.get("port", 6379)


def nodes_of(
    url: str, *, deadline_s: float, grace_ms: int, on_change: Callable[[], None]
) -> Nodes:
    """Return the servers that a URL names.

    Args:
        url: As `RedisLimitStore` takes it.
        deadline_s: Longest time an operation waits for its answer.
        grace_ms: How much longer than needed instants are kept.
        on_change: Told when the circuit of a server opened or closed.

    Raises:
        ValueError: It is no URL of a Redis.
    """
    scheme, _, rest = url.partition("://")
    plain, _, _ = scheme.partition("+")
    if scheme in {"redis+cluster", "rediss+cluster"}:
        of_one = f"{plain}://{rest}"
        require_place(of_one, cluster=True)
        connections_to(of_one)  # what is wrong with it is said now
        return ClusterNodes(
            of_one,
            deadline_s=deadline_s,
            grace_ms=grace_ms,
            on_change=on_change,
        )
    if scheme in {"redis+sentinel", "rediss+sentinel"}:
        connect = connections_to_master(f"{plain}://{rest}")
    else:
        if "+" not in scheme:
            require_place(url)
        connect = connections_to(url)
    return OneNode(
        connect, deadline_s=deadline_s, grace_ms=grace_ms, on_change=on_change
    )
