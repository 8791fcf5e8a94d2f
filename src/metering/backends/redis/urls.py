"""What the URL of a Redis must say, and how it is shown: without what is secret."""

from urllib.parse import urlsplit

__all__ = ["port_of", "require_place", "shown"]


def shown(url: str) -> str:
    """Return a URL without its user, password and options, as errors and logs may."""
    scheme, _, rest = url.partition("://")
    place, _, options = rest.partition("?")
    if "@" in options:  # a password that was not encoded, or the value of an option
        return f"{scheme}://..."
    return f"{scheme}://{place.rpartition('@')[2]}"


def port_of(authority: str) -> int | None:
    """Return the port of `user:password@host:port`, if there is one.

    Raises:
        ValueError: It is none. What stands in its place is not told, for it may be part
            of a password.
    """
    try:
        return urlsplit(f"//{authority}").port
    except ValueError:
        raise ValueError(
            "its port is not a number from 0 to 65535. Write host:port, and a password"
            " with its special characters percent-encoded."
        ) from None


def require_place(url: str, *, cluster: bool = False) -> None:
    """Refuse a URL that redis-py would read otherwise than it is written.

    Args:
        url: `redis://`, `rediss://` or `unix://`.
        cluster: Whether it names one server of a cluster, which has database 0 alone.

    Raises:
        ValueError: It says no database, a cluster's other one, or no socket.
    """
    scheme, _, rest = url.partition("://")
    authority, _, path = rest.partition("?")[0].partition("/")
    if scheme == "unix":
        if not path:
            raise ValueError("it names no socket. Write unix:///path/of/the/socket.")
        return
    port_of(authority)
    database = path.removesuffix("/")
    if database and not (database.isascii() and database.isdigit()):
        raise ValueError(
            f"{database!r} is no number of a database. Write /0, or another number."
        )
    if cluster and database.strip("0"):
        raise ValueError("a cluster has database 0 alone. Leave the number out.")
