"""The Collector's two processes, the real binary, and small sinks in the place of the vendors, each on a free port.

    with topology(tmp_path) as parts:
        parts.aws.start()
        parts.daemon.start()
        parts.send_segment(segment())

The sinks speak just enough of each vendor's wire format to count what arrives.
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
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2_grpc import LogsServiceStub
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2_grpc import MetricsServiceStub
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest, ExportTraceServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from collector.build import ensure_built
from collector.configs import ENVIRONMENT, Process, command
from tests.waiting import until

ALL = frozenset({"honeycomb", "xray", "cloudwatch"})
PORTS = (
    *("OTLP_GRPC_PORT", "OTLP_HTTP_PORT", "COLLECTOR_HEALTH_PORT", "COLLECTOR_METRICS_PORT", "COLLECTOR_HOP_XRAY_PORT"),
    *(
        "COLLECTOR_HOP_RECORDING_PORT",
        "COLLECTOR_HOP_EMF_PORT",
        "XRAY_DAEMON_PORT",
        "XRAY_DAEMON_HEALTH_PORT",
        "XRAY_DAEMON_METRICS_PORT",
        "XRAY_DAEMON_HOP_PORT",
    ),
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
    record: bool = False
    running: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def _prefix(self) -> str:
        return "COLLECTOR" if self.process == "collector" else "XRAY_DAEMON"

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.running = subprocess.Popen(
                command(self.process, self.backends, ensure_built(), record=self.record),
                env=self.environment,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
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
def topology(folder: Path, backends: frozenset[str] = ALL, record: bool = False) -> Iterator[Topology]:
    with ExitStack() as sockets:
        held = [sockets.enter_context(socket.socket()) for _ in range(len(PORTS) + 2)]
        for one in held:
            one.bind(("127.0.0.1", 0))
        honeycomb_port, aws_port, *ports = (one.getsockname()[1] for one in held)
    environment = {
        "PATH": os.environ["PATH"],
        **ENVIRONMENT,
        "COLLECTOR_QUEUE_DIR": str(folder / "queue"),
        "COLLECTOR_RECORDING_DIR": str(folder / "recorded"),
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
        Collector("collector", backends, environment, folder / "collector.log", record),
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


# --- Data ----------------------------------------------------------------------------------------------------------


def attribute(key: str, value: str | int) -> KeyValue:
    return KeyValue(key=key, value=AnyValue(int_value=value) if isinstance(value, int) else AnyValue(string_value=value))


def resource(service: str, **more: str) -> Resource:
    attributes = {"service.name": service, "telemetry.sdk.name": "opentelemetry", "telemetry.sdk.language": "python", **more}
    return Resource(attributes=[attribute(key, value) for key, value in attributes.items()])


def new_trace_id() -> bytes:
    """A W3C trace id that X-Ray takes as well: its first four bytes are the epoch seconds."""
    return int(time.time()).to_bytes(4, "big") + os.urandom(12)


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
