"""OTLP to events: each fact of Honeycomb's translation, and the short way of spans against the general one."""

from __future__ import annotations

import base64
from typing import Any, cast

import orjson
import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.proto.logs.v1.logs_pb2 import SEVERITY_NUMBER_INFO, LogRecord
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from localstack.honeycomb import otlp
from localstack.honeycomb.layout import PROMOTED, Rows

TRACE = bytes.fromhex("65a0b1c2d3e4f5061728394a5b6c7d8e")
SPAN = bytes.fromhex("0102030405060708")
START = 1_700_000_000_000_000_000


def value(plain: Any) -> AnyValue:
    if isinstance(plain, bool):
        return AnyValue(bool_value=plain)
    if isinstance(plain, int):
        return AnyValue(int_value=plain)
    if isinstance(plain, float):
        return AnyValue(double_value=plain)
    if isinstance(plain, bytes):
        return AnyValue(bytes_value=plain)
    if isinstance(plain, list):
        return AnyValue(array_value=ArrayValue(values=[value(item) for item in plain]))
    if isinstance(plain, dict):
        return AnyValue(kvlist_value=KeyValueList(values=attributes(plain)))
    return AnyValue() if plain is None else AnyValue(string_value=plain)


def attributes(plain: dict[str, Any]) -> list[KeyValue]:
    return [KeyValue(key=key, value=value(item)) for key, item in plain.items()]


def a_span(**fields: Any) -> Span:
    fields.setdefault("name", "GET /")
    if "attributes" in fields:
        fields["attributes"] = attributes(fields["attributes"])
    times = {"start_time_unix_nano": START, "end_time_unix_nano": START + 1_500_000}
    return Span(**({"trace_id": TRACE, "span_id": SPAN} | times | fields))


def status(code: int, message: str = "") -> Status:
    return Status(code=cast(Any, code), message=message)


def request(
    *spans: Span, resource: dict[str, Any] | None = None, scope: dict[str, Any] | None = None, library: str = "", version: str = ""
) -> ExportTraceServiceRequest:
    message = ExportTraceServiceRequest()
    resource_spans = message.resource_spans.add()
    resource_spans.resource.attributes.extend(attributes({"service.name": "cruddur"} if resource is None else resource))
    scope_spans = resource_spans.scope_spans.add()
    scope_spans.scope.name, scope_spans.scope.version = library, version
    scope_spans.scope.attributes.extend(attributes(scope or {}))
    scope_spans.spans.extend(spans)
    return message


def events(rows: Rows) -> list[dict[str, Any]]:
    """Rows as events: every column, long strings too, and the time, sample rate and dataset under ``@``."""
    found = []
    for dataset, time, rate, *promoted, rest in rows.rows:
        data = {name: column for name, column in zip(PROMOTED, promoted, strict=True) if column is not None}
        extra = {name: rows.long[column["long"]] if isinstance(column, dict) else column for name, column in orjson.loads(rest).items()}
        assert not data.keys() & extra.keys()
        found.append(data | extra | {"@dataset": dataset, "@time": time, "@rate": rate})
    return found


def spans(*args: Any, **kwargs: Any) -> list[dict[str, Any]]:
    return events(otlp.traces(request(*args, **kwargs)))


# -- spans


def test_core_fields_of_a_span() -> None:
    assert spans(a_span(kind=Span.SPAN_KIND_SERVER, parent_span_id=b"\1" * 8, attributes={"http.route": "/"})) == [
        {
            "trace.trace_id": TRACE.hex(),
            "trace.span_id": SPAN.hex(),
            "trace.parent_id": "01" * 8,
            "name": "GET /",
            "type": "server",
            "span.kind": "server",
            "duration_ms": 1.5,
            "status_code": 0,
            "span.num_links": 0,
            "span.num_events": 0,
            "meta.signal_type": "trace",
            "service.name": "cruddur",
            "http.route": "/",
            "@dataset": "cruddur",
            "@time": START,
            "@rate": 1,
        }
    ]


@pytest.mark.parametrize(
    ("kind", "name"),
    [(0, "unspecified"), (1, "internal"), (2, "server"), (3, "client"), (4, "producer"), (5, "consumer"), (9, "unspecified")],
)
def test_kinds(kind: int, name: str) -> None:
    (event,) = spans(a_span(kind=kind))
    assert (event["type"], event["span.kind"]) == (name, name)


def test_a_root_span_has_no_parent() -> None:
    assert "trace.parent_id" not in spans(a_span())[0]


def test_a_trace_id_of_64_bits_is_trimmed() -> None:
    assert spans(a_span(trace_id=bytes(8) + SPAN))[0]["trace.trace_id"] == SPAN.hex()
    assert spans(a_span(trace_id=bytes(7) + b"\1" + SPAN))[0]["trace.trace_id"] == "00" * 7 + "01" + SPAN.hex()


def test_status() -> None:
    ok, failed = spans(a_span(status=status(1)), a_span(status=status(2, "boom")))
    assert ok["status_code"] == 1
    assert "error" not in ok
    assert (failed["status_code"], failed["status_message"], failed["error"]) == (2, "boom", True)


def test_trace_state_is_kept() -> None:
    assert spans(a_span(trace_state="vendor=x"))[0]["trace.trace_state"] == "vendor=x"


def test_a_negative_duration() -> None:
    (event,) = spans(a_span(end_time_unix_nano=START - 1))
    assert (event["duration_ms"], event["meta.invalid_duration"]) == (0, True)


def test_a_time_beyond_64_bits_signed() -> None:
    assert spans(a_span(start_time_unix_nano=2**64 - 1, end_time_unix_nano=2**64 - 1))[0]["@time"] == 2**63 - 1


def test_what_overwrites_what() -> None:
    """Core fields, then resource, scope and span attributes, each overwriting what came before."""
    (event,) = spans(
        a_span(attributes={"c": "span", "name": "mine", "span.num_links": "many"}),
        resource={"service.name": "cruddur", "a": "resource", "b": "resource", "c": "resource", "type": "resource"},
        scope={"b": "scope", "c": "scope"},
    )
    assert (event["a"], event["b"], event["c"]) == ("resource", "scope", "span")
    assert (event["name"], event["type"], event["span.kind"], event["span.num_links"]) == ("mine", "resource", "unspecified", "many")


def test_a_value_that_does_not_fit_its_promoted_column_is_kept() -> None:
    (event,) = spans(a_span(attributes={"duration_ms": "long", "status_code": 200.5, "service.name": 7}))
    assert (event["duration_ms"], event["status_code"], event["service.name"]) == ("long", 200.5, 7)


def test_scope() -> None:
    (event,) = spans(a_span(), library="opentelemetry.instrumentation.flask", version="0.66b1")
    assert (event["library.name"], event["library.version"]) == ("opentelemetry.instrumentation.flask", "0.66b1")
    assert event["telemetry.instrumentation_library"] is True
    assert "telemetry.instrumentation_library" not in spans(a_span(), library="home.activities")[0]


@pytest.mark.parametrize(
    ("name", "dataset"),
    [
        ("MyDataset!", "mydataset-"),
        ("  cruddur ", "cruddur"),
        ("", "unknown_service"),
        ("  ", "unknown_service"),
        (5, "unknown_service"),
        ("unknown_service:python", "unknown_service"),
        (None, "unknown_service"),
    ],
)
def test_datasets_of_traces(name: Any, dataset: str) -> None:
    (event,) = spans(a_span(), resource={"service.name": name})
    # The slug of unknown_service has a hyphen like any other.
    assert event["@dataset"] == dataset.replace("_", "-")


def test_the_first_casing_of_a_dataset_wins() -> None:
    rows = Rows()
    rows.add("Cruddur", START, 1, {"a": 1})
    rows.add("CRUDDUR", START, 1, {"a": 1})
    assert rows.names == {"cruddur": "Cruddur"}


def test_a_classic_key_names_its_dataset() -> None:
    assert events(otlp.traces(request(a_span()), header="Mine", classic=True))[0]["@dataset"] == "mine"
    assert events(otlp.traces(request(a_span()), header="Mine"))[0]["@dataset"] == "cruddur"


# -- attributes


def test_attributes_keep_their_types() -> None:
    plain = {"text": "x", "int": 2**63 - 1, "float": 1.0, "bool": False, "empty": ""}
    (event,) = spans(a_span(attributes=plain))
    assert {key: event[key] for key in plain} == plain
    assert isinstance(event["float"], float)


def test_empty_keys_null_values_and_numbers_that_are_not_finite_are_dropped() -> None:
    (event,) = spans(a_span(attributes={"": "x", "null": None, "nan": float("nan"), "inf": float("inf")}))
    assert not event.keys() & {"", "null", "nan", "inf"}


def test_key_value_lists_flatten_down_to_depth_5() -> None:
    (event,) = spans(a_span(attributes={"a": {"b": 1, "c": {"d": "x"}}, "1": {"2": {"3": {"4": {"5": {"6": {"7": {"8": 8}}}}}}}}))
    assert (event["a.b"], event["a.c.d"]) == (1, "x")
    assert event["1.2.3.4.5.6.7"] == '{"8":8}\n'


def test_arrays_and_bytes_become_json_strings() -> None:
    (event,) = spans(a_span(attributes={"list": ["a", 1, True, None], "bytes": b"\0\1", "html": ["<&>"]}))
    assert event["list"] == '["a",1,true,null]\n'
    assert event["bytes"] == f'"{base64.b64encode(bytes([0, 1])).decode()}"\n'
    assert event["html"] == '["\\u003c\\u0026\\u003e"]\n'


def test_long_json_strings_are_cut() -> None:
    (event,) = spans(a_span(attributes={"list": ["ü" * 40_000]}))
    assert 65_534 <= len(event["list"].encode()) <= 65_535


def test_long_strings_are_cut_wherever_they_stand() -> None:
    long = "x" + "€" * 400_000
    kept = "x" + "€" * 21_844  # 65,533 bytes; one more character has three
    failed = a_span(
        name=long, attributes={"own": long}, status=status(2, long), events=[Span.Event(name=long, attributes=attributes({"own": long}))]
    )
    plain = spans(a_span(name=long, attributes={"own": long, "short": "y"}), resource={"service.name": "s", "host": long})
    shared = spans(a_span(), resource={"service.name": long})
    for event, names in [
        *((event, ("name", "own")) for event in [*plain, *spans(failed)]),
        (plain[0], ("host",)),
        (spans(failed)[0], ("status_message",)),
        (spans(failed)[1], ("parent_name",)),
        (shared[0], ("service.name",)),
        (logs(LogRecord(body=value(long), severity_text=long, attributes=attributes({"own": long}))), ("body", "severity_text", "own")),
    ]:
        assert [event[name] for name in names] == [kept] * len(names)
    assert plain[0]["short"] == "y"


def test_a_string_that_just_fits_is_kept_whole() -> None:
    (event,) = spans(a_span(name="n" * 65_535, attributes={"own": "ü" * 32_767 + "x", "one more": "o" * 65_536}))
    assert (event["name"], event["own"], event["one more"]) == ("n" * 65_535, "ü" * 32_767 + "x", "o" * 65_535)


# -- span events, links, sampling


def test_a_span_event_is_an_event_of_its_own() -> None:
    span = a_span(
        status=status(2), events=[Span.Event(name="cache miss", time_unix_nano=START + 2_000_000, attributes=attributes({"key": "k"}))]
    )
    parent, event = spans(span, library="lib")
    assert (parent["span.num_events"], parent["span.num_links"]) == (1, 0)
    assert event == {
        "trace.trace_id": TRACE.hex(),
        "trace.parent_id": SPAN.hex(),
        "name": "cache miss",
        "parent_name": "GET /",
        "meta.annotation_type": "span_event",
        "meta.signal_type": "trace",
        "meta.time_since_span_start_ms": 2.0,
        "service.name": "cruddur",
        "library.name": "lib",
        "key": "k",
        "error": True,
        "@dataset": "cruddur",
        "@time": START + 2_000_000,
        "@rate": 1,
    }


def test_a_span_event_before_its_span() -> None:
    _, event = spans(a_span(events=[Span.Event(name="early", time_unix_nano=START - 1)]))
    assert (event["meta.time_since_span_start_ms"], event["meta.invalid_time_since_span_start"]) == (0, True)
    assert "error" not in event


def test_the_first_exception_is_copied_to_its_span() -> None:
    def exception(message: str) -> Span.Event:
        details = {"exception.message": message, "exception.type": "ValueError", "exception.escaped": True, "exception.other": 1}
        return Span.Event(name="exception", time_unix_nano=START, attributes=attributes(details))

    span, *_ = spans(a_span(attributes={"exception.type": "Mine"}, events=[exception("first"), exception("second")]))
    assert (span["exception.message"], span["exception.type"], span["exception.escaped"]) == ("first", "Mine", True)
    assert "exception.other" not in span


def test_a_link_is_an_event_of_its_own() -> None:
    span = a_span(links=[Span.Link(trace_id=bytes(8) + SPAN, span_id=b"\2" * 8, attributes=attributes({"why": "retry"}))])
    _, link = spans(span)
    assert link == {
        "trace.trace_id": TRACE.hex(),
        "trace.parent_id": SPAN.hex(),
        "trace.link.trace_id": SPAN.hex(),
        "trace.link.span_id": "02" * 8,
        "parent_name": "GET /",
        "meta.annotation_type": "link",
        "meta.signal_type": "trace",
        "service.name": "cruddur",
        "why": "retry",
        "@dataset": "cruddur",
        "@time": START,
        "@rate": 1,
    }


@pytest.mark.parametrize(
    ("given_rate", "state", "rate"),
    [
        ({"sampleRate": 4}, "", 4),
        ({"SampleRate": 4}, "", 4),
        ({"sampleRate": 2, "SampleRate": 4}, "", 2),
        ({"sampleRate": 2.5}, "", 3),
        ({"sampleRate": "10"}, "", 10),
        ({"sampleRate": "x"}, "", 1),
        ({"sampleRate": 0}, "", 1),
        ({"sampleRate": -5}, "", 1),
        ({"sampleRate": 2**40}, "", 2**31 - 1),
        ({}, "ot=th:8", 2),
        ({}, "a=b,ot=rv:1;th:c", 4),
        ({}, "ot=th:0", 1),
        ({}, "ot=th:zz", 1),
        ({"sampleRate": 5}, "ot=th:8", 5),
    ],
)
def test_sample_rate(given_rate: dict[str, Any], state: str, rate: int) -> None:
    span = a_span(attributes=given_rate, trace_state=state, events=[Span.Event(name="e")], links=[Span.Link()])
    found = spans(span)
    assert [event["@rate"] for event in found] == [rate] * 3
    assert "sampleRate" not in found[0]


def test_a_sample_rate_of_the_resource() -> None:
    found = spans(a_span(), a_span(events=[Span.Event(name="e")]), resource={"service.name": "x", "sampleRate": 7})
    assert [(event["@rate"], "sampleRate" in event) for event in found] == [(7, False)] * 3


def test_columns_and_their_types_are_told() -> None:
    rows = otlp.traces(request(a_span(attributes={"n": 1, "x": 1.5, "ok": True}), a_span(parent_span_id=SPAN)))
    columns = rows.columns["cruddur"]
    assert columns.items() >= {"n": "integer", "x": "float", "ok": "boolean", "name": "string", "duration_ms": "float"}.items()
    assert columns.keys() == {key for event in events(rows) for key in event if not key.startswith("@")}


PLAIN = st.text(max_size=3) | st.just("long " * 1_000) | st.integers(-(2**63), 2**63 - 1) | st.booleans() | st.floats() | st.none()
KEYS = st.sampled_from(["a", "b", "name", "service.name", "duration_ms", "type", "sampleRate", "span.num_links", "library.name", "error"])
DICTIONARIES = st.dictionaries(KEYS, PLAIN, max_size=4)


@given(own=DICTIONARIES, resource=DICTIONARIES, scope=DICTIONARIES, kind=st.integers(0, 6), code=st.integers(0, 2), parent=st.booleans())
def test_the_short_way_stores_what_the_general_one_does(
    own: dict[str, Any], resource: dict[str, Any], scope: dict[str, Any], kind: int, code: int, parent: bool
) -> None:
    span = a_span(attributes=own, kind=kind, status=status(code), parent_span_id=SPAN if parent else b"")
    message = request(span, resource=resource, scope=scope, library="lib")
    short = otlp.traces(message)
    general = Rows()
    parts = message.resource_spans[0]
    base, scope_data = otlp.flatten(parts.resource.attributes), otlp._scope(parts.scope_spans[0].scope)
    otlp._SpanEncoder(general, otlp._service(base) or otlp.UNKNOWN_SERVICE, base, scope_data).add_any(span, otlp.flatten(span.attributes))
    assert events(short) == events(general)
    assert short.columns == general.columns


# -- OTLP/JSON


def test_identifiers_of_otlp_json_are_hex() -> None:
    document = {
        "resourceSpans": [
            {"scopeSpans": [{"spans": [{"traceId": TRACE.hex().upper(), "spanId": SPAN.hex(), "parentSpanId": "ff" * 8, "name": "x"}]}]}
        ]
    }
    (event,) = events(otlp.traces(json_format.ParseDict(document, ExportTraceServiceRequest())))
    assert (event["trace.trace_id"], event["trace.span_id"], event["trace.parent_id"]) == (TRACE.hex(), SPAN.hex(), "ff" * 8)


# -- logs


def logs(record: LogRecord, resource: dict[str, Any] | None = None, header: str = "") -> dict[str, Any]:
    message = ExportLogsServiceRequest()
    resource_logs = message.resource_logs.add()
    resource_logs.resource.attributes.extend(attributes({"service.name": "cruddur"} if resource is None else resource))
    resource_logs.scope_logs.add(log_records=[record])
    (event,) = events(otlp.logs(message, header))
    return event


def test_a_log_record_in_a_trace() -> None:
    record = LogRecord(
        time_unix_nano=START,
        severity_number=SEVERITY_NUMBER_INFO,
        severity_text="INFO",
        flags=1,
        event_name="request",
        body=value("GET / 200"),
        trace_id=TRACE,
        span_id=SPAN,
        attributes=attributes({"run": "r1"}),
    )
    assert logs(record) == {
        "severity": "info",
        "severity_code": 9,
        "severity_text": "INFO",
        "flags": 1,
        "body": "GET / 200",
        "event.name": "request",
        "trace.trace_id": TRACE.hex(),
        "trace.parent_id": SPAN.hex(),
        "meta.signal_type": "log",
        "meta.annotation_type": "span_event",
        "service.name": "cruddur",
        "run": "r1",
        "@dataset": "cruddur",
        "@time": START,
        "@rate": 1,
    }


def test_a_log_record_outside_a_trace() -> None:
    event = logs(LogRecord(time_unix_nano=START))
    assert not event.keys() & {"meta.annotation_type", "trace.trace_id", "trace.parent_id", "severity_text", "event.name", "body"}
    assert event["severity"] == "unspecified"


@pytest.mark.parametrize(
    ("number", "name"), [(1, "trace"), (8, "debug"), (12, "info"), (13, "warn"), (20, "error"), (24, "fatal"), (25, "unspecified")]
)
def test_severities(number: int, name: str) -> None:
    record = LogRecord()
    record.ParseFromString(bytes([0x10, number]))  # an open enum: numbers that have no name arrive too
    assert logs(record)["severity"] == name


def test_a_body_that_is_a_key_value_list_flattens_too() -> None:
    event = logs(LogRecord(body=value({"event": "home", "n": 1})))
    assert (event["body"], event["body.event"], event["body.n"]) == ('{"event":"home","n":1}\n', "home", 1)


@pytest.mark.parametrize(
    ("name", "header", "dataset"),
    [
        ("cruddur", "other", "cruddur"),
        ("unknown_service", "other", "other"),
        ("", "Other One", "other-one"),
        ("", "", "unknown-log-source"),
    ],
)
def test_datasets_of_logs(name: str, header: str, dataset: str) -> None:
    assert logs(LogRecord(), {"service.name": name}, header)["@dataset"] == dataset


# -- metrics


def metrics(*documents: dict[str, Any], header: str = "m", resource: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    message = ExportMetricsServiceRequest()
    resource_metrics = message.resource_metrics.add()
    resource_metrics.resource.attributes.extend(attributes(resource or {}))
    resource_metrics.scope_metrics.add(metrics=[json_format.ParseDict(document, Metric()) for document in documents])
    return events(otlp.metrics(message, header))


def point(time: int = START, tags: dict[str, str] | None = None, **fields: Any) -> dict[str, Any]:
    keys = [{"key": key, "value": {"stringValue": tag}} for key, tag in (tags or {}).items()]
    return {"timeUnixNano": str(time), "attributes": keys} | fields


def test_points_of_one_second_and_the_same_attributes_share_an_event() -> None:
    found = metrics(
        {"name": "messages.created", "sum": {"dataPoints": [point(START + 5, {"run": "r"}, asInt="3")]}},
        {
            "name": "load",
            "gauge": {"dataPoints": [point(START + 999_999_999, {"run": "r"}, asDouble=0.5), point(START, {"run": "s"}, asDouble=1)]},
        },
        resource={"service.name": "cruddur"},
    )
    assert found[0] == {
        "messages.created": 3,
        "load": 0.5,
        "run": "r",
        "service.name": "cruddur",
        "meta.signal_type": "metric",
        "meta.annotation_type": "metric_event",
        "@dataset": "m",
        "@time": START,
        "@rate": 1,
    }
    assert [(event["run"], event.get("load")) for event in found] == [("r", 0.5), ("s", 1.0)]


def test_two_points_of_one_series_in_one_second_are_both_kept() -> None:
    """Delta temporality: what SUM gives must be the total."""
    found = metrics({"name": "c", "sum": {"dataPoints": [point(START, asInt="3"), point(START + 1, asInt="4")]}})
    assert [event["c"] for event in found] == [3, 4]


def test_a_histogram() -> None:
    (event,) = metrics(
        {
            "name": "d",
            "histogram": {
                "dataPoints": [
                    point(count="10", sum=50.0, min=1.0, max=30.0, explicitBounds=[1, 5, 10], bucketCounts=["2", "4", "3", "1"]),
                ]
            },
        }
    )
    assert (event["d.count"], event["d.sum"], event["d.avg"], event["d.min"], event["d.max"]) == (10, 50.0, 5.0, 1.0, 30.0)
    assert (event["d.p01"], event["d.p50"], event["d.p75"], event["d.p999"]) == (1.0, 1.0, 5.0, 10.0)


def test_histograms_with_nothing_in_them() -> None:
    (empty, bare) = metrics(
        {"name": "d", "histogram": {"dataPoints": [point(count="0", sum=0.0, explicitBounds=[1], bucketCounts=["0", "0"])]}},
        {"name": "e", "exponentialHistogram": {"dataPoints": [point(START + 10**9, count="2", sum=4.0, scale=1, zeroCount="0")]}},
    )
    assert {key for key in empty if key.startswith("d")} == {"d.count", "d.sum"}
    assert (bare["e.count"], bare["e.avg"]) == (2, 2.0)


def test_a_summary() -> None:
    quantiles = [{"quantile": 0, "value": 1}, {"quantile": 0.5, "value": 2}, {"quantile": 0.999, "value": 8}, {"quantile": 1, "value": 9}]
    (event,) = metrics({"name": "s", "summary": {"dataPoints": [point(count="4", sum=12.0, quantileValues=quantiles)]}})
    names = ("s.count", "s.sum", "s.avg", "s.min", "s.p50", "s.p999", "s.max")
    assert [event[name] for name in names] == [4, 12.0, 3.0, 1.0, 2.0, 8.0, 9.0]


def test_points_without_a_value_are_left_out() -> None:
    assert metrics({"name": "g", "gauge": {"dataPoints": [point(asInt="1", flags=1), point()]}}) == []


def test_datasets_of_metrics() -> None:
    gauge = {"name": "g", "gauge": {"dataPoints": [point(asInt="1")]}}
    assert metrics(gauge, header="Cruddur Metrics", resource={"service.name": "x"})[0]["@dataset"] == "cruddur-metrics"
    assert metrics(gauge, header="")[0]["@dataset"] == "unknown-metrics"
