"""What belongs to a run, and what it becomes as another: every place in which OTLP holds a run, a trace id or a time."""

from __future__ import annotations

import secrets
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, LogsData
from opentelemetry.proto.metrics.v1.metrics_pb2 import MetricsData
from opentelemetry.proto.trace.v1.trace_pb2 import Span, TracesData

from services.compare.replay.rewrite import Rewriting, Selection

OLD, NEW, SHIFT = "20260101-120000-ab12", "20260101-130000-cd34", 3600
SECONDS = 1_767_268_800
NANO = 1_000_000_000
AT = SECONDS * NANO + 123


def trace_id() -> str:
    return f"{SECONDS:08x}{secrets.token_hex(12)}"


OURS, ALSO_OURS, FOREIGN = trace_id(), trace_id(), trace_id()
SELECTION = Selection(OLD, frozenset({OURS, ALSO_OURS}))
CHANGE = Rewriting(SELECTION, NEW, SHIFT)


def text(value: str) -> AnyValue:
    return AnyValue(string_value=value)


def pairs(**values: str) -> list[KeyValue]:
    return [KeyValue(key=key, value=text(value)) for key, value in values.items()]


def strings(attributes: Any) -> dict[str, str]:
    return {each.key: each.value.string_value for each in attributes}


def traces(*spans: Span, **resource: str) -> TracesData:
    data = TracesData()
    resource_spans = data.resource_spans.add()
    resource_spans.resource.attributes.extend(pairs(**resource))
    resource_spans.scope_spans.add().spans.extend(spans)
    return data


def span(trace: str = OURS, **attributes: str) -> Span:
    return Span(
        trace_id=bytes.fromhex(trace),
        span_id=b"12345678",
        parent_span_id=b"87654321",
        name="GET",
        start_time_unix_nano=AT,
        end_time_unix_nano=AT + 5,
        attributes=pairs(**attributes),
    )


def spans(data: TracesData) -> list[Span]:
    return [each for resource in data.resource_spans for scope in resource.scope_spans for each in scope.spans]


# --- Trace ids -----------------------------------------------------------------------------------------------------


def test_a_trace_id_moves_with_the_times_and_is_another_for_another_run() -> None:
    new = CHANGE.trace_id(OURS)
    assert int(new[:8], 16) == SECONDS + SHIFT
    assert len(new) == 32
    assert new == CHANGE.trace_id(OURS), "the ledger and the telemetry must agree"
    assert new[8:] not in {OURS[8:], CHANGE.trace_id(ALSO_OURS)[8:]}
    assert new[8:] != Rewriting(SELECTION, "20260101-130000-ffff", SHIFT).trace_id(OURS)[8:], "replayed twice, told apart"


def test_an_id_whose_digits_may_be_no_time_keeps_them() -> None:
    w3c = "f" * 32
    assert CHANGE.trace_id(w3c)[:8] == "f" * 8
    assert CHANGE.trace_id(w3c) != w3c


# --- Texts ---------------------------------------------------------------------------------------------------------


def test_a_text_names_the_new_run_and_trace_in_both_forms() -> None:
    new = CHANGE.trace_id(OURS)
    assert CHANGE.text(f"run={OLD} trace {OURS} is 1-{OURS[:8]}-{OURS[8:]}.") == f"run={NEW} trace {new} is 1-{new[:8]}-{new[8:]}."


def test_other_ids_in_a_text_stay() -> None:
    for other in (FOREIGN, f"1-{FOREIGN[:8]}-{FOREIGN[8:]}", OURS + "0", "0" + OURS, OURS.upper(), "20260101-120000-ffff"):
        assert CHANGE.text(f"x {other} y") == f"x {other} y"


@given(st.text())
def test_a_text_without_any_of_them_stays(words: str) -> None:
    assert CHANGE.text(words) == words


# --- Spans ---------------------------------------------------------------------------------------------------------


def test_a_span_is_told_by_its_attribute_then_its_resources_then_its_trace() -> None:
    belongs = [span(FOREIGN, run=OLD), span(OURS)]
    others = [span(OURS, run="20260101-110000-0000"), span(FOREIGN)]
    data = traces(*belongs, *others)
    seen = CHANGE.traces(data)
    assert len(spans(data)) == seen.kept == 2
    assert seen.others == 2
    assert seen.of_no_run == 1
    assert seen.trace_ids == {OURS, FOREIGN}
    assert seen.latest == AT + 5
    assert CHANGE.traces(traces(span(FOREIGN), run=OLD)).kept == 1
    assert CHANGE.traces(traces(span(OURS), run="20260101-110000-0000")).kept == 0


def test_nothing_is_left_of_a_resource_or_scope_without_the_run() -> None:
    data = traces(span(FOREIGN))
    data.resource_spans.extend(traces(span(OURS)).resource_spans)
    data.resource_spans[1].scope_spans.add().spans.append(span(FOREIGN))
    CHANGE.traces(data)
    assert len(data.resource_spans) == 1
    assert len(data.resource_spans[0].scope_spans) == 1
    empty = traces(span(FOREIGN))
    CHANGE.traces(empty)
    assert empty == TracesData()


def test_everything_a_span_is_told_by_is_the_new_runs_and_the_rest_is_as_it_was() -> None:
    one = span(run=OLD, kept="as it is", **{"trace.of.mine": OURS})
    one.trace_state = "vendor=1"
    event = one.events.add(time_unix_nano=AT + 1, name="exception")
    event.attributes.extend(pairs(note=f"in {OURS}"))
    inside = one.links.add(trace_id=bytes.fromhex(ALSO_OURS), span_id=b"abcdefgh")
    inside.attributes.extend(pairs(run=OLD))
    one.links.add(trace_id=bytes.fromhex(FOREIGN), span_id=b"abcdefgh")
    data = traces(one, **{"service.name": "cruddur"})
    CHANGE.traces(data)
    (new,) = spans(data)
    assert new.trace_id.hex() == CHANGE.trace_id(OURS)
    assert (new.start_time_unix_nano, new.end_time_unix_nano) == (AT + SHIFT * NANO, AT + 5 + SHIFT * NANO)
    assert strings(new.attributes) == {"run": NEW, "kept": "as it is", "trace.of.mine": CHANGE.trace_id(OURS)}
    assert new.events[0].time_unix_nano == AT + 1 + SHIFT * NANO
    assert strings(new.events[0].attributes) == {"note": f"in {CHANGE.trace_id(OURS)}"}
    assert new.links[0].trace_id.hex() == CHANGE.trace_id(ALSO_OURS)
    assert strings(new.links[0].attributes) == {"run": NEW}
    assert new.links[1].trace_id.hex() == FOREIGN, "a trace of somebody else's"
    assert (new.span_id, new.parent_span_id, new.name, new.trace_state) == (b"12345678", b"87654321", "GET", "vendor=1")
    assert strings(data.resource_spans[0].resource.attributes) == {"service.name": "cruddur"}


def test_a_time_that_is_unknown_stays_unknown() -> None:
    one = span()
    one.start_time_unix_nano = 0
    data = traces(one)
    CHANGE.traces(data)
    assert spans(data)[0].start_time_unix_nano == 0


def test_looking_changes_nothing_of_what_belongs() -> None:
    """How a recording is looked through before anything is sent."""
    data = traces(span(run=OLD, note=OURS), **{"service.name": "cruddur"})
    before = data.SerializeToString(deterministic=True)
    assert SELECTION.traces(data).kept == 1
    assert data.SerializeToString(deterministic=True) == before


# --- Log records ---------------------------------------------------------------------------------------------------


def logs(*records: LogRecord) -> LogsData:
    data = LogsData()
    data.resource_logs.add().scope_logs.add().log_records.extend(records)
    return data


def test_a_log_record_is_rewritten_down_to_the_depth_of_its_body() -> None:
    nested = AnyValue(
        kvlist_value=KeyValueList(
            values=[
                KeyValue(
                    key="list", value=AnyValue(array_value=ArrayValue(values=[text(f"1-{OURS[:8]}-{OURS[8:]}"), AnyValue(int_value=1)]))
                ),
                KeyValue(key="raw", value=AnyValue(bytes_value=bytes.fromhex(OURS))),
            ]
        )
    )
    record = LogRecord(
        time_unix_nano=AT,
        observed_time_unix_nano=AT + 1,
        trace_id=bytes.fromhex(OURS),
        span_id=b"12345678",
        body=nested,
        attributes=pairs(run=OLD, trace_id=OURS),
        event_name="request",
    )
    data = logs(record, LogRecord(time_unix_nano=AT, attributes=pairs(run="20260101-110000-0000")))
    seen = CHANGE.logs(data)
    assert seen.kept == seen.others == 1
    (new,) = data.resource_logs[0].scope_logs[0].log_records
    mapped = CHANGE.trace_id(OURS)
    assert (new.time_unix_nano, new.observed_time_unix_nano) == (AT + SHIFT * NANO, AT + 1 + SHIFT * NANO)
    assert new.trace_id.hex() == mapped
    assert strings(new.attributes) == {"run": NEW, "trace_id": mapped}
    found = {pair.key: pair.value for pair in new.body.kvlist_value.values}
    assert found["list"].array_value.values[0].string_value == f"1-{mapped[:8]}-{mapped[8:]}"
    assert found["list"].array_value.values[1].int_value == 1
    assert found["raw"].bytes_value.hex() == mapped
    assert new.event_name == "request"


def test_a_log_record_without_a_trace_keeps_none() -> None:
    data = logs(LogRecord(observed_time_unix_nano=AT, attributes=pairs(run=OLD)))
    seen = CHANGE.logs(data)
    (new,) = data.resource_logs[0].scope_logs[0].log_records
    assert new.trace_id == b""
    assert seen.trace_ids == set()
    assert seen.latest == AT


# --- Data points ---------------------------------------------------------------------------------------------------


def test_data_points_of_every_type_are_kept_by_their_run_alone() -> None:
    data = MetricsData()
    scope = data.resource_metrics.add().scope_metrics.add()
    for kind in ("gauge", "sum", "histogram", "exponential_histogram", "summary"):
        metric = scope.metrics.add(name=kind)
        for run in (OLD, "20260101-110000-0000", None):
            point = getattr(metric, kind).data_points.add(start_time_unix_nano=AT, time_unix_nano=AT + 1)
            point.attributes.extend(pairs(run=run) if run else [])
    of_no_run = scope.metrics.add(name="db.client.connections.usage")
    of_no_run.sum.data_points.add(time_unix_nano=AT)
    seen = CHANGE.metrics(data)
    assert (seen.kept, seen.others, seen.of_no_run) == (5, 11, 6)
    (kept,) = data.resource_metrics[0].scope_metrics
    assert [metric.name for metric in kept.metrics] == ["gauge", "sum", "histogram", "exponential_histogram", "summary"]
    for metric in kept.metrics:
        (point,) = getattr(metric, metric.name).data_points
        assert strings(point.attributes) == {"run": NEW}
        assert (point.start_time_unix_nano, point.time_unix_nano) == (AT + SHIFT * NANO, AT + 1 + SHIFT * NANO)


def test_an_exemplar_names_the_new_trace() -> None:
    data = MetricsData()
    metric = data.resource_metrics.add().scope_metrics.add().metrics.add(name="http.server.request.duration")
    point = metric.histogram.data_points.add(time_unix_nano=AT, attributes=pairs(run=OLD))
    exemplar = point.exemplars.add(time_unix_nano=AT, trace_id=bytes.fromhex(OURS), span_id=b"12345678", as_double=0.5)
    exemplar.filtered_attributes.extend(pairs(trace=OURS))
    CHANGE.metrics(data)
    (new,) = data.resource_metrics[0].scope_metrics[0].metrics[0].histogram.data_points[0].exemplars
    assert new.trace_id.hex() == strings(new.filtered_attributes)["trace"] == CHANGE.trace_id(OURS)
    assert (new.time_unix_nano, new.span_id, new.as_double) == (AT + SHIFT * NANO, b"12345678", 0.5)
