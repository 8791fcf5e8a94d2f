"""What a history promises: what is told of a service over time, no charge from it."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import msgspec

from metering.adaptive import PlatformState
from metering.adaptive.law import Cause
from metering.clock import NS_PER_S

__all__ = [
    "MINUTE_NS",
    "History",
    "PoolMinute",
    "PoolSpan",
    "RefusalMinute",
    "RefusalPlace",
    "RefusalReason",
]

MINUTE_NS = 60 * NS_PER_S
"""What is kept is of whole minutes since the epoch."""


class RefusalPlace(NamedTuple):
    """What refusals are put together by, in the order in which they are read.

    Attributes:
        minute_ns: The beginning of their minute.
        account_id: Whose calls; "": nobody's whom we know.
        model: Its name in the price book; "": none of it.
        code: Why, such as "rate_limit_exceeded".
        quota: Name of the quota that refused; "" if none did.
        tier: Level of the account's tier; -1 where nobody knows the caller.
    """

    minute_ns: int
    account_id: str
    model: str
    code: str
    quota: str
    tier: int


class RefusalMinute(msgspec.Struct, frozen=True, kw_only=True):
    """Calls of one account that were refused in one minute, for one reason.

    Attributes:
        place: What they have in common.
        status: HTTP status of the answers.
        calls: How many.
        first_ns: When the first was refused.
        last_ns: When the last was.
    """

    place: RefusalPlace
    status: int
    calls: int
    first_ns: int
    last_ns: int


class RefusalReason(msgspec.Struct, frozen=True, kw_only=True):
    """Calls of all accounts that were refused for one reason.

    Attributes:
        code: Why, such as "rate_limit_exceeded".
        quota: Name of the quota that refused; "" if none did.
        calls: How many.
        accounts: Of how many accounts; callers that nobody knows count as one.
        last_ns: When the last was refused.
    """

    code: str
    quota: str
    calls: int
    accounts: int
    last_ns: int


class PoolMinute(msgspec.Struct, frozen=True, kw_only=True):
    """What an adaptive pool did in one minute, as one node saw it.

    Attributes:
        node: The node.
        pool: Name of the pool.
        minute_ns: The beginning of the minute.
        state: The worst that it was in.
        cause: What set the limit, as of the last look.
        limit_rpm: Requests a minute of each account of class 0, as of the last look.
        limit_rpm_min: The lowest of it.
        awaiting: Calls that awaited their first byte, on the average.
        waiting: Calls in the waiting rooms, on the average.
        budget_per_s: Calls per second that class 0 may have together, as of the last
            look; None: as many as it likes.
        capacity_per_s: First bytes per second that the platform can make for this node.
        unloaded_s: Time to the first byte on an unloaded platform.
    """

    node: str
    pool: str
    minute_ns: int
    state: PlatformState
    cause: Cause
    limit_rpm: float
    limit_rpm_min: float
    awaiting: float
    waiting: float
    budget_per_s: float | None
    capacity_per_s: float
    unloaded_s: float


class PoolSpan(msgspec.Struct, frozen=True, kw_only=True):
    """What an adaptive pool did in a span of time, as all nodes together saw it.

    Minutes in which any node told something count alike.

    Attributes:
        pool: Name of the pool.
        start_ns: The beginning of the span.
        nodes: How many nodes told something in one minute, at most.
        state: The worst that any node was in.
        causes: What set the limit at any time, the gentlest first.
        limit_rpm: Requests a minute of each account of class 0, on the average of nodes
            and minutes.
        limit_rpm_min: The lowest that any node had.
        awaiting: Calls that awaited their first byte, all nodes together.
        waiting: Calls in the waiting rooms, all nodes together.
        budget_per_s: Calls per second that class 0 may have together, all nodes; None:
            on some node as many as it liked.
        capacity_per_s: First bytes per second that the platform can make, all nodes.
        unloaded_s: Time to the first byte on an unloaded platform, on the average.
    """

    pool: str
    start_ns: int
    nodes: int
    state: PlatformState
    causes: tuple[Cause, ...]
    limit_rpm: float
    limit_rpm_min: float
    awaiting: float
    waiting: float
    budget_per_s: float | None
    capacity_per_s: float
    unloaded_s: float


class History(Protocol):
    """Keeps what operators and accounts look back at for days, not for ever."""

    def note(
        self, refusals: Sequence[RefusalMinute], pools: Sequence[PoolMinute]
    ) -> None:
        """Add refusals to those of the same place, and put minutes of pools in place.

        A minute of a pool replaces what the same node had told of it. Refusals of one
        place are given once.
        """
        ...

    def refusals(
        self,
        account_id: str | None,
        *,
        before: RefusalPlace | None = None,
        limit: int = 100,
    ) -> list[RefusalMinute]:
        """Return refusals, the latest minute first, then by the rest of their places.

        Args:
            account_id: Whose; None: everybody's.
            before: The place after which, in that order, to go on; None to begin with
                the latest.
            limit: How many at most.
        """
        ...

    def reasons(self, *, since_ns: int) -> list[RefusalReason]:
        """Return refusals of everybody by reason, the most frequent first.

        Args:
            since_ns: Their minutes begin here or later.
        """
        ...

    def pools(
        self, pool: str | None, *, since_ns: int, until_ns: int, step_ns: int
    ) -> list[PoolSpan]:
        """Return what pools did, by name and then by time.

        A span in which no node told anything is left out.

        Args:
            pool: The one to look at; None: all.
            since_ns: The first minute begins here or later.
            until_ns: The last minute begins before this.
            step_ns: How long a span is: whole minutes. Spans begin at multiples of it.
        """
        ...

    def forget(
        self,
        *,
        refusals_before_ns: int,
        refusals_max: int,
        pools_before_ns: int,
        limit: int,
    ) -> int:
        """Forget minutes that begin before an instant, and those too many to be kept.

        Args:
            refusals_before_ns: Refusals of minutes before this are forgotten.
            refusals_max: How many places of refusals are kept; whole minutes go.
            pools_before_ns: Minutes of pools before this are forgotten.
            limit: How much of either kind at most, this time.

        Returns:
            How many that were: 0 when nothing is left to be forgotten.
        """
        ...
