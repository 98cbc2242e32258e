"""OTLP into the local X-Ray over the wire, by the OpenTelemetry SDK's own exporter and by hand, read back through boto3."""

from __future__ import annotations

import gzip
import json
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from google.protobuf import json_format
from google.rpc.status_pb2 import Status
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.sdk.extension.aws.trace import AwsXRayIdGenerator
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import SpanKind

from localstack.aws.xray.responses.otlp import MAX_BYTES
from localstack.aws.xray.spans.receiving import MAX_SPANS
from tests.api.aws_clients import client, get_trace, put, segment, summaries, trace_id
from tests.api.servers import Vendor, start_vendor
from tests.api.xray_otlp import PROTOBUF, SignedSession, export, new_trace, span, to_cloudwatch_logs, xray_form


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vendor]:
    with start_vendor("aws", tmp_path_factory.mktemp("state")) as vendor:
        to_cloudwatch_logs(client(vendor, "xray"), 100)
        yield vendor


@pytest.fixture(scope="module")
def xray(aws: Vendor) -> Any:
    return client(aws, "xray")


def post(
    vendor: Vendor, body: bytes, kind: str = PROTOBUF, encoding: str = "", session: requests.Session | None = None
) -> requests.Response:
    headers = {"Content-Type": kind} | ({"Content-Encoding": encoding} if encoding else {})
    return (session or SignedSession(vendor)).post(f"{vendor.url}/v1/traces", data=body, headers=headers, timeout=30)


def said(answer: requests.Response) -> str:
    """The message of an error, a google.rpc.Status in the request's format."""
    assert answer.headers["x-amzn-requestid"]
    if answer.headers["Content-Type"] == PROTOBUF:
        return str(Status.FromString(answer.content).message)
    assert answer.headers["Content-Type"] == "application/json"
    return str(json_format.Parse(answer.content, Status()).message)


def sent(xray: Any, trace: str) -> list[dict[str, Any]]:
    """The documents of one trace that are not inferred."""
    return [document for document in get_trace(xray, trace) if not document.get("inferred")]


# -- by the SDK


@pytest.mark.parametrize("compression", [Compression.NoCompression, Compression.Gzip])
def test_the_sdks_spans_become_a_trace(aws: Vendor, xray: Any, compression: Compression) -> None:
    provider = TracerProvider(
        id_generator=AwsXRayIdGenerator(), resource=Resource({"service.name": "Cruddur", "telemetry.sdk.language": "python"})
    )
    exporter = OTLPSpanExporter(endpoint=f"{aws.url}/v1/traces", session=SignedSession(aws), compression=compression)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("home.activities")
    wanted: dict[str, str | int] = {
        "http.request.method": "GET",
        "url.full": "http://cruddur/home",
        "http.response.status_code": 500,
        "run": "r1",
    }
    with tracer.start_as_current_span("GET /home", kind=SpanKind.SERVER) as root:
        root.set_attributes(wanted)
        root.set_attribute("aws.xray.annotations", ["run"])
        with (
            pytest.raises(ValueError, match="boom"),
            tracer.start_as_current_span("profiles", kind=SpanKind.CLIENT, attributes={"peer.service": "profiles"}),
        ):
            raise ValueError("boom")
    provider.shutdown()
    trace = xray_form(root.get_span_context().trace_id.to_bytes(16, "big"))
    (document,) = sent(xray, trace)
    assert (document["name"], document["fault"], document["annotations"]) == ("Cruddur", True, {"run": "r1"})
    assert document["http"] == {"request": {"method": "GET", "url": "http://cruddur/home"}, "response": {"status": 500}}
    (call,) = document["subsegments"]
    assert (call["name"], call["namespace"], call["fault"]) == ("profiles", "remote", True)
    (exception,) = call["cause"]["exceptions"]
    assert (exception["type"], exception["message"]) == ("ValueError", "boom")
    assert __file__ in {frame["path"] for frame in exception["stack"]}
    seconds = int(trace[2:10], 16)
    (summary,) = [one for one in summaries(xray, seconds, seconds + 1) if one["Id"] == trace]
    assert (summary["HasFault"], summary["EntryPoint"]["Name"], summary["Http"]["HttpStatus"]) == (True, "Cruddur", 500)
    assert summary["Annotations"]["run"][0]["AnnotationValue"] == {"StringValue": "r1"}


# -- by hand


@pytest.mark.parametrize("kind", [PROTOBUF, "application/protobuf", "application/json", "application/json; charset=utf-8"])
@pytest.mark.parametrize("encoding", ["", "gzip"])
def test_formats(aws: Vendor, xray: Any, kind: str, encoding: str) -> None:
    trace = new_trace()
    root = span(trace)
    request = export([root, span(trace, "work", parent=root, kind=1)])
    if kind.startswith("application/json"):
        message = json_format.MessageToDict(request)
        for one, sent in zip(
            message["resourceSpans"][0]["scopeSpans"][0]["spans"], request.resource_spans[0].scope_spans[0].spans, strict=True
        ):
            # OTLP's own form of identifiers: hexadecimal digits, where protobuf's JSON has base64.
            one |= {"traceId": sent.trace_id.hex(), "spanId": sent.span_id.hex()}
            if sent.parent_span_id:
                one["parentSpanId"] = sent.parent_span_id.hex()
        body = json.dumps(message).encode()
    else:
        body = request.SerializeToString()
    answer = post(aws, gzip.compress(body) if encoding else body, kind, encoding)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, kind.split(";")[0])
    assert answer.content == (b"{}" if "json" in kind else b"")
    (document,) = get_trace(xray, xray_form(trace))
    assert (document["id"], document["name"], [one["name"] for one in document["subsegments"]]) == (root.span_id.hex(), "Cruddur", ["work"])


def test_a_w3c_trace_id_whose_digits_are_no_time_is_taken(aws: Vendor, xray: Any) -> None:
    trace = b"\xff" + secrets.token_bytes(15)
    assert post(aws, export([span(trace)]).SerializeToString()).status_code == 200
    assert len(get_trace(xray, xray_form(trace))) == 1


def test_a_request_that_comes_again_is_no_second_trace(aws: Vendor, xray: Any) -> None:
    trace = new_trace()
    body = export([span(trace, kind=3, attributes={"aws.span.kind": "LOCAL_ROOT", "aws.local.service": "Cruddur"})]).SerializeToString()
    for _ in range(2):
        assert post(aws, body).status_code == 200
    (document,) = sent(xray, xray_form(trace))
    assert len(document["subsegments"]) == 1


def test_bad_spans_are_named_and_the_others_stored(aws: Vendor, xray: Any) -> None:
    trace, day = new_trace(), 24 * 3600 * 10**9
    good, bad = span(trace), [span(b"\0" * 16), span(trace[:15])]
    late, early, large = span(trace), span(trace), span(trace, attributes={"text": "x" * 210_000})
    late.start_time_unix_nano -= 15 * day
    early.start_time_unix_nano += 3 * day // 24
    short = span(trace)
    short.span_id = b"short"
    answer = post(aws, export([*bad, late, early, large, short, good]).SerializeToString())
    assert answer.status_code == 200
    partial = ExportTraceServiceResponse.FromString(answer.content).partial_success
    assert partial.rejected_spans == 6
    for words in ("traceId must be", "14 days", "2 hours", "200 KB", "1 more"):
        assert words in partial.error_message
    assert [one["id"] for one in get_trace(xray, xray_form(trace))] == [good.span_id.hex()]


def test_a_span_of_more_than_a_segments_size_is_indexed_without_its_metadata(aws: Vendor, xray: Any) -> None:
    trace = new_trace()
    large = span(trace, attributes={"text": "x" * 150_000, "http.request.method": "PUT"})
    assert post(aws, export([large]).SerializeToString()).content == b""
    (document,) = get_trace(xray, xray_form(trace))
    assert (document["http"], "metadata" in document) == ({"request": {"method": "PUT"}}, False)


@pytest.mark.parametrize(
    ("body", "kind", "encoding", "status", "words"),
    [
        (b"{", "application/json", "", 400, "ExportTraceServiceRequest"),
        (b"[]", "application/json", "", 400, "ExportTraceServiceRequest"),
        (b'{"resourceSpans": 5}', "application/json", "", 400, "ExportTraceServiceRequest"),
        (b"\xff\xff\xff", PROTOBUF, "", 400, "ExportTraceServiceRequest"),
        (b"", "text/plain", "", 415, "Content-Type"),
        (b"", "", "", 415, "Content-Type"),
        (b"", PROTOBUF, "zstd", 415, "gzip"),
        (b"no gzip", PROTOBUF, "gzip", 400, "gzip"),
        (gzip.compress(b"\0" * (MAX_BYTES + 1)), PROTOBUF, "gzip", 400, "larger than"),
        (b"\0" * (MAX_BYTES + 1), PROTOBUF, "", 400, "larger than"),
    ],
    ids=[
        "cut JSON",
        "a list",
        "a number for a list",
        "no protobuf",
        "text",
        "no content type",
        "zstd",
        "no gzip",
        "too large when unpacked",
        "too large",
    ],
)
def test_a_bad_request_is_answered_with_a_status(aws: Vendor, body: bytes, kind: str, encoding: str, status: int, words: str) -> None:
    answer = post(aws, body, kind, encoding)
    assert answer.status_code == status
    assert words in said(answer)


def test_a_small_request_that_stands_for_much_is_refused(aws: Vendor) -> None:
    """Every span is kept with its resource."""
    answer = post(aws, export([span(new_trace()) for _ in range(400)], text="x" * 100_000).SerializeToString())
    assert answer.status_code == 400
    assert "each with its resource" in said(answer)


def test_an_empty_request_is_a_success(aws: Vendor) -> None:
    assert (post(aws, b"").status_code, post(aws, b"{}", "application/json").content) == (200, b"{}")


def test_limits_of_the_whole_request(aws: Vendor) -> None:
    trace = new_trace()
    one = span(trace)
    answer = post(aws, export([one] * (MAX_SPANS + 1)).SerializeToString())
    assert (answer.status_code, f"{MAX_SPANS} spans" in said(answer)) == (400, True)
    old = span(trace)
    old.start_time_unix_nano -= 25 * 3600 * 10**9
    answer = post(aws, export([one, old]).SerializeToString())
    assert (answer.status_code, "24 hours" in said(answer)) == (400, True)


def test_only_signed_requests_are_taken(aws: Vendor) -> None:
    body = export([span(new_trace())]).SerializeToString()
    unsigned = post(aws, body, session=requests.Session())
    assert (unsigned.status_code, said(unsigned)) == (403, "Missing Authentication Token")
    wrong = post(aws, body, session=SignedSession(aws, secret="wrong"))
    assert (wrong.status_code, "signature" in said(wrong)) == (403, True)
    # Signed for another service it is not X-Ray's at all.
    assert post(aws, body, session=SignedSession(aws, service="logs")).status_code >= 400
    assert SignedSession(aws).get(f"{aws.url}/v1/traces", timeout=30).status_code == 404


# -- where it goes


def test_the_destination_decides_whether_spans_are_taken_and_the_rule_which_are_indexed(tmp_path: Path) -> None:
    with start_vendor("aws", tmp_path) as vendor:
        xray = client(vendor, "xray")
        traces = [new_trace() for _ in range(200)]
        body = export([span(trace) for trace in traces]).SerializeToString()
        refused = post(vendor, body)
        assert refused.status_code == 400
        assert said(refused).startswith("The OTLP API is supported with CloudWatch Logs as a Trace Segment Destination.")
        to_cloudwatch_logs(xray, 50)
        assert post(vendor, body).status_code == 200
        before = time.time()
        by_put = [trace_id() for _ in range(50)]
        put(xray, *[segment(trace) for trace in by_put])
        ids = {xray_form(trace) for trace in traces} | set(by_put)
        indexed = {one["Id"] for one in summaries(xray, before - 60, before + 60)}
        assert indexed <= ids
        # 250 traces, each with probability one half: 125 with a standard deviation of 8.
        assert 80 < len(indexed) < 170
        # The same traces, whichever service sends more of them.
        assert post(vendor, export([span(trace) for trace in traces]).SerializeToString()).status_code == 200
        assert {one["Id"] for one in summaries(xray, before - 60, before + 60)} == indexed
