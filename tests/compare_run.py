"""A run made up for tests: ledger lines of every kind of request, and exactly the signals they must show, as observations or over the wire.

    entries = requests(100, run="20260101-120000-ab12")
    write_run(settings, entries)
    Wire(settings).send(entries)            # to running local vendors, in each vendor's own format

What is left out on purpose, or sent twice, compare must find.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict
from typing import Any

import boto3
import requests as http
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import AGGREGATION_TEMPORALITY_DELTA
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from compose.settings import Settings, SignalPath
from loadtest.ledger import LedgerEntry
from services.compare.paths import SAMPLED_KINDS
from services.compare.readers.base import Observation
from services.cruddur.signals import METRICS, Outcome, Route, Signal, expected

RUN = "20260101-120000-ab12"

#: Kinds of requests, in turn: every path, shape and status that the table of signals tells apart.
KINDS: tuple[tuple[Route, Outcome, int | None], ...] = (
    (Route.HOME, Outcome.OK, 200),
    (Route.USER, Outcome.OK, 200),
    (Route.CREATE_MESSAGE, Outcome.OK, 201),
    (Route.HOME, Outcome.EXCEPTION, 500),
    (Route.ROLLBAR_TEST, Outcome.OK, 200),
    (Route.CREATE_MESSAGE, Outcome.BAD_INPUT, 422),
    (Route.UNMATCHED, Outcome.NOT_FOUND, 404),
    (Route.USER, Outcome.DOWNSTREAM_ERROR, 502),
)


def requests(
    count: int,
    run: str = RUN,
    start: float | None = None,
    kinds: Sequence[tuple[Route, Outcome, int | None]] = KINDS,
    sampled_xray_sdk: Callable[[int], bool | None] = lambda _: True,
    sampled_otel: Callable[[int], bool | None] = lambda _: True,
) -> list[LedgerEntry]:
    """Ledger lines, one every 10 ms, ending a moment ago."""
    began = time.time() - count * 0.01 - 1 if start is None else start
    entries = []
    for number in range(count):
        route, outcome, status = kinds[number % len(kinds)]
        at = began + number * 0.01
        entries.append(
            LedgerEntry(
                run=run,
                sequence=number,
                trace_id=f"{int(at):08x}{secrets.token_hex(12)}",
                method=route.method,
                route=route.value,
                target=route.rule,
                outcome=outcome.value,
                status=status,
                start=at,
                duration_ms=12.0,
                sampled_xray_sdk=sampled_xray_sdk(number) if status is not None else None,
                sampled_otel=sampled_otel(number) if status is not None else None,
                error=None if status is not None else "no answer",
            )
        )
    return entries


def signals(entry: LedgerEntry) -> tuple[Signal, ...]:
    """What the request must show, sampling aside."""
    return expected(Route(entry.route), Outcome(entry.outcome), entry.status)


def made(entry: LedgerEntry) -> Iterator[Signal]:
    """What an application that does as it should sends for the request."""
    for signal in signals(entry):
        decision = entry.sampled_xray_sdk if signal.path is SignalPath.XRAY_SDK else entry.sampled_otel
        if signal.kind not in SAMPLED_KINDS or decision:
            yield signal


def attributes(signal: Signal, entry: LedgerEntry) -> dict[str, Any]:
    """Attributes that satisfy the signal."""
    return {**dict.fromkeys(signal.attributes, "x"), **signal.values} | {
        key: value for key, value in (("run", entry.run), ("trace_id", entry.trace_id)) if key in signal.attributes
    }


def observations(entry: LedgerEntry) -> list[Observation]:
    """What every backend shows of a request when all is well."""
    return [
        Observation(
            path=signal.path,
            kind=signal.kind,
            service=signal.service,
            name=signal.name or "GET",
            id=secrets.token_hex(8),
            trace_id=entry.trace_id,
            run=entry.run,
            attributes=attributes(signal, entry),
            start=entry.start,
            duration_ms=entry.duration_ms - 2,
            ingested_at=entry.start + 1,
        )
        for signal in made(entry)
    ]


def write_run(settings: Settings, entries: Sequence[LedgerEntry], paths: Collection[SignalPath] = tuple(SignalPath)) -> None:
    """The run's folder, as the load generator leaves it."""
    run = entries[0].run
    folder = settings.runs_dir / run
    folder.mkdir(parents=True)
    manifest = {
        "version": 1,
        "run": run,
        "seed": 1,
        "profile": "smoke",
        "planned": len(entries),
        "finished": len(entries),
        "users": 1,
        "workers": 1,
        "sampling": "all",
        "started": entries[0].start,
        "ended": entries[-1].start + 0.012,
        "mode": "offline",
        "target": "http://127.0.0.1:4567",
        "paths": sorted(paths),
        "settings": {},
        "versions": {},
        "git_commit": None,
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "ledger-0.jsonl").write_text("".join(json.dumps(asdict(entry)) + "\n" for entry in entries))


Keep = Callable[[LedgerEntry, Signal], int]


class Wire:
    """Sends the signals of a run to the local vendors as the application and the Collector would."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._http = http.Session()
        self._http.trust_env = False

    def send(self, entries: Sequence[LedgerEntry], keep: Keep = lambda _entry, _signal: 1) -> None:
        """``keep``: how often each signal arrives; 0 loses it, 2 delivers it twice."""
        chosen = [(entry, signal) for entry in entries for signal in made(entry) for _ in range(keep(entry, signal))]
        for path in SignalPath:
            mine = [(entry, signal) for entry, signal in chosen if signal.path is path]
            if mine:
                {
                    SignalPath.HONEYCOMB_OTLP: self._honeycomb,
                    SignalPath.XRAY_SDK: self._xray,
                    SignalPath.XRAY_OTLP: self._xray,
                    SignalPath.CLOUDWATCH_WATCHTOWER: self._logs,
                    SignalPath.CLOUDWATCH_OTLP: self._logs,
                    SignalPath.ROLLBAR_SDK: self._rollbar,
                }[path](mine)

    def aws(self, service: str) -> Any:
        session: Any = boto3.session.Session()
        return session.client(
            service,
            endpoint_url=self.settings.xray_endpoint,
            region_name=self.settings.aws_region,
            aws_access_key_id=self.settings.aws_access_key_id,
            aws_secret_access_key=self.settings.aws_secret_access_key.get_secret_value(),
        )

    def honeycomb(self, signal: str, message: Any, dataset: str = "") -> None:
        headers = {"x-honeycomb-team": self.settings.honeycomb_api_key.get_secret_value(), "Content-Type": "application/protobuf"}
        if dataset:
            headers["x-honeycomb-dataset"] = dataset
        answer = self._http.post(
            f"{self.settings.honeycomb_endpoint}/v1/{signal}", data=message.SerializeToString(), headers=headers, timeout=30
        )
        assert answer.ok, answer.text

    def metrics(self, entries: Sequence[LedgerEntry], short: int = 0) -> None:
        """Totals of the run to Honeycomb and, as EMF, to CloudWatch; ``short`` of them never arrive in CloudWatch."""
        run, now = entries[0].run, time.time()
        totals = {
            metric.name: (metric, sum(metric.count(Route(e.route), Outcome(e.outcome), e.status) for e in entries)) for metric in METRICS
        }
        request = ExportMetricsServiceRequest()
        resource = request.resource_metrics.add(resource=Resource(attributes=pairs({"service.name": "cruddur"})))
        scope = resource.scope_metrics.add()
        event: dict[str, Any] = {"run": run, "service.name": "cruddur"}
        for name, (metric, count) in totals.items():
            point: Any
            if metric.kind == "histogram":
                histogram = scope.metrics.add(name=name, unit=metric.unit).histogram
                histogram.aggregation_temporality = AGGREGATION_TEMPORALITY_DELTA
                point = histogram.data_points.add(count=count, sum=0.012 * count, explicit_bounds=[0.1], bucket_counts=[count, 0])
                event[name] = {"Count": count - short, "Sum": 0.012 * count, "Min": 0.012, "Max": 0.012}
            else:
                total = scope.metrics.add(name=name, unit=metric.unit).sum
                total.aggregation_temporality = AGGREGATION_TEMPORALITY_DELTA
                total.is_monotonic = True
                point = total.data_points.add(as_int=count)
                event[name] = count
            point.time_unix_nano = int(now * 1e9)
            point.attributes.extend(pairs({"run": run}))
        self.honeycomb("metrics", request, self.settings.honeycomb_metrics_dataset)
        directive = {"Namespace": "Cruddur", "Dimensions": [["run", "service.name"]], "Metrics": [{"Name": name} for name in totals]}
        event["_aws"] = {"Timestamp": int(now * 1000), "CloudWatchMetrics": [directive]}
        self.put_logs(self.settings.metrics_log_group, [(now, event)])

    def put_logs(self, group: str, lines: Sequence[tuple[float, dict[str, Any]]]) -> None:
        logs = self.aws("logs")
        for create, names in ((logs.create_log_group, {}), (logs.create_log_stream, {"logStreamName": "stream"})):
            with contextlib.suppress(logs.exceptions.ResourceAlreadyExistsException):
                create(logGroupName=group, **names)
        events = [{"timestamp": int(at * 1000), "message": json.dumps(line)} for at, line in sorted(lines, key=lambda each: each[0])]
        for at in range(0, len(events), 1000):
            logs.put_log_events(logGroupName=group, logStreamName="stream", logEvents=events[at : at + 1000])

    def _honeycomb(self, chosen: Sequence[tuple[LedgerEntry, Signal]]) -> None:
        traces, logs = ExportTraceServiceRequest(), ExportLogsServiceRequest()
        ids: dict[tuple[str, Any], bytes] = {}
        for entry, signal in chosen:
            resource = Resource(attributes=pairs({"service.name": signal.service}))
            at = int(entry.start * 1e9)
            # The same signal sent again is the same span.
            key = (entry.trace_id, _plain(signal))
            span_id = ids.setdefault(key, secrets.token_bytes(8))
            trace_id = bytes.fromhex(entry.trace_id)
            if signal.kind == "log":
                record = logs.resource_logs.add(resource=resource).scope_logs.add().log_records.add()
                record.time_unix_nano, record.trace_id, record.span_id, record.event_name = at, trace_id, trace_id[:8], signal.name
                record.attributes.extend(pairs(attributes(signal, entry)))
            else:
                span = traces.resource_spans.add(resource=resource).scope_spans.add().spans.add()
                span.trace_id, span.span_id, span.name = trace_id, span_id, signal.name or f"{entry.method}"
                span.start_time_unix_nano, span.end_time_unix_nano = at, at + int((entry.duration_ms - 2) * 1e6)
                span.status.code = Status.STATUS_CODE_ERROR if entry.status == 500 else Status.STATUS_CODE_UNSET
                span.attributes.extend(pairs(attributes(signal, entry)))
        self.honeycomb("traces", traces)
        self.honeycomb("logs", logs)

    def _xray(self, chosen: Sequence[tuple[LedgerEntry, Signal]]) -> None:
        client = self.aws("xray")
        documents = []
        segments: dict[tuple[str, SignalPath, str], str] = {}
        for entry, signal in sorted(chosen, key=lambda each: each[1].kind):
            segment = segments.setdefault((entry.trace_id, signal.path, signal.service), secrets.token_hex(8))
            document = {
                "name": signal.name,
                "id": segment if signal.kind == "segment" else secrets.token_hex(8),
                "trace_id": f"1-{entry.trace_id[:8]}-{entry.trace_id[8:]}",
                "start_time": entry.start,
                "end_time": entry.start + (entry.duration_ms - 2) / 1000,
                "fault": entry.status == 500,
            }
            found = attributes(signal, entry)
            # As awsxray does: annotation keys lose their dots.
            document["annotations"] = {key.replace(".", "_"): value for key, value in found.items()}
            if signal.kind == "segment":
                sdk = "X-Ray for Python for Python" if signal.path is SignalPath.XRAY_SDK else "opentelemetry for python"
                document["aws"] = {"xray": {"sdk": sdk}}
            else:
                document |= {"type": "subsegment", "parent_id": segment}
            documents.append(json.dumps(document))
        for at in range(0, len(documents), 50):
            answer = client.put_trace_segments(TraceSegmentDocuments=documents[at : at + 50])
            assert answer["UnprocessedTraceSegments"] == []

    def _logs(self, chosen: Sequence[tuple[LedgerEntry, Signal]]) -> None:
        lines: list[tuple[float, dict[str, Any]]] = []
        path = chosen[0][1].path
        for entry, signal in chosen:
            found = attributes(signal, entry)
            if path is SignalPath.CLOUDWATCH_WATCHTOWER:
                lines.append((entry.start, {"event": signal.name, **found}))
            else:
                resource = {"service.name": signal.service}
                record = {"trace_id": entry.trace_id, "attributes": {"event.name": signal.name, **found}, "resource": resource}
                lines.append((entry.start, record))
        self.put_logs(self.settings.log_group if path is SignalPath.CLOUDWATCH_WATCHTOWER else self.settings.otlp_log_group, lines)

    def _rollbar(self, chosen: Sequence[tuple[LedgerEntry, Signal]]) -> None:
        for entry, signal in chosen:
            body = {
                "data": {
                    "environment": self.settings.rollbar_environment,
                    "level": signal.name,
                    "timestamp": int(entry.start),
                    "uuid": str(uuid.uuid4()),
                    "body": {"message": {"body": "Hello World!"}},
                    "custom": attributes(signal, entry),
                }
            }
            answer = self._http.post(
                f"{self.settings.rollbar_endpoint}/api/1/item/",
                json=body,
                headers={"X-Rollbar-Access-Token": self.settings.rollbar_access_token.get_secret_value()},
                timeout=30,
            )
            assert answer.ok, answer.text


def pairs(values: dict[str, Any]) -> list[KeyValue]:
    """OTLP attributes."""
    found = []
    for key, value in values.items():
        if isinstance(value, bool):
            any_value = AnyValue(bool_value=value)
        elif isinstance(value, int):
            any_value = AnyValue(int_value=value)
        elif isinstance(value, float):
            any_value = AnyValue(double_value=value)
        else:
            any_value = AnyValue(string_value=str(value))
        found.append(KeyValue(key=key, value=any_value))
    return found


def _plain(signal: Signal) -> Any:
    """A signal as a dictionary key."""
    return (signal.path, signal.kind, signal.service, signal.name)
