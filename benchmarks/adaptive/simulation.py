"""Tells a scenario to a law, event by event, and keeps what happened."""

import heapq
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from benchmarks.adaptive import traffic
from benchmarks.adaptive.laws import Law, Verdict
from benchmarks.adaptive.pool import Pool
from benchmarks.adaptive.scenario import Change, Scenario
from benchmarks.adaptive.traffic import Outcome, Request

__all__ = ["History", "Sample", "simulate"]

_TICK_S, _SAMPLE_S = 0.1, 0.5
_TURNED_AWAY_S = 0.05
_DELAY_S = 0.05
_RETRY_S = (0.2, 1.0)
_METERED_BURST = 10.0


@dataclass(frozen=True, slots=True)
class Sample:
    """The platform at an instant; `share_rpm` is None where none is published."""

    at_s: float
    running: int
    queued: int
    slots: int
    share_rpm: float | None


@dataclass
class History:
    """What happened: all requests, in the order in which they came, and samples."""

    scenario: Scenario
    requests: list[Request] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)

    @property
    def firsts(self) -> list[Request]:
        """Requests that are not retries."""
        return [request for request in self.requests if not request.is_retry]


def simulate(scenario: Scenario, law: Law, seed: int) -> History:
    """Run a scenario from its start to its end; equal seeds give equal histories."""
    return _Run(scenario, law, seed).until_the_end()


class _Run:
    def __init__(self, scenario: Scenario, law: Law, seed: int) -> None:
        self._scenario, self._law = scenario, law
        self._pool = Pool(scenario.engine)
        self._history = History(scenario)
        self._chance = random.Random(f"run/{scenario.name}/{seed}")  # noqa: S311 - to be repeated, not secret
        self._due: list[tuple[float, int, Callable[[float], None]]] = []
        self._order = 0
        self._metered, self._metered_s = _METERED_BURST, 0.0
        self._seen_s: dict[Request, float] = {}
        self._at(_TICK_S, self._tick)
        self._at(_SAMPLE_S, self._sample)
        for change in scenario.changes:
            self._at(change.at_s, partial(self._change, change))
        for request in traffic.requests(
            scenario.crowds,
            scenario.work,
            duration_s=scenario.duration_s,
            seed=f"{scenario.name}/{seed}",
        ):
            self._at(request.at_s, partial(self._arrive, request))

    def until_the_end(self) -> History:
        end_s = self._scenario.duration_s
        while True:
            pool_s = self._pool.next_s()
            now_s = min(pool_s, self._due[0][0])
            if now_s > end_s:
                return self._history
            if now_s == pool_s:
                self._progress(now_s)
            else:
                heapq.heappop(self._due)[2](now_s)
            self._obey(now_s)

    def _at(self, at_s: float, act: Callable[[float], None]) -> None:
        self._order += 1
        heapq.heappush(self._due, (at_s, self._order, act))

    def _arrive(self, request: Request, now_s: float) -> None:
        self._history.requests.append(request)
        self._follow(request, self._law.arrive(request, now_s), now_s)
        if request.outcome is Outcome.PENDING:
            self._at(now_s + self._scenario.patience_s, partial(self._hang_up, request))

    def _obey(self, now_s: float) -> None:
        for request, verdict in list(self._law.decided(now_s)):
            self._follow(request, verdict, now_s)

    def _follow(self, request: Request, verdict: Verdict, now_s: float) -> None:
        if verdict is Verdict.ADMIT:
            self._forward(request, now_s)
        elif verdict is not Verdict.HOLD:
            self._refuse(request, Outcome[verdict.name], now_s)

    def _forward(self, request: Request, now_s: float) -> None:
        request.sent_s = now_s
        if self._beyond_meter(now_s):
            status = 429
        elif not self._pool.submit(request, now_s):
            status = 503
        else:
            return
        request.outcome = Outcome.TURNED_AWAY
        self._at(now_s + _TURNED_AWAY_S, partial(self._end, request, status))

    def _beyond_meter(self, now_s: float) -> bool:
        per_s = self._scenario.metered_per_s
        if per_s is None:
            return False
        gained = (now_s - self._metered_s) * per_s
        self._metered = min(_METERED_BURST, self._metered + gained)
        self._metered_s = now_s
        if self._metered < 1:
            return True
        self._metered -= 1
        return False

    def _refuse(self, request: Request, outcome: Outcome, now_s: float) -> None:
        request.outcome, request.done_s = outcome, now_s
        if request.retries:
            again = Request(
                now_s + self._chance.uniform(*_RETRY_S),
                request.account,
                request.tier,
                request.prompt_steps,
                request.answer_steps,
                request.streams,
                since_s=request.since_s,
                retries=request.retries - 1,
            )
            self._at(again.at_s, partial(self._arrive, again))

    def _hang_up(self, request: Request, now_s: float) -> None:
        if request.outcome is not Outcome.PENDING or request.first_s is not None:
            return
        request.outcome, request.done_s = Outcome.GONE, now_s
        if request.sent_s is None:
            self._law.leave(request, now_s)
        else:
            self._pool.drop(request, now_s)
            self._law.finish(request, 499, now_s)

    def _progress(self, now_s: float) -> None:
        request, ends = self._pool.advance(now_s)
        if ends:
            self._seen(request, partial(self._end, request, 200), now_s)
        elif request.streams:
            self._seen(request, partial(self._law.first_byte, request), now_s)

    def _end(self, request: Request, status: int, now_s: float) -> None:
        self._seen_s.pop(request, None)
        self._law.finish(request, status, now_s)

    def _seen(
        self, request: Request, act: Callable[[float], None], now_s: float
    ) -> None:
        """Let the law see something as late as the network brings it, and in order."""
        jitter = self._scenario.jitter
        if not jitter:
            act(now_s)
            return
        seen_s = now_s + _DELAY_S * math.exp(self._chance.gauss(0, jitter))
        seen_s = max(seen_s, self._seen_s.get(request, 0.0))
        self._seen_s[request] = seen_s
        self._at(seen_s, act)

    def _change(self, change: Change, now_s: float) -> None:
        for request in self._pool.resize(change.share, now_s, crash=change.crash):
            self._seen(request, partial(self._end, request, 502), now_s)

    def _tick(self, now_s: float) -> None:
        self._law.tick(now_s)
        self._at(now_s + _TICK_S, self._tick)

    def _sample(self, now_s: float) -> None:
        pool = self._pool
        self._history.samples.append(
            Sample(now_s, pool.running, pool.queued, pool.slots, self._law.share_rpm())
        )
        self._at(now_s + _SAMPLE_S, self._sample)
