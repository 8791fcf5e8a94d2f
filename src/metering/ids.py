"""Ids that sort by time: UUID version 7 (RFC 9562, section 5.7)."""

import os

from metering.clock import NS_PER_MS

__all__ = ["uuid7"]

_RANDOM_BYTES = 10
_MS_MASK = 0xFFFF_FFFF_FFFF
_VARIANT_BY_DIGIT = dict(zip("0123456789abcdef", "89ab" * 4, strict=True))


def uuid7(now_ns: int) -> str:
    """Return a new id for an instant: its millisecond, then 74 random bits."""
    ms = f"{now_ns // NS_PER_MS & _MS_MASK:012x}"
    random = os.urandom(_RANDOM_BYTES).hex()
    variant = _VARIANT_BY_DIGIT[random[3]]
    return f"{ms[:8]}-{ms[8:]}-7{random[:3]}-{variant}{random[4:7]}-{random[7:19]}"
