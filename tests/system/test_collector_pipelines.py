"""The Collector's two processes, the real binary, against small sinks: what is accepted arrives, whatever dies meanwhile.

Each test starts its own processes on free ports, with its own queue folders. The sinks speak just enough of each vendor's
wire format to count what arrives.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import pytest
from aws_xray_sdk.core.recorder import AWSXRayRecorder
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2_grpc import LogsServiceStub
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2_grpc import MetricsServiceStub
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest, ExportTraceServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality, Metric
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from collector.build import ensure_built
from collector.configs import ENVIRONMENT, Process, command
from tests.waiting import until

ALL = frozenset({"honeycomb", "xray", "cloudwatch"})
PORTS = (
    *("OTLP_GRPC_PORT", "OTLP_HTTP_PORT", "COLLECTOR_HEALTH_PORT", "COLLECTOR_METRICS_PORT", "COLLECTOR_HOP_XRAY_PORT"),
    *("COLLECTOR_HOP_EMF_PORT", "XRAY_DAEMON_PORT", "XRAY_DAEMON_HEALTH_PORT", "XRAY_DAEMON_METRICS_PORT", "XRAY_DAEMON_HOP_PORT"),
)


# --- Sinks ---------------------------------------------------------------------------------------------------------


class Sink:
    """A vendor: an HTTP server on a port of its own that can go away and come back."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.lock = threading.Lock()
        self.headers: list[dict[str, str]] = []
        self.refuse_with: tuple[int, str] | None = None
        """Answer every request with this status and body instead of storing anything."""
        self.refused = 0
        self._server: ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def store(self, path: str, headers: dict[str, str], body: bytes) -> tuple[str, bytes]:
        """Keep one request; returns the answer's content type and body."""
        raise NotImplementedError

    def start(self) -> None:
        sink = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # Headers and body in one write: two of them wait for each other's acknowledgement, 40 ms a request.
            wbufsize = -1

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                headers = {name.lower(): value for name, value in self.headers.items()}
                status, content_type = 200, "application/json"
                if sink.refuse_with is not None:
                    status, text = sink.refuse_with
                    answer = text.encode()
                    with sink.lock:
                        sink.refused += 1
                else:
                    with sink.lock:
                        sink.headers.append(headers)
                        content_type, answer = sink.store(self.path, headers, body)
                self.send_response(status)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)
                self.wfile.flush()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def stop(self) -> None:
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()
            self._server = None


class HoneycombSink(Sink):
    """OTLP over HTTP."""

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self.spans: Counter[bytes] = Counter()
        self.metric_names: set[str] = set()
        self.log_bodies: list[str] = []
        self.datasets: dict[str, str] = {}

    def store(self, path: str, headers: dict[str, str], body: bytes) -> tuple[str, bytes]:
        self.datasets[path] = headers.get("x-honeycomb-dataset", "")
        if path == "/v1/traces":
            for resource_spans in ExportTraceServiceRequest.FromString(body).resource_spans:
                for scope_spans in resource_spans.scope_spans:
                    self.spans.update(span.span_id for span in scope_spans.spans)
        elif path == "/v1/metrics":
            for resource_metrics in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                for scope_metrics in resource_metrics.scope_metrics:
                    self.metric_names.update(metric.name for metric in scope_metrics.metrics)
        elif path == "/v1/logs":
            for resource_logs in ExportLogsServiceRequest.FromString(body).resource_logs:
                for scope_logs in resource_logs.scope_logs:
                    self.log_bodies.extend(record.body.string_value for record in scope_logs.log_records)
        # The response of every OTLP signal is an empty message when all was accepted.
        return "application/x-protobuf", ExportTraceServiceResponse().SerializeToString()


class AwsSink(Sink):
    """X-Ray's PutTraceSegments and sampling rules, and the part of CloudWatch Logs the exporters call."""

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self.documents: list[dict[str, Any]] = []
        self.streams: set[tuple[str, str]] = set()
        self.events: dict[tuple[str, str], list[dict[str, Any]]] = {}
        self.calls: Counter[str] = Counter()

    def segment_ids(self) -> Counter[str]:
        with self.lock:
            return Counter(document["id"] for document in self.documents)

    def log_events(self, group: str) -> list[dict[str, Any]]:
        with self.lock:
            return [event for (name, _), events in self.events.items() if name == group for event in events]

    def wait_for_log_events(self, group: str, count: int) -> list[dict[str, Any]]:
        until(lambda: len(self.log_events(group)) >= count, 60, f"{count} log events in {group}")
        return self.log_events(group)

    def store(self, path: str, headers: dict[str, str], body: bytes) -> tuple[str, bytes]:
        request = json.loads(body or b"{}")
        operation = headers.get("x-amz-target", path).rsplit(".", 1)[-1]
        self.calls[operation] += 1
        answer: dict[str, Any] = {}
        if operation == "/TraceSegments":
            self.documents.extend(json.loads(document) for document in request["TraceSegmentDocuments"])
            answer = {"UnprocessedTraceSegments": []}
        elif operation == "/GetSamplingRules":
            answer = {"SamplingRuleRecords": []}
        elif operation == "PutLogEvents":
            self.events.setdefault((request["logGroupName"], request["logStreamName"]), []).extend(request["logEvents"])
            # Without the token the exporters put the same events again (cwlogs.Client.PutLogEvents loops until it sees one).
            answer = {"nextSequenceToken": "49590302938615"}
        return "application/x-amz-json-1.1", json.dumps(answer).encode()


# --- Processes -----------------------------------------------------------------------------------------------------


@dataclass
class Collector:
    """One Collector process."""

    process: Process
    backends: frozenset[str]
    environment: dict[str, str]
    log: Path
    running: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def _prefix(self) -> str:
        return "COLLECTOR" if self.process == "collector" else "XRAY_DAEMON"

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.running = subprocess.Popen(
                command(self.process, self.backends, ensure_built()), env=self.environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        until(self._healthy, 20, f"{self.process} to be healthy (see {self.log})")

    def _healthy(self) -> bool:
        assert self.running is not None
        if self.running.poll() is not None:
            raise AssertionError(f"{self.process} ended with {self.running.returncode}:\n{self.log.read_text()[-3000:]}")
        url = f"http://127.0.0.1:{self.environment[f'{self._prefix}_HEALTH_PORT']}"
        try:
            with urllib.request.urlopen(url, timeout=1) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def kill(self) -> None:
        """SIGKILL: no flush, no goodbye."""
        assert self.running is not None
        self.running.send_signal(signal.SIGKILL)
        self.running.wait()

    def stop(self) -> None:
        if self.running is not None and self.running.poll() is None:
            self.running.terminate()
            try:
                self.running.wait(10)
            except subprocess.TimeoutExpired:
                self.kill()

    def metric(self, name: str, **labels: str) -> float:
        """The sum of one of the process's own metrics over the series with these labels."""
        url = f"http://127.0.0.1:{self.environment[f'{self._prefix}_METRICS_PORT']}/metrics"
        with urllib.request.urlopen(url, timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        total = 0.0
        for line in lines:
            found = re.match(r"(\w+)\{(.*)\} (\S+)$", line)
            if found and found[1].removesuffix("_total") == name and all(f'{key}="{value}"' in found[2] for key, value in labels.items()):
                total += float(found[3])
        return total


@dataclass
class Topology:
    """Both processes and both sinks, none of them started."""

    collector: Collector
    daemon: Collector
    honeycomb: HoneycombSink
    aws: AwsSink
    environment: dict[str, str]
    channel: grpc.Channel

    @property
    def otlp(self) -> str:
        return f"127.0.0.1:{self.environment['OTLP_GRPC_PORT']}"

    def send_spans(self, spans: list[Span], service: str = "cruddur") -> None:
        """Returns when the Collector has accepted them."""
        request = ExportTraceServiceRequest()
        resource_spans = request.resource_spans.add(resource=resource(service))
        resource_spans.scope_spans.add().spans.extend(spans)
        TraceServiceStub(self.channel).Export(request, timeout=10, wait_for_ready=True)  # type: ignore[no-untyped-call]  # generated without types

    def send_metrics(self, *metrics: Metric, worker: str = "1") -> None:
        request = ExportMetricsServiceRequest()
        resource_metrics = request.resource_metrics.add(resource=resource("cruddur", worker=worker))
        resource_metrics.scope_metrics.add().metrics.extend(metrics)
        MetricsServiceStub(self.channel).Export(request, timeout=10, wait_for_ready=True)  # type: ignore[no-untyped-call]  # generated without types

    def send_log(self, body: str, time_ns: int) -> None:
        request = ExportLogsServiceRequest()
        record = (
            request.resource_logs.add(resource=resource("cruddur"))
            .scope_logs.add()
            .log_records.add(time_unix_nano=time_ns, event_name="request")
        )
        record.body.string_value = body
        record.attributes.append(attribute("run", "r1"))
        LogsServiceStub(self.channel).Export(request, timeout=10, wait_for_ready=True)  # type: ignore[no-untyped-call]  # generated without types

    def send_segment(self, document: dict[str, Any]) -> None:
        """One segment document by UDP, as the X-Ray SDKs send it ("AWS X-Ray segment documents", X-Ray developer guide)."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            payload = b'{"format": "json", "version": 1}\n' + json.dumps(document).encode()
            udp.sendto(payload, ("127.0.0.1", int(self.environment["XRAY_DAEMON_PORT"])))


@contextmanager
def topology(folder: Path, backends: frozenset[str] = ALL) -> Iterator[Topology]:
    with ExitStack() as sockets:
        held = [sockets.enter_context(socket.socket()) for _ in range(len(PORTS) + 2)]
        for one in held:
            one.bind(("127.0.0.1", 0))
        honeycomb_port, aws_port, *ports = (one.getsockname()[1] for one in held)
    environment = {
        "PATH": os.environ["PATH"],
        **ENVIRONMENT,
        "COLLECTOR_QUEUE_DIR": str(folder / "queue"),
        "XRAY_DAEMON_QUEUE_DIR": str(folder / "daemon-queue"),
        "HONEYCOMB_ENDPOINT": f"http://127.0.0.1:{honeycomb_port}",
        "HONEYCOMB_API_KEY": "hcaik_test",
        "XRAY_ENDPOINT": f"http://127.0.0.1:{aws_port}",
        "LOGS_ENDPOINT": f"http://127.0.0.1:{aws_port}",
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "secret",
        **{name: str(port) for name, port in zip(PORTS, ports, strict=True)},
    }
    made = Topology(
        Collector("collector", backends, environment, folder / "collector.log"),
        Collector("xray-daemon", backends, environment, folder / "daemon.log"),
        HoneycombSink(honeycomb_port),
        AwsSink(aws_port),
        environment,
        grpc.insecure_channel(f"127.0.0.1:{environment['OTLP_GRPC_PORT']}"),
    )
    try:
        yield made
    finally:
        made.channel.close()
        made.collector.stop()
        made.daemon.stop()
        made.honeycomb.stop()
        made.aws.stop()


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Topology]:
    with topology(tmp_path) as made:
        yield made


@pytest.fixture
def running(parts: Topology) -> Topology:
    parts.honeycomb.start()
    parts.aws.start()
    parts.daemon.start()
    parts.collector.start()
    return parts


# --- Data ----------------------------------------------------------------------------------------------------------


def attribute(key: str, value: str | int) -> KeyValue:
    return KeyValue(key=key, value=AnyValue(int_value=value) if isinstance(value, int) else AnyValue(string_value=value))


def resource(service: str, **more: str) -> Resource:
    attributes = {"service.name": service, "telemetry.sdk.name": "opentelemetry", "telemetry.sdk.language": "python", **more}
    return Resource(attributes=[attribute(key, value) for key, value in attributes.items()])


def new_trace_id() -> bytes:
    """A W3C trace id that X-Ray takes as well: its first four bytes are the epoch seconds."""
    return int(time.time()).to_bytes(4, "big") + os.urandom(12)


def spans(count: int) -> list[Span]:
    now = time.time_ns()
    return [
        Span(
            trace_id=new_trace_id(),
            span_id=os.urandom(8),
            name="GET /api/activities/home",
            kind=Span.SPAN_KIND_SERVER,
            start_time_unix_nano=now - 1_000_000,
            end_time_unix_nano=now,
            attributes=[attribute("run", "r1"), attribute("http.request.method", "GET"), attribute("http.response.status_code", 200)],
        )
        for _ in range(count)
    ]


def _equals(measure: Callable[[], float], value: float) -> bool:
    return measure() == value


def segment() -> dict[str, Any]:
    trace_id = new_trace_id().hex()
    now = time.time()
    return {
        "id": os.urandom(8).hex(),
        "trace_id": f"1-{trace_id[:8]}-{trace_id[8:]}",
        "name": "Cruddur",
        "start_time": now - 0.001,
        "end_time": now,
        "annotations": {"run": "r1"},
        "aws": {"xray": {"sdk": "X-Ray for Python", "sdk_version": "2.15.0"}},
    }


def counter(name: str, value: int, time_ns: int, **attributes: str) -> Metric:
    metric = Metric(name=name, unit="{message}")
    metric.sum.aggregation_temporality = AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA
    metric.sum.is_monotonic = True
    point = metric.sum.data_points.add(as_int=value, time_unix_nano=time_ns, start_time_unix_nano=time_ns - 1_000_000)
    point.attributes.extend(attribute(key, one) for key, one in attributes.items())
    return metric


# --- Tests ---------------------------------------------------------------------------------------------------------


def test_each_signal_reaches_each_backend_that_takes_it(running: Topology) -> None:
    sent = spans(120)
    now = time.time_ns()
    running.send_spans(sent)
    running.send_metrics(counter("messages.created", 3, now, run="r1"))
    running.send_log("one request", now)

    honeycomb, aws = running.honeycomb, running.aws
    until(lambda: len(honeycomb.spans) == 120 and honeycomb.metric_names and honeycomb.log_bodies, 10, "all three signals at Honeycomb")
    until(lambda: len(aws.segment_ids()) == 120, 10, "120 segments at X-Ray")
    (record,) = aws.wait_for_log_events("/parallax/otlp", 1)
    aws.wait_for_log_events("/parallax/metrics", 1)

    assert honeycomb.spans == Counter(span.span_id for span in sent)
    assert honeycomb.metric_names == {"messages.created"}
    assert honeycomb.log_bodies == ["one request"]
    assert honeycomb.datasets["/v1/metrics"] == "cruddur-metrics"
    assert {headers["x-honeycomb-team"] for headers in honeycomb.headers} == {"hcaik_test"}
    assert aws.segment_ids() == Counter(span.span_id.hex() for span in sent)
    assert json.loads(record["message"])["body"] == "one request"
    assert json.loads(record["message"])["attributes"] == {"run": "r1", "event.name": "request"}
    assert running.collector.metric("otelcol_receiver_accepted_spans", receiver="otlp") == 120
    for exporter in ("otlp_http/honeycomb", "otlp_grpc/xray_hop", "awsxray"):
        assert running.collector.metric("otelcol_exporter_sent_spans", exporter=exporter) == 120


def test_without_backends_every_signal_is_accepted(tmp_path: Path) -> None:
    with topology(tmp_path, frozenset({"rollbar"})) as parts:
        parts.collector.start()
        parts.send_spans(spans(1))
        parts.send_metrics(counter("messages.created", 1, time.time_ns(), run="r1"))
        parts.send_log("nobody wants it", time.time_ns())


@pytest.mark.parametrize(("outage", "end"), [("closed", "kill"), ("unavailable", "kill"), ("none", "kill"), ("closed", "stop")])
def test_spans_accepted_before_the_end_arrive_after_it(parts: Topology, outage: str, end: str) -> None:
    sinks = (parts.honeycomb, parts.aws)
    if outage == "unavailable":
        for sink in sinks:
            sink.refuse_with = (503, '{"__type": "ServiceUnavailableException"}')
    if outage != "closed":
        for sink in sinks:
            sink.start()
    parts.daemon.start()
    parts.collector.start()
    sent = spans(2000)
    for first in range(0, len(sent), 200):
        parts.send_spans(sent[first : first + 200])
    if outage == "unavailable":
        until(lambda: all(sink.refused for sink in sinks), 10, "both backends to have refused something")
    if outage == "none":
        until(lambda: parts.honeycomb.spans or parts.aws.documents, 10, "the first spans to arrive")
    for collector in (parts.collector, parts.daemon):
        collector.kill() if end == "kill" else collector.stop()

    parts.daemon.start()
    parts.collector.start()
    for sink in sinks:
        sink.stop()
        sink.refuse_with = None
        sink.start()

    expected = Counter(span.span_id for span in sent)
    until(lambda: parts.honeycomb.spans.keys() == expected.keys(), 60, "2,000 spans at Honeycomb")
    until(lambda: {bytes.fromhex(one) for one in parts.aws.segment_ids()} == expected.keys(), 60, "2,000 segments at X-Ray")
    if outage != "none":  # Nothing was on its way when the Collector died, so nothing was sent again.
        assert parts.honeycomb.spans == expected
        assert set(parts.aws.segment_ids().values()) == {1}


def test_segments_the_daemon_took_before_sigkill_arrive_after_it(parts: Topology) -> None:
    parts.daemon.start()
    documents = [segment() for _ in range(300)]

    def taken() -> float:
        return parts.daemon.metric("otelcol_exporter_queue_size", exporter="otlp_grpc/xray_hop")

    for first in range(0, 300, 50):  # UDP has no flow control: do not outrun the socket's buffer.
        for document in documents[first : first + 50]:
            parts.send_segment(document)
        until(partial(_equals, taken, first + 50), 10, f"{first + 50} segments in the daemon's queue")
    parts.daemon.kill()

    parts.daemon.start()
    parts.aws.start()
    until(lambda: set(parts.aws.segment_ids()) == {document["id"] for document in documents}, 60, "300 segments at X-Ray")
    for document in parts.aws.documents:
        assert document["name"] == "Cruddur"
        assert document["annotations"] == {"run": "r1"}
        assert "X-Ray for Python" in document["aws"]["xray"]["sdk"]


def test_sdk_segments_keep_names_annotations_metadata_and_their_marker(parts: Topology) -> None:
    parts.daemon.start()
    parts.aws.start()
    recorder = AWSXRayRecorder()
    recorder.configure(service="Cruddur", sampling=False, daemon_address=f"127.0.0.1:{parts.environment['XRAY_DAEMON_PORT']}")
    with closing(recorder.emitter._socket):  # The SDK never closes it.
        segment = recorder.begin_segment("Cruddur")
        segment.put_annotation("run", "r1")
        with recorder.in_subsegment("UserData") as subsegment:
            subsegment.put_annotation("handle", "andrew")
            subsegment.put_metadata("username", "andrew")
            subsegment.put_metadata("extra", {"a": 1}, "cruddur")
        with pytest.raises(RuntimeError), recorder.in_subsegment("failing"):
            raise RuntimeError("asked for")
        recorder.end_segment()

    until(lambda: len(parts.aws.documents) == 3, 10, "a segment and two subsegments at X-Ray")
    found = {document["name"]: document for document in parts.aws.documents}
    root, user_data, failing = found["Cruddur"], found["UserData"], found["failing"]
    assert root["annotations"] == {"run": "r1"}
    assert "type" not in root
    assert user_data["annotations"] == {"handle": "andrew"}
    assert user_data["metadata"] == {"default": {"username": "andrew"}, "cruddur": {"extra": {"a": 1}}}
    assert {user_data["type"], failing["type"]} == {"subsegment"}
    assert {user_data["parent_id"], failing["parent_id"]} == {root["id"]}
    assert failing["cause"]["exceptions"][0]["message"] == "asked for"
    for document in found.values():
        assert document["trace_id"] == segment.trace_id
        assert document["aws"]["xray"]["sdk"].startswith("X-Ray for Python")


def test_the_daemon_signs_and_forwards_what_comes_over_tcp(parts: Topology) -> None:
    parts.aws.start()
    parts.daemon.start()
    url = f"http://127.0.0.1:{parts.environment['XRAY_DAEMON_PORT']}/GetSamplingRules"
    with urllib.request.urlopen(urllib.request.Request(url, data=b"{}", method="POST"), timeout=10) as answer:
        assert json.load(answer) == {"SamplingRuleRecords": []}
    assert "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/" in parts.aws.headers[0]["authorization"]
    assert "/us-east-1/xray/aws4_request" in parts.aws.headers[0]["authorization"]


def test_otlp_segments_keep_run_route_url_and_status(running: Topology) -> None:
    (span,) = spans(1)
    span.attributes.extend(
        [
            attribute("http.route", "/api/activities/home"),
            attribute("url.scheme", "http"),
            attribute("url.path", "/api/activities/home"),
            # As Python's WSGI instrumentation writes it, port included.
            attribute("server.address", "127.0.0.1:4567"),
            attribute("server.port", 4567),
        ]
    )
    running.send_spans([span])
    (document,) = until(lambda: running.aws.documents, 10, "a segment at X-Ray")
    assert document["name"] == "cruddur"
    assert document["annotations"] == {"run": "r1", "http.route": "/api/activities/home"}
    assert document["http"]["request"]["method"] == "GET"
    assert document["http"]["request"]["url"] == "http://127.0.0.1:4567/api/activities/home"
    assert document["http"]["response"]["status"] == 200
    assert document["aws"]["xray"]["sdk"] == "opentelemetry for python"


def test_database_spans_become_sql_subsegments(running: Topology) -> None:
    """The stable database conventions, which the application uses, are not those that awsxray reads."""
    (span,) = spans(1)
    span.kind, span.parent_span_id, span.name = Span.SPAN_KIND_CLIENT, os.urandom(8), "SELECT cruddur"
    del span.attributes[:]
    span.attributes.extend(
        [
            attribute("db.system.name", "postgresql"),
            attribute("db.namespace", "cruddur"),
            attribute("db.query.text", "SELECT 1"),
        ]
    )
    running.send_spans([span])
    (document,) = until(lambda: running.aws.documents, 10, "a subsegment at X-Ray")
    assert document["sql"]["database_type"] == "postgresql"
    assert document["sql"]["sanitized_query"] == "SELECT 1"
    assert "cruddur" in document["name"]


def emf_totals(events: list[dict[str, Any]], name: str) -> Counter[tuple[tuple[str, str], ...]]:
    """What CloudWatch makes of the events: for each dimension set, the metric's sum ("Specification: Embedded metric format")."""
    totals: Counter[tuple[tuple[str, str], ...]] = Counter()
    for event in events:
        message = json.loads(event["message"])
        for directive in message["_aws"]["CloudWatchMetrics"]:
            if any(metric["Name"] == name for metric in directive["Metrics"]):
                value = message[name]
                for dimensions in directive["Dimensions"]:
                    key = tuple(sorted((dimension, message[dimension]) for dimension in dimensions))
                    totals[key] += value["Count"] if isinstance(value, dict) else value
    return totals


def histogram(count: int, time_ns: int, **attributes: str) -> Metric:
    metric = Metric(name="http.server.request.duration", unit="s")
    metric.histogram.aggregation_temporality = AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA
    point = metric.histogram.data_points.add(
        count=count, sum=0.1 * count, min=0.1, max=0.1, bucket_counts=[0, count], explicit_bounds=[0.05], time_unix_nano=time_ns
    )
    point.attributes.extend(attribute(key, one) for key, one in attributes.items())
    return metric


def test_the_sum_of_emf_values_is_what_was_counted(parts: Topology) -> None:
    parts.collector.start()
    route = {"run": "r1", "http.route": "/api/messages", "http.request.method": "POST", "http.response.status_code": "201"}
    now = time.time_ns()
    # Two workers whose data points coincide in attributes and time, over an outage and a SIGKILL.
    for export in range(20):
        for worker in ("1", "2"):
            moment = now + export * 1_000_000
            parts.send_metrics(counter("messages.created", 3, moment, run="r1"), histogram(5, moment, **route), worker=worker)
    parts.collector.kill()
    parts.collector.start()
    parts.aws.start()

    def messages() -> int:
        return sum(emf_totals(parts.aws.log_events("/parallax/metrics"), "messages.created").values())

    until(lambda: messages() >= 20 * 2 * 3, 60, "all data points at CloudWatch")
    until(lambda: parts.collector.metric("otelcol_exporter_queue_size", exporter="otlp_grpc/emf_hop") == 0, 10, "an empty queue")
    events = parts.aws.log_events("/parallax/metrics")
    # Two services' metrics of one name stay apart.
    service = ("service.name", "cruddur")
    assert emf_totals(events, "messages.created") == {(("run", "r1"), service): 20 * 2 * 3}
    assert emf_totals(events, "http.server.request.duration") == {tuple(sorted([*route.items(), service])): 20 * 2 * 5}
    directives = [one for event in events for one in json.loads(event["message"])["_aws"]["CloudWatchMetrics"]]
    assert {one["Namespace"] for one in directives} == {"Cruddur"}
    units = {(metric["Name"], metric["Unit"]) for one in directives for metric in one["Metrics"]}
    assert units == {("messages.created", "Count"), ("http.server.request.duration", "Seconds")}


def test_an_up_down_counter_keeps_its_value(running: Topology) -> None:
    for value in (5, 7):
        metric = Metric(name="http.server.active_requests", unit="{request}")
        metric.sum.aggregation_temporality = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
        metric.sum.data_points.add(as_int=value, time_unix_nano=time.time_ns())
        running.send_metrics(metric)
    events = running.aws.wait_for_log_events("/parallax/metrics", 2)
    assert [json.loads(event["message"])["http.server.active_requests"] for event in events] == [5, 7]


@pytest.mark.parametrize(("status", "error"), [(429, "ThrottledException"), (400, "ThrottlingException"), (500, "InternalFailure")])
def test_throttling_and_server_errors_lose_nothing(running: Topology, status: int, error: str) -> None:
    running.aws.refuse_with = (status, json.dumps({"__type": error, "message": "slow down"}))
    running.send_spans(spans(60))
    running.send_metrics(counter("messages.created", 3, time.time_ns(), run="r1"))
    running.send_log("one request", time.time_ns())

    def put_off(exporter: str) -> bool:
        """Whether the exporter has heard of a failure and said that it will try again."""
        lines = running.collector.log.read_text().splitlines()
        return any("Will retry the request" in line and f'"{exporter}"' in line for line in lines)

    for exporter in ("otlp_grpc/xray_hop", "otlp_grpc/emf_hop", "awscloudwatchlogs"):
        until(partial(put_off, exporter), 30, f"{exporter} to have put a batch off")
    running.aws.refuse_with = None

    until(lambda: len(running.aws.segment_ids()) == 60, 60, "60 segments at X-Ray")
    for group in ("/parallax/metrics", "/parallax/otlp"):
        running.aws.wait_for_log_events(group, 1)
    for signal_type, exporter in (
        ("spans", "otlp_grpc/xray_hop"),
        ("metric_points", "otlp_grpc/emf_hop"),
        ("log_records", "awscloudwatchlogs"),
    ):
        assert running.collector.metric(f"otelcol_exporter_send_failed_{signal_type}", exporter=exporter) == 0


def test_a_log_record_too_old_for_cloudwatch_does_not_hold_up_the_others(running: Topology) -> None:
    ancient = time.time_ns() - 20 * 24 * 3600 * 10**9
    running.send_log("ancient", ancient)
    running.send_log("present", time.time_ns())
    events = running.aws.wait_for_log_events("/parallax/otlp", 2)
    kept = {json.loads(event["message"])["body"]: json.loads(event["message"])["attributes"] for event in events}
    assert kept["ancient"] == {"run": "r1", "event.name": "request", "log.time_unix_nano": ancient}
    assert kept["present"] == {"run": "r1", "event.name": "request"}
