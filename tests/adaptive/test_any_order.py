"""Whatever comes in whatever order, the pool keeps what it promises."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
)

from metering.adaptive import AdaptivePool, AdaptiveSettings
from metering.clock import NS_PER_MS, NS_PER_S

WAITING_MAX = 4
accounts = st.sampled_from(["a", "b", "c", "d", "e", "f"])
klasses = st.integers(0, 2)
statuses = st.sampled_from([200, 200, 200, 400, 429, 499, 500, 503])


class Calls(RuleBasedStateMachine):
    """Clients, an upstream and a clock around one pool."""

    def __init__(self):
        super().__init__()
        self.pool = AdaptivePool(
            AdaptiveSettings(waiting_max=WAITING_MAX, accounts_max=5)
        )
        self.now_ns = 1_768_435_200 * NS_PER_S
        self.asked = 0
        self.waiting: dict[str, tuple[int, int]] = {}
        self.running: dict[str, bool] = {}

    @rule(account=accounts, klass=klasses, streams=st.booleans())
    def ask(self, account, klass, streams):
        self.asked += 1
        request_id = f"call-{self.asked}"
        verdict = self.pool.arrive(
            request_id,
            account_id=account,
            klass=klass,
            input_tokens=self.asked,
            streams=streams,
            now_ns=self.now_ns,
        )
        assert verdict.kind == "refused" or not verdict.reason
        if verdict.kind == "go":
            self.running[request_id] = streams
            # Those who wait and pay more go first, and there was room for one more.
            self.heard()
            assert all(other < klass for other, _ in self.waiting.values())
        elif verdict.kind == "wait":
            self.waiting[request_id] = (klass, self.now_ns)
        else:
            assert verdict.reason == "platform_busy"
            assert verdict.retry_after_ns >= NS_PER_S
            self.nobody_is_spare(klass)

    def nobody_is_spare(self, klass):
        """A free call would not go at the instant at which a paid one is refused."""
        if klass:
            verdict = self.pool.arrive(
                "spare",
                account_id="spare",
                klass=0,
                input_tokens=1,
                streams=True,
                now_ns=self.now_ns,
            )
            assert verdict.kind != "go"
            self.pool.leave("spare", self.now_ns)

    @rule(account=accounts)
    def over(self, account):
        self.pool.over(account, klass=0, now_ns=self.now_ns)

    @rule(passed_ms=st.integers(1, 5000))
    def tick(self, passed_ms):
        self.now_ns += passed_ms * NS_PER_MS
        for klass in self.heard():
            self.nobody_is_spare(klass)
        self.pool.tick(self.now_ns)

    @rule()
    def hear(self):
        self.heard()

    def heard(self) -> list[int]:
        """Take in what became of those who waited; return the classes refused."""
        released = self.pool.poll(self.now_ns)
        for request_id in released.go:
            del self.waiting[request_id]
            self.running[request_id] = True
        refused = [self.waiting.pop(request_id)[0] for request_id in released.refused]
        assert all(
            self.now_ns - since_ns < 3 * NS_PER_S
            for _, since_ns in self.waiting.values()
        ), "nobody waits longer than three seconds"
        return refused

    @precondition(lambda self: self.running)
    @rule(draw=st.data())
    def first_byte(self, draw):
        self.pool.first_byte(draw.draw(st.sampled_from([*self.running])), self.now_ns)

    @precondition(lambda self: self.running)
    @rule(draw=st.data(), status=statuses)
    def finish(self, draw, status):
        request_id = draw.draw(st.sampled_from([*self.running]))
        del self.running[request_id]
        self.pool.finish(request_id, self.now_ns, status=status, output_tokens=50)

    @precondition(lambda self: self.waiting)
    @rule(draw=st.data())
    def leave(self, draw):
        request_id = draw.draw(st.sampled_from([*self.waiting]))
        del self.waiting[request_id]
        self.pool.leave(request_id, self.now_ns)

    @rule(length=st.floats(0, 100))
    def gauge(self, length):
        self.pool.push_gauge(length, self.now_ns)

    @rule(nodes=st.integers(1, 5))
    def share(self, nodes):
        self.pool.share_of(nodes)

    @invariant()
    def bounds_hold(self):
        told = self.pool.explain(self.now_ns)
        assert 0.5 <= told.limit_rpm <= 60.0
        assert told.waiting <= 2 * WAITING_MAX
        assert told.accounts <= 5
        assert told.awaiting >= 0
        assert told.capacity_per_s >= 0
        assert str(told)

    def teardown(self):
        """When every call has ended, nothing is left of any of them."""
        self.heard()
        for request_id in [*self.running, *self.waiting]:
            self.pool.finish(request_id, self.now_ns, status=499, output_tokens=0)
        told = self.pool.explain(self.now_ns)
        assert (0, 0) == (told.awaiting, told.waiting)


TestCalls = Calls.TestCase
TestCalls.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
