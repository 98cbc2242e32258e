"""Any body at any endpoint gets one of the vendor's own answers: never a server error, and nothing stored when refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from localstack.honeycomb.limits import WINDOW, RateLimit
from localstack.honeycomb.models import Honeycomb
from localstack.honeycomb.otlp_http import SIGNALS, OtlpError, parse
from localstack.honeycomb.results import Results
from localstack.honeycomb.routes import API_LIMIT, Keys, create_app

KEYS = Keys("aKeyThatSendsTwentyTwo", "aKeyThatReadsTwentyTwo")
HEADERS = {"X-Honeycomb-Team": KEYS.configuration}


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Honeycomb]:
    state = Honeycomb(tmp_path_factory.mktemp("honeycomb") / "honeycomb.duckdb")
    yield state
    state.close()


@pytest.fixture(scope="module")
def client(state: Honeycomb) -> Iterator[FlaskClient]:
    results = Results(state)
    with create_app(state, results, KEYS).test_client() as client:
        yield client
    results.close()


def events(state: Honeycomb) -> int:
    return int(state.store.read("SELECT count(*) FROM event")[0][0])


WORDS = st.sampled_from(
    [
        *("query_id", "disable_series", "limit", "name", "description", "expand_json_depth", "key_name", "type", "hidden", "data", "time"),
        *(
            "samplerate",
            "calculations",
            "filters",
            "breakdowns",
            "op",
            "column",
            "value",
            "resourceSpans",
            "scopeSpans",
            "spans",
            "traceId",
        ),
        *("attributes", "key", "stringValue", "resourceLogs", "logRecords", "resourceMetrics", "metrics", "sum", "dataPoints", "asInt"),
    ]
)
SCALARS = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=6) | WORDS
DOCUMENTS = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4), max_leaves=12)
BODIES = st.binary(max_size=60) | DOCUMENTS.map(lambda document: json.dumps(document).encode())
ENDPOINTS = [
    *(("POST", f"/v1/{signal}") for signal in ("traces", "logs", "metrics")),
    *(("POST", f"/1/{path}") for path in ("batch/x", "events/x", "datasets", "columns/x", "queries/__all__", "query_results/__all__")),
    ("PUT", "/1/columns/x/y"),
]
CONTENT_TYPES = ["application/json", "application/x-protobuf", "application/protobuf", "application/msgpack", "text/plain", ""]


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    endpoint=st.sampled_from(ENDPOINTS),
    body=BODIES,
    content_type=st.sampled_from(CONTENT_TYPES),
    encoding=st.sampled_from(["", "", "gzip", "zstd", "br"]),
)
def test_no_body_is_a_server_error(
    state: Honeycomb, client: FlaskClient, endpoint: tuple[str, str], body: bytes, content_type: str, encoding: str
) -> None:
    before = events(state)
    method, path = endpoint
    answer = client.open(path, method=method, data=body, headers=HEADERS | {"Content-Encoding": encoding}, content_type=content_type)
    assert answer.status_code < 500, answer.data
    if answer.status_code >= 400:
        assert answer.data
        assert events(state) == before


@given(
    signal=st.sampled_from(SIGNALS),
    body=st.binary(max_size=80),
    content_type=st.sampled_from(["application/json", "application/protobuf"]),
)
def test_any_otlp_body_parses_or_is_refused(signal: Any, body: bytes, content_type: str) -> None:
    try:
        message = parse(signal, body, content_type, "")
    except OtlpError:
        return
    signal.translate(message, "", False).table(0)


def seeds() -> list[tuple[Any, bytes]]:
    """A message of each signal with something in it, to break."""
    traces, logs, metrics = ExportTraceServiceRequest(), ExportLogsServiceRequest(), ExportMetricsServiceRequest()
    span = traces.resource_spans.add().scope_spans.add().spans.add(trace_id=b"1" * 16, span_id=b"2" * 8, name="n", trace_state="ot=th:8")
    span.events.add(name="exception").attributes.add(key="exception.type").value.string_value = "E"
    span.links.add(trace_id=b"3" * 16)
    span.attributes.add(key="k").value.kvlist_value.values.add(key="a").value.array_value.values.add(double_value=1.5)
    record = logs.resource_logs.add().scope_logs.add().log_records.add(severity_number=9, trace_id=b"1" * 16)
    record.body.kvlist_value.values.add(key="a").value.bytes_value = b"x"
    scope = metrics.resource_metrics.add().scope_metrics.add()
    scope.metrics.add(name="h").histogram.data_points.add(count=3, sum=1.0, bucket_counts=[1, 2], explicit_bounds=[5.0])
    scope.metrics.add(name="s").summary.data_points.add(count=3, sum=1.0).quantile_values.add(quantile=0.5, value=1.0)
    return [(signal, message.SerializeToString()) for signal, message in zip(SIGNALS, (traces, logs, metrics), strict=True)]


SEEDS = seeds()


@settings(max_examples=500)
@given(seed=st.sampled_from(SEEDS), changes=st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), min_size=1, max_size=4))
def test_a_broken_otlp_message_parses_or_is_refused(seed: tuple[Any, bytes], changes: list[tuple[int, int]]) -> None:
    signal, valid = seed
    body = bytearray(valid)
    for position, byte in changes:
        body[position % len(body)] = byte
    try:
        message = parse(signal, bytes(body), "application/protobuf", "")
    except OtlpError:
        return
    signal.translate(message, "", False).table(0)


def test_rate_limits_are_enforced_on_demand(state: Honeycomb) -> None:
    results = Results(state)
    with create_app(state, results, KEYS, enforce_rate_limits=True).test_client() as client:
        answers = [client.get("/1/datasets", headers=HEADERS) for _ in range(API_LIMIT + 1)]
    results.close()
    assert [answer.status_code for answer in answers] == [200] * API_LIMIT + [429]
    last = answers[-1]
    assert last.content_type == "application/problem+json"
    assert last.get_json()["type"] == "https://api.honeycomb.io/problems/rate-limited"
    assert last.headers["Ratelimit"].startswith("limit=100, remaining=0, reset=")
    assert 0 < int(last.headers["Retry-After"]) <= WINDOW


def test_a_rate_limit_starts_over_each_minute() -> None:
    now = [0.0]
    limit = RateLimit(2, clock=lambda: now[0])
    assert [limit.take().exceeded for _ in range(3)] == [False, False, True]
    now[0] = WINDOW - 1
    assert limit.take().reset == 1
    now[0] = WINDOW
    assert limit.take().remaining == 1


def test_a_query_that_fails_says_so(state: Honeycomb, client: FlaskClient, tmp_path: Path) -> None:
    """A failed query is 200, complete, with an error and no data."""
    own = Honeycomb(tmp_path / "honeycomb.duckdb")
    results = Results(own)
    with create_app(own, results, KEYS).test_client() as other:
        query = other.post("/1/queries/__all__", json={}, headers=HEADERS).get_json()
        own.store.transact(lambda db: db.execute("ALTER TABLE event RENAME TO gone") and None)
        run = other.post("/1/query_results/__all__", json={"query_id": query["id"]}, headers=HEADERS)
        results.close()
        answer = other.get(run.headers["Location"], headers=HEADERS)
    own.close()
    assert (answer.status_code, answer.get_json()["complete"]) == (200, True)
    assert "could not be run" in answer.get_json()["error"]
    assert "data" not in answer.get_json()
