"""Ids that sort by time: UUID version 7 (RFC 9562, section 5.7)."""

import os

from metering.clock import NS_PER_MS

__all__ = ["uuid7"]

_RANDOM_BYTES = 10
_RAND_A_MASK = 0xFFF
_RAND_B_MASK = (1 << 62) - 1
_VERSION = 0x7 << 76
_VARIANT = 0b10 << 62


def uuid7(now_ns: int) -> str:
    """Return a new id for an instant: its millisecond, then 74 random bits."""
    random = int.from_bytes(os.urandom(_RANDOM_BYTES), "big")
    number = (
        (now_ns // NS_PER_MS & 0xFFFFFFFFFFFF) << 80
        | _VERSION
        | (random >> 62 & _RAND_A_MASK) << 64
        | _VARIANT
        | random & _RAND_B_MASK
    )
    text = f"{number:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
