"""Limits in Redis or Valkey: one server, the master of a service, or a cluster."""

try:
    import hiredis as _hiredis  # noqa: F401 - parses answers, several times faster
    import redis as _redis  # noqa: F401 - the message below is better than its own
except ImportError as error:
    raise ImportError(
        "metering.backends.redis needs redis-py and hiredis: pip install"
        " 'asgi-metering[redis]'",
        name=error.name,
    ) from error

from metering.backends.redis.store import RedisLimitStore

__all__ = ["RedisLimitStore"]
