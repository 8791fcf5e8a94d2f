"""The stores that URLs name. A backend is imported only where it is used."""

from collections.abc import Iterable
from importlib import import_module
from typing import Any, Protocol

from metering.errors import ConfigurationError
from metering.limit_rules import LimitRule
from metering.stores import AccountVersions, LimitStore, WindowStore

__all__ = ["SharedLimits", "limit_store", "window_store"]

_REDIS = ("metering.backends.redis", "RedisLimitStore")
_HOMES = {
    "memory": ("metering.backends.memory", "MemoryLimitStore"),
    "sqlite": ("metering.backends.sqlite", "SqliteLimitStore"),
    "redis": _REDIS,
    "rediss": _REDIS,
    "unix": _REDIS,
    "redis+cluster": _REDIS,
    "rediss+cluster": _REDIS,
    "redis+sentinel": _REDIS,
    "rediss+sentinel": _REDIS,
}
"""Module and class by the scheme of a URL: a new backend is one line."""

_EXTRAS = {"metering.backends.redis": "redis"}


class SharedLimits(LimitStore, AccountVersions, Protocol):
    """A store of limits, where changes of accounts are announced as well."""


def limit_store(url: str, *, deadline_ms: int | None = None) -> SharedLimits:
    """Return the store of limits that *url* names.

    Args:
        url: `memory://`, `sqlite:///FILE`, `redis://HOST`, `redis+cluster://HOST` or
            `redis+sentinel://HOST:26379,HOST:26379/SERVICE`; with TLS `rediss`.
        deadline_ms: Longest time that a shared store is waited for; None: its default.

    Raises:
        ConfigurationError: There is no such backend, it is not installed, or its URL
            cannot be used.
    """
    scheme = url.partition("://")[0]
    if scheme not in _HOMES or "://" not in url:
        known = ", ".join(f"{name}://" for name in _HOMES)
        raise ConfigurationError(
            f"Limits cannot be kept in {scheme!r}; the URL begins with one of: {known}."
        )
    if scheme == "memory" and url != "memory://":
        raise ConfigurationError(
            f"Limits in {url!r} have no name: each process has a memory of its own."
            " Write memory://, or a URL that processes can share."
        )
    module, name = _HOMES[scheme]
    try:
        store: Any = getattr(import_module(module), name)
    except ImportError as error:
        extra = _EXTRAS.get(module, "all")
        raise ConfigurationError(
            f"Limits in {scheme}:// need a package that is not installed"
            f" ({error.name}): pip install 'asgi-metering[{extra}]'."
        ) from error
    options = {} if deadline_ms is None else {"deadline_ms": deadline_ms}
    made: SharedLimits = store() if scheme == "memory" else store(url, **options)
    return made


def window_store(url: str | None, rules: Iterable[LimitRule]) -> WindowStore | None:
    """Return the store of windows that *url* names, or None if nobody has any.

    Args:
        url: `memory://`, or any storage URL of `limits`; None: the process's memory.
        rules: The limits, with a window or without.

    Raises:
        ConfigurationError: The URL cannot be used, or not for one of the windows.
    """
    windowed = [rule for rule in rules if rule.window is not None]
    if url is None and not windowed:
        return None
    store: Any = import_module("metering.backends.windows").LimitsWindowStore
    made: WindowStore = store(url or "memory://", windowed)
    return made
