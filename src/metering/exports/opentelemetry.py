"""Calls as OpenTelemetry has them: metrics and spans by its conventions for gen_ai."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial

from opentelemetry import metrics, propagate, trace
from opentelemetry.context import Context
from opentelemetry.metrics import CallbackOptions, Meter, MeterProvider, Observation
from opentelemetry.trace import SpanKind, Status, StatusCode, TracerProvider
from opentelemetry.util.types import AttributeValue

from metering.clock import NS_PER_S
from metering.exports.gauges import Values, of_state
from metering.exports.metrics import METRICS, Row
from metering.observing import Headers, Observer, RefusedCall, ServiceState
from metering.usage import UsageEvent

__all__ = ["OpenTelemetry"]

SCOPE = "metering"
OTHER = "other"
"""Instead of a model that is not in the price book, in names and in metrics."""

OPERATIONS = {
    "openai.chat": "chat",
    "openai.responses": "chat",
    "anthropic.messages": "chat",
    "openai.completions": "text_completion",
    "openai.embeddings": "embeddings",
}
"""By dialect; all others generate content of some kind."""

TOKEN_BOUNDS = tuple(4**n for n in range(14))
DURATION_BOUNDS_S = tuple(0.01 * 2**n for n in range(14))

STORE_BOUNDS_S = (0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25)

STATE_UNITS = {
    "metering_holds_open": "{call}",
    "metering_settlements_owed": "{call}",
    "metering_limits_away": "",
    "metering_journal_unposted": "{call}",
    "metering_journal_lag_seconds": "s",
    "metering_journal_backlog": "{call}",
    "metering_journal_lost_calls": "{call}",
    "metering_journal_full": "",
    "metering_posting_fails": "",
    "metering_outbox_messages": "{message}",
    "metering_adaptive_limit_rpm": "{request}",
    "metering_adaptive_state": "",
    "metering_adaptive_waiting": "{call}",
    "metering_models": "{model}",
}
"""What tells the state of a process, by its name for Prometheus."""

_OPERATION = "gen_ai.operation.name"
_MODEL = "gen_ai.request.model"
_ASKED_CHARS_MAX = 200
_P_PER_MICROUSD = 10**6
_SERVER_ERROR = 500

Attributes = dict[str, AttributeValue]


class OpenTelemetry(Observer):
    """Tells of each call when it has ended: a span, two histograms, its charge.

    Of the process it tells what Prometheus is told too, as it was last seen.

    A span's parent is what the request's headers name, `traceparent` by default; else
    the span that is current then. Never is there any content of a call in one.

    Args:
        tracer_provider: Makes the spans; None: the global one.
        meter_provider: Takes the metrics; None: the global one.
        provider: What runs the models, as `gen_ai.provider.name`; None: the name of
            the dialect that was spoken, "openai" or "anthropic".
    """

    def __init__(
        self,
        *,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        provider: str | None = None,
    ) -> None:
        self._tracer = trace.get_tracer(SCOPE, tracer_provider=tracer_provider)
        meter = metrics.get_meter(SCOPE, meter_provider=meter_provider)
        self._provider = provider
        self._models: frozenset[str] = frozenset()
        self._tokens = meter.create_histogram(
            "gen_ai.client.token.usage",
            unit="{token}",
            description="Tokens of a call that ended, read and written.",
            explicit_bucket_boundaries_advisory=TOKEN_BOUNDS,
        )
        self._duration = meter.create_histogram(
            "gen_ai.server.request.duration",
            unit="s",
            description="From the arrival of a call to its end.",
            explicit_bucket_boundaries_advisory=DURATION_BOUNDS_S,
        )
        self._charges = meter.create_counter(
            "metering.charges",
            unit="u{USD}",
            description="Charges: of each call the whole millionths of a dollar.",
        )
        self._rest = meter.create_counter(
            "metering.charges.rest",
            unit="p{USD}",
            description="Charges: of each call what is left, in 1e-12 dollars.",
        )
        self._compute = meter.create_counter(
            "metering.compute", unit="ms", description="Computing that was used."
        )
        self._audio = meter.create_counter(
            "metering.audio", unit="ms", description="Audio that was heard."
        )
        self._images = meter.create_counter(
            "metering.images", unit="{image}", description="Images that were made."
        )
        self._limits = meter.create_histogram(
            "metering.limits.duration",
            unit="s",
            description="How long a shared store of limits took to answer, or failed"
            " to.",
            explicit_bucket_boundaries_advisory=STORE_BOUNDS_S,
        )
        self._state: dict[str, Values] = {}
        for row in METRICS:
            if row.name in STATE_UNITS:
                self._observe(meter, row)
        self._refusals = meter.create_counter(
            "metering.refusals",
            unit="{call}",
            description="Calls that were refused, by why.",
        )

    def begin(self, models: Iterable[str]) -> None:
        """Learn which models may be named in metrics."""
        self._models = frozenset(models)

    def call_ended(self, event: UsageEvent, headers: Headers) -> None:
        """Record a call, its usage and its charge."""
        common = self._common(event.dialect, event.model)
        error = _error_of(event)
        failed: Attributes = {} if error is None else {"error.type": error}
        self._duration.record(
            (event.ended_ns - event.admitted_ns) / NS_PER_S, {**common, **failed}
        )
        usage = event.usage
        for kind, tokens in (
            ("input", usage.input_total),
            ("output", usage.output_total),
        ):
            if tokens:
                self._tokens.record(tokens, {**common, "gen_ai.token.type": kind})
        charged: Attributes = {**common, "metering.tier": event.tier}
        self._charges.add(event.charge_p // _P_PER_MICROUSD, charged)
        self._rest.add(event.charge_p % _P_PER_MICROUSD, charged)
        for counter, used in (
            (self._compute, usage.compute_ms),
            (self._audio, usage.audio_ms),
            (self._images, usage.images),
        ):
            if used:
                counter.add(used, charged)
        self._span(
            common,
            failed | _of_event(event),
            headers,
            began_ns=event.admitted_ns,
            ended_ns=event.ended_ns,
            fault=error if event.ending in {"app_error", "upstream_error"} else None,
        )

    def call_refused(self, refused: RefusedCall, headers: Headers) -> None:
        """Record a refusal: it is counted, and has a span, but no usage."""
        common = self._common(refused.dialect, refused.model)
        told: Attributes = {"error.type": refused.code}
        if refused.quota:
            told["metering.quota"] = refused.quota
        if refused.tier is not None:
            told["metering.tier"] = refused.tier
        self._refusals.add(1, {**common, **told})
        self._span(
            common,
            told
            | {
                _MODEL: refused.model[:_ASKED_CHARS_MAX],
                "http.response.status_code": refused.status,
                "metering.call_id": refused.id,
            },
            headers,
            began_ns=refused.began_ns,
            ended_ns=refused.ended_ns,
            fault=refused.code if refused.status >= _SERVER_ERROR else None,
        )

    def limits_asked(self, took_ns: int, *, answered: bool) -> None:
        """Record how long a store of limits took."""
        outcome = "answered" if answered else "failed"
        self._limits.record(took_ns / NS_PER_S, {"outcome": outcome})

    def state_seen(self, state: ServiceState) -> None:
        """Keep the state until it is asked for."""
        self._state = {row.name: values for row, values in of_state(state)}

    def _observe(self, meter: Meter, row: Row) -> None:
        observe: Callable[..., object] = meter.create_observable_gauge
        if row.kind == "counter":
            observe = meter.create_observable_counter
        observe(
            state_name(row),
            callbacks=[partial(self._observed, row)],
            unit=STATE_UNITS[row.name],
            description=row.tells,
        )

    def _observed(self, row: Row, _options: CallbackOptions) -> Iterable[Observation]:
        values = self._state.get(row.name, {})
        return [
            Observation(value, dict(zip(row.labels, labels, strict=True)))
            for labels, value in values.items()
        ]

    def _common(self, dialect: str, model: str) -> dict[str, str]:
        return {
            _OPERATION: OPERATIONS.get(dialect, "generate_content"),
            "gen_ai.provider.name": self._provider or dialect.partition(".")[0],
            _MODEL: model if model in self._models else OTHER,
        }

    def _span(
        self,
        common: Mapping[str, str],
        told: Mapping[str, AttributeValue],
        headers: Headers,
        *,
        began_ns: int,
        ended_ns: int,
        fault: str | None,
    ) -> None:
        operation, model = common[_OPERATION], common[_MODEL]
        span = self._tracer.start_span(
            f"{operation} {model}",
            context=_parent(headers),
            kind=SpanKind.INTERNAL,
            attributes={**common, **told},
            start_time=began_ns,
        )
        if fault is not None:
            span.set_status(Status(StatusCode.ERROR, fault))
        span.end(ended_ns)


def state_name(row: Row) -> str:
    """Return what OpenTelemetry calls a metric of the state; its unit says the rest."""
    return row.name.removesuffix("_seconds").replace("_", ".", 1)


def _parent(headers: Headers) -> Context | None:
    """Return what the headers name as the parent; None for the current span."""
    fields = propagate.get_global_textmap().fields
    named = {
        name.decode("latin-1").lower(): value.decode("latin-1")
        for name, value in headers
        if name.decode("latin-1").lower() in fields
    }
    context = propagate.extract(named, Context())
    span = trace.get_current_span(context)
    return context if span.get_span_context().is_valid else None


def _error_of(event: UsageEvent) -> str | None:
    """Return how the call failed: the status of an error, else its ending."""
    if event.ending == "completed":
        return None
    if event.ending == "upstream_error" and event.status > 0:
        return str(event.status)
    return event.ending


def _of_event(event: UsageEvent) -> Attributes:
    usage = event.usage
    asked = event.model_asked or event.model
    told: Attributes = {
        _MODEL: asked[:_ASKED_CHARS_MAX],
        "gen_ai.usage.input_tokens": usage.input_total,
        "gen_ai.usage.output_tokens": usage.output_total,
        "gen_ai.usage.cache_read.input_tokens": usage.cache_read_tokens,
        "gen_ai.usage.cache_creation.input_tokens": usage.cache_write_tokens,
        "gen_ai.usage.reasoning.output_tokens": usage.reasoning_tokens,
        "metering.call_id": event.id,
        "metering.account_id": event.account_id,
        "metering.tier": event.tier,
        "metering.ending": event.ending,
        "metering.usage_source": event.usage_source,
        "metering.charge_p": event.charge_p,
        "metering.compute_ms": usage.compute_ms,
        "metering.flags": event.flags,
    }
    if event.output_tokens_max:
        told["gen_ai.request.max_tokens"] = event.output_tokens_max
    if event.status:
        told["http.response.status_code"] = event.status
    return told
