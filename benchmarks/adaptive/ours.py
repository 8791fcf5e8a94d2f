"""The library's own law in the simulation: its core, and account limits beside it."""

from collections.abc import Iterator

from benchmarks.adaptive.laws import Law, Verdict
from benchmarks.adaptive.traffic import Request

from metering.adaptive import AccountBuckets, AdaptivePool, AdaptiveSettings
from metering.clock import NS_PER_S

__all__ = ["Ours"]

_TOKENS_PER_STEP = 100
_VERDICTS = {"go": Verdict.ADMIT, "wait": Verdict.HOLD, "refused": Verdict.BUSY}


class Ours(Law):
    """Does to each simulated request what the middleware does to a real one.

    Args:
        settings: Of the core; None: as it comes.
    """

    def __init__(self, settings: AdaptiveSettings | None = None) -> None:
        settings = settings or AdaptiveSettings()
        self.pool = AdaptivePool(settings)
        self._buckets = AccountBuckets(settings)
        self._requests: dict[str, Request] = {}
        self._ids: dict[Request, str] = {}
        self._came = 0
        self._now_ns = 0

    def arrive(self, request: Request, now_s: float) -> Verdict:
        """Hold it against its account's share if it is free, then ask the core."""
        now_ns, account = self._at(now_s), request.account
        if not request.tier:
            rpm = self.pool.limit(0, now_ns)
            if not self._buckets.take(account, rpm, now_ns).granted:
                self.pool.over(account, klass=0, now_ns=now_ns)
                return Verdict.OVER_SHARE
        verdict = self.pool.arrive(
            self._named(request),
            account_id=account,
            klass=request.tier,
            input_tokens=round(request.prompt_steps * _TOKENS_PER_STEP),
            streams=request.streams,
            now_ns=now_ns,
        )
        if verdict.kind == "refused":
            self._refused(request, now_ns)
        return _VERDICTS[verdict.kind]

    def first_byte(self, request: Request, now_s: float) -> None:
        """Tell the core."""
        self.pool.first_byte(self._ids[request], self._at(now_s))

    def finish(self, request: Request, status: int, now_s: float) -> None:
        """Tell the core."""
        self.pool.finish(
            self._forget(request),
            self._at(now_s),
            status=status,
            output_tokens=round(request.answer_steps),
        )

    def leave(self, request: Request, now_s: float) -> None:
        """Tell the core."""
        self.pool.leave(self._forget(request), self._at(now_s))

    def tick(self, now_s: float) -> None:
        """Tell the core."""
        self.pool.tick(self._at(now_s))

    def decided(self, now_s: float) -> Iterator[tuple[Request, Verdict]]:
        """Ask the core who need not wait any longer."""
        released = self.pool.poll(self._at(now_s))
        for name in released.go:
            yield self._requests[name], Verdict.ADMIT
        for name in released.refused:
            request = self._requests[name]
            self._refused(request, self._now_ns)
            yield request, Verdict.BUSY

    def share_rpm(self) -> float:
        """Return what free accounts are told."""
        return self.pool.limit(0, self._now_ns)

    def _at(self, now_s: float) -> int:
        self._now_ns = round(now_s * NS_PER_S)
        return self._now_ns

    def _named(self, request: Request) -> str:
        self._came += 1
        name = self._ids[request] = f"request-{self._came}"
        self._requests[name] = request
        return name

    def _forget(self, request: Request) -> str:
        name = self._ids.pop(request)
        del self._requests[name]
        return name

    def _refused(self, request: Request, now_ns: int) -> None:
        """Forget a request that the core refused; a free account gets its unit back."""
        self._forget(request)
        if not request.tier:
            self._buckets.give_back(request.account, self.pool.limit(0, now_ns))
