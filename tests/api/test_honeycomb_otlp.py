"""OTLP into the local Honeycomb over the wire, by the OpenTelemetry SDK's own exporters and by hand, read back by queries."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
import requests
import zstandard
from google.protobuf import json_format
from google.rpc.status_pb2 import Status
from opentelemetry._logs import SeverityNumber
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import AggregationTemporality, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from compose.settings import LOCAL_HONEYCOMB_KEY
from localstack.honeycomb.otlp_http import MAX_BODY
from tests.api.honeycomb import HEADERS, PROTOBUF, count, rows, send, trace
from tests.api.servers import Vendor, start_vendor

SIGNALS = ("traces", "logs", "metrics")
METADATA = (("x-honeycomb-team", LOCAL_HONEYCOMB_KEY),)


@pytest.fixture(scope="module")
def honeycomb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vendor]:
    with start_vendor("honeycomb", tmp_path_factory.mktemp("honeycomb")) as vendor:
        yield vendor


@pytest.fixture
def channel(honeycomb: Vendor) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(f"127.0.0.1:{honeycomb.ports[1]}") as channel:
        yield channel


def is_trace(identifier: int) -> dict[str, Any]:
    return {"column": "trace.trace_id", "op": "=", "value": f"{identifier:032x}"}


def exporter(honeycomb: Vendor, **headers: str) -> dict[str, Any]:
    return {"endpoint": f"127.0.0.1:{honeycomb.ports[1]}", "insecure": True, "headers": (*METADATA, *headers.items())}


# -- the SDK's exporters


def test_traces_by_the_sdk(honeycomb: Vendor) -> None:
    provider = TracerProvider(resource=Resource({"service.name": "sdk"}))
    provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(**exporter(honeycomb))))
    tracer = provider.get_tracer("home.activities")
    with (
        tracer.start_as_current_span("parent", attributes={"app.result_length": 3}) as parent,
        pytest.raises(ValueError, match="boom"),
        tracer.start_as_current_span("child"),
    ):
        raise ValueError("boom")
    provider.shutdown()
    spec = {
        "calculated_fields": [{"name": "ts", "expression": "EVENT_TIMESTAMP()"}, {"name": "seen", "expression": "INGEST_TIMESTAMP()"}],
        "calculations": [
            {"op": "MIN", "column": "ts"},
            {"op": "MAX", "column": "duration_ms"},
            {"op": "MIN", "column": "seen"},
            {"op": "COUNT"},
        ],
        "breakdowns": [
            *("trace.trace_id", "trace.parent_id", "name", "service.name", "status_code", "meta.annotation_type"),
            *("app.result_length", "exception.message", "never"),
        ],
        "filters": [{"column": "trace.trace_id", "op": "in", "value": [f"{parent.get_span_context().trace_id:032x}"]}],
        "limit": 1000,
    }
    found = {row["name"]: row for row in rows(honeycomb, spec)}
    assert found.keys() == {"parent", "child", "exception"}
    assert found["child"]["trace.parent_id"] == f"{parent.get_span_context().span_id:016x}"
    assert (found["child"]["status_code"], found["child"]["exception.message"]) == (2, "boom")
    assert (found["parent"]["app.result_length"], found["parent"]["trace.parent_id"], found["parent"]["never"]) == (3, None, None)
    assert found["exception"]["meta.annotation_type"] == "span_event"
    for row in found.values():
        assert row["COUNT"] == 1
        assert time.time() - 60 < row["MIN(ts)"] <= row["MIN(seen)"] <= time.time()
    assert found["parent"]["MAX(duration_ms)"] > 0


def test_logs_by_the_sdk(honeycomb: Vendor) -> None:
    provider = LoggerProvider(resource=Resource({"service.name": "sdk-logs"}))
    provider.add_log_record_processor(SimpleLogRecordProcessor(OTLPLogExporter(**exporter(honeycomb))))
    provider.get_logger("app").emit(
        timestamp=time.time_ns(), severity_number=SeverityNumber.WARN, body="hello", attributes={"run": "r1"}, event_name="request"
    )
    provider.shutdown()
    assert rows(honeycomb, {"breakdowns": ["body", "severity", "run", "event.name", "meta.signal_type"]}, "sdk-logs") == [
        {"body": "hello", "severity": "warn", "run": "r1", "event.name": "request", "meta.signal_type": "log", "COUNT": 1}
    ]


def test_metrics_by_the_sdk_sum_to_the_total(honeycomb: Vendor) -> None:
    delta: dict[type, AggregationTemporality] = {Counter: AggregationTemporality.DELTA, Histogram: AggregationTemporality.DELTA}
    send_to = OTLPMetricExporter(**exporter(honeycomb, **{"x-honeycomb-dataset": "Sdk Metrics"}), preferred_temporality=delta)
    reader = PeriodicExportingMetricReader(send_to, export_interval_millis=3_600_000)
    provider = MeterProvider([reader], resource=Resource({"service.name": "sdk"}))
    meter = provider.get_meter("app")
    created, duration = meter.create_counter("messages.created"), meter.create_histogram("http.server.request.duration", "s")
    for number in range(3):
        # All three exports fall into one second or two: none may overwrite another.
        created.add(number + 1, {"run": "r1"})
        duration.record(0.25, {"run": "r1", "http.route": "/a"})
        duration.record(0.5, {"run": "r1", "http.route": "/b"})
        provider.force_flush()
    provider.shutdown()
    spec = {
        "calculations": [
            {"op": "SUM", "column": "messages.created"},
            {"op": "SUM", "column": "http.server.request.duration.count"},
            {"op": "SUM", "column": "http.server.request.duration.sum"},
            {"op": "MAX", "column": "http.server.request.duration.max"},
        ],
        "breakdowns": ["run", "http.route"],
        "filters": [{"column": "run", "op": "=", "value": "r1"}],
        "orders": [{"column": "http.route", "order": "ascending"}],
    }
    assert [tuple(row.values()) for row in rows(honeycomb, spec, "sdk-metrics")] == [
        ("r1", "/a", None, 3, 0.75, 0.25),
        ("r1", "/b", None, 3, 1.5, 0.5),
        ("r1", None, 6, None, None, None),
    ]


# -- by hand


@pytest.mark.parametrize("encoding", ["", "gzip", "zstd"])
@pytest.mark.parametrize("content_type", ["application/protobuf", "application/x-protobuf", "application/json"])
def test_http(honeycomb: Vendor, content_type: str, encoding: str) -> None:
    identifier = hash((content_type, encoding)) % 2**64 + 2**100
    message = trace(identifier, spans=3)
    if content_type == "application/json":
        document = json_format.MessageToDict(message)
        for span in document["resourceSpans"][0]["scopeSpans"][0]["spans"]:
            # OTLP/JSON writes identifiers as hex, not as protobuf's base64.
            span["traceId"] = f"{identifier:032x}"
            span["spanId"] = "0000000000000001"
            span["aFieldOfTheFuture"] = 1
        body = json.dumps(document).encode()
    else:
        body = message.SerializeToString()
    packed = {"": body, "gzip": gzip.compress(body), "zstd": zstandard.compress(body)}[encoding]
    headers = HEADERS | {"Content-Type": content_type} | ({"Content-Encoding": encoding} if encoding else {})
    answer = requests.post(f"{honeycomb.url}/v1/traces", packed, headers=headers, timeout=30)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, content_type)
    if content_type == "application/json":
        assert answer.json() == {}
    else:
        assert ExportTraceServiceResponse.FromString(answer.content) == ExportTraceServiceResponse()
    assert count(honeycomb, "cruddur", is_trace(identifier)) == 3


def test_what_is_delivered_twice_is_stored_twice(honeycomb: Vendor) -> None:
    message = trace(2**101)
    send(honeycomb, message)
    send(honeycomb, message)
    assert count(honeycomb, "__all__", is_trace(2**101)) == 2


# -- refused


def refused(answer: requests.Response) -> str:
    if answer.headers["Content-Type"] == "application/json":
        return str(answer.json()["message"])
    return str(Status.FromString(answer.content).message)


@pytest.mark.parametrize("signal", SIGNALS)
@pytest.mark.parametrize("content_type", ["application/x-protobuf", "application/json"])
class TestRefused:
    def test_a_body_that_does_not_parse(self, honeycomb: Vendor, signal: str, content_type: str) -> None:
        answer = requests.post(
            f"{honeycomb.url}/v1/{signal}", b"\xff{nonsense", headers=HEADERS | {"Content-Type": content_type}, timeout=30
        )
        assert (answer.status_code, answer.headers["Content-Type"]) == (400, content_type)
        assert refused(answer) == "failed to parse OTLP request body"

    def test_no_key(self, honeycomb: Vendor, signal: str, content_type: str) -> None:
        answer = requests.post(f"{honeycomb.url}/v1/{signal}", b"", headers={"Content-Type": content_type}, timeout=30)
        assert (answer.status_code, refused(answer)) == (401, "missing 'x-honeycomb-team' header")

    def test_an_unknown_key(self, honeycomb: Vendor, signal: str, content_type: str) -> None:
        headers = {"Content-Type": content_type, "X-Honeycomb-Team": "some-other-key"}
        answer = requests.post(f"{honeycomb.url}/v1/{signal}", b"", headers=headers, timeout=30)
        assert (answer.status_code, refused(answer)) == (401, "unknown API key - check your credentials, region, and API URL")

    def test_a_body_that_is_too_large(self, honeycomb: Vendor, signal: str, content_type: str) -> None:
        headers = HEADERS | {"Content-Type": content_type, "Content-Encoding": "gzip"}
        answer = requests.post(f"{honeycomb.url}/v1/{signal}", gzip.compress(bytes(MAX_BODY + 1)), headers=headers, timeout=30)
        assert (answer.status_code, refused(answer)) == (400, "failed to parse OTLP request body: request body too large")

    def test_an_encoding_that_is_none(self, honeycomb: Vendor, signal: str, content_type: str) -> None:
        headers = HEADERS | {"Content-Type": content_type, "Content-Encoding": "br"}
        answer = requests.post(f"{honeycomb.url}/v1/{signal}", b"", headers=headers, timeout=30)
        assert (answer.status_code, refused(answer)) == (400, "failed to parse OTLP request body")


@pytest.mark.parametrize("content_type", ["text/plain", "application/json; charset=utf-8", ""])
@pytest.mark.parametrize("signal", SIGNALS)
def test_content_types_must_match_exactly(honeycomb: Vendor, signal: str, content_type: str) -> None:
    answer = requests.post(f"{honeycomb.url}/v1/{signal}", b"{}", headers=HEADERS | {"Content-Type": content_type}, timeout=30)
    assert (answer.status_code, answer.headers["Content-Type"]) == (415, "text/plain")
    assert answer.text == "unsupported content-type, valid types are: application/protobuf, application/x-protobuf, application/json"


def test_a_classic_key_needs_a_dataset(honeycomb: Vendor) -> None:
    headers = PROTOBUF | {"X-Honeycomb-Team": "0" * 32}
    for signal, message in (("traces", "missing 'x-honeycomb-dataset' header"), ("logs", "unknown API key")):
        answer = requests.post(f"{honeycomb.url}/v1/{signal}", b"", headers=headers, timeout=30)
        assert answer.status_code == 401
        assert refused(answer).startswith(message)


@pytest.mark.parametrize(
    ("metadata", "body", "code", "message"),
    [
        ((), b"", grpc.StatusCode.UNAUTHENTICATED, "missing 'x-honeycomb-team' header"),
        (
            (("x-honeycomb-team", "other"),),
            b"",
            grpc.StatusCode.UNAUTHENTICATED,
            "unknown API key - check your credentials, region, and API URL",
        ),
        ((("x-honeycomb-team", "0" * 32),), b"", grpc.StatusCode.UNAUTHENTICATED, "missing 'x-honeycomb-dataset' header"),
        (METADATA, b"\xff\xff", grpc.StatusCode.INTERNAL, "failed to parse OTLP request body"),
    ],
)
def test_grpc_refusals(channel: grpc.Channel, metadata: Any, body: bytes, code: grpc.StatusCode, message: str) -> None:
    export = channel.unary_unary("/opentelemetry.proto.collector.trace.v1.TraceService/Export")
    with pytest.raises(grpc.RpcError) as caught:
        export(body, metadata=metadata, timeout=30)
    assert (caught.value.code(), caught.value.details()) == (code, message)


def test_grpc_with_gzip_and_a_body_beyond_grpcs_own_limit(honeycomb: Vendor, channel: grpc.Channel) -> None:
    message = trace(2**102, spans=100, padding="x" * 50_000)
    assert message.ByteSize() > 4 * 1024 * 1024
    TraceServiceStub(channel).Export(message, metadata=METADATA, timeout=30, compression=grpc.Compression.Gzip)  # type: ignore[no-untyped-call]
    assert count(honeycomb, "cruddur", is_trace(2**102)) == 100


def test_nothing_refused_was_stored(honeycomb: Vendor) -> None:
    """Runs last: only the datasets of the tests that sent something exist."""
    found = requests.get(f"{honeycomb.url}/1/datasets", headers=HEADERS, timeout=30).json()
    assert {dataset["slug"] for dataset in found} <= {"sdk", "sdk-logs", "sdk-metrics", "cruddur"}
    assert "Traceback" not in honeycomb.log
