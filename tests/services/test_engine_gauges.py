"""Gauges of engines: read from a real server, within bounds, missed by nobody."""

import socket

import anyio
import anyio.lowlevel
import pytest
import uvicorn
from anyio.from_thread import start_blocking_portal
from structlog.testing import capture_logs

from metering import PrometheusGauges
from metering.adaptive import AdaptiveSettings
from metering.backends import engine_gauges
from metering.clock import NS_PER_S
from metering.errors import ConfigurationError, StorageError
from metering.gauges import EVERY_NS, Gauge
from metering.platform import Arrival, Platform, PlatformSettings
from metering.testing.clock import ManualClock

pytestmark = pytest.mark.anyio

VLLM = """\
# HELP vllm:num_requests_running Calls in the batch.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="m"} 64.0
# HELP vllm:num_requests_waiting Calls in the queue.
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine="0",model_name="m"} 12.0
vllm:num_requests_waiting{engine="1",model_name="m"} 5.0
# TYPE vllm:num_requests_waiting_by_reason gauge
vllm:num_requests_waiting_by_reason{engine="0",model_name="m",reason="capacity"} 17.0
# TYPE vllm:time_to_first_token_seconds histogram
vllm:time_to_first_token_seconds_bucket{le="0.1",model_name="m"} 3.0
"""
SGLANG = """\
# TYPE sglang:num_running_reqs gauge
sglang:num_running_reqs{model_name="m",tp_rank="0"} 31.0
# TYPE sglang:num_queue_reqs gauge
sglang:num_queue_reqs{model_name="m",tp_rank="0"} 9.0
# TYPE sglang:token_usage gauge
sglang:token_usage{model_name="m"} 0.93
"""
PAGES = {
    "/vllm": VLLM,
    "/sglang": SGLANG,
    "/large": VLLM + "# more\n" * 1_000_000,
    "/other": "up 1.0\n",
    "/broken": "vllm:num_requests_waiting many\n",
}


async def pages(scope, _receive, send):
    """Serve the pages; one path never answers."""
    if scope["path"] == "/silent":
        await anyio.sleep_forever()
    page = PAGES.get(scope["path"])
    status = 200 if page is not None else 500
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": (page or "").encode()})


@pytest.fixture(scope="module")
def url():
    """Address of a server with the pages."""
    config = uvicorn.Config(
        pages, lifespan="off", log_config=None, timeout_graceful_shutdown=0
    )
    server = uvicorn.Server(config)
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        start_blocking_portal() as portal,
    ):
        running = portal.start_task_soon(server.serve, [listener])
        yield "http://127.0.0.1:{1}".format(*listener.getsockname())
        server.should_exit = True
        running.result(10)


@pytest.mark.parametrize(("path", "queued"), [("/vllm", 17.0), ("/sglang", 9.0)])
async def test_the_queues_of_an_engine_are_summed_up(url, path, queued):
    assert queued == await PrometheusGauges(url + path)()


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/large", "above 4194304 bytes"),
        ("/other", "none of: vllm:num_requests_waiting"),
        ("/broken", "cannot be read"),
        ("/absent", "500"),
        ("/silent", "TimeoutError"),
    ],
)
async def test_what_is_no_such_page_is_an_error_in_time(url, path, why, monkeypatch):
    if path == "/silent":
        monkeypatch.setattr(engine_gauges, "TIMEOUT_S", 0.05)
    with pytest.raises(StorageError, match=why):
        await PrometheusGauges(url + path)()


async def test_an_engine_that_is_down_is_an_error(free_port):
    with pytest.raises(StorageError, match="cannot be read"):
        await PrometheusGauges(f"http://127.0.0.1:{free_port()}/metrics")()


@pytest.mark.parametrize("url", ["", "metrics", "ftp://host/metrics", "http://[::1"])
def test_what_is_no_url_is_refused_at_once(url):
    with pytest.raises(ConfigurationError, match="Give a URL"):
        PrometheusGauges(url)


async def test_a_source_that_fails_is_told_of_once_and_again_when_it_is_back():
    """Wrong lengths count as failures; whoever listens hears of the good ones."""
    lengths = [3.0, None, -1.0, float("nan"), 4.0]
    told = []

    async def read():
        length = lengths.pop(0)
        if length is None:
            raise OSError("gone")
        return length

    gauge = Gauge("pool", read, told.append)
    with capture_logs() as logs:
        for _ in range(5):
            await gauge.read()

    assert [3.0, 4.0] == told
    assert ["platform_gauge_lost", "platform_gauge_back"] == [
        line["event"] for line in logs
    ]


async def test_a_source_is_asked_once_a_second_and_never_twice_at_once():
    asked = []
    answer = anyio.Event()

    async def read():
        asked.append(None)
        await answer.wait()
        return 1.0

    gauge = Gauge("pool", read, lambda _length: None)
    counts = []
    for now_ns in (0, EVERY_NS - 1, EVERY_NS, 9 * EVERY_NS):
        gauge.look(now_ns)
        await anyio.wait_all_tasks_blocked()
        counts.append(len(asked))
    answer.set()
    await anyio.wait_all_tasks_blocked()
    gauge.look(9 * EVERY_NS)
    gauge.look(9 * EVERY_NS)
    await anyio.wait_all_tasks_blocked()

    assert [1, 1, 1, 1] == counts
    assert 2 == len(asked)


async def test_the_pool_goes_by_the_gauge_and_on_without_it():
    """While it is read, what it tells is the signal; five seconds later no more."""
    clock = ManualClock()

    async def read():
        return 2.0

    platform = Platform(
        PlatformSettings(pool=AdaptiveSettings(), pools={"m": "pool"}),
        clock=clock,
        gauges={"pool": read},
    )
    upstream = platform.upstream("m")
    upstream.ask(Arrival("call", "acme", 0, 10, streams=True))
    before = upstream.explain().signal
    platform.tick()
    await anyio.wait_all_tasks_blocked()
    during = upstream.explain().signal
    clock.advance(ns=6 * NS_PER_S)
    after = upstream.explain().signal
    upstream.end("call", status=200)
    platform.stop()

    assert ("first_bytes", "queue_gauge", "first_bytes") == (before, during, after)


async def test_of_a_queue_that_all_share_each_node_takes_its_part():
    """Nine calls are queued and three nodes send there: three are like this node's."""

    async def read():
        return 9.0

    clock = ManualClock()
    platform = Platform(PlatformSettings(), clock=clock, gauges={"others": read})
    platform.shared_by(3)
    upstream = platform.upstream("m")
    upstream.ask(Arrival("call", "acme", 0, 10, streams=True))
    platform.tick()
    await anyio.wait_all_tasks_blocked()
    queue = upstream.pool._gate.gauge.queue(clock())
    upstream.end("call", status=200)
    platform.stop()

    assert 3.0 == queue


def test_a_gauge_of_a_pool_that_there_is_not_is_refused():
    async def read():
        return 0.0

    with pytest.raises(ConfigurationError, match=r"no pool .m..*others"):
        Platform(PlatformSettings(), gauges={"m": read})
