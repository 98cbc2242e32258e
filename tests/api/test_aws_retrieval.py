"""Trace retrieval over the wire: what came by OTLP and by PutTraceSegments, in both formats, its graph; through boto3."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from tests.api.aws_clients import client, put, refused, segment, segment_id, trace_id
from tests.api.servers import Vendor, start_vendor
from tests.api.xray_otlp import PROTOBUF, SignedSession, attributes, export, new_trace, span, to_cloudwatch_logs, xray_form
from tests.waiting import until


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vendor]:
    with start_vendor("aws", tmp_path_factory.mktemp("state")) as vendor:
        # Nothing is indexed: what is found is found by retrieval alone.
        to_cloudwatch_logs(client(vendor, "xray"), 0)
        yield vendor


@pytest.fixture(scope="module")
def xray(aws: Vendor) -> Any:
    return client(aws, "xray")


def send(vendor: Vendor, *spans: Any, **resource: Any) -> None:
    body = export(spans, **resource).SerializeToString()
    answer = SignedSession(vendor).post(f"{vendor.url}/v1/traces", data=body, headers={"Content-Type": PROTOBUF}, timeout=30)
    assert (answer.status_code, answer.content) == (200, b"")


def start(xray: Any, trace_ids: Sequence[str], since: float = 3600, until_: float = 0) -> str:
    now = time.time()
    token: str = xray.start_trace_retrieval(TraceIds=trace_ids, StartTime=now - since, EndTime=now - until_)["RetrievalToken"]
    return token


def completed(xray: Any, token: str) -> str:
    until(lambda: xray.list_retrieved_traces(RetrievalToken=token)["RetrievalStatus"] == "COMPLETE", 10, "the retrieval to be complete")
    return token


def pages(xray: Any, token: str, **members: Any) -> list[dict[str, Any]]:
    found = [xray.list_retrieved_traces(RetrievalToken=token, **members)]
    while "NextToken" in found[-1]:
        found.append(xray.list_retrieved_traces(RetrievalToken=token, NextToken=found[-1]["NextToken"], **members))
    return found


def spans_of(answer: dict[str, Any]) -> list[dict[str, Any]]:
    (trace,) = answer["Traces"]
    documents = [json.loads(one["Document"]) for one in trace["Spans"]]
    assert [one["Id"] for one in trace["Spans"]] == [document.get("spanId", document.get("id")) for document in documents]
    return documents


def test_a_span_comes_back_as_it_was_sent_though_it_was_not_indexed(aws: Vendor, xray: Any) -> None:
    trace = new_trace()
    root = span(trace, attributes={"http.request.method": "GET", "list": ["a", 1, True], "n": 1.5})
    child = span(trace, "SELECT", kind=3, parent=root, attributes={"db.system.name": "postgresql", "db.namespace": "cruddur"})
    child.links.add(trace_id=b"\1" * 16, span_id=b"\2" * 8, attributes=attributes({"why": "retry"}))
    child.events.add(name="exception", time_unix_nano=child.end_time_unix_nano, attributes=attributes({"exception.type": "Timeout"}))
    child.status.code = Status.STATUS_CODE_ERROR
    child.status.message = "too late"
    send(aws, root, child, **{"service.version": "1.2"})
    assert xray.batch_get_traces(TraceIds=[xray_form(trace)])["Traces"] == []
    token = start(xray, [xray_form(trace)])
    assert token.isalnum()  # what begins with a hyphen is an option to a command line
    running = xray.list_retrieved_traces(RetrievalToken=token)
    assert (running["RetrievalStatus"], running["Traces"]) == ("RUNNING", [])
    assert xray.get_retrieved_traces_graph(RetrievalToken=token)["Services"] == []
    completed(xray, token)
    answer = xray.list_retrieved_traces(RetrievalToken=token, TraceFormat="OTEL")
    assert (answer["RetrievalStatus"], answer["TraceFormat"], answer["Traces"][0]["Id"]) == ("COMPLETE", "OTEL", xray_form(trace))
    first, second = spans_of(answer)
    assert first == {
        "resource": {"attributes": {"service.name": "Cruddur", "service.version": "1.2"}},
        "scope": {"name": "tests"},
        "traceId": trace.hex(),
        "spanId": root.span_id.hex(),
        "name": "GET /",
        "kind": "SERVER",
        "startTimeUnixNano": root.start_time_unix_nano,
        "endTimeUnixNano": root.end_time_unix_nano,
        "durationNano": 250_000_000,
        "attributes": {"http.request.method": "GET", "list": ["a", 1, True], "n": 1.5},
        "events": [],
        "links": [],
        "status": {"code": "UNSET"},
    }
    assert (second["kind"], second["parentSpanId"], second["status"]) == (
        "CLIENT",
        root.span_id.hex(),
        {"code": "ERROR", "message": "too late"},
    )
    assert second["links"] == [{"traceId": "01" * 16, "spanId": "02" * 8, "attributes": {"why": "retry"}}]
    assert [event["attributes"] for event in second["events"]] == [{"exception.type": "Timeout"}]

    segments = spans_of(xray.list_retrieved_traces(RetrievalToken=token))
    assert [(one["name"], one.get("type"), one.get("fault")) for one in segments] == [
        ("Cruddur", None, None),
        ("cruddur", "subsegment", True),
    ]

    graph = {
        one["Service"]["Name"]: one
        for one in xray.get_retrieved_traces_graph(RetrievalToken=token)["Services"]
        if one["Service"].get("Type") != "client"
    }
    assert set(graph) == {"Cruddur", "cruddur"}
    (edge,) = graph["Cruddur"]["Service"]["Edges"]
    assert (edge["ReferenceId"], edge["SummaryStatistics"]["FaultStatistics"]["TotalCount"]) == (
        graph["cruddur"]["Service"]["ReferenceId"],
        1,
    )
    linked = {"ReferenceType": "parent", "SourceTraceId": xray_form(trace), "DestinationTraceIds": ["1-01010101-" + "01" * 12]}
    assert (graph["Cruddur"]["Links"], graph["cruddur"]["Links"]) == ([linked], [])


def test_segments_are_told_as_spans(xray: Any) -> None:
    trace, parent = trace_id(), segment_id()
    cause = {
        "exceptions": [{"id": segment_id(), "type": "Boom", "message": "it broke", "stack": [{"path": "a.py", "line": 3, "label": "f"}]}]
    }
    sent = segment(
        trace,
        parent_id=parent,
        fault=True,
        origin="AWS::EC2::Instance",
        user="andrew",
        http={"request": {"method": "GET", "url": "http://cruddur/home"}, "response": {"status": 500}},
        annotations={"run": "r1", "count": 2},
        metadata={"default": {"UserData": {"a": [1]}}},
        aws={"account_id": "123456789012", "ec2": {"instance_id": "i-1", "availability_zone": "us-east-1a"}},
        cause=cause,
        subsegments=[
            {"id": segment_id(), "name": "S3", "namespace": "aws", "start_time": 1, "end_time": 2, "aws": {"operation": "GetObject"}}
        ],
    )
    embedded = sent["subsegments"][0]
    embedded |= {"start_time": sent["start_time"] + 0.1, "end_time": sent["end_time"]}
    alone = segment(trace, type="subsegment", parent_id=sent["id"], name="db", namespace="remote", in_progress=True, end_time=None)
    alone["start_time"] = sent["start_time"] + 0.2
    put(xray, sent, alone)
    token = completed(xray, start(xray, [trace[2:].replace("-", "").upper()]))
    own, call, database = spans_of(xray.list_retrieved_traces(RetrievalToken=token, TraceFormat="OTEL"))
    assert (own["traceId"], own["spanId"], own["parentSpanId"], own["kind"]) == (trace[2:].replace("-", ""), sent["id"], parent, "SERVER")
    assert own["status"] == {"code": "ERROR"}
    assert own["resource"]["attributes"] == {
        "service.name": "Cruddur",
        "cloud.account.id": "123456789012",
        "host.id": "i-1",
        "cloud.availability_zone": "us-east-1a",
        "cloud.provider": "aws",
        "cloud.platform": "aws_ec2",
    }
    assert own["attributes"] == {
        "http.request.method": "GET",
        "url.full": "http://cruddur/home",
        "http.response.status_code": 500,
        "enduser.id": "andrew",
        "aws.xray.metadata.default": '{"UserData":{"a":[1]}}',
        "run": "r1",
        "count": 2,
        "aws.xray.annotations": ["run", "count"],
    }
    (event,) = own["events"]
    assert event["attributes"] == {"exception.type": "Boom", "exception.message": "it broke", "exception.stacktrace": "    at f (a.py:3)"}
    assert (call["kind"], call["parentSpanId"], call["attributes"]["rpc.service"], call["attributes"]["rpc.method"]) == (
        "CLIENT",
        sent["id"],
        "S3",
        "GetObject",
    )
    assert ("endTimeUnixNano" in database, database["attributes"]["aws.xray.inprogress"]) == (False, True)
    assert spans_of(xray.list_retrieved_traces(RetrievalToken=token)) == [sent, alone]


def test_pages_of_traces_and_of_spans(aws: Vendor, xray: Any) -> None:
    small = [new_trace() for _ in range(6)]
    for trace in small:
        send(aws, span(trace))
    large = new_trace()
    root = span(large)
    children = [span(large, f"s{number}", parent=root, kind=1) for number in range(229)]
    send(aws, root, *children)
    never = trace_id()
    token = completed(xray, start(xray, [*map(xray_form, small), never, xray_form(large)]))
    found = pages(xray, token)
    assert [[len(trace["Spans"]) for trace in page["Traces"]] for page in found] == [[1] * 5, [1, 100], [100], [30]]
    ids = [trace["Id"] for page in found for trace in page["Traces"]]
    assert ids == [*map(xray_form, small), *[xray_form(large)] * 3]
    spans = [one["Id"] for page in found for trace in page["Traces"] if trace["Id"] == xray_form(large) for one in trace["Spans"]]
    assert sorted(spans) == sorted(one.span_id.hex() for one in [root, *children])
    again = found[0]["NextToken"]
    refused(
        lambda: xray.list_retrieved_traces(RetrievalToken=token, NextToken=again, TraceFormat="OTEL"),
        "InvalidRequestException",
        "NextToken",
    )
    refused(lambda: xray.list_retrieved_traces(RetrievalToken=token, NextToken="x"), "InvalidRequestException", "NextToken")
    refused(lambda: xray.get_retrieved_traces_graph(RetrievalToken=token, NextToken="x"), "InvalidRequestException", "NextToken")


def test_the_time_range_decides(aws: Vendor, xray: Any) -> None:
    trace = new_trace()
    old = span(trace, "old")
    old.start_time_unix_nano -= 7200 * 10**9
    send(aws, old, span(trace, "new"))
    for since, upto, expected in ((3600, 0, ["new"]), (10_000, 3600, ["old"]), (10_000, 0, ["old", "new"])):
        token = completed(xray, start(xray, [xray_form(trace)], since, upto))
        (found,) = xray.list_retrieved_traces(RetrievalToken=token, TraceFormat="OTEL")["Traces"]
        assert [json.loads(one["Document"])["name"] for one in found["Spans"]] == expected


def test_a_local_root_that_calls_is_one_span_and_two_segments(aws: Vendor, xray: Any) -> None:
    trace = new_trace()
    xray.update_indexing_rule(Name="Default", Rule={"Probabilistic": {"DesiredSamplingPercentage": 100}})
    send(aws, span(trace, kind=5, attributes={"aws.span.kind": "LOCAL_ROOT", "aws.local.service": "Worker", "aws.remote.service": "Queue"}))
    xray.update_indexing_rule(Name="Default", Rule={"Probabilistic": {"DesiredSamplingPercentage": 0}})
    token = completed(xray, start(xray, [xray_form(trace)]))
    assert len(spans_of(xray.list_retrieved_traces(RetrievalToken=token, TraceFormat="OTEL"))) == 1
    assert sorted(one["name"] for one in spans_of(xray.list_retrieved_traces(RetrievalToken=token))) == ["Queue", "Worker"]


def test_cancelling_ends_a_retrieval_that_runs_and_no_other(aws: Vendor, xray: Any) -> None:
    trace = new_trace()
    send(aws, span(trace))
    token = start(xray, [xray_form(trace)])
    xray.cancel_trace_retrieval(RetrievalToken=token)
    answer = xray.list_retrieved_traces(RetrievalToken=token)
    assert (answer["RetrievalStatus"], answer["Traces"]) == ("CANCELLED", [])
    assert xray.get_retrieved_traces_graph(RetrievalToken=token)["RetrievalStatus"] == "CANCELLED"
    token = completed(xray, start(xray, [xray_form(trace)]))
    xray.cancel_trace_retrieval(RetrievalToken=token)
    assert len(xray.list_retrieved_traces(RetrievalToken=token)["Traces"]) == 1


def test_bad_input(xray: Any) -> None:
    now, good = time.time(), trace_id()
    begin, invalid = xray.start_trace_retrieval, "InvalidRequestException"
    refused(lambda: begin(TraceIds=[], StartTime=now - 1, EndTime=now), invalid, "at least one")
    refused(lambda: begin(TraceIds=["x"], StartTime=now - 1, EndTime=now), invalid, "Invalid trace id 'x'")
    refused(lambda: begin(TraceIds=[good], StartTime=now + 9, EndTime=now), invalid, "StartTime")
    refused(lambda: begin(TraceIds=[good] * 101, StartTime=now - 1, EndTime=now), invalid, "100")
    refused(lambda: begin(TraceIds=[good], StartTime=now - 1), invalid, "EndTime")
    for call in (xray.list_retrieved_traces, xray.get_retrieved_traces_graph, xray.cancel_trace_retrieval):
        refused(lambda call=call: call(RetrievalToken="never given"), "ResourceNotFoundException", "RetrievalToken", 404)
        refused(lambda call=call: call(), invalid, "RetrievalToken")
    token = start(xray, [good])
    refused(lambda: xray.list_retrieved_traces(RetrievalToken=token, TraceFormat="JAEGER"), invalid, "enum")
    completed(xray, token)
    # A trace of which nothing is stored is not in the answer.
    assert xray.list_retrieved_traces(RetrievalToken=token)["Traces"] == []


def test_a_retrieval_and_its_spans_survive_a_crash(tmp_path: Path) -> None:
    with start_vendor("aws", tmp_path) as vendor:
        xray = client(vendor, "xray")
        to_cloudwatch_logs(xray, 0)
        trace = new_trace()
        send(vendor, span(trace))
        token = start(xray, [xray_form(trace)])
        vendor.kill()
        vendor.start()
        xray = client(vendor, "xray")
        completed(xray, token)
        assert len(xray.list_retrieved_traces(RetrievalToken=token)["Traces"]) == 1
