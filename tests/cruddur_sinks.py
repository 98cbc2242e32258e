"""Where cruddur's telemetry ends in tests: servers that take what each backend's SDK sends, over the wire, and keep it.

Not stand-ins for the vendors (those are in ``localstack/``): they stand where the application's process ends, so that a
test sees exactly what it emitted.
"""

from __future__ import annotations

import gzip
import json
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2, logs_service_pb2_grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    return getattr(value, kind) if kind else None


def attributes(pairs: Any) -> dict[str, Any]:
    """OTLP attributes as a mapping."""
    typed: list[KeyValue] = list(pairs)
    return {pair.key: _value(pair.value) for pair in typed}


@dataclass(frozen=True)
class SeenSpan:
    service: str
    scope: str
    name: str
    kind: int
    trace_id: str
    span_id: str
    parent_id: str
    attributes: dict[str, Any]
    status: int
    events: tuple[str, ...]


@dataclass(frozen=True)
class SeenLog:
    service: str
    event: str
    body: str
    trace_id: str
    span_id: str
    attributes: dict[str, Any]


@dataclass(frozen=True)
class SeenPoint:
    service: str
    metric: str
    #: A histogram's count, else the value.
    amount: float
    delta: bool
    attributes: dict[str, Any]


@dataclass
class Seen:
    """Everything that arrived."""

    spans: list[SeenSpan] = field(default_factory=list)
    logs: list[SeenLog] = field(default_factory=list)
    points: list[SeenPoint] = field(default_factory=list)
    #: Documents the X-Ray SDK sent.
    segments: list[dict[str, Any]] = field(default_factory=list)
    #: Lines watchtower put.
    lines: list[dict[str, Any]] = field(default_factory=list)
    #: Rollbar payloads.
    items: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class Sinks:
    """The listening servers."""

    seen: Seen
    otlp_port: int
    xray_port: int
    aws_port: int
    rollbar_port: int
    #: FixedRate of the one sampling rule; no reservoir.
    rate: list[float]

    def environment(self) -> dict[str, str]:
        """Settings that point the application here."""
        return {
            "OTLP_GRPC_PORT": str(self.otlp_port),
            "XRAY_DAEMON_PORT": str(self.xray_port),
            "AWS_PORT": str(self.aws_port),
            "ROLLBAR_PORT": str(self.rollbar_port),
        }


class _Traces(trace_service_pb2_grpc.TraceServiceServicer):
    def __init__(self, seen: Seen) -> None:
        self._seen = seen

    def Export(self, request: Any, context: Any) -> Any:
        for resource in request.resource_spans:
            service = str(attributes(resource.resource.attributes)["service.name"])
            for scope in resource.scope_spans:
                self._seen.spans.extend(
                    SeenSpan(
                        service,
                        scope.scope.name,
                        span.name,
                        span.kind,
                        span.trace_id.hex(),
                        span.span_id.hex(),
                        span.parent_span_id.hex(),
                        attributes(span.attributes),
                        span.status.code,
                        tuple(event.name for event in span.events),
                    )
                    for span in scope.spans
                )
        return trace_service_pb2.ExportTraceServiceResponse()


class _Logs(logs_service_pb2_grpc.LogsServiceServicer):
    def __init__(self, seen: Seen) -> None:
        self._seen = seen

    def Export(self, request: Any, context: Any) -> Any:
        for resource in request.resource_logs:
            service = str(attributes(resource.resource.attributes)["service.name"])
            for scope in resource.scope_logs:
                self._seen.logs.extend(
                    SeenLog(
                        service,
                        record.event_name,
                        record.body.string_value,
                        record.trace_id.hex(),
                        record.span_id.hex(),
                        attributes(record.attributes),
                    )
                    for record in scope.log_records
                )
        return logs_service_pb2.ExportLogsServiceResponse()


class _Metrics(metrics_service_pb2_grpc.MetricsServiceServicer):
    def __init__(self, seen: Seen) -> None:
        self._seen = seen

    def Export(self, request: Any, context: Any) -> Any:
        for resource in request.resource_metrics:
            service = str(attributes(resource.resource.attributes)["service.name"])
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    kind = metric.WhichOneof("data")
                    data = getattr(metric, kind)
                    for point in data.data_points:
                        amount = point.count if kind == "histogram" else point.as_double or point.as_int
                        delta = getattr(data, "aggregation_temporality", 0) == 1
                        self._seen.points.append(SeenPoint(service, metric.name, amount, delta, attributes(point.attributes)))
        return metrics_service_pb2.ExportMetricsServiceResponse()


class _Handler(BaseHTTPRequestHandler):
    """Answers JSON; a subclass says what to."""

    protocol_version = "HTTP/1.1"

    def answer(self, body: bytes) -> tuple[int, dict[str, Any]]:
        raise NotImplementedError

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        status, answer = self.answer(body)
        text = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: Any) -> None:
        pass


def _sampling(seen: Seen, rate: list[float]) -> type[_Handler]:
    class Sampling(_Handler):
        def answer(self, body: bytes) -> tuple[int, dict[str, Any]]:
            if self.path == "/GetSamplingRules":
                rule = {
                    "RuleName": "all",
                    "Priority": 1,
                    "FixedRate": rate[0],
                    "ReservoirSize": 0,
                    "ServiceName": "*",
                    "ServiceType": "*",
                    "Host": "*",
                    "HTTPMethod": "*",
                    "URLPath": "*",
                    "ResourceARN": "*",
                    "Version": 1,
                    "Attributes": {},
                }
                return 200, {"SamplingRuleRecords": [{"SamplingRule": rule, "CreatedAt": 0, "ModifiedAt": 0}]}
            return 200, {"SamplingTargetDocuments": [], "LastRuleModification": 0, "UnprocessedStatistics": []}

    return Sampling


def _cloudwatch(seen: Seen) -> type[_Handler]:
    streams: set[tuple[str, str]] = set()
    groups: set[str] = set()

    class Logs(_Handler):
        def answer(self, body: bytes) -> tuple[int, dict[str, Any]]:
            call, operation = json.loads(body), self.headers["X-Amz-Target"].split(".")[1]
            group, stream = call["logGroupName"], call.get("logStreamName", "")
            if operation == "CreateLogGroup":
                groups.add(group)
                return 200, {}
            if group not in groups or (operation == "PutLogEvents" and (group, stream) not in streams):
                return 400, {"__type": "ResourceNotFoundException", "message": "The specified log stream does not exist."}
            if operation == "CreateLogStream":
                streams.add((group, stream))
            else:
                seen.lines.extend(json.loads(event["message"]) for event in call["logEvents"])
            return 200, {}

    return Logs


def _rollbar(seen: Seen) -> type[_Handler]:
    class Items(_Handler):
        def answer(self, body: bytes) -> tuple[int, dict[str, Any]]:
            payload = json.loads(body)
            seen.items.append({**payload["data"], "request_headers": dict(self.headers)})
            return 200, {"err": 0, "result": {"uuid": payload["data"]["uuid"], "id": None}}

    return Items


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler], port: int = 0) -> Iterator[int]:
    """Serve this handler on a port of loopback until the block ends."""
    server = ThreadingHTTPServer(("127.0.0.1", port), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


def _free_for_both() -> int:
    """A port free for TCP and for UDP: the X-Ray daemon listens on one number with both."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as stream, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
            port: int = stream.getsockname()[1]
            try:
                datagrams.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


@contextmanager
def _datagrams(seen: Seen, port: int) -> Iterator[int]:
    sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sink.bind(("127.0.0.1", port))
    sink.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)

    def receive() -> None:
        while True:
            try:
                data = sink.recv(65_536)
            except OSError:
                return
            if data == b"stop":
                return
            seen.segments.append(json.loads(data.split(b"\n", 1)[1]))

    thread = threading.Thread(target=receive, daemon=True)
    thread.start()
    try:
        yield sink.getsockname()[1]
    finally:
        sink.sendto(b"stop", sink.getsockname())
        thread.join(5)
        sink.close()


@contextmanager
def otlp(seen: Seen, port: int = 0) -> Iterator[int]:
    """An OTLP/gRPC receiver; answers its port."""
    server = grpc.server(ThreadPoolExecutor(4), options=[("grpc.so_reuseport", 0)])
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(_Traces(seen), server)  # type: ignore[no-untyped-call]
    logs_service_pb2_grpc.add_LogsServiceServicer_to_server(_Logs(seen), server)  # type: ignore[no-untyped-call]
    metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(_Metrics(seen), server)  # type: ignore[no-untyped-call]
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    try:
        yield bound
    finally:
        server.stop(None).wait()


@contextmanager
def listening(rate: float = 1.0) -> Iterator[Sinks]:
    """All sinks, on free ports."""
    seen, rates = Seen(), [rate]
    with (
        otlp(seen) as otlp_port,
        _datagrams(seen, _free_for_both()) as xray_port,
        serving(_sampling(seen, rates), xray_port),
        serving(_cloudwatch(seen)) as aws_port,
        serving(_rollbar(seen)) as rollbar_port,
    ):
        yield Sinks(seen, otlp_port, xray_port, aws_port, rollbar_port, rates)
