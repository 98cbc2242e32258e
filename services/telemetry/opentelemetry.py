"""OpenTelemetry: Flask, requests and SQLAlchemy instrumentation; traces, metrics and logs by OTLP over gRPC to the Collector.

The OTLP exporter tries a batch for its timeout of 10 s (four attempts, about 8 s) and then drops it without counting. So each
exporter is wrapped: a failed batch is exported again until :data:`services.telemetry.delivery.PATIENCE` is over, while the
processor's queue of 65,536 items takes what comes meanwhile. A Collector that is restarted costs nothing; what is given up in
the end is counted, in the metric ``parallax.telemetry.items`` and in a log line at shutdown.
"""

from __future__ import annotations

import logging
import os
import re
import uuid
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from threading import Lock, Thread, Timer
from typing import TYPE_CHECKING, Any, TypeVar

# The instrumentations read this once, when the first of them is set up: the stable HTTP and database conventions.
os.environ.setdefault("OTEL_SEMCONV_STABILITY_OPT_IN", "http,database")

from opentelemetry import propagate, trace
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context, create_key, get_value, set_value
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.dependencies import get_dependency_conflicts
from opentelemetry.instrumentation.flask import FlaskInstrumentor
from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # type: ignore[attr-defined]
from opentelemetry.instrumentation.propagators import TraceResponsePropagator, set_global_response_propagator
from opentelemetry.instrumentation.requests import RequestsInstrumentor
from opentelemetry.metrics import (
    CallbackOptions,
    Counter,
    Histogram,
    Meter,
    MeterProvider,
    NoOpMeterProvider,
    ObservableCounter,
    Observation,
    UpDownCounter,
)
from opentelemetry.processor.baggage import BaggageSpanProcessor
from opentelemetry.propagators.aws import AwsXRayPropagator
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.propagators.textmap import CarrierT, Getter, Setter, default_getter, default_setter
from opentelemetry.sdk import metrics as sdk_metrics
from opentelemetry.sdk._logs import LoggerProvider, ReadableLogRecord, ReadWriteLogRecord
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, LogRecordExporter, LogRecordExportResult
from opentelemetry.sdk.extension.aws.trace import AwsXRayIdGenerator
from opentelemetry.sdk.metrics import MeterProvider as SDKMeterProvider
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    MetricExporter,
    MetricExportResult,
    MetricsData,
    PeriodicExportingMetricReader,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Decision, ParentBased, Sampler, SamplingResult
from opentelemetry.trace import Link, NonRecordingSpan, NoOpTracerProvider, SpanContext, SpanKind, TraceFlags, TraceState
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import Attributes

from compose.settings import Settings
from services.telemetry import TelemetryError
from services.telemetry.delivery import QUEUE_SIZE, Deadline, Tally, local_host, persist
from services.telemetry.events import Event
from services.telemetry.identity import current

if TYPE_CHECKING:
    from flask import Flask
    from sqlalchemy import Engine

    from services.telemetry import Span
    from services.telemetry.sampling import XRayRules

_log = logging.getLogger(__name__)
_E = TypeVar("_E", OTLPSpanExporter, OTLPMetricExporter, OTLPLogExporter)

_BATCH_DELAY_MS = 300
_BATCH_SIZE = 512
_METRIC_INTERVAL_MS = 2_000
_RUN = "run"
_XRAY_HEADER = "X-Amzn-Trace-Id"

#: Set in the context of a request whose caller left the sampling decision to this service.
_UNDECIDED = create_key("parallax-undecided")


class _IdGenerator(AwsXRayIdGenerator):
    """A root span takes the trace id that was settled for its request; other roots get one in X-Ray's form."""

    def generate_trace_id(self) -> int:
        identity = current()
        return int(identity.trace_id, 16) if identity is not None else super().generate_trace_id()


class _RequestSampler(Sampler):
    """Obeys the caller's decision; where there is none, asks X-Ray's rules, or samples where X-Ray is off.

    A root span outside a request is dropped: the services trace requests, and what a client library does on a thread of
    its own (Rollbar's post, the seeding of the database) would only be noise that no request explains.
    """

    def __init__(self, rules: XRayRules | None) -> None:
        self._rules = rules
        self._decided = ParentBased(ALWAYS_ON)

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        parent = trace.get_current_span(parent_context).get_span_context()
        undecided = parent.is_valid and parent.is_remote and get_value(_UNDECIDED, parent_context)
        if parent.is_valid and not undecided:
            return self._decided.should_sample(parent_context, trace_id, name, kind, attributes, links, trace_state)
        identity = current()
        if identity is None:
            return SamplingResult(Decision.DROP)
        known = dict(attributes or {})
        rules = self._rules

        def rule() -> str | bool:
            if rules is None:
                return True
            host = str(known.get("server.address", ""))
            port = known.get("server.port")
            return rules.decide(
                f"{host}:{port}" if port else host, str(known.get("http.request.method", "")), str(known.get("url.path", ""))
            )

        return SamplingResult(Decision.RECORD_AND_SAMPLE if identity.decide(rule) else Decision.DROP)

    def get_description(self) -> str:
        return "RequestSampler"


class _XRayPropagator(AwsXRayPropagator):
    """X-Ray's header, with ``Sampled=?`` kept apart from "no", and without overwriting the X-Ray SDK.

    The stock propagator refuses ``?`` and so loses the parent. And on an outgoing call the X-Ray SDK has already written the
    header with its own subsegment as the parent: that one must stay, or the callee's segment hangs under a span of
    OpenTelemetry, which the SDK's trace does not have.
    """

    def extract(self, carrier: CarrierT, context: Context | None = None, getter: Getter[CarrierT] = default_getter) -> Context:
        identity = current()
        if identity is None or identity.parent_id is None or identity.sampled is not None:
            extracted: Context = super().extract(carrier, context, getter)
            return extracted
        parent = SpanContext(int(identity.trace_id, 16), int(identity.parent_id, 16), is_remote=True, trace_flags=TraceFlags(0))
        return set_value(_UNDECIDED, True, trace.set_span_in_context(NonRecordingSpan(parent), context))

    def inject(self, carrier: CarrierT, context: Context | None = None, setter: Setter[CarrierT] = default_setter) -> None:
        span = trace.get_current_span(context).get_span_context()
        ours = f"Root=1-{span.trace_id >> 96:08x}-{span.trace_id & (1 << 96) - 1:024x}"
        there = carrier.get(_XRAY_HEADER, "") if hasattr(carrier, "get") else ""
        if ours not in str(there).split(";"):
            super().inject(carrier, context, setter)


class _Histogram(Histogram):
    """A histogram whose measurements carry the run of their context."""

    def __init__(self, wrapped: Histogram) -> None:
        self._wrapped = wrapped

    def record(self, amount: float, attributes: Attributes = None, context: Context | None = None) -> None:
        self._wrapped.record(amount, _with_run(attributes), context)


class _Meter(Meter):
    """A meter that makes such histograms; everything else is the wrapped meter's."""

    def __init__(self, wrapped: Meter, name: str) -> None:
        super().__init__(name)
        self._wrapped = wrapped

    def create_histogram(self, name: str, unit: str = "", description: str = "", **advisory: Any) -> Histogram:
        return _Histogram(self._wrapped.create_histogram(name, unit, description, **advisory))

    def create_counter(self, name: str, unit: str = "", description: str = "") -> Counter:
        return self._wrapped.create_counter(name, unit, description)

    def create_up_down_counter(self, name: str, unit: str = "", description: str = "") -> UpDownCounter:
        return self._wrapped.create_up_down_counter(name, unit, description)

    def create_observable_counter(self, *args: Any, **kwargs: Any) -> ObservableCounter:
        return self._wrapped.create_observable_counter(*args, **kwargs)

    def create_observable_gauge(self, *args: Any, **kwargs: Any) -> Any:
        return self._wrapped.create_observable_gauge(*args, **kwargs)

    def create_observable_up_down_counter(self, *args: Any, **kwargs: Any) -> Any:
        return self._wrapped.create_observable_up_down_counter(*args, **kwargs)


class _RunMeterProvider(MeterProvider):
    """Gives the Flask instrumentation meters that add ``run``.

    The instrumentation offers no hook for metric attributes, and records the duration after its own context is gone; the
    request's identity still holds then, since the layer that settles it lies outside.
    """

    def __init__(self, wrapped: MeterProvider) -> None:
        self._wrapped = wrapped

    def get_meter(self, name: str, version: str | None = None, schema_url: str | None = None, attributes: Attributes = None) -> Meter:
        return _Meter(self._wrapped.get_meter(name, version, schema_url, attributes), name)


def _with_run(attributes: Attributes) -> Attributes:
    identity = current()
    return attributes if identity is None or identity.run is None else {**(attributes or {}), _RUN: identity.run}


class _CountedSpanProcessor(BatchSpanProcessor):
    def __init__(self, exporter: SpanExporter, tally: Tally) -> None:
        super().__init__(exporter, max_queue_size=QUEUE_SIZE, schedule_delay_millis=_BATCH_DELAY_MS, max_export_batch_size=_BATCH_SIZE)
        self._tally = tally

    def on_end(self, span: ReadableSpan) -> None:
        if span.context is not None and span.context.trace_flags.sampled:
            self._tally.accept()
        super().on_end(span)


class _CountedLogProcessor(BatchLogRecordProcessor):
    def __init__(self, exporter: LogRecordExporter, tally: Tally) -> None:
        super().__init__(exporter, max_queue_size=QUEUE_SIZE, schedule_delay_millis=_BATCH_DELAY_MS, max_export_batch_size=_BATCH_SIZE)
        self._tally = tally

    def on_emit(self, log_record: ReadWriteLogRecord) -> None:
        self._tally.accept()
        super().on_emit(log_record)


class _Persistent:
    """What the three exporters below share: export until it worked, count, and end in time."""

    def __init__(self, tally: Tally, deadline: Deadline) -> None:
        self.tally = tally
        self.deadline = deadline

    def deliver(self, items: int, attempt: Callable[[], bool]) -> bool:
        delivered = persist(attempt, self.deadline)
        (self.tally.deliver if delivered else self.tally.give_up)(items)
        return delivered


class _SpanExporter(SpanExporter):
    def __init__(self, exporter: OTLPSpanExporter, shared: _Persistent) -> None:
        self._exporter, self._shared = exporter, shared

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        done = self._shared.deliver(len(spans), lambda: self._exporter.export(spans) is SpanExportResult.SUCCESS)
        return SpanExportResult.SUCCESS if done else SpanExportResult.FAILURE

    def shutdown(self) -> None:
        self._exporter.shutdown()


class _LogExporter(LogRecordExporter):
    def __init__(self, exporter: OTLPLogExporter, shared: _Persistent) -> None:
        self._exporter, self._shared = exporter, shared

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        done = self._shared.deliver(len(batch), lambda: self._exporter.export(batch) is LogRecordExportResult.SUCCESS)
        return LogRecordExportResult.SUCCESS if done else LogRecordExportResult.FAILURE

    def force_flush(self, timeout_millis: int = 10_000) -> bool:  # noqa: ARG002
        return True

    def shutdown(self) -> None:
        self._exporter.shutdown()


class _MetricExporter(MetricExporter):
    """Metrics are counted by data point. While a batch is tried, the next interval accumulates in the SDK: nothing is lost."""

    def __init__(self, exporter: OTLPMetricExporter, shared: _Persistent) -> None:
        super().__init__(preferred_temporality=exporter._preferred_temporality)
        self._exporter, self._shared = exporter, shared

    def export(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any) -> MetricExportResult:  # noqa: ARG002
        points = sum(len(m.data.data_points) for r in metrics_data.resource_metrics for s in r.scope_metrics for m in s.metrics)
        self._shared.tally.accept(points)
        done = self._shared.deliver(points, lambda: self._exporter.export(metrics_data) is MetricExportResult.SUCCESS)
        return MetricExportResult.SUCCESS if done else MetricExportResult.FAILURE

    def force_flush(self, timeout_millis: float = 10_000) -> bool:  # noqa: ARG002
        return True

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:  # noqa: ARG002
        self._exporter.shutdown()


class OpenTelemetry:
    """The providers of one process, and the instrumentation of ``app``."""

    def __init__(
        self, app: Flask, name: str, settings: Settings, *, traces: bool, metrics: bool, logs: bool, rules: XRayRules | None
    ) -> None:
        # The standard variable wins, so that a container can point elsewhere.
        endpoint = os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT") or f"http://{local_host(settings)}:{settings.otlp_grpc_port}"
        resource = Resource.create({"service.name": name, "service.namespace": "parallax", "service.instance.id": str(uuid.uuid4())})
        self._deadline = Deadline()
        self._tallies: dict[str, Tally] = {}
        self._others: dict[str, Tally] = {}
        self._tracers: dict[str, trace.Tracer] = {}
        self._counters: dict[str, Counter] = {}
        self._counters_lock = Lock()
        self._exporters: list[OTLPSpanExporter | OTLPMetricExporter | OTLPLogExporter] = []
        self._providers: list[TracerProvider | SDKMeterProvider | LoggerProvider] = []

        self._tracer_provider: trace.TracerProvider = NoOpTracerProvider()
        if traces:
            span_exporter = self._exporter(OTLPSpanExporter(endpoint=endpoint, insecure=True))
            tracer_provider = TracerProvider(
                resource=resource, sampler=_RequestSampler(rules), id_generator=_IdGenerator(), shutdown_on_exit=False
            )
            tracer_provider.add_span_processor(BaggageSpanProcessor(lambda key: key == _RUN))
            shared = self._shared("spans")
            tracer_provider.add_span_processor(_CountedSpanProcessor(_SpanExporter(span_exporter, shared), shared.tally))
            self._tracer_provider = tracer_provider
            self._providers.append(tracer_provider)

        self._logger = None
        if logs:
            log_exporter = self._exporter(OTLPLogExporter(endpoint=endpoint, insecure=True))
            logger_provider = LoggerProvider(resource=resource, shutdown_on_exit=False)
            shared = self._shared("log_records")
            logger_provider.add_log_record_processor(_CountedLogProcessor(_LogExporter(log_exporter, shared), shared.tally))
            self._logger = logger_provider.get_logger("cruddur.events")
            self._providers.append(logger_provider)

        self._meter_provider: MeterProvider = NoOpMeterProvider()
        if metrics:
            delta = AggregationTemporality.DELTA
            metric_exporter = self._exporter(
                OTLPMetricExporter(
                    endpoint=endpoint,
                    insecure=True,
                    # A total over a run is a sum of deltas, whichever worker they come from and however often one restarts.
                    preferred_temporality={sdk_metrics.Counter: delta, sdk_metrics.Histogram: delta, sdk_metrics.ObservableCounter: delta},
                )
            )
            reader = PeriodicExportingMetricReader(
                _MetricExporter(metric_exporter, self._shared("data_points")), export_interval_millis=_METRIC_INTERVAL_MS
            )
            meter_provider = SDKMeterProvider(metric_readers=[reader], resource=resource, shutdown_on_exit=False)
            self._meter_provider = meter_provider
            self._providers.append(meter_provider)
            meter_provider.get_meter("parallax.telemetry").create_observable_counter(
                "parallax.telemetry.items",
                [self._observe],
                "{item}",
                "Telemetry items by kind and fate: accepted = delivered + given_up + those waiting or evicted from a full queue.",
            )
        self._meter = self._meter_provider.get_meter("cruddur")

        # Later extractions win: W3C over X-Ray where a request carries both.
        propagate.set_global_textmap(CompositePropagator([_XRayPropagator(), TraceContextTextMapPropagator(), W3CBaggagePropagator()]))
        if traces:
            # Without a tracer it would hand the caller's own span back to him, as if it were ours.
            set_global_response_propagator(TraceResponsePropagator())  # type: ignore[no-untyped-call]
        require(FlaskInstrumentor(), RequestsInstrumentor())
        FlaskInstrumentor.instrument_app(  # type: ignore[no-untyped-call]
            app,
            tracer_provider=self._tracer_provider,
            meter_provider=_RunMeterProvider(self._meter_provider),
            request_hook=_remember_span if traces else None,
            enable_commenter=False,
        )
        RequestsInstrumentor().instrument(
            tracer_provider=self._tracer_provider,
            meter_provider=self._meter_provider,
            # pyrollbar posts with requests too; its own traffic is not the application's.
            excluded_urls=re.escape(settings.rollbar_endpoint) if settings.rollbar_endpoint else "",
        )

    def _exporter(self, exporter: _E) -> _E:
        self._exporters.append(exporter)
        return exporter

    def _shared(self, kind: str) -> _Persistent:
        tally = self._tallies[kind] = Tally()
        return _Persistent(tally, self._deadline)

    def _observe(self, _options: CallbackOptions) -> Iterable[Observation]:
        for kind, tally in (*self._tallies.items(), *self._others.items()):
            for fate in ("accepted", "delivered", "given_up"):
                yield Observation(getattr(tally, fate), {"kind": kind, "fate": fate})

    def also_count(self, kind: str, tally: Tally) -> None:
        """Report another backend's items beside OpenTelemetry's own."""
        self._others[kind] = tally

    def span(self, tracer: str, name: str) -> AbstractContextManager[Span]:
        """A span of the named tracer around a block."""
        # A provider makes a new tracer each time it is asked.
        known = self._tracers.get(tracer)
        if known is None:
            known = self._tracers[tracer] = self._tracer_provider.get_tracer(tracer)
        return known.start_as_current_span(name)

    def count(self, counter: str, unit: str, description: str) -> None:
        """Add one to a counter, with the request's run."""
        with self._counters_lock:
            instrument = self._counters.get(counter) or self._meter.create_counter(counter, unit, description)
            self._counters[counter] = instrument
        instrument.add(1, _with_run(None))

    def instrument_engine(self, engine: Engine) -> None:
        """Trace the statements and connections of a SQLAlchemy engine, and report its pool.

        The instrumentation would count every check-out and check-in (four measurements a request) to know how many connections
        are in use. The pool knows: it is asked once an interval, for the same metric.
        """
        # Here, so that a service without a database does not load SQLAlchemy.
        from opentelemetry.instrumentation.sqlalchemy import SQLAlchemyInstrumentor
        from sqlalchemy.pool import QueuePool

        instrumentor = SQLAlchemyInstrumentor()
        require(instrumentor)
        instrumentor.instrument(engine=engine, tracer_provider=self._tracer_provider, meter_provider=NoOpMeterProvider())

        pool, name = engine.pool, engine.url.database or ""
        if not isinstance(pool, QueuePool):
            return

        def usage(_options: CallbackOptions) -> Iterable[Observation]:
            yield Observation(pool.checkedin(), {"pool.name": name, "state": "idle"})
            yield Observation(pool.checkedout(), {"pool.name": name, "state": "used"})

        self._meter.create_observable_up_down_counter(
            "db.client.connections.usage",
            [usage],
            "connections",
            "The number of connections that are currently in state described by the state attribute.",
        )

    def log(self, event: Event) -> None:
        """Queue an event as an OTLP log record with the trace context of its request."""
        assert self._logger is not None
        identity = event.identity
        span_id = identity.span_id or identity.parent_id
        context = Context()
        if span_id is not None:
            flags = TraceFlags(TraceFlags.SAMPLED if identity.sampled_here else TraceFlags.DEFAULT)
            parent = SpanContext(int(identity.trace_id, 16), int(span_id, 16), is_remote=False, trace_flags=flags)
            context = trace.set_span_in_context(NonRecordingSpan(parent), context)
        self._logger.emit(
            LogRecord(
                timestamp=int(event.time * 1e9),
                context=context,
                severity_number=SeverityNumber.INFO,
                severity_text="INFO",
                body=event.text,
                attributes={key: value for key, value in event.fields.items() if value is not None},
                event_name=event.name,
            )
        )

    def stop(self, grace: float) -> None:
        """Export what is queued, for at most ``grace`` seconds, and stop; tell what was lost."""
        self._deadline.begin(grace)
        # An attempt under way may wait longer than the grace; shutting its exporter down cuts it short.
        cut = Timer(grace, lambda: [exporter.shutdown() for exporter in self._exporters])
        cut.daemon = True
        cut.start()
        # Together, so that one grace is enough for all.
        threads = [Thread(target=provider.shutdown, daemon=True) for provider in self._providers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(grace + 1)
        cut.cancel()
        for kind, tally in self._tallies.items():
            if tally.accepted > tally.delivered:
                _log.warning("OpenTelemetry: %d of %d %s were not delivered", tally.accepted - tally.delivered, tally.accepted, kind)


def require(*instrumentors: BaseInstrumentor) -> None:
    """Raise TelemetryError when an instrumentation does not support the library that is installed.

    By itself it would log that and do nothing: the application runs, and its spans are missing.
    """
    for instrumentor in instrumentors:
        conflict = get_dependency_conflicts(instrumentor.instrumentation_dependencies())
        if conflict is not None:
            name = type(instrumentor).__name__
            raise TelemetryError(
                f"OpenTelemetry's {name} refuses the library it is for: found {conflict.found}, needs {conflict.required}; run make setup"
            )


def _remember_span(span: trace.Span, _environ: dict[str, Any]) -> None:
    """Let log lines and Rollbar items name the request's own span."""
    identity, context = current(), span.get_span_context()
    if identity is not None and context.is_valid:
        identity.span_id = f"{context.span_id:016x}"
