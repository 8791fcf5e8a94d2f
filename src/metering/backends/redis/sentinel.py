"""Where the master of a service is: its sentinels are asked at each connection."""

import asyncio
from collections.abc import Awaitable, Callable
from urllib.parse import parse_qsl, urlencode, urlsplit

from metering.backends.redis.urls import port_of
from metering.backends.redis.wire import (
    FAULTS,
    Connect,
    Connection,
    connections_to,
    reply_of,
)

__all__ = ["connections_to_master"]

_PORT = 26_379
_OF_SENTINELS = "sentinel_"


def connections_to_master(url: str) -> Connect:
    """Return what makes connections to the master of a service, whoever that is now.

    All sentinels are asked at once, and the first whose master takes the connection
    is followed: one that is away, slow or behind the others delays nothing.

    Args:
        url: `redis://[user:password@]host1:26379,host2:26379/SERVICE[/db]`. What
            follows a `?` is for the master and the sentinels alike; only
            `sentinel_username` and `sentinel_password` are for the sentinels alone.

    Raises:
        ValueError: It is no such URL.
    """
    scheme, _, rest = url.partition("://")
    place, _, query = rest.partition("?")
    authority, _, path = place.partition("/")
    credentials, at, hosts = authority.rpartition("@")
    service, _, db = path.partition("/")
    if not service or (db and not db.isdigit()):
        raise ValueError("after the sentinels comes /SERVICE, and /db if it is not 0.")
    options = parse_qsl(query)
    shared = [pair for pair in options if not pair[0].startswith(_OF_SENTINELS)]
    of_sentinels = shared + [
        (name.removeprefix(_OF_SENTINELS), text)
        for name, text in options
        if name.startswith(_OF_SENTINELS)
    ]
    server = f"{scheme}://{credentials}{at}localhost/{db}?{urlencode(shared)}"
    sentinel = f"{scheme}://localhost?{urlencode(of_sentinels)}"
    connections_to(server)  # what is wrong with it is said now

    def through(host: str, port: int) -> Connect:
        ask = connections_to(sentinel, host=host, port=port)

        async def connect() -> Connection:
            master_host, master_port = await _master_of(service, ask)
            return await connections_to(server, host=master_host, port=master_port)()

        return connect

    return _first_of([through(*_address_of(host)) for host in hosts.split(",")])


def _address_of(text: str) -> tuple[str, int]:
    host = urlsplit(f"//{text}").hostname
    if not host:
        raise ValueError("a sentinel has no host. They are host:port, with commas.")
    return host, port_of(text) or _PORT


async def _master_of(service: str, ask: Connect) -> tuple[str, int]:
    match await reply_of(ask, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", service):
        case [bytes(host), bytes(port)] if port.isdigit():
            return host.decode(errors="replace"), int(port)
        case _:
            raise ConnectionError(f"A sentinel knows no service {service!r}.")


def _first_of(ways: list[Callable[[], Awaitable[Connection]]]) -> Connect:
    """Return what connects in all these ways at once, and keeps the first."""

    async def connect() -> Connection:
        tasks = [asyncio.ensure_future(way()) for way in ways]
        kept, faults = None, []
        try:
            for task in asyncio.as_completed(tasks):
                try:
                    kept = await task
                except FAULTS as error:
                    faults.append(str(error))
                else:
                    return kept
        finally:
            for task in tasks:
                task.cancel()
            for made in await asyncio.gather(*tasks, return_exceptions=True):
                if made is not kept and not isinstance(made, BaseException):
                    await made.disconnect(nowait=True)
        raise ConnectionError("No sentinel led to a master: " + "; ".join(faults))

    return connect
