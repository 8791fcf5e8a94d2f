"""What is used of redis-py: it makes connections, and packs and parses what passes."""

from collections.abc import Awaitable, Callable
from typing import Any, Protocol, cast

from hiredis import pack_command
from redis.asyncio.connection import ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

__all__ = [
    "CONNECT_S",
    "FAULTS",
    "Connect",
    "Connection",
    "closed_by_server",
    "connections_to",
    "packed_of",
    "reply_of",
]

CONNECT_S = 1.0
"""Longest time for a connection to be made, or for a late answer to come after all."""

FAULTS = (RedisError, OSError, TimeoutError, EOFError)
"""How a server or the way to it can fail."""


class Connection(Protocol):
    """One connection of redis-py, which neither retries nor times out by itself."""

    async def connect(self) -> None:
        """Connect, encrypt and log in, as the URL says."""
        ...

    async def disconnect(self, nowait: bool = False) -> None:  # noqa: FBT001, FBT002 - redis-py's
        """Close it."""
        ...

    async def send_packed_command(
        self,
        command: list[bytes],
        check_health: bool = True,  # noqa: FBT001, FBT002 - redis-py's
    ) -> None:
        """Send packed commands."""
        ...

    async def read_response(self, disable_decoding: bool = False) -> Any:  # noqa: FBT001, FBT002 - redis-py's
        """Return the next answer, or raise it if it is an error."""
        ...


Connect = Callable[[], Awaitable[Connection]]
"""Makes a connection: connected, encrypted and logged in."""


def connections_to(url: str, **changes: Any) -> Connect:
    """Return what makes connections to a URL, with some of its members changed.

    Raises:
        ValueError: It is no URL of a Redis, or has an option that redis-py has not.
    """
    pool = ConnectionPool.from_url(
        url,
        protocol=2,
        retry=Retry(NoBackoff(), 0),
        socket_timeout=None,
        socket_connect_timeout=CONNECT_S,
    )
    pool.connection_kwargs.update(changes)
    make = cast(Callable[[], Connection], pool.make_connection)
    try:
        make()  # it connects nowhere yet
    except (TypeError, RedisError) as error:
        raise ValueError(f"redis-py does not take its options: {error}") from None

    async def connect() -> Connection:
        connection = make()
        try:
            await connection.connect()
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        return connection

    return connect


def packed_of(*words: str | bytes | int) -> bytes:
    """Return a command as it is sent."""
    # redis-py packs asynchronous commands in Python, which takes several times longer.
    packed: bytes = pack_command(cast(Any, words))
    return packed


async def reply_of(connect: Connect, *words: str) -> Any:
    """Return the answer to one command, on a connection of its own.

    Raises:
        RedisError: There is none, or it is an error; or another of `FAULTS`.
    """
    connection = await connect()
    try:
        await connection.send_packed_command([packed_of(*words)], check_health=False)
        return await connection.read_response()
    finally:
        await connection.disconnect(nowait=True)


async def closed_by_server(connection: Connection) -> bool:
    """Whether there is something to read where nothing was asked: the end, mostly."""
    # redis-py 8 has another name for it.
    known: Any = connection
    look = getattr(known, "can_read", None) or known.can_read_destructive
    try:
        return bool(await look())
    except FAULTS:
        return True
