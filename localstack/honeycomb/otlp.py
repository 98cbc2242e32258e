"""OTLP messages to Honeycomb events: message in, rows out, no input or output.

Facts from Honeycomb's documentation ("Send data with OpenTelemetry", "Metrics-to-Event Mapping") and from its open-source
translator honeycombio/husky. What neither says for certain is decided here, in one place each: search for "unsure".

    rows = traces(ExportTraceServiceRequest.FromString(body), header="")
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping

import orjson
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import HistogramDataPoint, NumberDataPoint, SummaryDataPoint
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from localstack.honeycomb.layout import LONG, MAX_FIELD, PROMOTED, Rows, Value, clamp, column_type, is_long, sample_rate
from localstack.otlp import hex_id, plain

#: Key-value lists flatten to ``a.b.c`` down to this depth; deeper ones become a JSON string.
MAX_DEPTH = 5

UNKNOWN_SERVICE = "unknown_service"
UNKNOWN_LOG_SOURCE = "unknown_log_source"
UNKNOWN_METRICS = "unknown_metrics"

_KINDS: dict[int, str] = {
    Span.SPAN_KIND_CLIENT: "client",
    Span.SPAN_KIND_SERVER: "server",
    Span.SPAN_KIND_PRODUCER: "producer",
    Span.SPAN_KIND_CONSUMER: "consumer",
    Span.SPAN_KIND_INTERNAL: "internal",
}
_SEVERITIES = ("trace", "debug", "info", "warn", "error", "fatal")
_INSTRUMENTATION_PREFIXES = (
    "io.opentelemetry",
    "opentelemetry.instrumentation",
    "OpenTelemetry.Instrumentation",
    "OpenTelemetry::Instrumentation",
    "go.opentelemetry.io/contrib/instrumentation",
    "@opentelemetry/instrumentation",
)
_EXCEPTION_KEYS = ("exception.message", "exception.type", "exception.stacktrace", "exception.escaped")
_SAMPLE_RATE_KEYS = ("sampleRate", "SampleRate")
_PERCENTILES = {
    "p001": 0.001,
    "p01": 0.01,
    "p05": 0.05,
    "p10": 0.10,
    "p25": 0.25,
    "p50": 0.50,
    "p75": 0.75,
    "p90": 0.90,
    "p95": 0.95,
    "p99": 0.99,
    "p999": 0.999,
}
_HEX = re.compile(r"[0-9a-fA-F]+")

Data = dict[str, Value]


# -- identifiers and attributes


def trace_id(identifier: bytes) -> str:
    """A trace id as hex; one whose top 8 bytes are zero is trimmed to 16 digits."""
    text = hex_id(identifier, 16)
    return text[16:] if len(text) == 32 and text.startswith("0000000000000000") else text


def span_id(identifier: bytes) -> str:
    """A span id as hex."""
    return hex_id(identifier, 8)


def flatten(attributes: Iterable[KeyValue], into: Data | None = None) -> Data:
    """Attributes as columns of an event. Empty keys, null values and numbers that are not finite are dropped."""
    data: Data = {} if into is None else into
    for attribute in attributes:
        key = attribute.key
        if not key:
            continue
        value = attribute.value
        kind = value.WhichOneof("value")
        if kind == "string_value":
            data[key] = value.string_value
        elif kind == "int_value":
            data[key] = value.int_value
        elif kind is not None:
            _put(data, key, value, kind, 0)
    return data


def _put(data: Data, key: str, value: AnyValue, kind: str | None, depth: int) -> None:
    if kind == "string_value":
        data[key] = value.string_value
    elif kind == "int_value":
        data[key] = value.int_value
    elif kind == "bool_value":
        data[key] = value.bool_value
    elif kind == "double_value":
        if math.isfinite(value.double_value):
            data[key] = value.double_value
    elif kind == "kvlist_value":
        for entry in value.kvlist_value.values:
            entry_kind = entry.value.WhichOneof("value")
            if depth < MAX_DEPTH:
                _put(data, f"{key}.{entry.key}", entry.value, entry_kind, depth + 1)
            elif entry_kind is not None:
                data[f"{key}.{entry.key}"] = _json(entry.value)
    elif kind is not None:
        data[key] = _json(value)


def _json(value: AnyValue) -> str:
    """A value as the JSON string Honeycomb makes of it: Go's encoder, so HTML characters are escaped and a newline ends it."""
    text = orjson.dumps(plain(value), option=orjson.OPT_SORT_KEYS).decode()
    for character in "<>&\u2028\u2029":
        if character in text:
            text = text.replace(character, f"\\u{ord(character):04x}")
    encoded = (text + "\n").encode()
    return encoded[:MAX_FIELD].decode(errors="ignore")


def _scope(scope: InstrumentationScope) -> Data:
    data: Data = {}
    if scope.name:
        data["library.name"] = scope.name
        if scope.name.startswith(_INSTRUMENTATION_PREFIXES):
            data["telemetry.instrumentation_library"] = True
    if scope.version:
        data["library.version"] = scope.version
    return flatten(scope.attributes, data)


def _service(resource: Mapping[str, Value]) -> str:
    """The trimmed ``service.name``, or nothing when it is missing, blank or an SDK's placeholder."""
    name = resource.get("service.name")
    if not isinstance(name, str) or name.startswith(UNKNOWN_SERVICE):
        return ""
    return name.strip()


def _take_sample_rate(data: Data, trace_state: str) -> int:
    """The sample rate of an event; the attribute that carries it is removed."""
    for key in _SAMPLE_RATE_KEYS:
        if key in data:
            return sample_rate(data.pop(key))
    return _rate_of_trace_state(trace_state) if trace_state else 1


def _rate_of_trace_state(trace_state: str) -> int:
    """OpenTelemetry's rejection threshold (``ot=th:8`` keeps half) as a sample rate; 1 when there is none."""
    for member in trace_state.split(","):
        vendor, _, fields = member.strip().partition("=")
        if vendor != "ot":
            continue
        for part in fields.split(";"):
            key, _, threshold = part.partition(":")
            if key == "th" and 1 <= len(threshold) <= 14 and _HEX.fullmatch(threshold):
                rejected = int(threshold.ljust(14, "0"), 16)
                return sample_rate(2**56 / (2**56 - rejected))
    return 1


# -- traces


class _SpanEncoder:
    """Adds the spans of one scope to rows.

    Resource and scope attributes are the same for all its spans, so they are encoded once for each span kind.
    A span whose own attributes overwrite something, and anything else out of the ordinary,
    goes the general way; both ways store the same event (a property test holds them together).
    """

    def __init__(self, rows: Rows, dataset: str, resource: Data, scope: Data) -> None:
        self.rows = rows
        self.name = dataset
        self.slug, self.known = rows.dataset(dataset)
        self.base = {**resource, **scope}
        service = self.base.get("service.name")
        self.service = service if isinstance(service, str) and not is_long(service) else None
        shared = {key: value for key, value in self.base.items() if key != "service.name" or self.service is None}
        self.plain = not any(key in shared for key in (*PROMOTED, *_SAMPLE_RATE_KEYS))
        self.shared = shared
        #: Attributes that a span may not carry on the short way.
        self.taken = frozenset((*PROMOTED, *_SAMPLE_RATE_KEYS, *self.base, "type", "span.kind", "span.num_links", "span.num_events"))
        self.prefixes: dict[int, bytes] = {}

    def prefix(self, number: int) -> bytes:
        """The encoded start of ``attributes`` for a span kind, without its closing brace."""
        prefix = self.prefixes.get(number)
        if prefix is None:
            kind = _KINDS.get(number, "unspecified")
            core: Data = {"type": kind, "span.kind": kind, "span.num_links": 0, "span.num_events": 0}
            data = {**core, **self.shared}
            prefix = self.prefixes[number] = orjson.dumps(data)[:-1]
            for name, value in (*data.items(), *self.base.items(), *_CORE_TYPES.items()):
                self.known.setdefault(name, column_type(value))
        return prefix

    def add(self, span: Span) -> None:
        own = flatten(span.attributes)
        start, end = span.start_time_unix_nano, span.end_time_unix_nano
        status = span.status
        ordinary = (
            self.plain
            and end >= start
            and status.code != 2
            and not (span.events or span.links or status.message or span.trace_state)
            and self.taken.isdisjoint(own)
        )
        if not ordinary:
            self.add_any(span, own)
            return
        prefix = self.prefix(span.kind)
        attributes = prefix + b"," + orjson.dumps(own)[1:] if own else prefix + b"}"
        if len(attributes) > LONG or is_long(span.name):
            # Something in it may be too long for its row.
            self.add_any(span, own)
            return
        known = self.known
        if not own.keys() <= known.keys():
            for name, value in own.items():
                known.setdefault(name, column_type(value))
        parent = span.parent_span_id
        if parent:
            known.setdefault("trace.parent_id", "string")
        self.rows.rows.append(
            (
                self.slug,
                start if start < 2**63 else clamp(start),
                1,
                trace_id(span.trace_id),
                span_id(span.span_id),
                span_id(parent) if parent else None,
                span.name,
                self.service,
                "trace",
                None,
                (end - start) / 1e6,
                status.code,
                attributes,
            )
        )

    def add_any(self, span: Span, own: Data) -> None:
        """Any span, with its events and links. The order of the parts is the order in which they overwrite each other."""
        trace, identifier = trace_id(span.trace_id), span_id(span.span_id)
        kind = _KINDS.get(span.kind, "unspecified")
        start = span.start_time_unix_nano
        duration = span.end_time_unix_nano - start
        failed = span.status.code == 2
        data: Data = {
            "trace.trace_id": trace,
            "trace.span_id": identifier,
            "type": kind,
            "span.kind": kind,
            "name": span.name,
            "duration_ms": max(duration, 0) / 1e6,
            "status_code": span.status.code,
            "span.num_links": len(span.links),
            "span.num_events": len(span.events),
            "meta.signal_type": "trace",
        }
        if duration < 0:
            data["meta.invalid_duration"] = True
        if span.parent_span_id:
            data["trace.parent_id"] = span_id(span.parent_span_id)
        if failed:
            data["error"] = True
        if span.status.message:
            data["status_message"] = span.status.message
        if span.trace_state:
            data["trace.trace_state"] = span.trace_state
        data.update(self.base)
        data.update(own)
        rate = _take_sample_rate(data, span.trace_state)
        base = {key: value for key, value in self.base.items() if key not in _SAMPLE_RATE_KEYS}
        exception = next((event for event in span.events if event.name == "exception"), None)
        if exception is not None:
            for key, value in flatten(exception.attributes).items():
                if key in _EXCEPTION_KEYS:
                    data.setdefault(key, value)
        self.rows.add(self.name, start, rate, data)
        for event in span.events:
            since = event.time_unix_nano - start
            detail: Data = {
                "trace.trace_id": trace,
                "trace.parent_id": identifier,
                "name": event.name,
                "parent_name": span.name,
                "meta.annotation_type": "span_event",
                "meta.signal_type": "trace",
                "meta.time_since_span_start_ms": max(since, 0) / 1e6,
            }
            if since < 0:
                detail["meta.invalid_time_since_span_start"] = True
            self._add_detail(event.time_unix_nano, rate, detail | base, event.attributes, failed)
        for link in span.links:
            detail = {
                "trace.trace_id": trace,
                "trace.parent_id": identifier,
                "trace.link.trace_id": trace_id(link.trace_id),
                "trace.link.span_id": span_id(link.span_id),
                "parent_name": span.name,
                "meta.annotation_type": "link",
                "meta.signal_type": "trace",
            }
            self._add_detail(start, rate, detail | base, link.attributes, failed)

    def _add_detail(self, time: int, rate: int, data: Data, attributes: Iterable[KeyValue], failed: bool) -> None:
        flatten(attributes, data)
        if failed:
            data["error"] = True
        self.rows.add(self.name, time, rate, data)


#: One value of each promoted column that every span has, for the types.
_CORE_TYPES: Data = {
    "trace.trace_id": "",
    "trace.span_id": "",
    "name": "",
    "meta.signal_type": "",
    "duration_ms": 0.0,
    "status_code": 0,
}


def traces(request: ExportTraceServiceRequest, header: str = "", classic: bool = False) -> Rows:
    """The events of a trace request. ``header`` is ``x-honeycomb-dataset``, which only a Classic key makes use of."""
    rows = Rows()
    for resource_spans in request.resource_spans:
        resource = flatten(resource_spans.resource.attributes)
        dataset = header if classic else _service(resource) or UNKNOWN_SERVICE
        for scope_spans in resource_spans.scope_spans:
            if not scope_spans.spans:
                continue
            encoder = _SpanEncoder(rows, dataset, resource, _scope(scope_spans.scope))
            for span in scope_spans.spans:
                encoder.add(span)
    return rows


# -- logs


def logs(request: ExportLogsServiceRequest, header: str = "", classic: bool = False) -> Rows:
    """The events of a logs request. ``header`` is ``x-honeycomb-dataset``, for logs of no known service and Classic keys.

    The time is ``time_unix_nano`` alone: a record that leaves it empty lands in 1970, as it does at Honeycomb.
    """
    rows = Rows()
    for resource_logs in request.resource_logs:
        resource = flatten(resource_logs.resource.attributes)
        dataset = (header if classic else "") or _service(resource) or header.strip() or UNKNOWN_LOG_SOURCE
        for scope_logs in resource_logs.scope_logs:
            base = {**resource, **_scope(scope_logs.scope)}
            for record in scope_logs.log_records:
                number = record.severity_number
                data: Data = {
                    "severity": _SEVERITIES[(number - 1) // 4] if 1 <= number <= 24 else "unspecified",
                    "severity_code": number,
                    "meta.signal_type": "log",
                    "flags": record.flags,
                }
                if record.trace_id:
                    data["trace.trace_id"] = trace_id(record.trace_id)
                    data["meta.annotation_type"] = "span_event"
                if record.span_id:
                    data["trace.parent_id"] = span_id(record.span_id)
                if record.severity_text:
                    data["severity_text"] = record.severity_text
                if record.event_name:
                    data["event.name"] = record.event_name
                kind = record.body.WhichOneof("value")
                if kind is not None:
                    _put(data, "body", record.body, kind, 0)
                    if "body" not in data:
                        data["body"] = _json(record.body)
                data.update(base)
                flatten(record.attributes, data)
                rate = _take_sample_rate(data, "")
                rows.add(dataset, record.time_unix_nano, rate, data)
    return rows


# -- metrics


class _MetricEvents:
    """Collects data points that share resource, attributes and second into one event each, as Honeycomb documents.

    Honeycomb does not publish what happens to two points of one metric with the same attributes in the same second (unsure;
    its old translator kept only the last). Here the second one opens an event of its own, so that SUM over a counter of
    delta temporality stays the true total.
    """

    def __init__(self) -> None:
        self.events: dict[tuple[bytes, bytes, int], list[Data]] = {}
        self.tags: dict[tuple[bytes, bytes, int], tuple[int, Data]] = {}

    def add(self, resource: Data, attributes: Iterable[KeyValue], time_unix_nano: int, values: Data) -> None:
        if not values:
            return
        second = time_unix_nano // 1_000_000_000
        tags = flatten(attributes)
        key = (orjson.dumps(resource, option=orjson.OPT_SORT_KEYS), orjson.dumps(tags, option=orjson.OPT_SORT_KEYS), second)
        events = self.events.setdefault(key, [])
        self.tags.setdefault(key, (second * 1_000_000_000, tags | resource))
        for event in events:
            if event.keys().isdisjoint(values):
                event.update(values)
                return
        events.append(values)

    def into(self, rows: Rows, dataset: str) -> None:
        for key, events in self.events.items():
            time, tags = self.tags[key]
            for event in events:
                rows.add(dataset, time, 1, event | {"meta.signal_type": "metric", "meta.annotation_type": "metric_event"} | tags)


def metrics(request: ExportMetricsServiceRequest, header: str = "", classic: bool = False) -> Rows:  # noqa: ARG001 (all signals alike)
    """The events of a metrics request; ``header`` is ``x-honeycomb-dataset``. One column a metric, see :class:`_MetricEvents`.

    A sum or gauge is a column of the metric's name. A histogram is ``<name>.count``, ``.sum``, ``.avg``, ``.min`` and
    ``.max`` where the point carries them, and ``.p001`` to ``.p999`` estimated from explicit bounds; a summary the same
    with its own quantiles. Points marked as having no recorded value are left out.
    """
    rows = Rows()
    events = _MetricEvents()
    for resource_metrics in request.resource_metrics:
        resource = flatten(resource_metrics.resource.attributes)
        for scope_metrics in resource_metrics.scope_metrics:
            for metric in scope_metrics.metrics:
                kind = metric.WhichOneof("data")
                if kind is None or not metric.name:
                    continue
                for point in getattr(metric, kind).data_points:
                    if point.flags & 1:
                        continue
                    if kind in ("sum", "gauge"):
                        values = _number(metric.name, point)
                    elif kind == "summary":
                        values = _summary(metric.name, point)
                    else:
                        values = _histogram(metric.name, point, explicit=kind == "histogram")
                    events.add(resource, point.attributes, point.time_unix_nano, values)
    events.into(rows, header.strip() or UNKNOWN_METRICS)
    return rows


def _finite(values: Mapping[str, Value]) -> Data:
    return {key: value for key, value in values.items() if not isinstance(value, float) or math.isfinite(value)}


def _number(name: str, point: NumberDataPoint) -> Data:
    kind = point.WhichOneof("value")
    return {} if kind is None else _finite({name: getattr(point, kind)})


def _histogram(name: str, point: HistogramDataPoint, explicit: bool) -> Data:
    values: Data = {f"{name}.count": point.count}
    for field in ("sum", "min", "max"):
        if point.HasField(field):
            values[f"{name}.{field}"] = getattr(point, field)
    if point.HasField("sum") and point.count:
        values[f"{name}.avg"] = point.sum / point.count
    if explicit and point.count:
        for label, bound in _quantiles(point.count, point.bucket_counts, point.explicit_bounds).items():
            values[f"{name}.{label}"] = bound
    return _finite(values)


def _quantiles(count: int, bucket_counts: Iterable[int], bounds: Iterable[float]) -> dict[str, float]:
    """Percentiles of a histogram: the upper bound of the last bucket that lies wholly at or below the percentile."""
    limits = list(bounds)
    if not limits:
        return {}
    shares = []
    total = 0
    for bucket in bucket_counts:
        total += bucket
        shares.append(total / count)
    quantiles = {}
    for label, percentile in _PERCENTILES.items():
        best = limits[0]
        for share, limit in zip(shares, limits, strict=False):
            if share > percentile:
                break
            best = limit
        quantiles[label] = best
    return quantiles


def _summary(name: str, point: SummaryDataPoint) -> Data:
    values: Data = {f"{name}.count": point.count, f"{name}.sum": point.sum}
    if point.count:
        values[f"{name}.avg"] = point.sum / point.count
    for value in point.quantile_values:
        if value.quantile == 0:
            values[f"{name}.min"] = value.value
        elif value.quantile == 1:
            values[f"{name}.max"] = value.value
        else:
            digits = f"{value.quantile:.3f}".partition(".")[2]
            values[f"{name}.p{digits.removesuffix('0')}"] = value.value
    return _finite(values)
