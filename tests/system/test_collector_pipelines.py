"""The Collector's two processes, the real binary, against small sinks: what is accepted arrives, whatever dies meanwhile.

Each test starts its own processes on free ports, with its own queue folders. What is said to the X-Ray daemon's role itself is in
``test_xray_daemon.py``.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality, Metric
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.topology import Topology, attribute, new_trace_id, topology
from tests.waiting import until


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
