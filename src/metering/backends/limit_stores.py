"""The store of limits that a URL names. A backend is imported only where it is used."""

from importlib import import_module
from typing import Any, Protocol

from metering.errors import ConfigurationError
from metering.stores import AccountVersions, LimitStore

__all__ = ["SharedLimits", "limit_store"]

_REDIS = ("metering.backends.redis", "RedisLimitStore")
_HOMES = {
    "memory": ("metering.backends.memory", "MemoryLimitStore"),
    "sqlite": ("metering.backends.sqlite", "SqliteLimitStore"),
    "redis": _REDIS,
    "rediss": _REDIS,
    "unix": _REDIS,
    "redis+cluster": _REDIS,
    "rediss+cluster": _REDIS,
}
"""Module and class by the scheme of a URL: a new backend is one line."""

_EXTRAS = {"metering.backends.redis": "redis"}


class SharedLimits(LimitStore, AccountVersions, Protocol):
    """A store of limits, where changes of accounts are announced as well."""


def limit_store(url: str) -> SharedLimits:
    """Return the store of limits that *url* names.

    Args:
        url: `memory://`, `sqlite:///FILE`, `redis://HOST` or `redis+cluster://HOST`;
            with TLS `rediss`.

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
    module, name = _HOMES[scheme]
    try:
        store: Any = getattr(import_module(module), name)
    except ImportError as error:
        extra = _EXTRAS.get(module, "all")
        raise ConfigurationError(
            f"Limits in {scheme}:// need a package that is not installed"
            f" ({error.name}): pip install 'asgi-metering[{extra}]'."
        ) from error
    made: SharedLimits = store() if scheme == "memory" else store(url)
    return made
