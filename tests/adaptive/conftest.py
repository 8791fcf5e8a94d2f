"""A platform small enough to reason about, in front of which a pool stands."""

from dataclasses import dataclass, field

import pytest

from metering.adaptive import AdaptivePool, AdaptiveSettings, Verdict
from metering.clock import NS_PER_MS, NS_PER_S

START_NS = 1_768_435_200 * NS_PER_S


@dataclass
class Platform:
    """A pool, an instant that moves when told, and the calls of a test."""

    settings: AdaptiveSettings = field(default_factory=AdaptiveSettings)
    now_ns: int = START_NS
    calls: int = 0

    def __post_init__(self):
        self.pool = AdaptivePool(self.settings)

    def ask(self, klass: int = 0, account: str = "a", *, streams=True) -> tuple:
        """Let an account ask; return the request id and the verdict."""
        self.calls += 1
        request_id = f"call-{self.calls}"
        verdict = self.pool.arrive(
            request_id,
            account_id=account,
            klass=klass,
            input_tokens=100,
            streams=streams,
            now_ns=self.now_ns,
        )
        return request_id, verdict

    def until(self, kind: str, klass: int = 0, account: str = "a") -> Verdict:
        """Ask until a verdict is of this kind."""
        for _ in range(1000):
            _, verdict = self.ask(klass, account)
            if verdict.kind == kind:
                return verdict
        raise AssertionError(f"never {kind}")

    def answer(self, request_id: str, status: int = 200) -> None:
        """Let a call be answered and end."""
        self.pool.first_byte(request_id, self.now_ns)
        self.pool.finish(request_id, self.now_ns, status=status, output_tokens=10)

    def limit(self) -> float:
        """Return the published limit of class 0."""
        return self.pool.limit(0, self.now_ns)

    def explain(self):
        """Return the explanation of now."""
        return self.pool.explain(self.now_ns)

    def pass_time(self, seconds: float) -> None:
        """Let time pass in ticks of 100 ms."""
        for _ in range(round(seconds * 10)):
            self.now_ns += 100 * NS_PER_MS
            self.pool.tick(self.now_ns)

    def overload(self, seconds: int, accounts: int = 50) -> tuple[int, int]:
        """Let all accounts ask each 200 ms of a server that answers 5 calls a second.

        Returns:
            How many calls went, and how many were refused.
        """
        queue, went, refused = [], 0, 0
        for _ in range(seconds * 5):
            for account in range(accounts):
                request_id, verdict = self.ask(0, f"free-{account}")
                if verdict.kind == "go":
                    queue.append(request_id)
                refused += verdict.kind == "refused"
            if queue:
                went += 1
                self.answer(queue.pop(0))
            self.pass_time(0.2)
            released = self.pool.poll(self.now_ns)
            queue += released.go
            refused += len(released.refused)
        return went, refused


@pytest.fixture
def platform():
    """A pool with the default settings."""
    return Platform()


@pytest.fixture
def make_platform():
    """Return what makes a pool with settings of a test's own."""
    return Platform
