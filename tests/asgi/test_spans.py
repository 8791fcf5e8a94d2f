"""What OpenTelemetry is told of calls, by its own SDK: spans, metrics, no content."""

import json

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from metering.exports.opentelemetry import OpenTelemetry
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
        data = json.loads(self._reader.get_metrics_data().to_json())
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
