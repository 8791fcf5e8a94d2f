"""What a law is to the simulation, and the simplest two: none, and a fixed share."""

from collections.abc import Iterable
from enum import Enum

from benchmarks.adaptive.traffic import Request

__all__ = ["Bucket", "Fixed", "Law", "Verdict"]


class Verdict(Enum):
    """What a law says to a request."""

    ADMIT = "sent on to the pool"
    HOLD = "waits for a later word"
    OVER_SHARE = "refused: the account is over its own share"
    BUSY = "refused: the platform is busy"


class Law:
    """Sees what a middleware sees, and decides. This one admits all.

    Times are simulated seconds.
    """

    def arrive(self, request: Request, now_s: float) -> Verdict:  # noqa: ARG002 - part of the protocol
        """Decide about a request that has just come."""
        return Verdict.ADMIT

    def first_byte(self, request: Request, now_s: float) -> None:
        """Note the first byte of a streamed answer."""

    def finish(self, request: Request, status: int, now_s: float) -> None:
        """Note the end of a request that was admitted; 499: its client has left."""

    def leave(self, request: Request, now_s: float) -> None:
        """Forget a request on hold whose client has left."""

    def tick(self, now_s: float) -> None:
        """Do what is due; called ten times a second."""

    def decided(self, now_s: float) -> Iterable[tuple[Request, Verdict]]:  # noqa: ARG002 - part of the protocol
        """Give the word to requests on hold; asked after each of the above."""
        return ()

    def share_rpm(self) -> float | None:
        """Requests per minute that a free account is told it has; None: it is not."""
        return None


class Bucket:
    """Requests that accounts may send: refilled over time, up to a burst.

    Args:
        per_minute: What an account is given.
        burst_s: Seconds of it that may be saved up, but always one request.
    """

    def __init__(self, per_minute: float, burst_s: float = 10.0) -> None:
        self._per_s = per_minute / 60
        self._depth = max(1.0, self._per_s * burst_s)
        self._levels: dict[str, tuple[float, float]] = {}

    def take(self, account: str, now_s: float) -> bool:
        """Take one request if there is one."""
        level, since_s = self._levels.get(account, (self._depth, now_s))
        level = min(self._depth, level + (now_s - since_s) * self._per_s)
        enough = level >= 1
        self._levels[account] = (level - enough, now_s)
        return enough


class Fixed(Law):
    """Gives every free account the same share, whatever the platform does.

    Args:
        rpm: That share.
    """

    def __init__(self, rpm: float) -> None:
        self._rpm = rpm
        self._bucket = Bucket(rpm)

    def arrive(self, request: Request, now_s: float) -> Verdict:
        """Admit all who pay, and free accounts within their share."""
        if request.tier or self._bucket.take(request.account, now_s):
            return Verdict.ADMIT
        return Verdict.OVER_SHARE

    def share_rpm(self) -> float:
        """Return the share."""
        return self._rpm
