"""A pool that batches continuously: each iteration moves every running request on."""

import heapq
import math
from collections import deque
from dataclasses import dataclass

from benchmarks.adaptive.traffic import Outcome, Request

__all__ = ["Engine", "Pool"]

_QUEUE_PER_SLOT = 4


@dataclass(frozen=True)
class Engine:
    """How fast a pool is.

    Args:
        slots: Requests that run at once.
        alone_s: Time of an iteration with nothing in it.
        crowding_s: What a full batch adds to it.
    """

    slots: int = 128
    alone_s: float = 0.020
    crowding_s: float = 0.012

    def iteration_s(self, running: int) -> float:
        """Time of an iteration with so many requests in it."""
        return self.alone_s + self.crowding_s * running / self.slots

    def steps_per_s(self, slots: int) -> float:
        """Iterations times requests that so many full slots do per second."""
        return slots / self.iteration_s(slots)


class Pool:
    """Slots, and a queue before them: first come, first served.

    Progress is counted in iterations since the start, so that a change of the batch
    moves all running requests with one number.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.slots = engine.slots
        self._queue: deque[Request] = deque()
        self._queued: set[Request] = set()
        self._running: dict[Request, None] = {}  # in the order in which they began
        self._marks: list[tuple[float, int, bool, Request]] = []
        self._order = 0
        self._iterations = 0.0
        self._now_s = 0.0

    @property
    def running(self) -> int:
        """Requests in slots."""
        return len(self._running)

    @property
    def queued(self) -> int:
        """Requests before them."""
        return len(self._queued)

    def submit(self, request: Request, now_s: float) -> bool:
        """Take a request in; False if the queue is full or no slot is left."""
        if not self.slots or self.queued >= _QUEUE_PER_SLOT * self.engine.slots:
            return False
        self._move_to(now_s)
        self._queue.append(request)
        self._queued.add(request)
        self._fill()
        return True

    def drop(self, request: Request, now_s: float) -> None:
        """Forget a request whose client has left."""
        self._move_to(now_s)
        self._queued.discard(request)
        self._running.pop(request, None)
        self._fill()

    def resize(self, share: float, now_s: float, *, crash: bool) -> list[Request]:
        """Change the slots to a share of what they were first; return what is lost.

        What runs beyond fewer slots runs to its end. A *crash* loses all that runs.
        """
        self._move_to(now_s)
        self.slots = round(self.engine.slots * share)
        lost = list(self._running) if crash else []
        for request in lost:
            request.outcome, request.done_s = Outcome.BROKEN, now_s
            del self._running[request]
        self._fill()
        return lost

    def next_s(self) -> float:
        """When the next first byte or end comes; infinite if nothing runs."""
        while self._marks and self._marks[0][3] not in self._running:
            heapq.heappop(self._marks)
        if not self._marks:
            return math.inf
        ahead = max(0.0, self._marks[0][0] - self._iterations)
        return self._now_s + ahead * self.engine.iteration_s(self.running)

    def advance(self, now_s: float) -> tuple[Request, bool]:
        """Return the request whose turn comes at `next_s`, and whether it has ended."""
        self._move_to(now_s)
        _, _, ends, request = heapq.heappop(self._marks)
        if ends:
            request.outcome, request.done_s = Outcome.ANSWERED, now_s
            del self._running[request]
            self._fill()
        else:
            request.first_s = now_s
        return request, ends

    def _move_to(self, now_s: float) -> None:
        if self._running:
            gone_s = now_s - self._now_s
            self._iterations += gone_s / self.engine.iteration_s(self.running)
        self._now_s = now_s

    def _fill(self) -> None:
        while self._queue and self.running < self.slots:
            request = self._queue.popleft()
            if request not in self._queued:
                continue
            self._queued.discard(request)
            self._running[request] = None
            first = self._iterations + request.prompt_steps
            for due, ends in (first, False), (first + request.answer_steps, True):
                self._order += 1
                heapq.heappush(self._marks, (due, self._order, ends, request))
