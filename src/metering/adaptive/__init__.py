"""Limits that follow the platform: class 0 gets what is spare, in fair parts.

A *gate* per call keeps the time to the first byte at its target. A short *waiting room*
evens out what the gate cannot take at once. A *law* moves, once a second, the one limit
that every account of a class has. The pool does no I/O and reads no clock.
"""

from metering.adaptive.buckets import REQUEST_COST, AccountBuckets, account_quota
from metering.adaptive.explanation import Explanation, PlatformState
from metering.adaptive.gate import Signal
from metering.adaptive.pool import AdaptivePool, Released, Verdict
from metering.adaptive.settings import AdaptiveClass, AdaptiveSettings, Tuning

__all__ = [
    "REQUEST_COST",
    "AccountBuckets",
    "AdaptiveClass",
    "AdaptivePool",
    "AdaptiveSettings",
    "Explanation",
    "PlatformState",
    "Released",
    "Signal",
    "Tuning",
    "Verdict",
    "account_quota",
]
