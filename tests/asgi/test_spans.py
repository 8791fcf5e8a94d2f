"""What OpenTelemetry is told of calls, by its own SDK: spans, metrics, no content."""

import json
from types import SimpleNamespace

import anyio
import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from metering import metering as metering_module
from metering.exports.gauges import of_state
from metering.exports.metrics import METRICS
from metering.exports.opentelemetry import STATE_UNITS, OpenTelemetry, state_name
from metering.observing import Observer, ServiceState
from metering.testing import FakeModel

pytestmark = pytest.mark.anyio

GLM = "zai-org/GLM-4.7"
LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
SECRETS = ("a b c", "w1 w2", "sk-", "Bearer")


class Seen:
    """What the exporters of the SDK were given."""

    def __init__(self):
        self._exporter = InMemorySpanExporter()
        tracers = TracerProvider(shutdown_on_exit=False)
        tracers.add_span_processor(SimpleSpanProcessor(self._exporter))
        self._reader = InMemoryMetricReader()
        meters = MeterProvider([self._reader], shutdown_on_exit=False)
        self.observer = OpenTelemetry(tracer_provider=tracers, meter_provider=meters)

    @property
    def spans(self):
        return self._exporter.get_finished_spans()

    def points(self, name):
        collected = self._reader.get_metrics_data()
        if collected is None:  # nothing was recorded yet
            return []
        data = json.loads(collected.to_json())
        return [
            point
            for resource in data["resource_metrics"]
            for scope in resource["scope_metrics"]
            for metric in scope["metrics"]
            if metric["name"] == name
            for point in metric["data"]["data_points"]
        ]

    def sum(self, name, value="sum", **attributes):
        wanted = {key.replace("__", "."): each for key, each in attributes.items()}
        return sum(
            point[value]
            for point in self.points(name)
            if wanted.items() <= point["attributes"].items()
        )


@pytest.fixture
def seen():
    return Seen()


async def test_a_span_tells_of_a_call_what_the_ledger_does(open_service, seen):
    """Usage, charge, ids and times; its name is of few values."""
    app = FakeModel(cached_tokens=2, reasoning_tokens=11)
    async with open_service(app, observers=[seen.observer]) as service:
        await service.chat(await service.account("acme", tier=2), model=GLM)
        (event,) = await service.events("acme")
    (span,) = seen.spans

    assert (f"chat {GLM}", SpanKind.INTERNAL) == (span.name, span.kind)
    assert StatusCode.UNSET == span.status.status_code
    assert (event.admitted_ns, event.ended_ns) == (span.start_time, span.end_time)
    usage = event.usage
    assert {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": GLM,
        "gen_ai.request.max_tokens": event.output_tokens_max,
        "gen_ai.usage.input_tokens": usage.input_tokens + 2,
        "gen_ai.usage.output_tokens": usage.output_tokens + 11,
        "gen_ai.usage.cache_read.input_tokens": 2,
        "gen_ai.usage.cache_creation.input_tokens": 0,
        "gen_ai.usage.reasoning.output_tokens": 11,
        "http.response.status_code": 200,
        "metering.call_id": event.id,
        "metering.account_id": "acme",
        "metering.tier": 2,
        "metering.ending": "completed",
        "metering.usage_source": "upstream",
        "metering.charge_p": event.charge_p,
        "metering.compute_ms": 0,
        "metering.flags": (),
    } == dict(span.attributes)


async def test_the_caller_s_trace_goes_on(open_service, seen):
    """The parent is the one that the request names; without one a trace begins."""
    async with open_service(observers=[seen.observer]) as service:
        key = await service.account("acme", tier=1)
        traced = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
        await service.chat(key, headers=traced)
        await service.chat("no-such-key", headers=traced)
        await service.chat(key)
    ended, refused, alone = seen.spans

    for span in (ended, refused):
        assert (int(TRACE, 16), int(PARENT, 16)) == (
            span.context.trace_id,
            span.parent.span_id,
        )
    assert alone.parent is None


async def test_sums_of_its_metrics_are_those_of_the_ledger(open_service, seen):
    """Tokens and charges of whole and streamed calls and of one that failed."""
    async with open_service(observers=[seen.observer]) as service:
        key = await service.account("acme", tier=2)
        await service.chat(key)
        await service.chat(key, stream=True)
        await service.chat(key, model=GLM)
        service.model._status = 500
        await service.chat(key)
        events = await service.events("acme")

    tokens = "gen_ai.client.token.usage"
    for kind, total in (("input", "input_total"), ("output", "output_total")):
        assert sum(getattr(event.usage, total) for event in events) == seen.sum(
            tokens, gen_ai__token__type=kind
        )
    charged_p = sum(event.charge_p for event in events)
    micros, rest_p = (
        seen.sum("metering.charges", "value"),
        seen.sum("metering.charges.rest", "value"),
    )
    assert charged_p == micros * 10**6 + rest_p > 0
    assert 4 == len(events) == seen.sum("gen_ai.server.request.duration", "count")
    (point,) = [
        point
        for point in seen.points("gen_ai.server.request.duration")
        if "error.type" in point["attributes"]
    ]
    assert ("500", 1) == (point["attributes"]["error.type"], point["count"])
    assert StatusCode.ERROR == seen.spans[-1].status.status_code


async def test_refusals_are_spans_and_counted(open_service, seen):
    """A limit is the caller's doing, so its span is no error of ours."""
    async with open_service(observers=[seen.observer]) as service:
        key = await service.account("acme")
        for _ in range(11):
            await service.chat(key)
    span = seen.spans[-1]

    assert 1 == seen.sum(
        "metering.refusals", "value", error__type="rate_limit_exceeded"
    )
    assert ("rate_limit_exceeded", "requests", 429) == (
        span.attributes["error.type"],
        span.attributes["metering.quota"],
        span.attributes["http.response.status_code"],
    )
    assert StatusCode.UNSET == span.status.status_code
    assert 11 == len(seen.spans)
    assert 10 == seen.sum("gen_ai.server.request.duration", "count")


async def test_nothing_tells_any_content_and_metrics_are_bounded(open_service, seen):
    """Names that clients made up are attributes of spans, and of no metric."""
    async with open_service(observers=[seen.observer], unpriced="record") as service:
        key = await service.account("acme", tier=2)
        for number in range(5):
            await service.chat(key, model=f"made-up-{number}", stream=number % 2 == 0)
    told = "".join(span.to_json() for span in seen.spans)
    measured = json.dumps(seen.points("gen_ai.client.token.usage"))

    assert {"chat other"} == {span.name for span in seen.spans}
    assert not any(secret in told + measured for secret in (*SECRETS, key))
    assert "made-up-4" in told
    assert "made-up" not in measured
    assert "acme" not in measured


async def test_what_is_taken_back_is_in_the_ledger_alone(open_service, seen):
    """Counters only grow: a refund is read from the ledger, and not from metrics."""
    async with open_service(observers=[seen.observer]) as service:
        key = await service.account("acme", tier=2)
        await service.chat(key)
        await service.chat(key)
        first, second = await service.events("acme")
        await service.meter.corrections.reverse(first.id, reason="a test")
        period = await service.meter.billing.period("acme")
    measured_p = 10**6 * seen.sum("metering.charges", "value") + seen.sum(
        "metering.charges.rest", "value"
    )

    assert first.charge_p + second.charge_p == measured_p
    assert second.charge_p == period.spent_p > 0


async def test_computing_is_told_as_the_ledger_has_it(open_service, seen):
    """What time-based prices count."""
    app = FakeModel(compute_ms=287_341)
    async with open_service(app, observers=[seen.observer]) as service:
        key = await service.account("acme", tier=2)
        await service.chat(key, model="zai-org/GLM-4.6")
        events = await service.events("acme")

    told = seen.sum("metering.compute", "value", metering__tier=2)
    assert 287_341 == sum(event.usage.compute_ms for event in events) == told


def test_each_state_has_an_instrument_with_a_unit():
    assert [row.name for row, _ in of_state(ServiceState())] != []
    assert set(STATE_UNITS) == {row.name for row, _ in of_state(ServiceState())}


def test_the_state_of_a_process_is_told_as_prometheus_is(seen):
    """The same values under the same labels; nothing before it was looked at."""
    pool = SimpleNamespace(limit_rpm=12.5, waiting=3, state="busy")
    state = ServiceState(
        holds_open=2,
        journal_lag_ns=1_500_000_000,
        journal_lost=4,
        limits_away=True,
        outbox={"webhook:shop": 7},
        pools={"llama": pool},
        models={LLAMA: "warm"},
    )
    before = [seen.points(state_name(row)) for row in METRICS]
    seen.observer.state_seen(state)

    assert not any(before)
    for row, values in of_state(state):
        points = seen.points(state_name(row))
        assert values == {
            tuple(point["attributes"][label] for label in row.labels): point["value"]
            for point in points
        }
    assert 1.5 == seen.sum("metering.journal_lag", "value")


async def test_a_service_shows_its_state_to_who_wants_it(open_service, monkeypatch):
    """Again and again while it runs, and only if somebody overrides the method."""
    monkeypatch.setattr(metering_module, "STATE_EVERY_S", 0.001)

    class Watcher(Observer):
        def __init__(self):
            self.states, self.twice = [], anyio.Event()

        def state_seen(self, state):
            self.states.append(state)
            if len(self.states) == 2:
                self.twice.set()

    watcher, blind = Watcher(), Observer()
    async with open_service(observers=[blind]) as service:
        unwatched = service.meter._observers.watches
    async with open_service(observers=[blind, watcher]) as service:
        await service.chat(await service.account("acme", tier=1))
        with anyio.fail_after(10):
            await watcher.twice.wait()

    assert not unwatched
    assert all(isinstance(state, ServiceState) for state in watcher.states)
