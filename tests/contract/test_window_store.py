"""Windows of each kind, in the memory of the process and in a real Valkey."""

import asyncio
import gc
import time
from types import SimpleNamespace
from uuid import uuid4

import pytest
from limits.aio.storage import MemoryStorage
from msgspec.structs import replace

from metering.backends import windows
from metering.backends.windows import AT_ONCE, LimitsWindowStore
from metering.clock import NS_PER_S
from metering.errors import ConfigurationError, StorageError
from metering.limit_rules import LimitRule
from metering.quota import Demand, RateQuota
from metering.testing import ManualClock

pytestmark = pytest.mark.anyio

MINUTE = RateQuota(5, 60 * NS_PER_S)
WINDOWS = ("fixed", "moving", "sliding")
MS = 1_000_000


def demand(window, *, key="", quota=MINUTE, shadow=False):
    key = key or f"{{acme}}:limit:{uuid4()}:"
    return Demand(key, quota, 1, name="calls", window=window, shadow=shadow)


async def granted(store, *demands):
    """Return whether none of the windows refuses a request."""
    return not any(verdict.reason for verdict in await store.take(demands))


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still, for `limits` in memory too."""
    clock = ManualClock()
    standing = SimpleNamespace(time=lambda: clock() / NS_PER_S)
    for module in ("storage.memory", "strategies"):
        monkeypatch.setattr(f"limits.aio.{module}.time", standing)
    monkeypatch.setattr(windows, "time", standing)
    return clock


@pytest.fixture
async def memory(clock):  # noqa: ARG001 - it stands still for the store
    store = LimitsWindowStore("memory://")
    yield store
    await store.aclose()


@pytest.fixture
async def opened(monkeypatch):
    """Return a function that makes stores, which are closed at the end."""
    stores = []

    def make(url, deadline_s=5):
        monkeypatch.setattr(windows, "DEADLINE_S", deadline_s)
        stores.append(LimitsWindowStore(url))
        return stores[-1]

    yield make
    for store in stores:
        await store.aclose()
    gc.collect()  # a client that was left open would say so


@pytest.mark.parametrize("window", WINDOWS)
async def test_refuses_until_exactly_the_time_it_said(memory, clock, window):
    """Two milliseconds early is refused, on time passes; whatever was used before."""
    calls = demand(window)
    for pause_s in (0, 3, 11, 0, 2, 40, 7, 1, 33, 90):
        clock.advance(seconds=pause_s)
        while await granted(memory, calls):
            clock.advance(seconds=0.7)
        (refused,) = await memory.peek([calls])
        assert 0 < refused.retry_after_ns <= 60 * NS_PER_S + MS
        clock.advance(ns=refused.retry_after_ns - 2 * MS)
        assert not await granted(memory, calls)
        clock.advance(ns=2 * MS)
        assert await granted(memory, calls)


@pytest.mark.parametrize(
    ("window", "admitted"),
    [
        # It had begun with the first call, so it begins anew just after 60 s.
        ("fixed", [1, 4, 5, 0]),
        # In any 60 s at most 5: just after 60 s one has left.
        ("moving", [1, 4, 1, 0]),
        # Of the last minute 4.99 count just after 60 s, and 2.99 at 84 s.
        ("sliding", [1, 4, 1, 2]),
    ],
)
async def test_what_each_kind_admits_around_the_end_of_a_minute(
    memory, clock, window, admitted
):
    """At 0 s one call; at 59, 60 and 84 s as many as there is room for."""
    calls, start_ns = demand(window), clock()
    counts = []
    for at_ms, most in ((0, 1), (59_000, 9), (60_001, 9), (84_001, 9)):
        clock.move_to(start_ns + at_ms * MS)
        took = [await granted(memory, calls) for _ in range(most)]
        counts.append(sum(took))

    assert admitted == counts


@pytest.mark.parametrize("window", WINDOWS)
async def test_tells_what_is_left_and_when_there_is_more(memory, clock, window):
    calls = demand(window)
    before = await memory.peek([calls])
    first = await memory.take([calls])
    clock.advance(seconds=15)
    second = await memory.take([calls])

    assert before == first
    assert (1, 4, 60 * NS_PER_S) == (
        first[0].granted,
        first[0].remaining,
        first[0].reset_after_ns,
    )
    assert (3, 45 * NS_PER_S) == (second[0].remaining, second[0].reset_after_ns)


@pytest.mark.parametrize("window", WINDOWS)
async def test_what_was_refused_was_not_counted(memory, clock, window):
    """A thousand refusals later it opens when it would have opened anyway."""
    calls = demand(window)
    for _ in range(5):
        assert await granted(memory, calls)
    (refused,) = await memory.take([calls])
    for _ in range(1000):
        assert not await granted(memory, calls)
    clock.advance(ns=refused.retry_after_ns)

    assert await granted(memory, calls)


@pytest.mark.parametrize("window", WINDOWS)
async def test_one_window_that_refuses_keeps_the_others_whole(memory, window):
    small, large = demand(window, quota=RateQuota(1, 60 * NS_PER_S)), demand(window)
    assert await granted(memory, large, small)
    for _ in range(10):
        assert not await granted(memory, large, small)

    (left,) = await memory.peek([large])
    assert 3 == left.remaining


@pytest.mark.parametrize("window", WINDOWS)
async def test_a_window_in_shadow_refuses_nobody_and_counts_what_it_would_grant(
    memory, window
):
    one = RateQuota(1, 60 * NS_PER_S)
    shadow, real = demand(window, quota=one, shadow=True), demand(window)
    verdicts = [await memory.take([shadow, real]) for _ in range(3)]

    assert ["", "rate", "rate"] == [shadow.reason for shadow, _ in verdicts]
    assert [4, 3, 2] == [real.remaining for _, real in verdicts]
    (more,) = await memory.peek([replace(shadow, quota=MINUTE)])
    assert 3 == more.remaining  # of 5 it has counted one


@pytest.mark.parametrize("window", WINDOWS)
async def test_a_changed_amount_keeps_what_was_used(memory, window):
    old = demand(window)
    for _ in range(3):
        await memory.take([old])
    (new,) = await memory.peek(
        [demand(window, key=old.key, quota=RateQuota(7, 60 * NS_PER_S))]
    )

    assert 7 - 3 - 1 == new.remaining


@pytest.mark.parametrize("scheme", ["redis", "async+redis", "valkey"])
@pytest.mark.parametrize("window", WINDOWS)
async def test_two_processes_count_in_the_same_window(
    opened, redis_url, window, scheme
):
    """In a real server, through either client, beside windows of the other kinds."""
    url = redis_url.replace("redis", scheme, 1)
    here, there, key = opened(url), opened(url), f"{{acme}}:limit:{uuid4()}:"
    calls = demand(window, key=key)
    others = [demand(other, key=key) for other in WINDOWS if other != window]
    took = [await granted(at, calls, *others) for at in (here, there) * 3]
    (told,) = await there.peek([calls])

    assert [True] * 5 + [False] == took
    assert 55 * NS_PER_S < told.retry_after_ns <= 61 * NS_PER_S or window == "sliding"
    assert ("rate", 0) == (told.reason, told.remaining)
    assert here.shared


@pytest.mark.parametrize("scheme", ["redis+cluster", "valkey+cluster"])
@pytest.mark.parametrize("window", WINDOWS)
async def test_windows_lie_on_any_server_of_a_cluster(
    opened, redis_cluster, window, scheme
):
    store = opened(redis_cluster[0].replace("redis", scheme, 1))
    for _ in range(12):
        calls = demand(window, key=f"{{acme-{uuid4()}}}:limit:calls:")
        took = [await granted(store, calls) for _ in range(6)]
        assert [True] * 5 + [False] == took


@pytest.mark.parametrize("window", WINDOWS)
async def test_never_lets_more_through_than_its_rate(opened, redis_url, window):
    """A hundred callers at once, more than ask the server at once."""
    store, calls = opened(redis_url), demand(window)
    assert 100 > AT_ONCE
    took = await asyncio.gather(*(granted(store, calls) for _ in range(100)))

    assert 5 == sum(took)


async def test_waits_as_long_as_the_server_rounds(opened, redis_url):
    """The end of a fixed window is told to the nearest second: never too early."""
    store, calls = opened(redis_url), demand("fixed", quota=RateQuota(1, NS_PER_S))
    await store.take([calls])
    (refused,) = await store.peek([calls])

    assert 1.4 * NS_PER_S < refused.retry_after_ns <= 1.5 * NS_PER_S


@pytest.mark.parametrize("window", WINDOWS)
async def test_a_server_that_is_silent_costs_a_bounded_time(
    monkeypatch, opened, line, window
):
    """The first wait for it, the next do not; when it is back, nothing is left over."""
    store, calls = opened(line.url), demand(window)
    assert await granted(store, calls)
    monkeypatch.setattr(windows, "DEADLINE_S", 0.05)
    line.block()
    began_s = time.monotonic()
    with pytest.raises(StorageError, match="no answer within 50 ms"):
        await store.take([calls])
    for _ in range(1000):
        with pytest.raises(StorageError, match="it is away"):
            await store.take([calls])
    spent_s = time.monotonic() - began_s
    line.mend()
    while store._asking:
        await asyncio.wait(store._asking)

    assert spent_s < 2.0
    monkeypatch.setattr(windows, "DEADLINE_S", 5)
    assert await granted(store, calls)
    assert AT_ONCE == store._turns._value


async def test_a_server_that_is_not_there_is_a_storage_error(opened, line):
    store, calls = opened(line.url), demand("moving")
    port = line.port
    await line.stop()
    with pytest.raises(StorageError, match=r"The windows in redis:// are away: \w"):
        await store.take([calls])
    while store._asking:
        await asyncio.wait(store._asking)
    await line.start(port)
    async with asyncio.timeout(10):
        while True:
            try:
                assert await granted(store, calls)
                break
            except StorageError:
                await asyncio.sleep(0)


async def test_callers_that_give_up_leave_nothing_behind(opened, line):
    """Cancelled while the server is silent: its connections serve the next."""
    store, calls = opened(line.url), demand("fixed", quota=RateQuota(10**6, NS_PER_S))
    await store.take([calls])
    for _ in range(20):
        line.block()
        tasks = [asyncio.create_task(store.take([calls])) for _ in range(2 * AT_ONCE)]
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        line.mend()
        while store._asking:
            await asyncio.wait(store._asking)

    assert await granted(store, calls)
    assert AT_ONCE == store._turns._value
    pool = store._storage.bridge.storage.connection_pool
    assert not pool._in_use_connections


async def test_a_closed_store_opens_again(opened, redis_url):
    store, calls = opened(redis_url), demand("fixed")
    assert await granted(store, calls)
    await store.aclose()

    (left,) = await store.peek([calls])
    assert 3 == left.remaining


class TestUrl:
    """What cannot be used is said when the store is made."""

    def rule(self, window, per_s=60):
        quota = RateQuota(5, per_s * NS_PER_S)
        return LimitRule(name="calls", quotas=(quota,), window=window)

    @pytest.mark.parametrize("url", ["mysql://host", "memory", "", "async+", "redis"])
    def test_an_unknown_storage_is_named_with_those_there_are(self, url):
        with pytest.raises(
            ConfigurationError, match=r"begins with one of: .*valkey://"
        ):
            LimitsWindowStore(url)

    @pytest.mark.parametrize(
        ("url", "package"),
        [("memcached://h:1", "memcachio"), ("async+mongodb://h:1", "motor")],
    )
    def test_a_client_that_is_not_installed_is_named(self, url, package):
        with pytest.raises(ConfigurationError, match=f"pip install {package}"):
            LimitsWindowStore(url)

    @pytest.mark.parametrize(
        "url",
        [
            "redis://user:secret@host:port",
            "redis+cluster://user:secret@host",
            "redis+sentinel://user:secret@host:26379",
        ],
    )
    def test_an_address_that_cannot_be_read_is_refused_without_its_password(self, url):
        with pytest.raises(ConfigurationError, match="://HOST:PORT") as caught:
            LimitsWindowStore(url)

        assert "secret" not in str(caught.value)

    @pytest.mark.parametrize(
        ("window", "per_s", "says"),
        [
            ("moving", 60, "cannot count those. It can count: fixed, sliding"),
            ("fixed", 31 * 86_400, "keeps nothing for 31 days"),
            ("sliding", 16 * 86_400, "Have a window of 15 days"),
        ],
    )
    def test_a_window_that_the_storage_cannot_count(
        self, monkeypatch, window, per_s, says
    ):
        """Memcached has no lists, and takes long spans for instants."""
        monkeypatch.setattr(windows, "find_spec", lambda _: True)
        with pytest.raises(ConfigurationError) as caught:
            LimitsWindowStore("memcached://h:11211", [self.rule(window, per_s)])

        assert says in str(caught.value)
        assert "Limit 'calls'" in str(caught.value)

    def test_a_storage_of_your_own_is_found(self):
        """As `limits` finds it: by the scheme that its class names."""

        class OwnStorage(MemoryStorage):
            STORAGE_SCHEME = "async+own"

        assert LimitsWindowStore("own://").shared


@pytest.mark.parametrize(
    ("key", "other"),
    [("a b", "a%20b"), ("x" * 300, "x" * 301), ("é", "e"), ("a\nb", "a b")],
)
async def test_no_key_breaks_a_storage_and_no_two_are_one(memory, key, other):
    await memory.take([demand("fixed", key=key)])
    (left,) = await memory.peek([demand("fixed", key=other)])

    assert 4 == left.remaining
    assert max(map(len, memory._storage.storage)) < 250
    assert all(key.isascii() and key.isprintable() for key in memory._storage.storage)


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_trio_is_told_to_do_without():
    with pytest.raises(ConfigurationError, match="asyncio only"):
        await LimitsWindowStore("memory://").take([demand("fixed")])
